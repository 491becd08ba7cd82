"""Inputs of a model that are numbers of rows in a table, such as words: how many rows there are. Pure."""

from __future__ import annotations

from sdk.graph.records import Graph

#: Operators that hand the numbers on, in the same or fewer places; the input that they take them from.
_KINDS = """
    CAST RESHAPE EXPAND_DIMS SQUEEZE TRANSPOSE STRIDED_SLICE SLICE PACK UNPACK CONCATENATION TILE MAXIMUM MINIMUM SPLIT
    SPLIT_V REVERSE_V2 PAD BROADCAST_TO SELECT SELECT_V2 GATHER_ND ADD SUB FLOOR ROUND REVERSE_SEQUENCE"""
_CARRIERS = frozenset(_KINDS.split())
#: Which input of an operator holds row numbers, and which the table.
_LOOK_UPS = {"GATHER": (1, 0), "EMBEDDING_LOOKUP": (0, 1), "EMBEDDING_LOOKUP_SPARSE": (0, 4)}


def vocabularies(graph: Graph) -> dict[int, int]:
    """By position of the input, the rows of the smallest table that it chooses from; others are absent."""
    found = {}
    for position, number in enumerate(graph.inputs):
        rows = _rows(graph, number)
        if rows:
            found[position] = min(rows)
    return found


def _rows(graph: Graph, number: int) -> list[int]:
    carried, rows = {number}, []
    for operator in graph.operators:  # in the order of execution: what carries comes before what looks up
        if operator.kind in _LOOK_UPS:
            chosen, table = _LOOK_UPS[operator.kind]
            if len(operator.inputs) > max(chosen, table) and operator.inputs[chosen] in carried:
                shape = graph.tensors[operator.inputs[table]].shape
                axis = int(operator.options.get("axis") or 0) if operator.kind == "GATHER" else 0
                if shape and -len(shape) <= axis < len(shape):
                    rows.append(max(1, shape[axis]))
        elif operator.kind in _CARRIERS and carried.intersection(operator.inputs):
            carried.update(operator.outputs)
    return rows
