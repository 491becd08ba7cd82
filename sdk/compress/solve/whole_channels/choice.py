"""Which channels go across a network: next those that cost the fewest nats for each multiply-accumulate they save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sdk.compress.rewrite.coupled_channels import Coupling
from sdk.compress.rewrite.structure import multiply_accumulates
from sdk.compress.solve.whole_channels.costs import Order
from sdk.errors import ModelError
from sdk.graph.records import Graph


@dataclass(frozen=True, eq=False)
class Step:
    """A family's next sets, the multiply-accumulates that are left without them, and the nats that they cost."""

    family: int
    sets: np.ndarray
    left: float
    nats: float


def macs_of(graph: Graph) -> int:
    """Multiply-accumulates of one inference, of the layers whose channels may go."""
    return sum(multiply_accumulates(graph, operator) for operator in graph.operators)


def steps(graph: Graph, coupling: Coupling, ordered: Sequence[Order]) -> Iterator[Step]:
    """All steps, the cheapest for what it saves first."""
    work = _Work(graph, coupling, ordered)
    done = [0] * len(ordered)
    left = work.macs()
    while True:
        best: Step | None = None
        cheapest = np.inf
        for number, order in enumerate(ordered):
            if done[number] == len(order.chunks):
                continue
            sets, nats = order.chunks[done[number]], order.nats[done[number]]
            saves = left - work.macs_without(number, sets)
            if saves > 0 and nats / saves < cheapest:
                best, cheapest = Step(number, sets, left - saves, nats), nats / saves
        if best is None:
            return
        work.take(best.family, best.sets)
        done[best.family] += 1
        left = best.left
        yield best


def chosen(
    graph: Graph, coupling: Coupling, ordered: Sequence[Order], most_macs: float
) -> tuple[np.ndarray, float]:
    """The sets that go, (n,), so that at most this many multiply-accumulates are left, and the nats that they cost.

    The last step is coarse and may save too much; then the most expensive steps that there is room for are undone.
    """
    original = float(macs_of(graph))
    left, taken = original, list[Step]()
    found = steps(graph, coupling, ordered)
    while left > most_macs:
        step = next(found, None)
        if step is None:
            raise ModelError(
                "this many channels cannot be removed",
                expected=f"at most {100 * (1 - left / original):.0f} % of the multiply-accumulates",
                found=f"{100 * (1 - most_macs / original):.0f} %",
                hint="Ask for less with --channels."
                if ordered
                else "No layer's channels may go: each is an output, or mixed in a way that is not known.",
            )
        taken.append(step)
        left = step.left
    taken = _given_back(graph, coupling, ordered, taken, most_macs)
    gone = [step.sets for step in taken]
    return np.concatenate(gone) if gone else np.zeros(0, np.int64), sum(step.nats for step in taken)


def _given_back(
    graph: Graph, coupling: Coupling, ordered: Sequence[Order], taken: Sequence[Step], most_macs: float
) -> list[Step]:
    """The steps without those that need not be: of each family the last may stay, the dearest first."""
    work = _Work(graph, coupling, ordered)
    for step in taken:
        work.take(step.family, step.sets)
    kept = list(taken)
    tried: set[int] = set()
    while len(tried) < len(ordered):
        lasts = {step.family: step for step in kept if step.family not in tried}
        if not lasts:
            break
        dearest = max(lasts.values(), key=lambda step: step.nats)
        if work.macs_without(dearest.family, dearest.sets, back=True) <= most_macs:
            work.take(dearest.family, dearest.sets, back=True)
            kept.remove(dearest)
        else:
            tried.add(dearest.family)
    return kept


class _Work:
    """Multiply-accumulates of a graph while channels go: each layer's are a product of what it makes and reads."""

    def __init__(self, graph: Graph, coupling: Coupling, ordered: Sequence[Order]) -> None:
        of_set = {int(one): n for n, order in enumerate(ordered) for one in order.family.sets}
        family_of = np.full(len(coupling.set_of) + 1, -1)
        for one, number in of_set.items():
            family_of[one] = number
        self._made: list[np.ndarray] = []  # sets along the last axis of what each layer makes
        self._read: list[np.ndarray] = []  # and of what it reads; none for a depthwise layer
        self._unit: list[float] = []
        self._layers_of: list[set[int]] = [set() for _ in ordered]
        for operator in graph.operators:
            macs = multiply_accumulates(graph, operator)
            if not macs or operator.outputs[0] not in coupling.numbers:
                continue
            source = operator.inputs[2 if operator.kind == "TRANSPOSE_CONV" else 0]
            made = coupling.sets(operator.outputs[0])
            read = coupling.sets(source) if operator.kind != "DEPTHWISE_CONV_2D" else made[:0]
            for number in {*family_of[made].tolist(), *family_of[read].tolist()} - {-1}:
                self._layers_of[number].add(len(self._unit))
            self._unit.append(macs / (len(made) * max(len(read), 1)))
            self._made.append(made)
            self._read.append(read)
        self.original = float(macs_of(graph))
        self._counts = [
            [float(len(a)), float(max(len(b), 1))] for a, b in zip(self._made, self._read, strict=True)
        ]
        self._rest = self.original - sum(self._of(n, c) for n, c in enumerate(self._counts))

    def macs(self) -> float:
        """Multiply-accumulates that are left now."""
        return self._rest + sum(self._of(n, counts) for n, counts in enumerate(self._counts))

    def macs_without(self, number: int, sets: np.ndarray, *, back: bool = False) -> float:
        """Multiply-accumulates that would be left if these sets of a family went, too, or came ``back``."""
        change = 0.0
        for layer, counts in self._counts_without(number, sets, back).items():
            change += self._of(layer, counts) - self._of(layer, self._counts[layer])
        return self.macs() + change

    def take(self, number: int, sets: np.ndarray, *, back: bool = False) -> None:
        """Lets these sets of a family go, or come ``back``."""
        for layer, counts in self._counts_without(number, sets, back).items():
            self._counts[layer] = counts

    def _counts_without(self, number: int, sets: np.ndarray, back: bool) -> dict[int, list[float]]:
        found, sign = {}, -1 if back else 1
        for layer in self._layers_of[number]:
            made = self._counts[layer][0] - sign * float(np.isin(self._made[layer], sets).sum())
            read = self._counts[layer][1] - sign * float(np.isin(self._read[layer], sets).sum())
            found[layer] = [made, read]
        return found

    def _of(self, layer: int, counts: Sequence[float]) -> float:
        return self._unit[layer] * counts[0] * counts[1]
