"""Which channels of a graph go together, or not at all: the groups of DepGraph (arXiv 2301.12900), found by a walk.

A channel of one layer forms a set with those that sums join it to: they are removed together, everywhere, or stay.
Groups of a convolution, halves of a split and rows of a shuffle must stay equally large: there channels of all are
removed at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdk.compress.rewrite.channel_flow import ChannelFlow, Listener, Numbers, channel_numbers
from sdk.errors import ModelError
from sdk.graph.records import Graph


@dataclass(frozen=True, eq=False)
class Family:
    """Sets of channels that compete with each other, because they come from the same layers.

    ``cells``: sets that may replace one another, by the groups that they are in. A step removes ``taken[c]`` sets of
    every cell ``c`` at once.
    """

    cells: tuple[np.ndarray, ...]  # of numbers of sets
    taken: tuple[int, ...]
    makers: tuple[int, ...]  # the tensors that the layers make

    @property
    def steps(self) -> int:
        """How many steps there are, if at least one set of each cell stays."""
        return max(
            min((len(cell) - 1) // count for cell, count in zip(self.cells, self.taken, strict=True)), 0
        )

    @property
    def sets(self) -> np.ndarray:
        """Numbers of all sets, (n,)."""
        return np.concatenate(self.cells)


@dataclass(frozen=True, eq=False)
class Coupling:
    """The channels of a graph: ``numbers`` by tensor, the set that each number is in, and the families of sets that
    may go."""

    numbers: Mapping[int, Numbers]
    set_of: np.ndarray  # (numbers,)
    families: tuple[Family, ...]

    def sets(self, tensor: int) -> np.ndarray:
        """The set of each channel along the last axis of a tensor, (channels,)."""
        return self.set_of[self.numbers[tensor]]


def coupled_channels(graph: Graph) -> Coupling:
    """The coupling of the channels of this graph."""
    gathered = _Gathered(graph)
    flow = ChannelFlow(graph, gathered.made, gathered)
    set_of = gathered.roots()
    coupling = Coupling(flow.numbers, set_of, ())
    makers = {
        operator.outputs[0]: set_of[flow.numbers[operator.outputs[0]]]
        for operator in graph.operators
        if flow.is_maker(operator)
    }
    fixed = np.zeros(len(set_of), bool)
    for numbers in gathered.stay:
        fixed[set_of[numbers]] = True
    for tensor, numbers in flow.numbers.items():  # of what is made elsewhere nothing goes
        if tensor not in makers and tensor in gathered.makes:
            fixed[set_of[numbers]] = True
    partitions = list(_partitions(gathered, set_of))
    families = tuple(
        family
        for members, tensors in _related(makers, partitions, fixed)
        if (family := _family(members, tensors, makers, partitions)) is not None
    )
    return Coupling(coupling.numbers, set_of, tuple(f for f in families if _holds(graph, set_of, flow, f)))


class _Gathered(Listener):
    """What the walk tells, and a forest of the channels that are one."""

    def __init__(self, graph: Graph) -> None:
        self._starts = channel_numbers(graph)
        self.makes: set[int] = set()
        self.stay: list[Numbers] = []
        self.parts: list[list[Numbers]] = []
        self.rows: list[list[Numbers]] = []
        widths = [t.shape[-1] if t.shape else 1 for t in graph.tensors]
        self._parent = list(range(sum(widths)))

    def made(self, tensor: int, count: int) -> Numbers:
        """The channels that an operator makes in a tensor."""
        self.makes.add(tensor)
        return self._starts[tensor] + np.arange(count)

    def joined(self, first: Numbers, second: Numbers) -> None:
        """Each channel of the first and its neighbour of the second are one."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            self._parent[self._root(a)] = self._root(b)

    def fixed(self, numbers: Numbers) -> None:
        """These stay."""
        self.stay.append(numbers)

    def equal(self, parts: Sequence[Numbers]) -> None:
        """Groups of a convolution, or halves."""
        self.parts.append(list(parts))

    def shuffled(self, rows: np.ndarray) -> None:
        """Rows of a shuffle."""
        self.rows.append(list(rows))

    def roots(self) -> np.ndarray:
        """The set of each channel: the number of one of its members."""
        return np.array([self._root(n) for n in range(len(self._parent))], np.int64)

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number


Partition = list[np.ndarray]  # of numbers of sets: parts that must stay equally large


def _partitions(gathered: _Gathered, set_of: np.ndarray) -> Iterator[Partition]:
    """Every partition by sets; rows of a shuffle cut by each other partition of the same channels, so that a reader in
    groups goes on seeing the channels that it saw."""
    parts = [[set_of[part] for part in partition] for partition in gathered.parts]
    rows = [[set_of[row] for row in partition] for partition in gathered.rows]
    yield from parts
    for shuffle in rows:
        yield shuffle
        of_shuffle = np.concatenate(shuffle)
        for other in parts:
            if not np.isin(np.concatenate(other), of_shuffle).all():
                continue
            pieces = [row[np.isin(row, part)] for row in shuffle for part in other]
            yield [piece for piece in pieces if len(piece)]


def _related(
    makers: Mapping[int, np.ndarray], partitions: Sequence[Partition], fixed: np.ndarray
) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
    """Sets that are made by the same layers or must stay in balance, with the tensors of those layers; none of them
    fixed, and no partition that holds a fixed one."""
    bundles = [np.unique(sets) for sets in makers.values()]
    bundles += [np.unique(np.concatenate(partition)) for partition in partitions]
    of_set: dict[int, int] = {}
    parent = list(range(len(bundles)))

    def root(n: int) -> int:
        while parent[n] != n:
            n = parent[n]
        return n

    for number, sets in enumerate(bundles):
        for one in sets.tolist():
            if one in of_set:
                parent[root(of_set[one])] = root(number)
            of_set[one] = number
    together: dict[int, list[int]] = {}
    for number in range(len(bundles)):
        together.setdefault(root(number), []).append(number)
    tensors = list(makers)
    for numbers in together.values():
        members = np.unique(np.concatenate([bundles[n] for n in numbers]))
        balanced = any(n >= len(tensors) for n in numbers)
        free = members[~fixed[members]]
        if len(free) and (len(free) == len(members) or not balanced):
            yield free, tuple(tensors[n] for n in numbers if n < len(tensors))


def _family(
    members: np.ndarray,
    tensors: tuple[int, ...],
    makers: Mapping[int, np.ndarray],
    partitions: Sequence[Partition],
) -> Family | None:
    """The cells of these sets and how many of each go at once; None where no such step keeps the balance."""
    place = {int(one): n for n, one in enumerate(members)}
    counts = [
        np.stack([_counted(part, place) for part in partition])
        for partition in partitions
        if int(partition[0][0]) in place
    ]
    made = np.stack([_counted(makers[t], place) for t in tensors]) if tensors else np.zeros((0, len(members)))
    signature = np.concatenate([made, *counts]).T
    _, cell_of = np.unique(signature, axis=0, return_inverse=True)
    cells = [np.flatnonzero(cell_of.ravel() == n) for n in range(int(np.max(cell_of)) + 1)]
    sizes = [len(cell) for cell in cells]
    for taken in ([1] * len(cells), [size // math.gcd(*sizes) for size in sizes]):
        firsts = [cell[0] for cell in cells]
        loads = [count[:, firsts] @ np.array(taken) for count in counts]
        if all((load == load[0]).all() for load in loads):
            return Family(tuple(members[cell] for cell in cells), tuple(taken), tensors)
    return None


def _counted(part: np.ndarray, place: Mapping[int, int]) -> np.ndarray:
    """How often each member occurs in a part, (members,)."""
    found = np.zeros(len(place), np.int64)
    for one in part.tolist():
        if one in place:
            found[place[one]] += 1
    return found


def _holds(graph: Graph, set_of: np.ndarray, flow: ChannelFlow, family: Family) -> bool:
    """Whether what is left after some steps still fits together: the walk itself is asked."""
    for steps in sorted({1, (family.steps + 1) // 2, family.steps}):
        gone = np.concatenate([cell[: steps * n] for cell, n in zip(family.cells, family.taken, strict=True)])
        try:
            left_after(graph, flow.numbers, set_of, gone)
        except ModelError:
            return False
    return family.steps > 0


def left_after(
    graph: Graph, numbers: Mapping[int, Numbers], set_of: np.ndarray, gone: np.ndarray
) -> ChannelFlow:
    """The flow of the channels that stay when the sets ``gone``, (n,), are removed.

    Raises :class:`ModelError` where the rest does not fit together.
    """
    stays = ~np.isin(set_of, gone)

    def made(tensor: int, count: int) -> Numbers:
        return numbers[tensor][stays[numbers[tensor]]]

    return ChannelFlow(graph, made, _Left(numbers, set_of))


class _Left(Listener):
    """Raises where what is left does not fit together."""

    def __init__(self, numbers: Mapping[int, Numbers], set_of: np.ndarray) -> None:
        self._set_of = set_of

    def joined(self, first: Numbers, second: Numbers) -> None:
        """Refuses channels that were not neighbours."""
        if len(first) != len(second) or (self._set_of[first] != self._set_of[second]).any():
            raise _unfitting("the same channels on both sides of a sum")

    def equal(self, parts: Sequence[Numbers]) -> None:
        """Refuses parts of different size."""
        if len({len(part) for part in parts}) > 1 or not len(parts[0]):
            raise _unfitting("equally many channels in each group, one at least")


def _unfitting(expected: str) -> ModelError:
    return ModelError("these channels cannot go alone", expected=expected, found="others")
