"""Questions about a graph's structure that several passes ask: padding, groups, shuffles, signs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdk.graph.enums import RELU, RELU6
from sdk.graph.records import Graph, Operator

# One computed input, and each channel is treated by itself and like every other.
CHANNEL_WISE = frozenset(
    {
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "HARD_SWISH",
        "LOGISTIC",
        "TANH",
        "ABS",
        "NEG",
        "ELU",
        "LEAKY_RELU",
        "SQRT",
    }
    | {"AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}
)

# Never negative if none of their inputs is; constants and activations are looked at by themselves.
_KEEPS_SIGN = frozenset(
    {
        "ADD",
        "MUL",
        "MAXIMUM",
        "MINIMUM",
        "MEAN",
        "SUM",
        "MAX_POOL_2D",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "SPLIT",
    }
    | {"SLICE", "STRIDED_SLICE", "GATHER", "PAD", "RESHAPE", "SQUEEZE", "TRANSPOSE", "DEPTH_TO_SPACE"}
    | {"SPACE_TO_DEPTH", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}
)
_NEVER_NEGATIVE = frozenset(
    {"RELU", "RELU6", "LOGISTIC", "SOFTMAX", "ABS", "SQUARE", "SQRT", "EXP", "RELU_0_TO_1"}
)


@dataclass(frozen=True)
class Shuffle:
    """Channel ``k`` of tensor ``output`` is channel ``permutation[k]`` of tensor ``source``."""

    source: int
    output: int
    permutation: tuple[int, ...]
    operators: tuple[int, ...]  # their numbers, in order


def transposed_behind(graph: Graph, consumers: Mapping[int, Sequence[int]], index: int) -> list[int]:
    """The operator, and of the TRANSPOSE and RESHAPE that alone read one another's output behind it those that are
    there: three numbers of operators where it is the beginning of a shuffle."""
    chain = [index]
    for kind in ("TRANSPOSE", "RESHAPE"):
        readers = consumers.get(graph.operators[chain[-1]].outputs[0], [])
        if len(readers) != 1 or graph.operators[readers[0]].kind != kind:
            break
        chain.append(readers[0])
    return chain


def find_shuffles(graph: Graph) -> list[Shuffle]:
    """Every RESHAPE - TRANSPOSE - RESHAPE that only renumbers the channels of an (1, height, width, channels) value."""
    consumers = graph.consumers()
    shuffles = []
    for index, operator in enumerate(graph.operators):
        chain = transposed_behind(graph, consumers, index)
        if operator.kind == "RESHAPE" and len(chain) == 3:
            permutation = _permutation(graph, chain)
            if permutation is not None:
                output = graph.operators[chain[-1]].outputs[0]
                shuffles.append(Shuffle(operator.inputs[0], output, permutation, tuple(chain)))
    return shuffles


def each_shuffle(graph: Graph, change: Callable[[Graph, Shuffle], Graph | None]) -> Graph:
    """``graph`` after ``change`` of every shuffle, each once. A change that gives a graph is searched again."""
    done: set[str] = set()
    while True:
        for shuffle in find_shuffles(graph):
            name = graph.tensors[shuffle.output].name
            if name in done:
                continue
            done.add(name)
            changed = change(graph, shuffle)
            if changed is not None:
                graph = changed
                break
        else:
            return graph


def _permutation(graph: Graph, chain: list[int]) -> tuple[int, ...] | None:
    reshape, transpose, back = (graph.operators[index] for index in chain)
    shape = graph.tensors[reshape.inputs[0]].shape
    split = graph.tensors[reshape.outputs[0]].shape
    order = graph.tensors[transpose.inputs[1]].data
    if order is None or len(shape) != 4 or graph.tensors[back.outputs[0]].shape != shape:
        return None
    # The leading axes of the split shape hold the pixels, the rest the channels.
    axis = next((n for n in range(len(split)) if np.prod(split[n:], dtype=int) == shape[3]), None)
    axes = [int(a) for a in order.ravel()]
    if axis is None or axes[:axis] != list(range(axis)):
        return None
    channels = np.arange(shape[3]).reshape(split[axis:])
    return tuple(int(c) for c in channels.transpose([a - axis for a in axes[axis:]]).ravel())


def groups_of(graph: Graph, operator: Operator) -> int:
    """Number of groups of a CONV_2D: its input channels over its weight's."""
    return graph.tensors[operator.inputs[0]].shape[3] // graph.tensors[operator.inputs[1]].shape[3]


def multiply_accumulates(graph: Graph, operator: Operator) -> int:
    """Multiply-accumulates of a layer, one for every weight and output position; 0 of what has no weights."""
    if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
        return 0
    weight, output = graph.tensors[operator.inputs[1]], graph.tensors[operator.outputs[0]]
    if operator.kind == "TRANSPOSE_CONV":  # for every position of what it reads
        return graph.tensors[operator.inputs[2]].elements * weight.elements // max(weight.shape[3], 1)
    return output.elements * weight.elements // max(output.shape[-1] if output.shape else 1, 1)


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Rows that SAME adds before and after ``size`` of them (TensorFlow: the odd one goes after)."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def window_of(graph: Graph, operator: Operator) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) that a window spans, dilation included, and its (stride down, stride across)."""
    options = operator.options
    strides = options["strideH"], options["strideW"]
    if "filterHeight" in options:
        return (options["filterHeight"], options["filterWidth"]), strides
    height, width = graph.tensors[operator.inputs[1]].shape[1:3]
    dilated = ((height - 1) * options["dilationHFactor"] + 1, (width - 1) * options["dilationWFactor"] + 1)
    return dilated, strides


def spatial_padding(graph: Graph, operator: Operator) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """((top, bottom), (left, right)) of a PAD with zeros that touches space alone; None for every other operator."""
    if operator.kind != "PAD" or len(graph.tensors[operator.inputs[0]].shape) != 4:
        return None
    amounts = graph.tensors[operator.inputs[1]].data
    if amounts is None or amounts[0].any() or amounts[3].any():
        return None
    return (int(amounts[1, 0]), int(amounts[1, 1])), (int(amounts[2, 0]), int(amounts[2, 1]))


def never_negative(graph: Graph) -> set[int]:
    """The float tensors that cannot hold a negative number, whatever the input."""
    found = {
        index
        for index, tensor in enumerate(graph.tensors)
        if tensor.is_dense_array and tensor.data is not None and (tensor.data >= 0).all()
    }
    for operator in graph.operators:
        sources = [
            t for t in operator.inputs if t >= 0 and not graph.tensors[t].dtype.startswith(("INT32", "INT64"))
        ]
        if (
            operator.kind in _NEVER_NEGATIVE
            or operator.options.get("fusedActivationFunction") in (RELU, RELU6)
            or (operator.kind in _KEEPS_SIGN and found.issuperset(sources))
        ):
            found.update(operator.outputs)
    return found


def last_mean(graph: Graph) -> int | None:
    """The number of the last MEAN or SUM over height and width; None where there is none."""
    return next((n for n in reversed(range(len(graph.operators))) if reduces_space(graph, n)), None)


def reduces_space(graph: Graph, index: int) -> bool:
    """True for a MEAN or SUM of a value (batch, height, width, channels) over height and width."""
    operator = graph.operators[index]
    if operator.kind not in ("MEAN", "SUM") or len(graph.tensors[operator.inputs[0]].shape) != 4:
        return False
    axes = graph.tensors[operator.inputs[1]].data
    return axes is not None and {int(a) % 4 for a in axes.ravel()} == {1, 2}


def has_sparse_hint(graph: Graph) -> bool:
    """True when the graph holds a DENSIFY operator."""
    return any(operator.kind == "DENSIFY" for operator in graph.operators)


def zeros(count: int) -> np.ndarray:
    """A bias of nothing, (count,) float32."""
    return np.zeros(count, np.float32)


#: TRANSPOSE from channels last to channels first, and back.
TO_FIRST = (0, 3, 1, 2)
TO_LAST = (0, 2, 3, 1)


def order_of(graph: Graph, operator: Operator) -> tuple[int, ...] | None:
    """The axes of a TRANSPOSE by a constant; None for every other operator."""
    if operator.kind != "TRANSPOSE" or len(operator.inputs) < 2:
        return None
    order = graph.tensors[operator.inputs[1]].data
    return None if order is None else tuple(int(axis) for axis in order.ravel())
