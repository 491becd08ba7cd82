"""The memory of a model from its graph alone: weights, arena, and how much is alive at each operator. Pure.

A computed tensor lives from the operator that writes it to the last that reads it. Inputs and variables live all the
time, outputs to the end, as in TFLite, so that a caller may look at them. The arena is planned as TFLite's
``ArenaPlanner`` does it: the largest tensor first, each at the lowest place of the smallest gap between those that are
alive at the same time.

A delegate plans its own arena by the same lifetimes, and packs weights into another layout: where it does not keep them
in a file, they are in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from device_agent.record.named_kinds import Count, TensorName
from device_agent.record.schema import limits, record
from sdk.explain.theory import PREPARED_ONCE, tensor_bytes
from sdk.graph.records import Graph

#: Places in the arena are multiples of this (``kDefaultTensorAlignment`` of TFLite).
ALIGNMENT = 64


@record(what="the memory of a model")
@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a model needs while it runs.

    ``weight_bytes``: constants, and what is made from them once (half-precision weights as float32). ``arena_bytes``:
    one block for all computed tensors. ``alive_bytes``: how much of it is alive, operator by operator; the arena is as
    large as the largest of them, or a little larger where gaps are left. ``peak`` is the operator with the largest,
    ``kind`` and ``name`` (its first output's) say which.
    """

    weight_bytes: Count
    arena_bytes: Count
    peak: Count
    kind: TensorName
    name: TensorName
    alive_bytes: tuple[Count, ...] = field(metadata=limits(least=1))

    @property
    def peak_bytes(self) -> int:
        """Bytes that are alive at the peak."""
        return max(self.alive_bytes)


@dataclass(frozen=True)
class _Life:
    tensor: int
    size: int
    first: int
    last: int


def plan_memory(graph: Graph) -> MemoryPlan | None:
    """The memory that a graph needs; None for one without operators, whose file was not understood."""
    if not graph.operators:
        return None
    lives = list(_lives(graph))
    count = len(graph.operators)
    changes = [0] * (count + 1)
    for life in lives:
        changes[life.first] += life.size
        changes[life.last + 1] -= life.size
    alive, now = [], 0
    for change in changes[:count]:
        now += change
        alive.append(now)
    peak = max(range(count), key=alive.__getitem__)
    operator = graph.operators[peak]
    named = [graph.tensors[t].name for t in operator.outputs if t >= 0]
    return MemoryPlan(
        weight_bytes=_weight_bytes(graph),
        arena_bytes=_arena(lives, count),
        peak=peak,
        kind=operator.kind,
        name=named[0] if named else "",
        alive_bytes=tuple(alive),
    )


def _made_once(graph: Graph) -> set[int]:
    """Tensors that the runtime makes of constants once, while it prepares."""
    made: set[int] = set()
    for operator in graph.operators:
        sources = [t for t in operator.inputs if t >= 0]
        constant = all(graph.tensors[t].data is not None or t in made for t in sources)
        if operator.kind in PREPARED_ONCE and sources and constant:
            made.update(operator.outputs)
    return made


def _weight_bytes(graph: Graph) -> int:
    """Stored constants, each buffer once, and what is made of them."""
    stored = {id(t.data): t.data.nbytes for t in graph.tensors if t.data is not None}
    return sum(stored.values()) + sum(tensor_bytes(graph.tensors[t]) for t in _made_once(graph))


def _lives(graph: Graph) -> Iterator[_Life]:
    """From which operator to which every computed tensor lives, both included."""
    made, end = _made_once(graph), len(graph.operators) - 1
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for index, operator in enumerate(graph.operators):
        for tensor in operator.outputs:
            first.setdefault(tensor, index)
            last.setdefault(tensor, index)  # one that nobody reads lives while it is written
        for tensor in operator.inputs:
            last[tensor] = index
    for number, held in enumerate(graph.tensors):
        if held.data is not None or number in made:
            continue
        if number in graph.inputs or held.is_variable:
            yield _Life(number, tensor_bytes(held), 0, end)
        elif number in first:
            until = end if number in graph.outputs else last[number]
            yield _Life(number, tensor_bytes(held), first[number], max(until, first[number]))


def _arena(lives: list[_Life], operators: int) -> int:
    """Bytes of the arena: see the head of this module."""
    placed: list[tuple[int, int, _Life]] = []  # (begin, end, whose), by begin
    whole = operators - 1
    order = sorted(lives, key=lambda life: ((life.first, life.last) != (0, whole), -life.size, life.first))
    for life in order:
        begin = _place(life, placed)
        placed.append((begin, begin + life.size, life))
        placed.sort(key=lambda item: item[0])
    return max((end for _, end, _ in placed), default=0)


def _place(life: _Life, placed: list[tuple[int, int, _Life]]) -> int:
    """Where a tensor goes: the lowest place of the smallest gap that it fits in, else behind the others."""
    best, best_gap, free = None, None, 0
    for begin, end, other in placed:
        if other.last < life.first or life.last < other.first:
            continue
        if free + life.size <= begin and (best_gap is None or begin - free < best_gap):
            best, best_gap = free, begin - free
        free = max(free, -(-end // ALIGNMENT) * ALIGNMENT)
    return free if best is None else best
