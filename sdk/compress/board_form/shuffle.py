"""Channel shuffles and groups folded into ordinary 1x1 convolutions.

ShuffleNet (arXiv 1707.01083) shuffles channels between two grouped 1x1 convolutions, as RESHAPE - TRANSPOSE - RESHAPE.
A shuffle only renumbers channels, so it commutes with everything that treats each channel by itself, the depthwise
convolution above all, and a 1x1 convolution can read its input in any order if its columns are ordered alike.
Grouped, it cannot: the shuffle sends channels of one group to all the others.  Written as one ordinary convolution
whose weight is zero outside the groups it can, and then there is no shuffle left to run.

That ordinary weight holds ``groups`` times the parameters. It pays where zeros are skipped: XNNPACK's sparse kernels
take a block of four output channels with the same zeros at a time, and a group has such blocks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.structure import CHANNEL_WISE, Shuffle, each_shuffle, find_shuffles, groups_of
from sdk.errors import UnsupportedOperator
from sdk.graph.records import Graph, Operator


def ungrouped_weight(weight: np.ndarray, groups: int) -> np.ndarray:
    """(out, h, w, in / groups) -> (out, h, w, in), zero outside the groups."""
    out, height, width, depth = weight.shape
    full = np.zeros((out, height, width, depth * groups), weight.dtype)
    rows = out // groups
    for group in range(groups):
        place = slice(group * rows, (group + 1) * rows)
        full[place, ..., group * depth : (group + 1) * depth] = weight[place]
    return full


def ungroup(graph: Graph) -> Graph:
    """Every grouped float 1x1 convolution as an ordinary one, its weight zero outside the groups."""
    editor = Editor(graph)
    for index, operator in enumerate(graph.operators):
        if operator.kind != "CONV_2D":
            continue
        weight = editor.data(operator.inputs[1])
        groups = groups_of(graph, operator)
        if groups == 1 or weight is None or weight.dtype != np.float32 or weight.shape[1:3] != (1, 1):
            continue
        name = graph.tensors[operator.inputs[1]].name
        full = editor.constant(f"{name}_ungrouped", ungrouped_weight(weight, groups))
        inputs = (operator.inputs[0], full, *operator.inputs[2:])
        editor.replace(index, [replace(operator, inputs=inputs, version=1)])
    return editor.graph()


def fold_shuffles(graph: Graph) -> Graph:
    """Removes every channel shuffle by ordering the weights behind it; grouped 1x1 convolutions become ordinary ones.

    Raises :class:`UnsupportedOperator` where a shuffled value reaches an operator that cannot take its channels in
    another order (another grouped convolution, a concatenation, an output of the network, ...).
    """
    graph = ungroup(graph)
    shuffles = find_shuffles(graph)
    while shuffles:
        graph = _fold(graph, shuffles[0])
        shuffles = find_shuffles(graph)
    return graph


def _fold(graph: Graph, shuffle: Shuffle) -> Graph:
    editor = Editor(graph)
    consumers = graph.consumers()
    order = np.array(shuffle.permutation)
    inverse = np.argsort(order)
    pending = [shuffle.output]
    while pending:
        value = pending.pop()
        if value in graph.outputs:
            raise _stuck(graph, value, "an output of the network")
        for index in consumers.get(value, []):
            operator = graph.operators[index]
            if operator.kind in CHANNEL_WISE or _pads_space_only(graph, operator):
                pending.append(operator.outputs[0])
            elif operator.kind == "DEPTHWISE_CONV_2D" and operator.options["depthMultiplier"] == 1:
                # Reads channels in the order of the source: its own kernels and biases follow.
                weight, bias = editor.data(operator.inputs[1]), editor.data(operator.inputs[2])
                if weight is None or weight.dtype != np.float32 or bias is None:
                    raise _stuck(graph, value, f"{operator.kind} without constant float weights")
                editor.replace(index, [_with_weights(editor, operator, weight[..., inverse], bias[inverse])])
                pending.append(operator.outputs[0])
            elif operator.kind == "CONV_2D" and groups_of(graph, operator) == 1:
                weight = editor.data(operator.inputs[1])
                if weight is None or weight.dtype != np.float32:
                    raise _stuck(graph, value, f"{operator.kind} without constant float weights")
                bias = editor.data(operator.inputs[2]) if len(operator.inputs) > 2 else None
                editor.replace(index, [_with_weights(editor, operator, weight[..., inverse], bias)])
            elif operator.kind == "MEAN":
                raise _stuck(graph, value, "a MEAN whose reader's columns would have to follow")
            else:
                raise _stuck(graph, value, operator.kind)
    return _without(editor, shuffle)


def _pads_space_only(graph: Graph, operator: Operator) -> bool:
    if operator.kind != "PAD":
        return False
    amounts = graph.tensors[operator.inputs[1]].data
    return amounts is not None and not amounts[-1].any()


def _with_weights(
    editor: Editor, operator: Operator, weight: np.ndarray, bias: np.ndarray | None
) -> Operator:
    name = editor.tensors[operator.inputs[1]].name
    inputs = [operator.inputs[0], editor.constant(f"{name}_ordered", weight)]
    if bias is not None:
        inputs.append(editor.constant(f"{name}_bias_ordered", bias))
    return replace(operator, inputs=(*inputs, *operator.inputs[len(inputs) :]))


def _stuck(graph: Graph, value: int, obstacle: str) -> UnsupportedOperator:
    return UnsupportedOperator(
        f"the channel shuffle before {graph.tensors[value].name!r} cannot be folded",
        expected="depthwise and 1x1 convolutions behind it",
        found=obstacle,
    )


def settle_shuffles(graph: Graph) -> Graph:
    """Fewer and smaller channel shuffles, all convolutions in the form that they have.

    A shuffle that alone reads an ordinary convolution is removed: the convolution's outputs are ordered instead. So is
    one whose readers can all take its channels in another order. A shuffle in front of a strided depthwise convolution
    moves behind it, where there are fewer pixels to shuffle.
    """
    return each_shuffle(graph, _settled)


def _settled(graph: Graph, shuffle: Shuffle) -> Graph | None:
    return (
        _into_producer(graph, shuffle)
        or _into_readers(graph, shuffle)
        or _behind_strided_depthwise(graph, shuffle)
    )


def _into_readers(graph: Graph, shuffle: Shuffle) -> Graph | None:
    try:
        return _fold(graph, shuffle)
    except UnsupportedOperator:
        return None


def _into_producer(graph: Graph, shuffle: Shuffle) -> Graph | None:
    index = graph.producers().get(shuffle.source)
    if index is None or graph.consumers()[shuffle.source] != [shuffle.operators[0]]:
        return None
    operator, editor = graph.operators[index], Editor(graph)
    if operator.kind != "CONV_2D" or groups_of(graph, operator) != 1 or shuffle.source in graph.outputs:
        return None
    weight, bias = editor.data(operator.inputs[1]), editor.data((*operator.inputs, -1, -1)[2])
    if weight is None or bias is None or weight.dtype != np.float32:
        return None
    order = np.array(shuffle.permutation)
    editor.replace(index, [_with_weights(editor, operator, weight[order], bias[order])])
    return _without(editor, shuffle)


def _behind_strided_depthwise(graph: Graph, shuffle: Shuffle) -> Graph | None:
    consumers, value = graph.consumers(), shuffle.output
    chain: list[int] = []
    while not chain or graph.operators[chain[-1]].kind != "DEPTHWISE_CONV_2D":
        readers = consumers.get(value, [])
        if len(readers) != 1 or value in graph.outputs:
            return None
        operator = graph.operators[readers[0]]
        if operator.kind != "DEPTHWISE_CONV_2D" and not _pads_space_only(graph, operator):
            return None
        chain.append(readers[0])
        value = operator.outputs[0]
    strided, editor = graph.operators[chain[-1]], Editor(graph)
    weight, bias = editor.data(strided.inputs[1]), editor.data(strided.inputs[2])
    if (
        strided.options["strideH"] * strided.options["strideW"] == 1
        or strided.options["depthMultiplier"] != 1
    ):
        return None
    if weight is None or bias is None or weight.dtype != np.float32 or value in graph.outputs:
        return None
    inverse = np.argsort(shuffle.permutation)
    unshuffled = editor.value(f"{graph.tensors[value].name}_unshuffled", graph.tensors[value].shape)
    moved = replace(
        _with_weights(editor, strided, weight[..., inverse], bias[inverse]), outputs=(unshuffled,)
    )
    editor.replace(chain[-1], [moved, *_shuffle_operators(graph, editor, shuffle, unshuffled, value)])
    return _without(editor, shuffle)


def _shuffle_operators(
    graph: Graph, editor: Editor, shuffle: Shuffle, source: int, output: int
) -> list[Operator]:
    """RESHAPE - TRANSPOSE - RESHAPE like those of ``shuffle``, between two tensors of another height and width."""
    reshape, transpose, back = (graph.operators[index] for index in shuffle.operators)
    shape = editor.shape(source)
    split = graph.tensors[reshape.outputs[0]].shape
    channel_axes = next(n for n in range(len(split)) if np.prod(split[n:], dtype=int) == shape[3])
    pixels = (1, shape[1] * shape[2]) if channel_axes == 2 else shape[:channel_axes]
    parted = (*pixels, *split[channel_axes:])
    order = graph.tensors[transpose.inputs[1]].data
    assert order is not None  # find_shuffles looked
    turned = tuple(parted[axis] for axis in order.ravel())
    name = graph.tensors[output].name
    first, second = editor.value(f"{name}_parted", parted), editor.value(f"{name}_turned", turned)

    def target(to: tuple[int, ...]) -> int:
        return editor.constant(f"{name}_shape", np.array(to, np.int32))

    def options(operator: Operator, to: tuple[int, ...]) -> Operator:
        return operator.with_options(newShape=list(to)) if "newShape" in operator.options else operator

    return [
        replace(options(reshape, parted), inputs=(source, target(parted)), outputs=(first,)),
        replace(transpose, inputs=(first, transpose.inputs[1]), outputs=(second,)),
        replace(options(back, shape), inputs=(second, target(shape)), outputs=(output,)),
    ]


def _without(editor: Editor, shuffle: Shuffle) -> Graph:
    for index in shuffle.operators:
        editor.replace(index, [])
    editor.redirect(shuffle.output, shuffle.source)
    return editor.graph()
