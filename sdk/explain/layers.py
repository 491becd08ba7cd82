"""Finds the layers that lose accuracy: operators of two versions of a network, and the noise that each adds. Pure.

Noise adds up along a network, so the last operators have the lowest signal-to-noise ratio, wherever the noise comes
from. An operator adds the noise of its output, as a share of the signal, minus that of its noisiest input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from sdk.graph.records import NUMPY_DTYPES, WEIGHT_ROLES, Graph
from sdk.tools.shown import Shown

#: What only writes a value in another form, or is done once while the runtime prepares.
_SAME_VALUES = frozenset({"DENSIFY", "QUANTIZE", "DEQUANTIZE"})
#: Weights that are shared like this, or zero like this, are what a layer may lose by.
_FEW_VALUES, _MANY_ZEROS = 64, 0.3
WORST = 3
#: Below this share of the signal nobody sees what an operator adds.
_NOTHING = 1e-6


@dataclass(frozen=True)
class Matched:
    """An operator of the compressed graph, by number, and the tensor that it writes; ``original``: the tensor of the
    original graph that holds the same. ``by``: "name" or "structure".
    """

    operator: int
    tensor: int
    original: int
    by: str


@dataclass(frozen=True)
class Unmatched:
    """An operator of one of the two models ("original" or "compressed") that the other has no counterpart of."""

    model: str
    operator: str  # its kind and the name of what it writes
    why: str


@dataclass(frozen=True)
class LayerNoise:
    """One operator. ``decibel``: signal to noise of its output against the original's, ``board_decibel``: of the
    board's against the host's; None where it was not measured. ``added``: the noise that it adds, as a share of the
    signal. ``weights``: what became of its weights, in words.
    """

    number: int
    kind: str
    name: str
    shape: tuple[int, ...]
    decibel: float | None
    added: float
    weights: str = ""
    board_decibel: float | None = None
    board_added: float = 0.0


@dataclass(frozen=True)
class LayerLosses(Shown):
    """All operators in the order of execution. ``advice``: the three that lose most, and what to do, worst first."""

    original: str
    compressed: str
    data: str
    samples: int
    layers: tuple[LayerNoise, ...]
    unmatched: tuple[Unmatched, ...]
    advice: tuple[str, ...]
    board: str = ""
    runtime: str = ""
    board_advice: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def worst_first(self) -> list[LayerNoise]:
        """The operators by the noise of their outputs; those that were not matched last."""
        return sorted(self.layers, key=lambda one: np.inf if one.decibel is None else one.decibel)


def watched(graph: Graph) -> dict[int, int]:
    """Tensor -> the operator that computes it from the input; of real values or of whole numbers with a scale."""
    known = set(graph.inputs)
    found: dict[int, int] = {}
    for number, operator in enumerate(graph.operators):
        if not known.intersection(operator.inputs):
            continue
        known.update(operator.outputs)
        for tensor in operator.outputs[:1]:
            said = graph.tensors[tensor]
            if said.dtype in NUMPY_DTYPES and (
                said.dtype.startswith("FLOAT") or said.quantization is not None
            ):
                found[tensor] = number
    return found


def match_layers(original: Graph, compressed: Graph) -> tuple[tuple[Matched, ...], tuple[Unmatched, ...]]:
    """The operators of the compressed graph that compute what one of the original's does, and all that have none.

    They are matched by the names of their outputs where these are kept, else by kind and shape in the order of
    execution.
    """
    first, second = watched(original), watched(compressed)
    names = {original.tensors[tensor].name: tensor for tensor in first}
    pairs: dict[int, tuple[int, str]] = {}
    why: dict[int, str] = {}
    for tensor in second:
        said = compressed.tensors[tensor]
        source = _source(compressed, tensor)
        other = names.get(said.name)
        if other is None or source in pairs:
            continue
        if original.tensors[other].shape == said.shape:
            pairs[source] = (other, "name")
        else:
            why[tensor] = f"its shape was {_text(original.tensors[other].shape)} and is {_text(said.shape)}"
    _by_structure((original, first), (compressed, second), pairs, why)
    matched = tuple(Matched(second[tensor], tensor, *pairs[tensor]) for tensor in second if tensor in pairs)
    taken = {one.original for one in matched}
    changed = {compressed.tensors[tensor].name for tensor in why}
    unmatched = [
        Unmatched("original", _called(original, number), "the compressed model has no output like it")
        for tensor, number in first.items()
        if tensor not in taken and original.tensors[tensor].name not in changed
    ]
    unmatched += [
        Unmatched(
            "compressed", _called(compressed, number), why.get(tensor, "the original has no output like it")
        )
        for tensor, number in second.items()
        if tensor not in pairs and compressed.operators[number].kind not in _SAME_VALUES
    ]
    return matched, tuple(unmatched)


def _source(graph: Graph, tensor: int) -> int:
    """The tensor of which this one is another form."""
    makers = graph.producers()
    while tensor in makers and graph.operators[makers[tensor]].kind in _SAME_VALUES:
        before = graph.operators[makers[tensor]].inputs[0]
        if before in graph.inputs:
            break
        tensor = before
    return tensor


def _by_structure(
    first: tuple[Graph, Mapping[int, int]],
    second: tuple[Graph, Mapping[int, int]],
    pairs: dict[int, tuple[int, str]],
    why: Mapping[int, str],
) -> None:
    """Adds pairs of what has no name in common: where kinds and shapes are the same between others that are paired."""
    named = {other: tensor for tensor, (other, _) in pairs.items()}

    def sign(graph: Graph, tensor: int, number: int, pair: int | None) -> tuple[Any, ...]:
        return (pair,) if pair is not None else (graph.operators[number].kind, graph.tensors[tensor].shape)

    left = [
        tensor
        for tensor in first[1]
        if tensor in named or first[0].operators[first[1][tensor]].kind not in _SAME_VALUES
    ]
    right = [
        tensor
        for tensor in second[1]
        if tensor not in why and second[0].operators[second[1][tensor]].kind not in _SAME_VALUES
    ]
    one = [sign(first[0], tensor, first[1][tensor], tensor if tensor in named else None) for tensor in left]
    two = [sign(second[0], t, second[1][t], pairs[t][0] if t in pairs else None) for t in right]
    for block in SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks():
        for step in range(block.size):
            tensor = right[block.b + step]
            pairs.setdefault(tensor, (left[block.a + step], "structure"))


def added_noise(graph: Graph, decibels: Mapping[int, float]) -> dict[int, float]:
    """The noise that the operator of each measured tensor adds, as a share of the signal, from 0."""
    noise = {tensor: 10.0 ** (-value / 10.0) for tensor, value in decibels.items()}
    found: dict[int, float] = {}
    for operator in graph.operators:
        before = max((noise.get(tensor, 0.0) for tensor in operator.inputs), default=0.0)
        for tensor in operator.outputs:
            if tensor in decibels:
                found[tensor] = max(0.0, noise[tensor] - before)
            else:
                noise[tensor] = before  # what was not measured hands on what it got
    return found


def weights_in_words(graph: Graph, number: int) -> str:
    """An operator's weights in words: their type, the share of zeros, how many values; empty where it has none."""
    found = _weights(graph, number)
    if found is None:
        return ""
    dtype, zeros, values = found
    parts = [dtype.lower()]
    if zeros >= 0.005:
        parts.append(f"{100 * zeros:.0f} % zero")
    if dtype.startswith("FLOAT") and values <= 256:
        parts.append(f"{values} values")
    return ", ".join(parts)


def _weights(graph: Graph, number: int) -> tuple[str, float, int] | None:
    """Type, share of zeros, number of values besides 0."""
    operator = graph.operators[number]
    if operator.kind not in WEIGHT_ROLES or len(operator.inputs) < 2:
        return None
    tensor = operator.inputs[1]
    maker = graph.producers().get(tensor)
    if maker is not None and graph.operators[maker].kind in _SAME_VALUES:
        tensor = graph.operators[maker].inputs[0]
    said = graph.tensors[tensor]
    if said.data is None or said.dtype not in NUMPY_DTYPES:
        return None
    values = (
        said.data if said.is_dense_array else np.frombuffer(said.data.tobytes(), NUMPY_DTYPES[said.dtype])
    )
    kept = values[values != 0]
    return said.dtype, 1.0 - kept.size / max(said.elements, 1), int(np.unique(kept).size)


def advise(
    original: Graph, compressed: Graph, matched: Sequence[Matched], layers: Sequence[LayerNoise]
) -> tuple[str, ...]:
    """The three layers that add most noise, each with what to do, the worst first."""
    partner = {one.operator: one for one in matched}
    worst = sorted((one for one in layers if one.added > _NOTHING), key=lambda one: -one.added)
    first = [one for one in worst if one.weights] + [one for one in worst if not one.weights]
    total = sum(one.added for one in layers)
    told = []
    for one in sorted(first[:WORST], key=lambda one: -one.added):
        share = f"{one.kind} {_short(one.name)} ({_text(one.shape)}): {100 * one.added / total:.0f} % of what is added"
        told.append(
            f"{share}, {one.decibel:.1f} dB; {_what_to_do(original, compressed, partner[one.number])}"
        )
    return tuple(told)


def _what_to_do(original: Graph, compressed: Graph, one: Matched) -> str:
    found = _weights(compressed, one.operator)
    if found is None:
        if compressed.tensors[one.tensor].dtype.startswith("FLOAT"):
            return (
                "it has no weights: it makes the noise of its inputs larger, so look at the layers before it"
            )
        return "its values are rounded to 8 bits: find their range with more, or more typical, images"
    dtype, zeros, values = found
    name = _layer_name(original, one.original)
    if not dtype.startswith("FLOAT"):
        return "its weights and values are 8 bits: find ranges with more, or more typical, images, or stay with float"
    steps = []
    if zeros >= _MANY_ZEROS:
        steps.append(f"no pruning there (sparsity 0 for {name!r}; {100 * zeros:.0f} % are zero)")
    if values <= _FEW_VALUES:
        steps.append(f"more bits there (clusters 255 for {name!r}; {values} values)")
    if not steps:
        steps.append(f"more bits there (a lower price for {name!r})")
    return " and ".join(steps) + ", in a recipe that --save-recipe wrote"


def _layer_name(graph: Graph, tensor: int) -> str:
    """The weight's name, by which recipes know a layer."""
    operator = graph.operators[graph.producers()[tensor]]
    return graph.tensors[operator.inputs[1]].name if len(operator.inputs) > 1 else graph.tensors[tensor].name


def advise_board(layers: Sequence[LayerNoise]) -> tuple[str, ...]:
    """The three operators in which board and host differ most, the worst first; none where they agree."""
    worst = sorted((one for one in layers if one.board_added > _NOTHING), key=lambda one: -one.board_added)
    return tuple(
        f"{one.kind} {_short(one.name)} ({_text(one.shape)}): {one.board_decibel:.1f} dB between host and board; "
        "its kernel there computes it otherwise: try another runtime with --runtime"
        for one in worst[:WORST]
    )


def with_outputs(graph: Graph, tensors: Sequence[int]) -> Graph:
    """The graph whose outputs are these tensors, under names of their own, and nothing that they do not need.

    A runtime keeps an inner value only where it is an output. (TFLite's option to keep all of them turns its delegate
    off, so that other kernels run than in the model itself.)
    """
    needed = set(tensors)
    operators = []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            operators.append(operator)
            needed.update(operator.inputs)
    named = list(graph.tensors)
    for tensor in tensors:
        named[tensor] = replace(named[tensor], name=f"layer_{tensor}")
    return replace(
        graph,
        tensors=tuple(named),
        operators=tuple(reversed(operators)),
        outputs=tuple(tensors),
        signatures=(),
    )


def _short(name: str) -> str:
    """The first of the names that a converter joins where it makes one operator of several."""
    return name.split(";")[0]


def _called(graph: Graph, number: int) -> str:
    operator = graph.operators[number]
    return f"{operator.custom_code or operator.kind} {graph.tensors[operator.outputs[0]].name}"


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
