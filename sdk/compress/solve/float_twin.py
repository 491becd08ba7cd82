"""An 8-bit model as floats, which a solver can work on, and the way back.

In the float twin constants are real values, and FAKE_QUANT rounds values where the model stores them in 8 or 16 bits,
so that it answers as the model does. Tensors keep their numbers. Whole numbers are put back, with scales of their own
where only one operator reads them: steps follow from the cost of errors, not from the range of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sdk.compress.solve.matrices import SOLVED_KINDS
from sdk.compress.weights.eight_bits import on_own_grid, span
from sdk.compress.weights.selection import is_stored, stored_weights
from sdk.graph.records import Graph, Operator, Quantization, Tensor, Weight

#: Bits of a value between layers, and the lowest number that is stored.
_VALUES = {"INT8": (8, -128), "UINT8": (8, 0), "INT16": (16, -32768)}
_BIASES = ("INT32", "INT64")
#: Operators that move values, whose output needs no rounding where the scale stays.
_MOVING = (
    "RESHAPE",
    "SQUEEZE",
    "EXPAND_DIMS",
    "TRANSPOSE",
    "MAX_POOL_2D",
    "SLICE",
    "STRIDED_SLICE",
    "SPLIT",
    "SPLIT_V",
    "GATHER",
    "TILE",
    "PAD",
    "DEPTH_TO_SPACE",
    "SPACE_TO_DEPTH",
    "RESIZE_NEAREST_NEIGHBOR",
)
#: Operators at the end whose answer may stay as it is: their scale is a convention.
_ANSWERS = ("SOFTMAX", "LOGISTIC")
_INT32 = 2**31 - 1


@dataclass(frozen=True)
class FloatTwin:
    """``graph`` computes with floats what ``stored`` does; its operator n stands for number ``places[n]``."""

    graph: Graph
    stored: Graph
    places: tuple[int, ...]

    @property
    def one_scale(self) -> str:
        """The layers that are solved and whose channels all have one scale: "", "fully connected" or "all"."""
        found = {
            weight.layer
            for weight in self.stored.weights()
            if is_stored(weight.tensor) and _one_scale(weight.tensor)
        }
        return "" if not found else "fully connected" if found == {"fully connected"} else "all"

    def put_back(self, made: Graph) -> Graph:
        """The model with the weights and biases of ``made``, which is ``graph`` with other constants."""
        tensors, operators = list(self.stored.tensors), list(self.stored.operators)
        readers = self.stored.consumers()
        for weight in self.stored.weights():
            number = weight.tensor_index
            floats = made.tensors[number].data
            if floats is self.graph.tensors[number].data or floats is None:
                continue
            place, stored = weight.operator_index, is_stored(weight.tensor)
            alone = operators[place].kind in SOLVED_KINDS and len(readers[number]) == 1
            tensors[number] = (
                _with_floats(weight, floats, alone=alone) if stored else replace(weight.tensor, data=floats)
            )
            if alone or not stored:
                twin = made.operators[self.places.index(place)]
                bias = twin.inputs[2] if len(twin.inputs) > 2 else -1
                if bias >= 0:
                    operators[place] = _with_bias(tensors, operators[place], weight, made.tensors[bias].data)
        return replace(self.stored, tensors=tuple(tensors), operators=tuple(operators))


def float_twin(graph: Graph) -> FloatTwin | None:
    """The twin of a model that has weights in 8 bits; None where it has none."""
    if not stored_weights(graph):
        return None
    tensors = [_as_float(graph, number) for number in range(len(graph.tensors))]
    alias = list(range(len(tensors)))
    operators: list[Operator] = []
    places: list[int] = []
    answers = _answers(graph)

    def rounded(number: int, source: int, place: int) -> None:
        """Puts the rounding of ``source`` to the type of tensor ``number`` there."""
        operators.append(_fake_quant(graph.tensors[number], source, number))
        places.append(place)

    for number in graph.inputs:
        if _is_rounded(graph.tensors[number]):
            alias[number] = len(tensors)
            tensors.append(replace(tensors[number], name=f"{tensors[number].name}/rounded"))
            operators.append(_fake_quant(graph.tensors[number], number, alias[number]))
            places.append(-1)
    for place, operator in enumerate(graph.operators):
        inputs = tuple(alias[t] if t >= 0 else t for t in operator.inputs)
        if operator.kind == "DEQUANTIZE" and graph.tensors[operator.inputs[0]].dtype != "FLOAT16":
            alias[operator.outputs[0]] = inputs[0]
            continue
        if operator.kind == "QUANTIZE":
            if graph.tensors[operator.outputs[0]].dtype in _VALUES:
                rounded(operator.outputs[0], inputs[0], place)
            else:  # 32 bits round nothing away
                alias[operator.outputs[0]] = inputs[0]
            continue
        outputs = list(operator.outputs)
        after: list[tuple[int, int]] = []
        for position, number in enumerate(outputs):
            answer = operator.kind in _ANSWERS and number in answers
            if _is_rounded(graph.tensors[number]) and not answer and not _moves(graph, operator, number):
                outputs[position] = len(tensors)
                after.append((number, len(tensors)))
                tensors.append(replace(tensors[number], name=f"{tensors[number].name}/exact"))
        operators.append(replace(operator, inputs=inputs, outputs=tuple(outputs)))
        places.append(place)
        for number, source in after:
            rounded(number, source, place)
    twin = replace(
        graph,
        tensors=tuple(tensors),
        operators=tuple(operators),
        outputs=tuple(alias[t] for t in graph.outputs),
        signatures=(),
    )
    return FloatTwin(twin, graph, tuple(places))


def _answers(graph: Graph) -> set[int]:
    """The outputs, and what nothing but a conversion stands behind on the way to one."""
    found = set(graph.outputs)
    for operator in reversed(graph.operators):
        if operator.kind in ("QUANTIZE", "DEQUANTIZE") and operator.outputs[0] in found:
            found.add(operator.inputs[0])
    return found


def _is_rounded(tensor: Tensor) -> bool:
    scaled = tensor.quantization is not None and len(tensor.quantization.scales) == 1
    return tensor.data is None and tensor.dtype in _VALUES and scaled


def _moves(graph: Graph, operator: Operator, output: int) -> bool:
    """Whether an operator's output are values that were rounded to the same steps before."""
    if operator.kind not in _MOVING:
        return False
    after = graph.tensors[output].quantization
    for number in operator.inputs:
        before = graph.tensors[number].quantization if number >= 0 else None
        if before is not None and after is not None and graph.tensors[number].dtype in _VALUES:
            return bool(
                np.array_equal(before.scales, after.scales)
                and np.array_equal(before.zero_points, after.zero_points)
            )
    return False


def _fake_quant(tensor: Tensor, source: int, output: int) -> Operator:
    bits, lowest = _VALUES[tensor.dtype]
    assert tensor.quantization is not None
    scale, zero = float(tensor.quantization.scales[0]), int(tensor.quantization.zero_points[0])
    low = scale * (lowest - zero)
    options = {"min": low, "max": low + scale * (2**bits - 1), "numBits": bits, "narrowRange": False}
    return Operator("FAKE_QUANT", (source,), (output,), options, "FakeQuantOptions")


def _as_float(graph: Graph, number: int) -> Tensor:
    """A tensor as the twin has it: real values in place of stored ones."""
    tensor = graph.tensors[number]
    quantization = tensor.quantization
    scaled = quantization is not None and len(quantization.scales) > 0
    if not scaled or tensor.dtype not in (*_VALUES, *_BIASES):
        return tensor
    assert quantization is not None
    if tensor.data is None:
        return replace(tensor, dtype="FLOAT32", quantization=None) if tensor.dtype in _VALUES else tensor
    if not tensor.is_dense_array:
        return tensor
    scales, zeros = (
        _along(part, tensor, quantization) for part in (quantization.scales, quantization.zero_points)
    )
    values = ((tensor.data.astype(np.float64) - zeros) * scales).astype(np.float32)
    return replace(tensor, dtype="FLOAT32", quantization=None, data=values)


def _along(values: np.ndarray, tensor: Tensor, quantization: Quantization) -> np.ndarray:
    """One number, or one for each index of the axis, in a shape that spreads over the tensor."""
    values = np.asarray(values, np.float64)
    if len(values) <= 1:
        return values.reshape(()) if len(values) else np.zeros(())
    shape = [1] * len(tensor.shape)
    shape[quantization.axis] = -1
    return values.reshape(shape)


def _one_scale(tensor: Tensor) -> bool:
    return tensor.quantization is not None and len(tensor.quantization.scales) == 1


def _with_floats(weight: Weight, floats: np.ndarray, *, alone: bool) -> Tensor:
    """The stored form of float weights: by the grid that they lie on where they may have it, else by the old one."""
    tensor, quantization = weight.tensor, weight.tensor.quantization
    assert quantization is not None
    zero, low, high = span(tensor)
    own = on_own_grid(floats, weight.channel_axis, one_scale=_one_scale(tensor)) if alone else None
    if own is None:
        numbers = np.rint(floats.astype(np.float64) / _along(quantization.scales, tensor, quantization))
        stored = (np.clip(numbers, low, high) + zero).astype(weight.array.dtype)
        return replace(tensor, data=stored)
    middle = 128 if tensor.dtype == "UINT8" else 0
    stored = (own.numbers.astype(np.int16) + middle).astype(weight.array.dtype)
    count = len(quantization.scales)
    changed = replace(
        quantization,
        scales=own.scales[:count],
        zero_points=np.full(count, middle, np.int64),
        minimums=None,
        maximums=None,
    )
    return replace(tensor, data=stored, quantization=changed)


def _with_bias(
    tensors: list[Tensor], operator: Operator, weight: Weight, bias: np.ndarray | None
) -> Operator:
    """The operator with its bias in steps of its weight's scales; ``tensors`` is changed."""
    index = operator.inputs[2] if len(operator.inputs) > 2 else -1
    source = tensors[operator.inputs[0]]
    assert bias is not None
    if source.dtype not in _VALUES:  # dynamic range: biases are floats
        found = Tensor(f"{weight.tensor.name}/bias", bias.shape, "FLOAT32") if index < 0 else tensors[index]
        return _putting(tensors, operator, index, replace(found, data=bias.astype(np.float32)))
    assert source.quantization is not None
    quantization = tensors[weight.tensor_index].quantization
    assert quantization is not None
    scales = (np.float32(source.quantization.scales[0]) * quantization.scales).astype(np.float32)
    wide = source.dtype == "INT16"
    steps = np.rint(bias.astype(np.float64) / scales)
    stored = steps.astype(np.int64) if wide else np.clip(steps, -_INT32, _INT32).astype(np.int32)
    form = Quantization(scales, np.zeros(len(scales), np.int64), axis=0)
    if index >= 0:
        found = replace(tensors[index], data=stored.astype(_stored_type(tensors[index])), quantization=form)
        return _putting(tensors, operator, index, found)
    dtype = "INT64" if wide else "INT32"
    return _putting(
        tensors, operator, -1, Tensor(f"{weight.tensor.name}/bias", bias.shape, dtype, stored, form)
    )


def _stored_type(tensor: Tensor) -> np.dtype:
    assert tensor.data is not None
    return tensor.data.dtype


def _putting(tensors: list[Tensor], operator: Operator, index: int, tensor: Tensor) -> Operator:
    """The operator whose bias is ``tensor``, in the place of number ``index`` or, below zero, as a new one."""
    if index >= 0:
        tensors[index] = tensor
        return operator
    tensors.append(tensor)
    inputs: Sequence[int] = (*operator.inputs[:2], len(tensors) - 1, *operator.inputs[3:])
    return replace(operator, inputs=tuple(inputs))
