"""Channel shuffles whose results are split, as in ShuffleNet V2 (arXiv 1807.11164): split first, then shuffled.

A unit there joins two halves, shuffles, and takes the halves of that: one passes by, the other enters a 1x1
convolution, which can read its channels in any order if its columns are ordered alike. So the joined value is split
first, only the half that passes by is shuffled, and half of the elements are never transposed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.structure import Shuffle, each_shuffle, groups_of
from sdk.graph.enums import NO_ACTIVATION
from sdk.graph.records import Graph, Operator

_CHANNELS = 3


@dataclass(frozen=True)
class _Piece:
    """A reader of a shuffle that takes channels ``wanted`` of its source, in this order, as tensor ``output``."""

    operator: int
    output: int
    wanted: np.ndarray


def part_shuffles(graph: Graph) -> Graph:
    """``graph`` with every such value cut before it is shuffled, where a convolution takes a piece unshuffled."""
    return each_shuffle(graph, _parted)


def _parted(graph: Graph, shuffle: Shuffle) -> Graph | None:
    pieces = _pieces(graph, shuffle)
    parts = _parts(graph, shuffle)
    if pieces is None or parts is None:
        return None
    editor = Editor(graph)
    saved = False
    made: dict[int, list[Operator]] = {}  # a SPLIT is the reader of several pieces
    for index in shuffle.operators:
        editor.replace(index, [])
    for piece in pieces:
        runs = _runs(piece.wanted, parts)
        if runs is None:
            return None
        order = np.argsort(np.argsort(piece.wanted))
        convolution = _only_convolution(graph, piece.output)
        if (order == np.arange(len(order))).all():
            convolution = None
        elif convolution is None:
            if not _is_interleaved(order, len(runs)):
                return None
        else:
            saved = True
        operators, gathered = _gathered(graph, editor, piece, runs)
        if convolution is not None:
            layer = graph.operators[convolution]
            weight = editor.data(layer.inputs[1])
            assert weight is not None  # _only_convolution looked
            ordered = editor.constant(
                f"{editor.tensors[layer.inputs[1]].name}_ordered", weight[..., np.argsort(order)]
            )
            editor.replace(convolution, [replace(layer, inputs=(gathered, ordered, *layer.inputs[2:]))])
        elif not (order == np.arange(len(order))).all():
            operators += _interleaved(editor, gathered, len(runs), piece.output)
        else:
            editor.redirect(piece.output, gathered)
        made.setdefault(piece.operator, []).extend(operators)
    for index, operators in made.items():
        editor.replace(index, operators)
    return editor.graph() if saved else None


def _pieces(graph: Graph, shuffle: Shuffle) -> list[_Piece] | None:
    """What reads the shuffle, where that is nothing but cuts of its channels."""
    order = np.array(shuffle.permutation)
    found = []
    if shuffle.output in graph.outputs:
        return None
    for index in graph.consumers().get(shuffle.output, []):
        operator = graph.operators[index]
        if operator.kind == "SPLIT":
            axis = graph.tensors[operator.inputs[0]].data
            if axis is None or int(axis.ravel()[0]) % 4 != _CHANNELS:
                return None
            for number, output in enumerate(operator.outputs):
                size = len(order) // len(operator.outputs)
                found.append(_Piece(index, output, order[number * size : (number + 1) * size]))
            continue
        start = _start_of(graph, operator)
        if start is None:
            return None
        size = graph.tensors[operator.outputs[0]].shape[_CHANNELS]
        found.append(_Piece(index, operator.outputs[0], order[start : start + size]))
    return found or None


def _start_of(graph: Graph, operator: Operator) -> int | None:
    """Where the channels begin that a SLICE of channels alone takes; None for every other operator."""
    if operator.kind not in ("SLICE", "STRIDED_SLICE"):
        return None
    whole, cut = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    begin = graph.tensors[operator.inputs[1]].data
    if begin is None or begin.shape != (4,) or len(cut) != 4 or whole[:_CHANNELS] != cut[:_CHANNELS]:
        return None
    if operator.kind == "SLICE":
        return int(begin[_CHANNELS])
    strides = graph.tensors[operator.inputs[3]].data
    if strides is None or (strides != 1).any() or begin[_CHANNELS] < 0:
        return None
    return 0 if int(operator.options.get("beginMask") or 0) & (1 << _CHANNELS) else int(begin[_CHANNELS])


def _parts(graph: Graph, shuffle: Shuffle) -> list[tuple[int, int, int]] | None:
    """What the shuffle's source is joined of: each tensor with its first channel there and their number."""
    index = graph.producers().get(shuffle.source)
    if index is None or shuffle.source in graph.outputs:
        return None
    joined = graph.operators[index]
    if joined.kind != "CONCATENATION" or int(joined.options["axis"]) % 4 != _CHANNELS:
        return None
    if graph.consumers()[shuffle.source] != [shuffle.operators[0]]:
        return None
    if joined.options.get("fusedActivationFunction") not in (None, NO_ACTIVATION):
        return None
    parts, start = [], 0
    for tensor in joined.inputs:
        channels = graph.tensors[tensor].shape[_CHANNELS]
        parts.append((tensor, start, channels))
        start += channels
    return parts


def _runs(wanted: np.ndarray, parts: list[tuple[int, int, int]]) -> list[tuple[int, int, int]] | None:
    """The channels as one run of each part: tensor, first channel in it, number; None where they are not such runs."""
    runs = []
    for tensor, start, channels in parts:
        inside = np.sort(wanted[(wanted >= start) & (wanted < start + channels)])
        if not len(inside):
            continue
        if inside[-1] - inside[0] + 1 != len(inside):
            return None
        runs.append((tensor, int(inside[0]) - start, len(inside)))
    return runs


def _only_convolution(graph: Graph, tensor: int) -> int | None:
    """The number of an ordinary convolution with a constant float weight that alone reads ``tensor``."""
    readers = graph.consumers().get(tensor, [])
    if len(readers) != 1 or tensor in graph.outputs:
        return None
    operator = graph.operators[readers[0]]
    if operator.kind != "CONV_2D" or groups_of(graph, operator) != 1:
        return None
    weight = graph.tensors[operator.inputs[1]]
    plain = weight.is_dense_array and weight.dtype == "FLOAT32"
    return readers[0] if plain else None


def _is_interleaved(order: np.ndarray, runs: int) -> bool:
    return len(order) % runs == 0 and bool((order == np.arange(len(order)).reshape(runs, -1).T.ravel()).all())


def _gathered(
    graph: Graph, editor: Editor, piece: _Piece, runs: list[tuple[int, int, int]]
) -> tuple[list[Operator], int]:
    """Operators that join the runs, and the tensor that they make."""
    name = graph.tensors[piece.output].name
    space = graph.tensors[piece.output].shape[:_CHANNELS]
    operators, taken = [], []
    for tensor, start, size in runs:
        if size == graph.tensors[tensor].shape[_CHANNELS]:
            taken.append(tensor)
            continue
        cut = editor.value(f"{name}_cut", (*space, size), like=tensor)
        begin = editor.constant(f"{name}_begin", np.array([0, 0, 0, start], np.int32))
        extent = editor.constant(f"{name}_size", np.array([*space, size], np.int32))
        operators.append(Operator("SLICE", (tensor, begin, extent), (cut,), {}, "SliceOptions"))
        taken.append(cut)
    if len(taken) == 1:
        return operators, taken[0]
    joined = editor.value(f"{name}_joined", graph.tensors[piece.output].shape, like=piece.output)
    options = {"axis": _CHANNELS, "fusedActivationFunction": NO_ACTIVATION}
    operators.append(Operator("CONCATENATION", tuple(taken), (joined,), options, "ConcatenationOptions"))
    return operators, joined


def _interleaved(editor: Editor, source: int, groups: int, output: int) -> list[Operator]:
    """RESHAPE - TRANSPOSE - RESHAPE that takes one channel of each group in turn."""
    (_, height, width, channels), name = editor.shape(source), editor.tensors[output].name
    parted = (1, height * width, groups, channels // groups)
    turned = (1, height * width, channels // groups, groups)
    first, second = (
        editor.value(f"{name}_parted", parted, like=source),
        editor.value(f"{name}_turned", turned, like=source),
    )
    order = editor.constant(f"{name}_order", np.array([0, 1, 3, 2], np.int32))

    def reshaped(value: int, to: int) -> Operator:
        target = editor.shape(to)
        constant = editor.constant(f"{name}_shape", np.array(target, np.int32))
        return Operator("RESHAPE", (value, constant), (to,), {"newShape": list(target)}, "ReshapeOptions")

    return [
        reshaped(source, first),
        Operator("TRANSPOSE", (first, order), (second,), {}, "TransposeOptions"),
        reshaped(second, output),
    ]
