"""Operators that change nothing are dropped, and small ones are merged into their neighbours; exact.

``fuse`` runs the passes of this file until none of them finds anything:

* an activation that stands alone becomes the fused activation of the operator before it;
* an activation behind a CONCATENATION, which cannot have one fused, moves in front of it, onto each part;
* a PAD whose zeros are what SAME adds is left to the operator behind it, and a PADV2 before a max pool becomes a PAD;
* operators whose result equals their input (a RELU of a value that is never negative, a RESHAPE to the same shape,
  a PAD by nothing, a TRANSPOSE that keeps the order) go, and RESHAPE behind RESHAPE becomes one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor, pad
from sdk.compress.rewrite.structure import never_negative, same_padding, spatial_padding, window_of
from sdk.graph.enums import NO_ACTIVATION, RELU, RELU6, RELU_N1_TO_1, SAME, VALID
from sdk.graph.records import Graph, Operator

_ACTIVATIONS = {"RELU": RELU, "RELU_N1_TO_1": RELU_N1_TO_1, "RELU6": RELU6}

# What the runtime's kernels take a fused activation on (schema.fbs names the option on more of them).
_FUSES_ACTIVATION = frozenset(
    {
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
    }
)
_PADDED_BY_SAME = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D"})


def fuse(graph: Graph) -> Graph:
    """All passes of this file, over and over until the graph stays as it is."""
    passes: tuple[Callable[[Graph], Graph], ...] = (
        drop_no_ops,
        fuse_activations,
        activations_before_concatenation,
        lowest_pads_as_zeros,
        pads_into_same,
    )
    before: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    while before != (now := [(op.kind, op.inputs, op.outputs) for op in graph.operators]):
        before = now
        for one in passes:
            graph = one(graph)
    return graph


def drop_no_ops(graph: Graph) -> Graph:
    """Without the operators whose output equals their input."""
    positive = never_negative(graph)
    editor = Editor(graph)
    producers = graph.producers()
    consumers = graph.consumers()
    for index, original in enumerate(graph.operators):
        # As it stands now: an operator before it may have gone already.
        (operator,) = editor.slot(index)
        source, output = (operator.inputs or (-1,))[0], operator.outputs[0]
        if operator.kind == "RESHAPE" and consumers.get(original.inputs[0]) == [index]:
            before = editor.slot(producers[original.inputs[0]]) if original.inputs[0] in producers else []
            if before and before[0].kind == "RESHAPE" and original.inputs[0] not in graph.outputs:
                source = before[0].inputs[0]
                operator = replace(operator, inputs=(source, *operator.inputs[1:]))
                editor.replace(index, [operator])
        if _is_no_op(graph, operator, positive) and not (source in graph.inputs and output in graph.outputs):
            editor.replace(index, [])
            editor.redirect(output, source)
    return editor.graph()


def _is_no_op(graph: Graph, operator: Operator, positive: set[int]) -> bool:
    if len(operator.outputs) != 1 or not operator.inputs:
        return False
    source, output = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    if source.data is not None or source.shape != output.shape or source.dtype != output.dtype:
        return False
    parameter = graph.tensors[operator.inputs[1]].data if len(operator.inputs) > 1 else None
    if operator.kind == "RELU":
        return operator.inputs[0] in positive
    if operator.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        return True
    if operator.kind == "TRANSPOSE":
        return parameter is not None and parameter.tolist() == list(range(len(source.shape)))
    if operator.kind == "CONCATENATION":
        return len(operator.inputs) == 1
    if operator.kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        one = all(operator.options[n] == 1 for n in ("filterWidth", "filterHeight", "strideW", "strideH"))
        return one and operator.options["fusedActivationFunction"] == NO_ACTIVATION
    return operator.kind == "PAD"  # to the same shape


def fuse_activations(graph: Graph) -> Graph:
    """RELU, RELU6 and RELU_N1_TO_1 as the fused activation of the operator that they alone read."""
    editor = Editor(graph)
    producers, consumers = graph.producers(), graph.consumers()
    for index, operator in enumerate(graph.operators):
        source = operator.inputs[0] if operator.inputs else -1
        if operator.kind not in _ACTIVATIONS or source not in producers or source in graph.outputs:
            continue
        before = editor.slot(producers[source])
        if (
            len(before) == 1
            and before[0].kind in _FUSES_ACTIVATION
            and before[0].options.get("fusedActivationFunction") == NO_ACTIVATION
            and consumers[source] == [index]
        ):
            fused = before[0].with_options(fusedActivationFunction=_ACTIVATIONS[operator.kind])
            editor.replace(producers[source], [replace(fused, outputs=operator.outputs)])
            editor.replace(index, [])
    return editor.graph()


def activations_before_concatenation(graph: Graph) -> Graph:
    """RELU(CONCATENATION(a, b)) as CONCATENATION(RELU(a), RELU(b)), so that each part can fuse or drop its own."""
    editor = Editor(graph)
    producers, consumers = graph.producers(), graph.consumers()
    for index, operator in enumerate(graph.operators):
        source = operator.inputs[0] if operator.inputs else -1
        if operator.kind not in _ACTIVATIONS or source not in producers or source in graph.outputs:
            continue
        joined = graph.operators[producers[source]]
        if joined.kind != "CONCATENATION" or consumers[source] != [index]:
            continue
        parts, activated = [], []
        for tensor in joined.inputs:
            part = editor.value(
                f"{graph.tensors[tensor].name}_activated", graph.tensors[tensor].shape, like=tensor
            )
            parts.append(part)
            activated.append(replace(operator, inputs=(tensor,), outputs=(part,)))
        editor.replace(producers[source], [])
        editor.replace(index, [*activated, replace(joined, inputs=tuple(parts), outputs=operator.outputs)])
    return editor.graph()


def lowest_pads_as_zeros(graph: Graph) -> Graph:
    """PADV2 with a number below zero, in front of MAX_POOL_2D alone, as PAD where no value is negative.

    PyTorch's padded max pools come in this form; XNNPACK has no PADV2. Each window must hold a pixel of the value.
    """
    positive = never_negative(graph)
    editor = Editor(graph)
    consumers = graph.consumers()
    for index, operator in enumerate(graph.operators):
        if (
            operator.kind != "PADV2"
            or operator.inputs[0] not in positive
            or operator.outputs[0] in graph.outputs
        ):
            continue
        amounts, filled = (graph.tensors[number].data for number in operator.inputs[1:3])
        readers = [graph.operators[reader] for reader in consumers.get(operator.outputs[0], [])]
        if (
            amounts is None
            or filled is None
            or amounts.shape != (4, 2)
            or not filled.size
            or filled.max() > 0
        ):
            continue
        if all(reader.kind == "MAX_POOL_2D" and _reaches(graph, reader, amounts) for reader in readers):
            editor.replace(index, [pad(operator.inputs[0], operator.inputs[1], operator.outputs[0])])
    return editor.graph()


def _reaches(graph: Graph, pool: Operator, amounts: np.ndarray) -> bool:
    (height, width), _ = window_of(graph, pool)
    outside = amounts[0].any() or amounts[3].any()
    return (
        pool.options["padding"] == VALID
        and not outside
        and amounts[1].max() < height
        and amounts[2].max() < width
    )


def pads_into_same(graph: Graph) -> Graph:
    """A PAD in front of a VALID window whose amounts are those of SAME is dropped, and the window made SAME.

    In front of a MAX_POOL_2D this is exact only for values that are never negative: SAME leaves the border out, and a
    zero has the same effect there.
    """
    positive = never_negative(graph)
    editor = Editor(graph)
    consumers = graph.consumers()
    for operator in graph.operators:
        padding = spatial_padding(graph, operator)
        if padding is None or operator.outputs[0] in graph.outputs:
            continue
        readers = consumers.get(operator.outputs[0], [])
        shape = graph.tensors[operator.inputs[0]].shape
        if readers and all(
            _pads_like_same(graph, graph.operators[r], shape, padding, operator.inputs[0] in positive)
            for r in readers
        ):
            for reader in readers:
                window = editor.slot(reader)[0]
                inputs = (operator.inputs[0], *window.inputs[1:])
                editor.replace(reader, [replace(window, inputs=inputs).with_options(padding=SAME)])
    return editor.graph()


def _pads_like_same(
    graph: Graph,
    operator: Operator,
    shape: tuple[int, ...],
    padding: tuple[tuple[int, int], tuple[int, int]],
    positive: bool,
) -> bool:
    if operator.kind not in _PADDED_BY_SAME or operator.options["padding"] != VALID:
        return False
    if operator.kind == "MAX_POOL_2D" and not positive:
        return False
    spans, strides = window_of(graph, operator)
    return all(
        same_padding(size, span, stride) == amounts
        for size, span, stride, amounts in zip(shape[1:3], spans, strides, padding, strict=True)
    )
