"""Operators written in terms of the few that XNNPACK's sparse path knows; each rewrite is exact.

The sparse path (:mod:`sdk.compress.board_form.sparse_path`) knows 1x1 and depthwise convolutions, sums, products
and means. So an average pool becomes a depthwise convolution with fixed weights, a concatenation becomes a sum of
convolutions that each fill their own channels, and a value of any other origin enters through
:func:`enter_channels_first`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor, add, convolution, depthwise, multiply, pad
from sdk.compress.rewrite.structure import (
    groups_of,
    last_mean,
    same_padding,
    spatial_padding,
    window_of,
    zeros,
)
from sdk.errors import UnsupportedOperator
from sdk.graph.enums import NO_ACTIVATION, SAME, VALID
from sdk.graph.records import Graph, Operator

#: What the convolution that enters the sparse path reads: 2x2 pixels of 3 channels for each pixel that it writes.
_ENTRY_CHANNELS = 12


def global_pools_as_means(graph: Graph) -> Graph:
    """An AVERAGE_POOL_2D over all of space as MEAN, which keeps the two axes."""
    editor = Editor(graph)
    for index, operator in enumerate(graph.operators):
        if operator.kind != "AVERAGE_POOL_2D" or operator.options["padding"] != VALID:
            continue
        space = graph.tensors[operator.inputs[0]].shape[1:3]
        window = operator.options["filterHeight"], operator.options["filterWidth"]
        if window != space or operator.options["fusedActivationFunction"] != NO_ACTIVATION:
            continue
        axes = editor.constant("space", np.array([1, 2], np.int32))
        inputs = (operator.inputs[0], axes)
        editor.replace(
            index,
            [Operator("MEAN", inputs, operator.outputs, {"keepDims": True}, "ReducerOptions", version=1)],
        )
    return editor.graph()


def pixel_convolutions_as_fully_connected(graph: Graph) -> Graph:
    """A 1x1 convolution of a single pixel, such as the classifier of Keras' MobileNet V1, as FULLY_CONNECTED.

    Behind the last mean over space such a convolution would be drawn into XNNPACK's channels-first path, which must end
    at the mean: the runtime then fails to prepare the model (seen with ai-edge-litert 2.3).  Those before it stay.
    """
    editor, last = Editor(graph), last_mean(graph)
    for index, operator in enumerate(graph.operators):
        if last is not None and index < last:
            continue
        if operator.kind != "CONV_2D" or graph.tensors[operator.inputs[0]].shape[:3] != (1, 1, 1):
            continue
        weight = graph.tensors[operator.inputs[1]]
        if weight.dtype != "FLOAT32" or weight.data is None or weight.shape[1:3] != (1, 1):
            continue
        if groups_of(graph, operator) != 1 or not weight.is_dense_array:
            continue
        name = graph.tensors[operator.outputs[0]].name
        rows, depth = weight.shape[0], weight.shape[3]
        vector = editor.value(f"{name}_input", (1, depth))
        scores = editor.value(f"{name}_scores", (1, rows))
        matrix = editor.constant(f"{weight.name}_matrix", weight.data.reshape(rows, depth))
        options = {
            "fusedActivationFunction": operator.options["fusedActivationFunction"],
            "keepNumDims": False,
        }
        connected = Operator(
            "FULLY_CONNECTED",
            (vector, matrix, *operator.inputs[2:]),
            (scores,),
            options,
            "FullyConnectedOptions",
        )
        editor.replace(
            index,
            [
                _reshape(editor, operator.inputs[0], vector),
                connected,
                _reshape(editor, scores, operator.outputs[0]),
            ],
        )
    return editor.graph()


def _reshape(editor: Editor, source: int, output: int) -> Operator:
    shape = editor.shape(output)
    target = editor.constant(f"{editor.tensors[output].name}_shape", np.array(shape, np.int32))
    return Operator("RESHAPE", (source, target), (output,), {"newShape": list(shape)}, "ReshapeOptions")


def explicit_padding(graph: Graph) -> Graph:
    """SAME at a stride above 1 as PAD and VALID, which XNNPACK makes one convolution with its padding written out.

    At stride 1 XNNPACK writes the padding out itself.  A MAX_POOL_2D is left alone.
    """
    editor = Editor(graph)
    for index, operator in enumerate(graph.operators):
        if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D") or operator.options["padding"] != SAME:
            continue
        spans, strides = window_of(graph, operator)
        source = operator.inputs[0]
        shape = list(graph.tensors[source].shape)
        amounts = [same_padding(*n) for n in zip(shape[1:3], spans, strides, strict=True)]
        if max(strides) == 1 or not any(map(any, amounts)):
            continue
        shape[1] += sum(amounts[0])
        shape[2] += sum(amounts[1])
        padded = editor.value(f"{graph.tensors[source].name}_padded", shape, like=source)
        constant = editor.constant(
            f"{graph.tensors[source].name}_padding", np.array([(0, 0), *amounts, (0, 0)], np.int32)
        )
        valid = replace(operator, inputs=(padded, *operator.inputs[1:])).with_options(padding=VALID)
        editor.replace(index, [pad(source, constant, padded), valid])
    return editor.graph()


def flat_pads(graph: Graph) -> Graph:
    """A PAD of space as one of rows: (1, height, width x channels) is padded and read as it was again.

    XNNPACK copies one run of memory after the other, and takes the innermost axis for a run: 24 floats where a whole
    row would do.  A PAD that only convolutions read is left alone, for it becomes part of them.
    """
    editor, consumers = Editor(graph), graph.consumers()
    for index, operator in enumerate(graph.operators):
        padding = spatial_padding(graph, operator)
        readers = [graph.operators[reader] for reader in consumers.get(operator.outputs[0], [])]
        if padding is None or all("CONV_2D" in reader.kind for reader in readers):
            continue
        source, output = operator.inputs[0], operator.outputs[0]
        name = graph.tensors[output].name
        (_, height, width, channels), padded = graph.tensors[source].shape, graph.tensors[output].shape
        down, across = padding
        rows = np.array([(0, 0), down, (across[0] * channels, across[1] * channels)], np.int32)
        flat = editor.value(f"{name}_rows", (1, height, width * channels), like=source)
        wider = editor.value(f"{name}_rows_padded", (1, padded[1], padded[2] * channels), like=source)
        editor.replace(
            index,
            [
                _reshape(editor, source, flat),
                replace(
                    operator, inputs=(flat, editor.constant(f"{name}_row_padding", rows)), outputs=(wider,)
                ),
                _reshape(editor, wider, output),
            ],
        )
    return editor.graph()


def average_pools_as_depthwise(graph: Graph) -> Graph:
    """AVERAGE_POOL_2D as a depthwise convolution whose weights are all one over the window's size.

    SAME leaves the padded border out of the average, so results there are multiplied by the window's size over the
    number of its pixels: a second depthwise convolution makes this factor from a value that is 1 everywhere.
    """
    editor = Editor(graph)
    for index, operator in enumerate(graph.operators):
        source, output = operator.inputs[0], operator.outputs[0]
        if operator.kind != "AVERAGE_POOL_2D" or graph.tensors[source].dtype != "FLOAT32":
            continue
        (height, width), strides = window_of(graph, operator)
        if strides[0] != strides[1]:
            continue
        channels = graph.tensors[source].shape[3]
        name = graph.tensors[output].name
        weight = editor.constant(
            f"{name}_weight", np.full((1, height, width, channels), 1 / (height * width), np.float32)
        )
        bias = editor.constant(f"{name}_bias", zeros(channels))
        how = {"stride": strides[0], "padding": operator.options["padding"]}
        activation = operator.options["fusedActivationFunction"]
        if operator.options["padding"] == VALID or not _border(graph, operator):
            editor.replace(index, [depthwise(source, weight, bias, output, activation=activation, **how)])
            continue
        if activation != NO_ACTIVATION:
            continue
        mean = editor.value(f"{name}_zeros_counted", graph.tensors[output].shape)
        factor, operators = _border_factor(graph, editor, operator, how)
        editor.replace(
            index,
            [depthwise(source, weight, bias, mean, **how), *operators, multiply(mean, factor, output)],
        )
    return editor.graph()


def _border(graph: Graph, operator: Operator) -> bool:
    spans, strides = window_of(graph, operator)
    space = graph.tensors[operator.inputs[0]].shape[1:3]
    return any(any(same_padding(*n)) for n in zip(space, spans, strides, strict=True))


def _border_factor(
    graph: Graph, editor: Editor, operator: Operator, how: dict[str, int]
) -> tuple[int, list[Operator]]:
    """A value like the pool's output: the window's size over the number of pixels that it has."""
    source, output = operator.inputs[0], operator.outputs[0]
    name, shape = graph.tensors[output].name, graph.tensors[output].shape
    (_, height, width, channels) = graph.tensors[source].shape
    spans, strides = window_of(graph, operator)
    down, across = (_taps(*n, same_padding(*n)) for n in zip((height, width), spans, strides, strict=True))
    ones = editor.value(f"{name}_ones", (1, height, width, 1))
    factor = editor.value(f"{name}_border", (*shape[:3], 1))
    spread = editor.value(f"{name}_border_spread", shape)
    kernel = np.outer(down, across).astype(np.float32)[None, :, :, None]
    operators = [
        convolution(
            source,
            editor.constant(f"{name}_nothing", np.zeros((1, 1, 1, channels), np.float32)),
            editor.constant(f"{name}_one", np.ones(1, np.float32)),
            ones,
        ),
        depthwise(
            ones,
            editor.constant(f"{name}_border_weight", kernel),
            editor.constant(f"{name}_border_bias", zeros(1)),
            factor,
            **how,
        ),
        convolution(
            factor,
            editor.constant(f"{name}_copies", np.ones((channels, 1, 1, 1), np.float32)),
            editor.constant(f"{name}_copies_bias", zeros(channels)),
            spread,
        ),
    ]
    return spread, operators


def _taps(size: int, span: int, stride: int, padding: tuple[int, int]) -> np.ndarray:
    """Kernel (span,) that sums to ``span`` over the taps that a window has, whichever of them lie outside.

    It solves a linear system with a row for each set of taps; the sets are nested at either end, so there is a
    solution.
    """
    count = (size + sum(padding) - span) // stride + 1
    starts = np.arange(count) * stride - padding[0]
    taps = starts[:, None] + np.arange(span)
    present = np.unique((taps >= 0) & (taps < size), axis=0).astype(float)
    wanted = span / present.sum(axis=1)
    kernel, *_ = np.linalg.lstsq(present, wanted, rcond=None)
    if not np.allclose(present @ kernel, wanted, rtol=0, atol=1e-9):
        raise UnsupportedOperator(
            "an average pool larger than its input cannot be written as a convolution",
            expected=f"a window of at most {size}",
            found=str(span),
        )
    return kernel


def concatenations_as_sums(graph: Graph) -> Graph:
    """CONCATENATION over channels as a sum: each part is spread over all channels, zero outside its own.

    A part that comes from a 1x1 convolution without other readers costs nothing but empty rows of the weight; any other
    part goes through a 1x1 convolution that copies it.
    """
    editor = Editor(graph)
    producers, consumers = graph.producers(), graph.consumers()
    for index, operator in enumerate(graph.operators):
        output = operator.outputs[0]
        shape = graph.tensors[output].shape
        if operator.kind != "CONCATENATION" or len(shape) != 4 or operator.options["axis"] % 4 != 3:
            continue
        if any(
            graph.tensors[t].dtype != "FLOAT32" or graph.tensors[t].data is not None for t in operator.inputs
        ):
            continue
        operators: list[Operator] = []
        total, start = -1, 0
        for place, part in enumerate(operator.inputs):
            channels = graph.tensors[part].shape[3]
            name = graph.tensors[part].name
            spread = editor.value(f"{name}_spread", shape)
            maker = graph.operators[producers[part]] if part in producers else None
            alone = consumers[part] == [index] and part not in graph.outputs
            if maker is not None and alone and _spreads(graph, maker):
                operators.append(_spread(editor, maker, name, spread, start, shape[3]))
                editor.replace(producers[part], [])
            else:
                weight = np.zeros((shape[3], 1, 1, channels), np.float32)
                weight[start : start + channels, 0, 0] = np.eye(channels)
                constants = (
                    editor.constant(f"{name}_places", weight),
                    editor.constant(f"{name}_places_bias", zeros(shape[3])),
                )
                operators.append(convolution(part, *constants, spread))
            if place:
                last = place == len(operator.inputs) - 1
                result = output if last else editor.value(f"{name}_sum", shape)
                operators.append(add(total, spread, result))
                total = result
            else:
                total = spread
            start += channels
        editor.replace(index, operators)
    return editor.graph()


def _spreads(graph: Graph, operator: Operator) -> bool:
    if operator.kind != "CONV_2D" or groups_of(graph, operator) != 1 or len(operator.inputs) < 3:
        return False
    weight, bias = graph.tensors[operator.inputs[1]], graph.tensors[operator.inputs[2]]
    return (
        weight.shape[1:3] == (1, 1)
        and weight.is_dense_array
        and weight.dtype == "FLOAT32"
        and bias.is_dense_array
    )


def _spread(editor: Editor, maker: Operator, name: str, output: int, start: int, channels: int) -> Operator:
    weight, bias = editor.data(maker.inputs[1]), editor.data(maker.inputs[2])
    assert weight is not None
    assert bias is not None
    rows = (start, channels - start - len(weight))
    constants = (
        editor.constant(f"{name}_spread_weight", np.pad(weight, (rows, (0, 0), (0, 0), (0, 0)))),
        editor.constant(f"{name}_spread_bias", np.pad(bias, rows)),
    )
    return replace(maker, inputs=(maker.inputs[0], *constants), outputs=(output,))


def enter_channels_first(graph: Graph, tensor: int) -> Graph:
    """Lets the value ``tensor`` (1, height, width, channels) enter XNNPACK's channels-first path; its readers follow.

    The only operator that turns channels-last values into channels-first ones there is a 3x3 convolution of an image of
    3 channels at stride 2.  So 12 channels at a time are laid out as 2x2 pixels of 3 (DEPTH_TO_SPACE), and such a
    convolution, with a single one in each row of its weight, puts them back in their place.

    Raises :class:`UnsupportedOperator` for a value of fewer than 12 channels or another type than float32.
    """
    value = graph.tensors[tensor]
    if len(value.shape) != 4 or value.dtype != "FLOAT32" or value.shape[3] < _ENTRY_CHANNELS:
        raise UnsupportedOperator(
            f"{value.name!r} cannot enter the sparse path",
            expected="float32 (1, height, width, 12 or more)",
            found=f"{value.dtype} {value.shape}",
        )
    editor = Editor(graph)
    _, height, width, channels = value.shape
    joined = editor.value(f"{value.name}_entered", value.shape)
    editor.redirect(tensor, joined)
    padding = editor.constant("entry_padding", np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32))
    operators: list[Operator] = []
    parts = []
    for first in range(0, channels, _ENTRY_CHANNELS):
        # The last part begins early enough to be a whole one, and leaves out what the part before it has.
        begin = min(first, channels - _ENTRY_CHANNELS)
        wanted = np.arange(first - begin, min(_ENTRY_CHANNELS, channels - begin))
        name = f"{value.name}_{first}"
        taken = editor.value(f"{name}_taken", (1, height, width, _ENTRY_CHANNELS))
        laid = editor.value(f"{name}_laid", (1, 2 * height, 2 * width, 3))
        padded = editor.value(f"{name}_padded", (1, 2 * height + 2, 2 * width + 2, 3))
        entered = editor.value(f"{name}_entered", (1, height, width, len(wanted)))
        start = editor.constant(f"{name}_begin", np.array([0, 0, 0, begin], np.int32))
        size = editor.constant(f"{name}_size", np.array([1, height, width, _ENTRY_CHANNELS], np.int32))
        operators += [
            Operator("SLICE", (tensor, start, size), (taken,), {}, "SliceOptions"),
            Operator("DEPTH_TO_SPACE", (taken,), (laid,), {"blockSize": 2}, "DepthToSpaceOptions"),
            pad(laid, padding, padded),
            convolution(
                padded,
                editor.constant(f"{name}_places", _places(wanted)),
                editor.constant(f"{name}_places_bias", zeros(len(wanted))),
                entered,
                stride=2,
            ),
        ]
        parts.append(entered)
    if len(parts) > 1:
        options = {"axis": 3, "fusedActivationFunction": NO_ACTIVATION}
        operators.append(Operator("CONCATENATION", tuple(parts), (joined,), options, "ConcatenationOptions"))
    else:
        operators[-1] = replace(operators[-1], outputs=(joined,))
    place = graph.producers()[tensor]
    editor.replace(place, [*editor.slot(place), *operators])
    return editor.graph()


def _places(wanted: Sequence[int] | np.ndarray) -> np.ndarray:
    """Weight (out, 3, 3, 3) that picks channels ``wanted`` of the 12 that DEPTH_TO_SPACE laid out as 2x2 pixels."""
    weight = np.zeros((len(wanted), 3, 3, 3), np.float32)
    for row, channel in enumerate(wanted):
        pixel, depth = divmod(int(channel), 3)
        # The window starts one pixel before the block of 2x2.
        weight[row, 1 + pixel // 2, 1 + pixel % 2, depth] = 1
    return weight
