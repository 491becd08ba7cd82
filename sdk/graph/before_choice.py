"""A model whose outputs are values, where it gives what is chosen by them: class numbers, boxes; and the rest of it,
that chooses. Pure."""

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


def behind_choice(graph: Graph) -> Graph:
    """The rest of the graph: from the values that are chosen by, which are its inputs, to the outputs."""
    values = before_choice(graph).outputs
    operators = [graph.operators[number] for number in sorted(graph.needed(graph.outputs, values))]
    read = (tensor for operator in operators for tensor in (*operator.inputs, *operator.outputs))
    used = list(dict.fromkeys(tensor for tensor in (*values, *graph.outputs, *read) if tensor >= 0))
    numbers = {tensor: number for number, tensor in enumerate(used)} | {-1: -1}

    def renumbered(tensors: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(numbers[tensor] for tensor in tensors)

    return Graph(
        tuple(graph.tensors[tensor] for tensor in used),
        tuple(
            replace(operator, inputs=renumbered(operator.inputs), outputs=renumbered(operator.outputs))
            for operator in operators
        ),
        renumbered(values),
        renumbered(graph.outputs),
    )


def behind_all_values(graph: Graph) -> frozenset[int]:
    """The numbers of the operators that no value depends on which is chosen by; none where nothing is chosen.

    What they read, such as a detector's anchors, changes the answers and no value.
    """
    before = before_choice(graph)
    if before is graph:
        return frozenset()
    return frozenset(range(len(graph.operators))) - graph.needed(before.outputs, ())


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
