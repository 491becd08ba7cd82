"""A model whose outputs are values, where it gives what is chosen by them: class numbers, boxes. Pure."""

from __future__ import annotations

from dataclasses import replace

from sdk.graph.records import Graph

#: Operators that choose: a small change of what they read may change all of what they write.
_CHOOSING = frozenset(
    {
        "ARG_MAX",
        "ARG_MIN",
        "TOPK_V2",
        "NON_MAX_SUPPRESSION_V4",
        "NON_MAX_SUPPRESSION_V5",
        "TFLite_Detection_PostProcess",
    }
)
#: Operators that pass on what was chosen.
_PASSING = frozenset(
    {"CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PACK", "CONCATENATION", "GATHER", "GATHER_ND"}
)


def before_choice(graph: Graph) -> Graph:
    """The graph with the values that are chosen by as its outputs; itself where nothing is chosen."""
    producers = graph.producers()
    outputs: list[int] = []
    for number in graph.outputs:
        outputs += _values(graph, producers, number)
    outputs = [number for number in dict.fromkeys(outputs) if number not in graph.inputs]
    if not outputs or tuple(outputs) == tuple(graph.outputs):
        return graph
    return replace(graph, outputs=tuple(outputs), signatures=())


def _values(graph: Graph, producers: dict[int, int], number: int) -> list[int]:
    """The tensors that an output was chosen by; itself where it was not."""
    seen, current = set(), [number]
    for _ in range(len(_PASSING)):  # far enough behind an output
        found: list[int] = []
        for one in current:
            maker = graph.operators[producers[one]] if one in producers else None
            if maker is None or one in seen:
                continue
            seen.add(one)
            computed = [n for n in maker.inputs if n >= 0 and n in producers]
            if maker.kind in _CHOOSING or maker.custom_code in _CHOOSING:
                return computed or [number]
            if maker.kind in _PASSING:
                found += computed
        current = found
    return [number]
