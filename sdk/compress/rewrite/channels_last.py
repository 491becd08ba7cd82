"""Graphs of exporters that keep channels first (PyTorch, ONNX) with channels last throughout; each step is exact.

TFLite's kernels want (1, height, width, channels). Such exporters put a TRANSPOSE in front of the kernels and one
behind them, and around channel shuffles in five dimensions. Here the TRANSPOSE to channels first sinks: its reader
takes the value with channels last, its axes and constants rewritten, and the TRANSPOSE comes after it. Where two meet
they become one, and a pair that undoes itself vanishes. An image that enters as (1, 3, height, width) enters with
channels last instead, where that leaves less to transpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.sinking import sunk
from sdk.compress.rewrite.structure import TO_FIRST, TO_LAST, order_of, transposed_behind
from sdk.graph.records import Graph, Operator

#: Steps of a rewrite at most, for each operator of the graph.
STEPS = 20


@dataclass(frozen=True)
class ChannelsLast:
    """The graph, the numbers of its inputs whose channels came first, and how many TRANSPOSE it had and has."""

    graph: Graph
    inputs: tuple[int, ...]
    before: int
    after: int


def channels_last(graph: Graph) -> ChannelsLast:
    """``graph`` with channels last, where that leaves fewer elements to transpose; else as it is."""
    before = _transposes(graph)
    best = graph
    entered: tuple[int, ...] = ()
    for candidate, inputs in ((graph, ()), _entered_last(graph)):
        if candidate is None:
            continue
        settled = _settled(candidate)
        if _transposed_elements(settled) < _transposed_elements(best):
            best, entered = settled, inputs
    return ChannelsLast(best, entered, before, _transposes(best))


def _transposes(graph: Graph) -> int:
    return sum(operator.kind == "TRANSPOSE" for operator in graph.operators)


def _transposed_elements(graph: Graph) -> int:
    return sum(
        graph.tensors[operator.outputs[0]].elements
        for operator in graph.operators
        if operator.kind == "TRANSPOSE"
    )


def _settled(graph: Graph) -> Graph:
    """Every step of this file, over and over until none of them finds anything."""
    steps: tuple[Callable[[Graph], Graph | None], ...] = (_merged, _shuffled, sunk)
    for _ in range(STEPS * max(1, len(graph.operators))):
        changed = next((found for step in steps if (found := step(graph)) is not None), None)
        if changed is None:
            break
        graph = changed
    return _as_reshapes(graph)


def _entered_last(graph: Graph) -> tuple[Graph | None, tuple[int, ...]]:
    """The graph whose images (1, few, height, width) enter with channels last, and which inputs those are."""
    chosen = [
        place for place, number in enumerate(graph.inputs) if _is_image_first(graph.tensors[number].shape)
    ]
    if not chosen:
        return None, ()
    tensors, operators = list(graph.tensors), []
    moved = {}
    for place in chosen:
        number = graph.inputs[place]
        tensor = tensors[number]
        first = len(tensors)
        # The number stays that of the input, so that signatures and the order of inputs hold.
        tensors.append(replace(tensor, name=f"{tensor.name}_channels_first"))
        order = len(tensors)
        tensors.append(replace(tensor, name=f"{tensor.name}_order", shape=(4,), dtype="INT32", quantization=None,
                               data=np.array(TO_FIRST, np.int32), shape_signature=None))  # fmt: skip
        tensors[number] = replace(
            tensor, shape=tuple(tensor.shape[axis] for axis in TO_LAST), shape_signature=None
        )
        operators.append(Operator("TRANSPOSE", (number, order), (first,), {}, "TransposeOptions"))
        moved[number] = first
    for operator in graph.operators:
        operators.append(replace(operator, inputs=tuple(moved.get(t, t) for t in operator.inputs)))
    outputs = tuple(moved.get(t, t) for t in graph.outputs)
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators), outputs=outputs), tuple(chosen)


def _is_image_first(shape: tuple[int, ...]) -> bool:
    """(1, 3, 224, 224) and the like, and neither (1, 3, 3, 3) nor (1, 8, 8, 3)."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) > 4


# -- steps ------------------------------------------------------------------------------------------------------


def _merged(graph: Graph) -> Graph | None:
    """TRANSPOSE behind TRANSPOSE as one; one that keeps the order, or is of a constant, as nothing."""
    producers = graph.producers()
    for index, operator in enumerate(graph.operators):
        order = order_of(graph, operator)
        if order is None:
            continue
        source, output = operator.inputs[0], operator.outputs[0]
        editor = Editor(graph)
        constant = graph.tensors[source]
        if constant.is_dense_array and constant.data is not None and _plain(constant.quantization):
            turned = editor.constant(
                f"{constant.name}_turned", constant.data.transpose(order), constant.quantization
            )
            editor.replace(index, [])
            editor.redirect(output, turned)
            return editor.graph()
        if order == tuple(range(len(order))) and not (source in graph.inputs and output in graph.outputs):
            editor.replace(index, [])
            editor.redirect(output, source)
            return editor.graph()
        before = graph.operators[producers[source]] if source in producers else None
        first = order_of(graph, before) if before is not None else None
        if before is None or first is None:
            continue
        both = editor.constant("order", np.array([first[axis] for axis in order], np.int32))
        editor.replace(index, [replace(operator, inputs=(before.inputs[0], both))])
        return editor.graph()
    return None


def _plain(quantization: object) -> bool:
    return quantization is None or getattr(quantization, "scales", np.zeros(0)).size <= 1


def _shuffled(graph: Graph) -> Graph | None:
    """A channel shuffle of a value with channels first, as one with channels last.

    TRANSPOSE to channels first, RESHAPE (1, groups, channels, height, width), TRANSPOSE of the parted channels alone
    and RESHAPE back become RESHAPE (1, pixels, groups, channels), TRANSPOSE, RESHAPE, and TRANSPOSE to channels first.
    """
    producers, consumers = graph.producers(), graph.consumers()
    for index, operator in enumerate(graph.operators):
        found = _parted(graph, operator, producers)
        if found is None:
            continue
        source, split = found
        chain = transposed_behind(graph, consumers, index)
        if len(chain) < 3 or any(graph.operators[i].outputs[0] in graph.outputs for i in chain[:2]):
            continue
        order, back = order_of(graph, graph.operators[chain[1]]), graph.operators[chain[2]].outputs[0]
        parts = len(split)
        kept = (0, parts + 1, parts + 2)
        if (
            order is None
            or (order[0], *order[-2:]) != kept
            or graph.tensors[back].shape[1:2] != (int(np.prod(split)),)
        ):
            continue
        if graph.tensors[back].shape[2:] != graph.tensors[operator.inputs[0]].shape[2:]:
            continue
        return _shuffle_last(graph, chain, source, split, tuple(axis + 1 for axis in order[1:-2]))
    return None


def _parted(
    graph: Graph, operator: Operator, producers: dict[int, int]
) -> tuple[int, tuple[int, ...]] | None:
    """Of a RESHAPE that parts the channels of a value with channels first: that value with channels last, the parts."""
    index = producers.get(operator.inputs[0]) if operator.kind == "RESHAPE" else None
    if index is None or order_of(graph, graph.operators[index]) != TO_FIRST:
        return None
    whole, split = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    if len(split) < 5 or split[0] != whole[0] or split[-2:] != whole[-2:]:
        return None
    return graph.operators[index].inputs[0], split[1:-2]


def _shuffle_last(
    graph: Graph, chain: list[int], source: int, split: tuple[int, ...], order: tuple[int, ...]
) -> Graph:
    """``order``: of (1, pixels, *split), the axes behind the pixels."""
    editor = Editor(graph)
    shape, output = graph.tensors[source].shape, graph.operators[chain[2]].outputs[0]
    name = graph.tensors[output].name
    parted = (shape[0], shape[1] * shape[2], *split)
    turned = (*parted[:2], *(parted[axis] for axis in order))
    first = editor.value(f"{name}_parted", parted, like=source)
    second = editor.value(f"{name}_turned", turned, like=source)
    last = editor.value(f"{name}_channels_last", shape, like=source)

    def reshaped(value: int, to: int) -> Operator:
        target = editor.shape(to)
        constant = editor.constant(f"{name}_shape", np.array(target, np.int32))
        return Operator("RESHAPE", (value, constant), (to,), {"newShape": list(target)}, "ReshapeOptions")

    def transposed(value: int, axes: tuple[int, ...], to: int) -> Operator:
        constant = editor.constant(f"{name}_order", np.array(axes, np.int32))
        return Operator("TRANSPOSE", (value, constant), (to,), {}, "TransposeOptions")

    editor.replace(
        chain[2],
        [
            reshaped(source, first),
            transposed(first, (0, 1, *order), second),
            reshaped(second, last),
            transposed(last, TO_FIRST, output),
        ],
    )
    return editor.graph()


def _as_reshapes(graph: Graph) -> Graph:
    """A TRANSPOSE that moves axes of one element only, as the RESHAPE that it is."""
    editor = Editor(graph)
    for index, operator in enumerate(graph.operators):
        order = order_of(graph, operator)
        if order is None:
            continue
        shape = graph.tensors[operator.inputs[0]].shape
        large = [axis for axis in order if shape[axis] != 1]
        if large != sorted(large):
            continue
        target = graph.tensors[operator.outputs[0]].shape
        constant = editor.constant("shape", np.array(target, np.int32))
        options = {"newShape": list(target)}
        editor.replace(
            index,
            [
                Operator(
                    "RESHAPE", (operator.inputs[0], constant), operator.outputs, options, "ReshapeOptions"
                )
            ],
        )
    return editor.graph()
