"""Which channels go, so that a share of the work does, and the weights of what is left, solved on images.

The families' channels are ordered by what they cost (:mod:`sdk.compress.solve.channel_costs`); across families those go
next that cost the fewest nats for each multiply-accumulate that they save.  Then, layer by layer in the order of
execution, the weights that are left come as close to the original's output as they can, on what the smaller network
makes of the images (as in He et al., arXiv 1707.06168), and biases make the mean of every output exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdk.compress.rewrite.coupled_channels import Coupling, coupled_channels
from sdk.compress.rewrite.cut_channels import cut_channels
from sdk.compress.rewrite.structure import multiply_accumulates
from sdk.compress.solve.calibrate import (
    made_up_for,
    output_sensitivities,
    regular,
    solved_layers,
    with_biases,
)
from sdk.compress.solve.channel_costs import Order, column_sets, orders, seen_by
from sdk.compress.solve.statistics import GraphRunner, Images, Moments, Streams
from sdk.errors import ModelError
from sdk.graph.execute import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

COUNTED_ON = 256  # images that tell what channels cost


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A graph with fewer channels: what it computes the more cheaply, and the nats that it was expected to cost."""

    graph: Graph
    macs: int
    original_macs: int
    expected_loss_nats: float


def macs_of(graph: Graph) -> int:
    """Multiply-accumulates of one inference, of the layers whose channels may go."""
    return sum(multiply_accumulates(graph, operator) for operator in graph.operators)


def narrowed(
    runner: GraphRunner,
    images: Images,
    count: int,
    share: float,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Narrowed:
    """The graph without so many channels that at least ``share`` of its multiply-accumulates is gone.

    ``runner`` runs a graph :func:`~sdk.compress.solve.calibrate.with_biases`.  Raises :class:`ModelError` where no
    channels may go, and where all that may are not enough.
    """
    graph = runner.graph
    coupling = coupled_channels(graph)
    before = macs_of(graph)
    if not coupling.families:
        chosen(graph, coupling, (), (1 - share) * before)
    layers = solved_layers(graph)
    few = min(count, COUNTED_ON)
    seen = seen_by(runner, layers, images, few, progress)
    fisher = output_sensitivities(runner, images, few, seed=seed, progress=progress)
    ordered = orders(coupling, layers, seen, fisher, progress)
    gone, nats = chosen(graph, coupling, ordered, (1 - share) * before)
    constants = solved_without(runner, images, count, coupling, gone, progress)
    cut = cut_channels(graph.with_data(constants), coupling, gone)
    return Narrowed(cut, macs_of(cut), before, nats)


def chosen(
    graph: Graph, coupling: Coupling, ordered: Sequence[Order], most_macs: float
) -> tuple[np.ndarray, float]:
    """The sets that go, (n,), so that at most so many multiply-accumulates are left, and the nats that they cost."""
    work = _Work(graph, coupling, ordered)
    done = [0] * len(ordered)
    nats = 0.0
    left = work.macs()
    while left > most_macs:
        best, saved = None, 0.0
        cheapest = np.inf
        for number, order in enumerate(ordered):
            if done[number] == len(order.chunks):
                continue
            saves = left - work.macs_without(number, order.chunks[done[number]])
            price = order.nats[done[number]] / max(saves, 1e-9)
            if saves > 0 and price < cheapest:
                best, saved, cheapest = number, saves, price
        if best is None:
            raise ModelError(
                "so many channels cannot go",
                expected=f"at most {100 * (1 - left / work.original):.0f} % of the multiply-accumulates",
                found=f"{100 * (1 - most_macs / work.original):.0f} %",
                hint="Ask for less with --channels."
                if ordered
                else "No layer's channels may go: each is an output, or mixed in a way that is not known.",
            )
        work.take(best, ordered[best].chunks[done[best]])
        nats += ordered[best].nats[done[best]]
        done[best] += 1
        left -= saved
    sets = [chunk for order, n in zip(ordered, done, strict=True) for chunk in order.chunks[:n]]
    return np.concatenate(sets) if sets else np.zeros(0, np.int64), nats


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
        self._gone = np.zeros(len(coupling.set_of) + 1, bool)

    def macs(self) -> float:
        """What is left now."""
        return self._rest + sum(self._of(n, counts) for n, counts in enumerate(self._counts))

    def macs_without(self, number: int, sets: np.ndarray) -> float:
        """What would be left if these sets of a family went, too."""
        change = 0.0
        for layer, counts in self._counts_without(number, sets).items():
            change += self._of(layer, counts) - self._of(layer, self._counts[layer])
        return self.macs() + change

    def take(self, number: int, sets: np.ndarray) -> None:
        """Lets these sets of a family go."""
        for layer, counts in self._counts_without(number, sets).items():
            self._counts[layer] = counts

    def _counts_without(self, number: int, sets: np.ndarray) -> dict[int, list[float]]:
        found = {}
        for layer in self._layers_of[number]:
            made = self._counts[layer][0] - float(np.isin(self._made[layer], sets).sum())
            read = self._counts[layer][1] - float(np.isin(self._read[layer], sets).sum())
            found[layer] = [made, read]
        return found

    def _of(self, layer: int, counts: Sequence[float]) -> float:
        return self._unit[layer] * counts[0] * counts[1]


def solved_without(
    runner: GraphRunner,
    images: Images,
    count: int,
    coupling: Coupling,
    gone: np.ndarray,
    progress: Progress = silent,
) -> dict[int, np.ndarray]:
    """Weights and biases by tensor number, of the whole graph's shapes, that make up for the sets ``gone``, (n,).

    Weights that make or read those are zero.
    """
    graph = runner.graph
    layers = solved_layers(graph)
    streams = Streams(runner, images, count)
    constants: dict[int, np.ndarray] = {}
    begun = False
    for number, layer in enumerate(layers):
        progress("solve", number, len(layers))
        operator = graph.operators[layer.weight.operator_index]
        made = np.isin(coupling.sets(operator.outputs[0]), gone)
        read = np.isin(coupling.sets(layer.source), gone)
        bias = np.array(graph.tensors[layer.bias].data, np.float64)
        matrices = layer.shape.unfold(layer.weight.array).astype(np.float64)
        begun |= bool(read.any())
        if begun:  # up to here the two networks are one
            streams.advance(layer.weight.operator_index, constants)
            moments = streams.moments(layer.shape, layer.source)
            columns = column_sets(coupling.sets(layer.source), layer.shape)
            matrices, moved = _solved(matrices, moments, ~np.isin(columns, gone))
            bias += moved
        matrices = matrices.reshape(layer.shape.channels, -1)
        matrices[made] = 0
        bias[made] = 0
        folded = layer.shape.fold(matrices.reshape(layer.shape.groups, layer.shape.rows, -1))
        constants[layer.weight.tensor_index] = folded.astype(np.float32)
        constants[layer.bias] = bias.astype(np.float32)
    progress("solve", len(layers), len(layers))
    return constants


def _solved(weights: np.ndarray, moments: Moments, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights (groups, rows, columns) of the columns that are ``kept`` (groups, columns), zero elsewhere, and what
    is added to the bias (groups * rows,)."""
    count = int(kept.sum(axis=1).max())
    solved = np.zeros_like(weights)
    if count:
        # A depthwise channel that went has no columns left: it is solved with what it had, and zeroed below.
        places = np.argsort(~kept, axis=1, kind="stable")[:, :count]
        across = places[:, None, :]
        student = np.take_along_axis(moments.student_mean, places, 1)
        covariance = np.take_along_axis(
            np.take_along_axis(moments.covariance, places[:, :, None], 1), across, 2
        )
        cross = np.take_along_axis(moments.cross, across, 2)
        energy = moments.energy * kept.shape[1] / count
        few = Moments(student, moments.teacher_mean, covariance, cross, covariance, energy, moments.noise)
        beginning = np.take_along_axis(weights, across, 2)
        missing = (weights @ cross - beginning @ covariance) * (1 - moments.noise)[:, None, None]
        found = beginning + made_up_for(missing, regular(few, covariance))
        np.put_along_axis(solved, np.broadcast_to(across, found.shape), found, 2)
        solved *= kept[:, None, :]
    reached = solved @ moments.student_mean[..., None]
    return solved, (weights @ moments.teacher_mean[..., None] - reached).reshape(-1)


def narrow(graph: Graph, dataset: Dataset, share: float, seed: int, progress: Progress) -> Narrowed:
    """:func:`narrowed` of any graph, on all images of a data set."""
    # In a mixed order, because folders are sorted by class and costs are counted on the first images alone.
    mixed = dataset.subset(np.random.default_rng(seed).permutation(len(dataset)))

    def images(samples: Sequence[int]) -> np.ndarray:
        return mixed.images(list(samples))

    return narrowed(Executor(with_biases(graph)), images, len(mixed), share, seed=seed, progress=progress)
