"""How each operator reads a value with channels last in the place of one with channels first; exact.

A rule takes an operator whose computed inputs all come from a TRANSPOSE to channels first, and returns the operators
that do the same on the value before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.structure import CHANNEL_WISE, TO_FIRST, TO_LAST, order_of
from sdk.graph.records import Graph, Operator

#: The editor, the operator, and of its inputs those that come with channels last, by tensor number.
Rule = Callable[[Editor, Operator, dict[int, int]], "list[Operator] | None"]

_ELEMENT_WISE = (
    CHANNEL_WISE
    - {"AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}
) | {
    "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "POW", "PRELU", "SQUARE", "RSQRT", "EXP",
    "LOG", "SIN", "COS", "FLOOR", "CEIL", "ROUND", "GELU", "RELU_0_TO_1", "QUANTIZE", "DEQUANTIZE", "CAST",
}  # fmt: skip
_REDUCES = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")


def sunk(graph: Graph) -> Graph | None:
    """The graph with the first operator behind a TRANSPOSE to channels first put before it; None where none can be."""
    producers = graph.producers()
    for index, operator in enumerate(graph.operators):
        rule = RULES.get(operator.kind)
        if rule is None:
            continue
        last = _sources(graph, operator, producers)
        if last is None:
            continue
        editor = Editor(graph)
        operators = rule(editor, operator, last)
        if operators is not None:
            editor.replace(index, operators)
            return editor.graph()
    return None


def _sources(graph: Graph, operator: Operator, producers: dict[int, int]) -> dict[int, int] | None:
    """Its computed inputs, each with its value with channels last; None where one has none, or none is computed."""
    found = {}
    for number in operator.inputs:
        if number < 0 or graph.tensors[number].data is not None:
            continue
        index = producers.get(number)
        if index is None or order_of(graph, graph.operators[index]) != TO_FIRST:
            return None
        found[number] = graph.operators[index].inputs[0]
    return found or None


def _with_output(editor: Editor, operator: Operator, inputs: list[int], **options: object) -> list[Operator]:
    """The operator on these inputs, and each of its outputs turned to channels first."""
    operators, values = [], []
    for output in operator.outputs:
        tensor = editor.tensors[output]
        value = editor.value(
            f"{tensor.name}_channels_last", [tensor.shape[axis] for axis in TO_LAST], like=output
        )
        order = editor.constant("to_channels_first", np.array(TO_FIRST, np.int32))
        operators.append(Operator("TRANSPOSE", (value, order), (output,), {}, "TransposeOptions"))
        values.append(value)
    moved = replace(operator, inputs=tuple(inputs), outputs=tuple(values))
    return [moved.with_options(**options) if options else moved, *operators]


def _element_wise(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    if len(editor.shape(operator.outputs[0])) != 4:
        return None
    inputs = []
    for number in operator.inputs:
        if number in last:
            inputs.append(last[number])
            continue
        turned = _turned_constant(editor, number)
        if turned is None:
            return None
        inputs.append(turned)
    return _with_output(editor, operator, inputs)


def _turned_constant(editor: Editor, number: int) -> int | None:
    """A constant that is spread over a value with channels first, for one with channels last."""
    tensor = editor.tensors[number]
    if tensor.elements == 1:
        return number
    quantization = tensor.quantization
    if (
        not tensor.is_dense_array
        or tensor.data is None
        or (quantization is not None and quantization.scales.size > 1)
    ):
        return None
    if len(tensor.shape) > 4:
        return None
    whole = tensor.data.reshape((1,) * (4 - len(tensor.shape)) + tensor.shape)
    return editor.constant(f"{tensor.name}_channels_last", whole.transpose(TO_LAST), quantization)


def _concatenation(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    inputs = []
    for number in operator.inputs:
        turned = last[number] if number in last else _turned_whole(editor, number)
        if turned is None:
            return None
        inputs.append(turned)
    return _with_output(editor, operator, inputs, axis=TO_FIRST[int(operator.options["axis"]) % 4])


def _turned_whole(editor: Editor, number: int) -> int | None:
    return _turned_constant(editor, number) if len(editor.shape(number)) == 4 else None


def _pad(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    amounts = editor.data(operator.inputs[1])
    if amounts is None or amounts.shape != (4, 2):
        return None
    turned = editor.constant("padding_channels_last", amounts[list(TO_LAST)])
    return _with_output(editor, operator, [last[operator.inputs[0]], turned, *operator.inputs[2:]])


def _slice(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    told = [editor.data(number) for number in operator.inputs[1:]]
    inputs = [last[operator.inputs[0]]] if operator.inputs[0] in last else []
    for array in told:
        if array is None or array.shape != (4,) or not inputs:
            return None
        inputs.append(editor.constant("slice_channels_last", array[list(TO_LAST)]))
    if operator.kind == "SLICE":
        return _with_output(editor, operator, inputs)
    options = operator.options
    if any(options.get(name) for name in ("ellipsisMask", "newAxisMask", "shrinkAxisMask")):
        return None
    masks = {name: _turned_bits(int(options.get(name) or 0)) for name in ("beginMask", "endMask")}
    return _with_output(editor, operator, inputs, **masks)


def _turned_bits(mask: int) -> int:
    return sum(((mask >> axis) & 1) << place for place, axis in enumerate(TO_LAST))


def _split(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    place, value = (0, 1) if operator.kind == "SPLIT" else (2, 0)
    axis = editor.data(operator.inputs[place])
    if axis is None or operator.inputs[value] not in last:
        return None
    inputs = list(operator.inputs)
    inputs[value] = last[operator.inputs[value]]
    turned = np.full(axis.shape, TO_FIRST[int(axis.ravel()[0]) % 4], axis.dtype)
    inputs[place] = editor.constant("axis_channels_last", turned)
    return _with_output(editor, operator, inputs)


def _reduce(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    axes = editor.data(operator.inputs[1])
    if axes is None:
        return None
    reduced = sorted({TO_FIRST[int(axis) % 4] for axis in axes.ravel()})
    inputs = [last[operator.inputs[0]], editor.constant("axes_channels_last", np.array(reduced, np.int32))]
    if operator.options.get("keepDims"):
        return _with_output(editor, operator, inputs)
    return _fewer_axes(editor, replace(operator, inputs=tuple(inputs)), reduced)


def _arg(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    axis = editor.data(operator.inputs[1])
    if axis is None:
        return None
    turned = TO_FIRST[int(axis.ravel()[0]) % 4]
    inputs = (
        last[operator.inputs[0]],
        editor.constant("axis_channels_last", np.full(axis.shape, turned, axis.dtype)),
    )
    return _fewer_axes(editor, replace(operator, inputs=inputs), [turned])


def _fewer_axes(editor: Editor, operator: Operator, gone: list[int]) -> list[Operator]:
    """The operator, and its axes that stay in the order in which they were."""
    stay = [axis for axis in range(4) if axis not in gone]
    order = [stay.index(axis) for axis in TO_FIRST if axis not in gone]
    if order == sorted(order):
        return [operator]
    (output,) = operator.outputs
    shape = editor.shape(output)
    value = editor.value(
        "channels_last", [shape[order.index(place)] for place in range(len(shape))], like=output
    )
    constant = editor.constant("order", np.array(order, np.int32))
    return [
        replace(operator, outputs=(value,)),
        Operator("TRANSPOSE", (value, constant), (output,), {}, "TransposeOptions"),
    ]


def _gather(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    indices = editor.data(operator.inputs[1])
    if (
        indices is None
        or indices.ndim != 1
        or operator.options.get("batchDims")
        or operator.inputs[0] not in last
    ):
        return None
    axis = TO_FIRST[int(operator.options["axis"]) % 4]
    return _with_output(editor, operator, [last[operator.inputs[0]], operator.inputs[1]], axis=axis)


def _reshape(editor: Editor, operator: Operator, last: dict[int, int]) -> list[Operator] | None:
    """Of a value of one pixel or one channel: the order in memory is the same either way."""
    source = last[operator.inputs[0]]
    shape = editor.shape(source)
    if shape[3] != 1 and shape[1] * shape[2] != 1:
        return _flattened(editor, operator, source)
    return [_reshaped(editor, source, operator.outputs[0])]


def _reshaped(editor: Editor, source: int, output: int) -> Operator:
    target = editor.shape(output)
    constant = editor.constant(f"{editor.tensors[output].name}_shape", np.array(target, np.int32))
    return Operator("RESHAPE", (source, constant), (output,), {"newShape": list(target)}, "ReshapeOptions")


def _flattened(editor: Editor, operator: Operator, source: int) -> list[Operator] | None:
    """A flattening that only fully connected layers read: their columns are ordered as the value lies then."""
    graph = editor.original
    batch, *rest = editor.shape(source)
    readers = graph.consumers().get(operator.outputs[0], [])
    if (
        editor.shape(operator.outputs[0]) != (batch, int(np.prod(rest)))
        or operator.outputs[0] in graph.outputs
    ):
        return None
    for index in readers:
        layer = graph.operators[index]
        weight = graph.tensors[layer.inputs[1]]
        plain = (
            layer.kind == "FULLY_CONNECTED"
            and layer.inputs[0] == operator.outputs[0]
            and weight.is_dense_array
        )
        if not plain or weight.data is None or weight.shape[1:] != (int(np.prod(rest)),):
            return None
    height, width, channels = rest
    columns = np.arange(height * width * channels).reshape(channels, height, width).transpose(1, 2, 0).ravel()
    for index in readers:
        layer = graph.operators[index]
        weight = graph.tensors[layer.inputs[1]]
        assert weight.data is not None
        ordered = editor.constant(f"{weight.name}_ordered", weight.data[:, columns], weight.quantization)
        editor.replace(index, [replace(layer, inputs=(layer.inputs[0], ordered, *layer.inputs[2:]))])
    return [_reshaped(editor, source, operator.outputs[0])]


RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENT_WISE, _element_wise),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE"), _slice),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), _split),
    **dict.fromkeys(_REDUCES, _reduce),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), _arg),
    "CONCATENATION": _concatenation,
    "GATHER": _gather,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
}
