"""Which operators run in the kernels of Armlet, and roughly how many instructions they and the runtime's take there.

The choice is that of the delegate (choice.c of device_agent/run/kernels): fully connected layers one by one, chains of
operators on images where their zeros save more than turning images around at their ends. The rates are instructions
for a unit of work on QEMU's Cortex-A72, as in :mod:`sdk.compress.board_form.cost`: good to some 15 % for a network,
enough to tell which form to try. A deploy decides by time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdk.compress.board_form import cost
from sdk.compress.rewrite.structure import groups_of
from sdk.graph.records import Graph, Operator

# As choice.c, images.c, chain.c and columns.c have them.
_MULTIPLIED = {1: 1.97, 2: 2.8, 4: 3.05}  # multiply-accumulates of an instruction, by the block
_RUNTIME_MULTIPLIED = 3.1
_VECTOR = 4  # pixels are computed by whole vectors of so many
_DEARER = 0.1  # a convolution that takes so much more, as a share, is left out of its chain
_TURNED = 4.0  # each value of an image, channels last to first or back
_COLUMN = {1: 7.5, 2: 9.0, 4: 11.8}  # each block of a fully connected layer whose input is not zero
_ACTIVE = 0.6
_LARGE_BYTES = 1 << 20
_DENSE_SMALL, _DENSE_LARGE = 0.6, 1.5  # each weight of the runtime's, waiting for memory included
_DENSE_ROWS = 1 / 3.1  # the least of it, where many rows of inputs share the wait
# Beside the products of a convolution.
_OUTPUT = 2.5
_DEPTHWISE_PRODUCT = 0.85
_SUM = 0.5

#: How many instructions of the runtime's form take as long as one of these kernels: predicted times of MobileNet V1,
#: SqueezeNet and ShuffleNet on three cores (benchmarks/speed/kernels.py, part "predicted"). These wait more for loads.
AS_LONG_AS = {"dense": 2.0, "sparse": 1.4}

_FREE = ("CONCATENATION", "SPLIT", "RESHAPE", "TRANSPOSE", "PAD")
_IMAGE = ("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD", "RELU", "RELU6", "MEAN")


@dataclass(frozen=True)
class OperatorCost:
    """One layer with weights: M instructions of an inference in each kind of kernel, estimated.

    ``zeros`` is the share of its weights; ``sparse`` None where the runtime has no sparse kernel for such a layer,
    ``armlet`` None where Armlet has none; ``block`` of rows that share a zero there; ``claimed``: it runs in Armlet's
    where these are used.
    """

    operator: int
    kind: str
    output: tuple[int, ...]
    zeros: float
    dense: float
    sparse: float | None
    armlet: float | None
    block: int
    claimed: bool


@dataclass(frozen=True)
class _Candidate:
    """An operator that the kernels can run: what it gains there, what it takes, and its block; image: of a chain.

    One that is of no chain is claimed where it gains.
    """

    gain: float
    own: float
    block: int
    image: bool


def layer_costs(graph: Graph) -> tuple[OperatorCost, ...]:
    """Every convolution and fully connected layer of a float graph whose weights are stored densely, in order."""
    found = {n: c for n, op in enumerate(graph.operators) if (c := _candidate(graph, op)) is not None}
    claimed = _claimed(graph, found)
    costs = []
    for number, op in enumerate(graph.operators):
        if op.kind not in ("CONV_2D", "FULLY_CONNECTED") or not _has_weights(graph, op):
            continue
        weight, one = graph.tensors[op.inputs[1]], found.get(number)
        assert weight.data is not None
        costs.append(
            OperatorCost(
                number,
                "CONV " + "x".join(map(str, weight.shape[1:3])) if op.kind == "CONV_2D" else op.kind,
                tuple(graph.tensors[op.outputs[0]].shape),
                float(1.0 - np.count_nonzero(weight.data) / max(weight.elements, 1)),
                cost.operator_instructions(graph, op) / 1e6,
                float(cost.operator_instructions(graph, op, channels_first=True)) / 1e6
                if _is_pointwise(graph, op)
                else None,
                None if one is None else one.own / 1e6,
                0 if one is None else one.block,
                number in claimed,
            )
        )
    return tuple(costs)


def instructions(graph: Graph) -> float:
    """Estimated instructions of one inference with the kernels of Armlet, and the runtime for what they do not claim;
    infinite where they claim nothing."""
    found = {n: c for n, op in enumerate(graph.operators) if (c := _candidate(graph, op)) is not None}
    claimed = _claimed(graph, found)
    if not claimed:
        return float("inf")
    total = sum(
        found[n].own if n in claimed else cost.operator_instructions(graph, op)
        for n, op in enumerate(graph.operators)
    )
    return total + _turned(graph, {n for n in claimed if found[n].image})


def _has_weights(graph: Graph, op: Operator) -> bool:
    if len(op.inputs) < 2:
        return False
    weight = graph.tensors[op.inputs[1]]
    return weight.data is not None and weight.is_dense_array and weight.dtype == "FLOAT32"


def _is_pointwise(graph: Graph, op: Operator) -> bool:
    weight = graph.tensors[op.inputs[1]]
    return op.kind == "CONV_2D" and weight.shape[1:3] == (1, 1) and groups_of(graph, op) == 1


def _candidate(graph: Graph, op: Operator) -> _Candidate | None:
    if op.kind == "FULLY_CONNECTED":
        return _columns(graph, op) if _has_weights(graph, op) else None
    output = graph.tensors[op.outputs[0]]
    images = [t for t in op.inputs if t >= 0 and graph.tensors[t].data is None]
    if not images or any(not _is_image(graph, t) for t in images if op.kind != "TRANSPOSE"):
        return None
    if op.kind in _FREE:
        return _Candidate(0.0, 0.0, 0, True)
    if op.kind not in _IMAGE or output.dtype != "FLOAT32":
        return None
    if op.kind == "CONV_2D":
        return _convolution(graph, op) if _has_weights(graph, op) else None
    if op.kind == "DEPTHWISE_CONV_2D":
        window = graph.tensors[op.inputs[1]]
        if not _has_weights(graph, op) or window.shape[3] != graph.tensors[op.inputs[0]].shape[3]:
            return None
        products = output.elements * window.shape[1] * window.shape[2]
        return _Candidate(0.0, products * _DEPTHWISE_PRODUCT, 1, True)
    own = output.elements * _SUM
    return _Candidate(0.0, own if op.kind == "ADD" else cost.operator_instructions(graph, op), 0, True)


def _is_image(graph: Graph, tensor: int) -> bool:
    found = graph.tensors[tensor]
    return found.dtype == "FLOAT32" and len(found.shape) == 4 and found.shape[0] == 1


def _entries(weights: np.ndarray, block: int) -> int:
    """Blocks of rows of a (rows, columns) array that hold something."""
    used = weights != 0
    whole = len(used) // block * block
    count = int(np.count_nonzero(used[:whole].reshape(-1, block, used.shape[1]).any(axis=1)))
    return count + int(np.count_nonzero(used[whole:].any(axis=0))) if whole < len(used) else count


def _columns(graph: Graph, op: Operator) -> _Candidate | None:
    weights = graph.tensors[op.inputs[1]].data
    assert weights is not None
    if np.count_nonzero(weights) == weights.size or weights.ndim != 2:
        return None
    costs = {block: _entries(weights, block) * rate for block, rate in _COLUMN.items()}
    block = min(costs, key=lambda one: costs[one])
    rows = max(graph.tensors[op.inputs[0]].elements // weights.shape[1], 1)
    own = costs[block] * _ACTIVE * rows
    dense = _DENSE_LARGE if 4 * weights.size > _LARGE_BYTES else _DENSE_SMALL
    if rows > 1:
        dense = max(_DENSE_ROWS, dense / rows)
    return _Candidate(dense * weights.size * rows - own, own, block, False)


def _convolution(graph: Graph, op: Operator) -> _Candidate | None:
    weights, output = graph.tensors[op.inputs[1]], graph.tensors[op.outputs[0]]
    assert weights.data is not None
    rows = weights.data.reshape(weights.shape[0], -1)
    of_group, pixels = len(rows) // max(groups_of(graph, op), 1), output.elements // output.shape[3]
    whole = -(-pixels // _VECTOR) * _VECTOR
    costs = {
        block: _entries(rows, block) * block * whole / rate
        for block, rate in _MULTIPLIED.items()
        if of_group % block == 0
    }
    block = min(costs, key=lambda one: costs[one])
    work = pixels * weights.elements / _RUNTIME_MULTIPLIED
    turned = _TURNED * (graph.tensors[op.inputs[0]].elements + output.elements)
    stays = costs[block] - work <= _DEARER * work + turned  # in its chain
    return _Candidate(work - costs[block], costs[block] + output.elements * _OUTPUT, block, stays)


def _claimed(graph: Graph, found: dict[int, _Candidate]) -> set[int]:
    """Numbers of the operators that the delegate claims: layers that gain, and whole chains that do."""
    chain = {number: number for number, one in found.items() if one.image}

    def first(number: int) -> int:
        while chain[number] != number:
            number = chain[number]
        return number

    producers = {t: number for number, op in enumerate(graph.operators) for t in op.outputs}
    for number in chain:
        for tensor in graph.operators[number].inputs:
            if producers.get(tensor, -1) in chain:
                chain[first(number)] = first(producers[tensor])
    gains: dict[int, float] = {}
    for number in chain:
        gains[first(number)] = gains.get(first(number), 0.0) + found[number].gain
    for root in gains:
        gains[root] -= _turned(graph, {number for number in chain if first(number) == root})
    layers = {number for number, one in found.items() if not one.image and one.gain > 0}
    return layers | {number for number in chain if gains[first(number)] > 0}


def _turned(graph: Graph, claimed: set[int]) -> float:
    """Instructions that turn images around where operators in chains and others hand on values to each other."""
    producers = {t: number for number, op in enumerate(graph.operators) for t in op.outputs}
    turned = set()
    for number, op in enumerate(graph.operators):
        for tensor in op.inputs:
            if tensor >= 0 and graph.tensors[tensor].data is None:
                here, there = number in claimed, producers.get(tensor, -1) in claimed
                if here != there:
                    turned.add(tensor)
    return _TURNED * sum(graph.tensors[tensor].elements for tensor in turned)
