"""Would XNNPACK run this graph's 1x1 convolutions sparse? The rules, and what stands in the way, by name.

The rules are XNNPACK's own (``src/subgraph.c``: ``xnn_check_nchw_compatibility``, ``xnn_subgraph_rewrite_for_nchw``),
said in terms of TFLite operators.  A *cluster* of operators works on channels-first values.  It starts with 3x3
convolutions at stride 2 of 3 channels, padded by 1 on every side, ends in a mean over space, and holds in between
nothing but 1x1 convolutions, 3x3 and 5x5 depthwise convolutions padded by half their size, sums and products of two
values (one of them may be a constant: a number, or one for each channel) and functions of one.  No value inside may be
read outside.  And more than two thirds of its 1x1 weights must be zero.
:func:`sdk.compress.board_form.sparse_hint.sparse_hint` gives the hint without which XNNPACK does not look.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdk.compress.rewrite.structure import (
    groups_of,
    has_sparse_hint,
    last_mean,
    same_padding,
    spatial_padding,
    window_of,
)
from sdk.graph.enums import SAME
from sdk.graph.records import Graph, Operator

# xnn_node_type_unary_elementwise, as far as TFLite's delegate makes nodes of them.
_UNARY = frozenset(
    {
        "ABS",
        "CEIL",
        "ELU",
        "EXP",
        "FLOOR",
        "GELU",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOGISTIC",
        "NEG",
        "RELU",
        "RELU6",
    }
    | {"RELU_N1_TO_1", "ROUND", "RSQRT", "SQRT", "SQUARE", "TANH"}
)
_ENTRY, _INSIDE = "entry", "inside"
_CHANNELS_AND_STRIDE = re.compile(r" of \d+ channels at stride \d+")


@dataclass(frozen=True)
class SparsePath:
    """The cluster that ends in the graph's last mean over space, and whether it runs sparse."""

    operators: tuple[int, ...]  # of the cluster, its entries included, the mean not
    entries: tuple[int, ...]
    obstacles: tuple[str, ...]  # each names an operator and says why it does not fit
    foreign: tuple[
        int, ...
    ]  # values that the cluster reads and that are made by an operator that does not fit
    zeros: int
    parameters: int  # of all 1x1 convolutions in the cluster
    hinted: bool

    @property
    def fits(self) -> bool:
        """True when every operator fits, whatever the weights."""
        return not self.obstacles

    @property
    def missing_zeros(self) -> int:
        """Weights of zero that the cluster would need besides, to hold more than two thirds; 0 where it does."""
        return max(0, 2 * self.parameters - 3 * self.zeros + 1)

    @property
    def sparse(self) -> bool:
        """True when XNNPACK will run the cluster sparse, given the hint."""
        return self.fits and self.missing_zeros == 0


def sparse_path(graph: Graph) -> SparsePath:
    """Follows the graph from its last mean over space back to where channels-first values would begin."""
    producers, consumers = graph.producers(), graph.consumers()
    obstacles: list[str] = []
    foreign: list[int] = []
    inside: dict[int, str] = {}
    passed: set[int] = set()  # PAD operators that become part of the convolution behind them
    last = last_mean(graph)
    if last is None:
        return SparsePath(
            (), (), ("the graph has no mean over space (MEAN)",), (), 0, 0, has_sparse_hint(graph)
        )
    pending = [graph.operators[last].inputs[0]]
    while pending:
        value = pending.pop()
        if value in graph.inputs:
            obstacles.append(
                f"the input {graph.tensors[value].name!r} does not enter through a 3x3 convolution"
            )
            continue
        index = producers.get(value)
        if index is None or index in inside:
            continue
        operator = graph.operators[index]
        role, sources = _role(graph, operator)
        if role not in (_ENTRY, _INSIDE):
            obstacles.append(f"operator {index} ({operator.kind}) {role}")
            foreign.append(value)
            continue
        inside[index] = role
        for source in sources:
            if source != operator.inputs[0] and operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                passed.add(producers[operator.inputs[0]])
        if role == _INSIDE:
            pending.extend(source for source in sources if graph.tensors[source].data is None)

    for index in sorted(inside):
        for value in graph.operators[index].outputs:
            readers = set(consumers.get(value, []))
            outside = readers - inside.keys() - passed - {last}
            if outside or value in graph.outputs:
                reader = f"operator {min(outside)}" if outside else "the caller"
                obstacles.append(
                    f"the output of operator {index} ({graph.operators[index].kind}) is read by {reader} outside"
                )
    for index in consumers.get(graph.operators[last].outputs[0], []):
        if graph.operators[index].kind == "CONV_2D":
            obstacles.append(f"operator {index} (CONV_2D) stands behind the mean")

    zeros, parameters = _zeros(graph, inside)
    return SparsePath(
        tuple(sorted(inside)),
        tuple(sorted(i for i, role in inside.items() if role == _ENTRY)),
        tuple(dict.fromkeys(obstacles)),
        tuple(dict.fromkeys(foreign)),
        zeros,
        parameters,
        has_sparse_hint(graph),
    )


def left_outside(graph: Graph) -> list[str]:
    """Why operators before the last mean cannot be in the cluster, "13 x CONV_2D is a 3x3 convolution", most first."""
    last = last_mean(graph)
    found: Counter[str] = Counter()
    for operator in graph.operators[:last]:
        role, _ = _role(graph, operator)
        if role not in (_ENTRY, _INSIDE) and spatial_padding(graph, operator) is None:
            found[f"{operator.kind} {_CHANNELS_AND_STRIDE.sub('', role)}"] += 1
    return [f"{count} x {what}" for what, count in found.most_common()]


def _zeros(graph: Graph, inside: Mapping[int, str]) -> tuple[int, int]:
    """Zeros and parameters of the convolutions in it; those through which values enter do not count."""
    zeros = parameters = 0
    for index, role in inside.items():
        operator = graph.operators[index]
        if operator.kind == "CONV_2D" and role == _INSIDE:
            weight = _stored(graph, operator.inputs[1])
            parameters += graph.tensors[operator.inputs[1]].elements
            zeros += graph.tensors[operator.inputs[1]].elements - int(np.count_nonzero(weight))
    return zeros, parameters


def _stored(graph: Graph, tensor: int) -> np.ndarray:
    """The weight, behind a DENSIFY the stored values: their non-zeros are the same."""
    data = graph.tensors[tensor].data
    if data is None:
        source = graph.operators[graph.producers()[tensor]].inputs[0]
        stored = graph.tensors[source].data
        assert stored is not None
        data = stored.view(np.float32)
    return data


def _role(graph: Graph, operator: Operator) -> tuple[str, tuple[int, ...]]:
    """("entry" or "inside" or why not, the computed values that the operator reads once PADs are part of it)."""
    if any(graph.tensors[t].dtype not in ("FLOAT32", "FLOAT16") for t in operator.outputs):
        return "does not compute in floating point", ()
    if operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return _convolution_role(graph, operator)
    if operator.kind in ("ADD", "MUL"):
        if any(len(graph.tensors[t].shape) != 4 for t in operator.inputs):
            return "joins a value that has not 4 axes", ()
        constant = graph.tensors[operator.inputs[0]]
        if graph.tensors[operator.inputs[1]].data is not None:
            return "reads a constant that does not come first", ()
        if constant.data is not None and constant.elements != max(constant.shape):
            return "reads a constant that is more than a number per channel", ()
        return _INSIDE, tuple(t for t in operator.inputs if graph.tensors[t].data is None)
    if operator.kind in _UNARY and len(graph.tensors[operator.inputs[0]].shape) == 4:
        return _INSIDE, operator.inputs[:1]
    if operator.kind in ("MEAN", "SUM"):
        # XNNPACK lets it pass, but gets the shape behind it wrong and fails to prepare the model (ai-edge-litert 2.3).
        return "is a mean or a sum that the path goes on behind", ()
    if operator.kind == "RESIZE_BILINEAR":
        return _INSIDE, operator.inputs[:1]
    return "has no channels-first form", ()


def _convolution_role(graph: Graph, operator: Operator) -> tuple[str, tuple[int, ...]]:
    source, padding = _padding(graph, operator)
    options = operator.options
    (height, width), strides = window_of(graph, operator)
    if options["dilationHFactor"] != 1 or options["dilationWFactor"] != 1:
        return "is dilated", ()
    if operator.kind == "DEPTHWISE_CONV_2D":
        half = height // 2
        if options["depthMultiplier"] != 1:
            return "makes several channels of one", ()
        if height != width or height not in (3, 5) or strides not in ((1, 1), (2, 2)):
            return f"has a {height}x{width} window at stride {strides[0]}, not 3x3 or 5x5 at 1 or 2", ()
        if padding != ((half, half), (half, half)):
            return f"is not padded by {half} on every side", ()
        return _INSIDE, (source,)
    if groups_of(graph, operator) != 1:
        return "has groups", ()
    if (height, width) == (1, 1):
        if strides != (1, 1) or any(map(any, padding or ((1, 1),))):
            return "is a 1x1 convolution with a stride or with padding", ()
        return _INSIDE, (source,)
    if (height, width) != (3, 3) or strides != (2, 2) or graph.tensors[source].shape[3] != 3:
        channels = graph.tensors[source].shape[3]
        return f"is a {height}x{width} convolution of {channels} channels at stride {strides[0]}", ()
    if padding != ((1, 1), (1, 1)):
        return "is not padded by 1 on every side", ()
    return _ENTRY, (source,)


def _padding(graph: Graph, operator: Operator) -> tuple[int, tuple[tuple[int, int], tuple[int, int]] | None]:
    """Where the values come from and how they are padded; None for a SAME that XNNPACK leaves unresolved."""
    source = operator.inputs[0]
    spans, strides = window_of(graph, operator)
    if operator.options["padding"] == SAME:
        space = graph.tensors[source].shape[1:3]
        down, across = (same_padding(*n) for n in zip(space, spans, strides, strict=True))
        if strides == (1, 1) or not any((*down, *across)):
            return source, (down, across)
        return source, None
    index = graph.producers().get(source)
    if index is not None:
        amounts = spatial_padding(graph, graph.operators[index])
        if amounts is not None and len(graph.consumers()[source]) == 1:
            return graph.operators[index].inputs[0], amounts
    return source, ((0, 0), (0, 0))
