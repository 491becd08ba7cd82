"""Nats of loss that whole channels cost when they are removed, in the best order.

The layers that read a removed channel lose its part of their input. The cost is the error of their output, after their
other weights have compensated as well as they can, times the cost of errors there (Fisher information): Optimal Brain
Surgeon with a channel's columns in place of a weight (as in ZipLM, arXiv 2302.04089). Channels are removed one after
another, because of two equal ones only the first costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdk.compress.rewrite.coupled_channels import Coupling, Family
from sdk.compress.solve.calibrate import SolvedLayer, regular
from sdk.compress.solve.matrices import LayerShape
from sdk.compress.solve.statistics import (
    BATCH,
    MAX_POSITIONS,
    GraphRunner,
    Images,
    Moments,
    Sensitivity,
    chance_share,
    energy_off_diagonal,
    some_of,
)
from sdk.tools.progress import Progress, silent

KERNEL_WIDTH = 8  # channels that a matrix kernel makes at once: counts stay multiples of it
NARROW = 16  # families of fewer sets go by fours, or one by one
FINE_COLUMNS = 512  # of a layer; up to this many one channel goes at a time
MOST_COLUMNS = 5000  # of a layer whose channels are chosen: its inverse must be held


@dataclass(frozen=True, eq=False)
class Order:
    """How the sets of a family go: ``chunks`` of sets, each after those before it, and the nats that each costs."""

    family: Family
    chunks: tuple[np.ndarray, ...]
    nats: tuple[float, ...]


@dataclass(eq=False)
class _Reader:
    """A layer in the state that it is in while channels go: weights times the root of what errors cost, and the inverse
    covariance of its columns."""

    sets: np.ndarray  # (groups, columns): the set that each column reads
    weights: np.ndarray  # (groups, rows, columns)
    inverse: np.ndarray  # (groups, columns, columns)

    def costs(self, sets: np.ndarray) -> np.ndarray:
        """Nats that each of these sets would cost alone, (sets,)."""
        found = np.zeros(len(sets))
        place = {int(one): n for n, one in enumerate(sets)}
        for group, of_column in enumerate(self.sets):
            columns: dict[int, list[int]] = {}
            for column, one in enumerate(of_column.tolist()):
                if one in place:
                    columns.setdefault(one, []).append(column)
            for size in {len(c) for c in columns.values()}:
                chosen = [(place[one], c) for one, c in columns.items() if len(c) == size]
                where = np.array([c for _, c in chosen])
                blocks = self.inverse[group][where[:, :, None], where[:, None, :]]
                weights = np.moveaxis(self.weights[group][:, where], 0, 2)  # (sets, columns, rows)
                losses = (weights * np.linalg.solve(blocks, weights)).sum(axis=(1, 2))
                np.add.at(found, [n for n, _ in chosen], losses)
        return found

    def take(self, sets: np.ndarray) -> float:
        """Takes these sets out, and lets the other columns make up for them; the nats that are lost."""
        lost = 0.0
        for group, of_column in enumerate(self.sets):
            gone = np.flatnonzero(np.isin(of_column, sets))
            if not len(gone):
                continue
            inverse, weights = self.inverse[group], self.weights[group]
            missed = np.linalg.solve(
                inverse[np.ix_(gone, gone)], np.concatenate([weights[:, gone].T, inverse[gone]], 1)
            )
            of_weights, of_columns = missed[:, : len(weights)], missed[:, len(weights) :]
            lost += float((weights[:, gone].T * of_weights).sum())
            weights -= of_weights.T @ inverse[gone]
            inverse -= inverse[:, gone] @ of_columns
            weights[:, gone] = 0
            inverse[gone] = inverse[:, gone] = 0
            inverse[gone, gone] = 1  # safe to invert, and of no weight
        return lost


def orders(
    coupling: Coupling,
    layers: Sequence[SolvedLayer],
    seen: Mapping[int, Moments],
    fisher: Mapping[int, Sensitivity],
    progress: Progress = silent,
) -> list[Order]:
    """For each family that solved layers alone read, the order in which its sets are best taken out."""
    readers = {layer.weight.operator_index: _columns(coupling, layer) for layer in layers}
    found = []
    for number, family in enumerate(coupling.families):
        progress("channels", number, len(coupling.families))
        mine = [layer for layer in layers if np.isin(readers[layer.weight.operator_index], family.sets).any()]
        if mine and all(layer.weight.operator_index in seen for layer in mine):
            found.append(_order(family, [_reader(layer, readers, seen, fisher) for layer in mine]))
    progress("channels", len(coupling.families), len(coupling.families))
    return found


def _columns(coupling: Coupling, layer: SolvedLayer) -> np.ndarray:
    """The set that each column of a layer reads, (groups, columns); -1 in a depthwise layer, which reads none."""
    shape = layer.shape
    if shape.kind == "DEPTHWISE_CONV_2D":
        return np.full((shape.groups, shape.columns), -1)
    return column_sets(coupling.sets(layer.source), shape)


def column_sets(sets: np.ndarray, shape: LayerShape) -> np.ndarray:
    """The set of each column, (groups, columns), of a layer that reads channels of these ``sets``."""
    if shape.kind == "DEPTHWISE_CONV_2D":
        return np.repeat(sets[:, None], shape.columns, axis=1)
    of_group = sets.reshape(shape.groups, -1)
    return np.tile(of_group, (1, shape.columns // of_group.shape[1]))


def _reader(
    layer: SolvedLayer,
    readers: Mapping[int, np.ndarray],
    seen: Mapping[int, Moments],
    fisher: Mapping[int, Sensitivity],
) -> _Reader:
    index = layer.weight.operator_index
    moments = seen[index]
    costs = np.ones(layer.shape.channels)
    covariance = regular(moments, moments.covariance)
    if (sensitivity := fisher.get(index)) is not None:
        costs = sensitivity.channels * sensitivity.coherence(covariance, moments.teacher_mean)
    root = np.sqrt(np.maximum(costs, 0) / 2).reshape(layer.shape.groups, layer.shape.rows)
    weights = layer.shape.unfold(layer.weight.array).astype(np.float64) * root[..., None]
    return _Reader(readers[index], weights, np.linalg.inv(covariance))


def _order(family: Family, readers: Sequence[_Reader]) -> Order:
    """Takes sets out one after another, those that cost least first, until one chunk is left."""
    widest = max(reader.sets.shape[1] for reader in readers)
    left = [list(cell.tolist()) for cell in family.cells]
    chunks, nats = [], []
    for size in chunk_sizes(family):
        taken: list[int] = []
        lost = 0.0
        several = len(family.cells) > 1
        at_once = size if several else min(size, -(-widest // FINE_COLUMNS))
        while len(taken) < size * sum(family.taken):
            going: list[int] = []
            for cell, count in zip(left, family.taken, strict=True):
                costs = sum(reader.costs(np.array(cell)) for reader in readers)
                wanted = count * (size if several else min(at_once, size - len(taken)))
                cheapest = np.argsort(np.asarray(costs), kind="stable")[:wanted]
                going += [cell[n] for n in cheapest]
                for one in going[-wanted:]:
                    cell.remove(one)
            lost += sum(reader.take(np.array(going)) for reader in readers)
            taken += going
        chunks.append(np.array(taken, np.int64))
        nats.append(lost)
    return Order(family, tuple(chunks), tuple(nats))


def chunk_sizes(family: Family) -> list[int]:
    """Steps of a family that go together, so that the number of channels that is left is one that kernels like."""
    if len(family.cells) > 1:
        return [1] * family.steps
    count = len(family.cells[0])
    width = KERNEL_WIDTH if count >= NARROW else 4 if count >= KERNEL_WIDTH else 1
    sizes = [count % width] if count % width else []
    return sizes + [width] * (count // width - 1)


def seen_by(
    runner: GraphRunner,
    layers: Sequence[SolvedLayer],
    images: Images,
    count: int,
    progress: Progress = silent,
) -> dict[int, Moments]:
    """The inputs of layers on these images, by operator number; without depthwise and too wide layers."""
    wanted = [
        layer
        for layer in layers
        if layer.shape.kind != "DEPTHWISE_CONV_2D" and layer.shape.columns <= MOST_COLUMNS
    ]
    sums: dict[int, list[np.ndarray]] = {}
    totals: dict[int, int] = {}
    batches = range(0, count, BATCH)
    most = -(-MAX_POSITIONS // len(batches))
    for number, start in enumerate(batches):
        progress("channels", start, count)
        batch = images(range(start, min(start + BATCH, count)))
        values = runner.run({runner.graph.inputs[0]: batch}, wanted={layer.source for layer in wanted})
        for layer in wanted:
            index, value = layer.weight.operator_index, values[layer.source]
            there = int(np.prod(layer.shape.positions(value)))
            keep = some_of(there, most, number)
            columns = np.swapaxes(layer.shape.patches(value, keep), 0, 1)
            second = np.swapaxes(columns, 1, 2) @ columns
            parts = [columns.sum(1, np.float64), second, energy_off_diagonal(second / columns.shape[1])]
            sums[index] = [a + b for a, b in zip(sums[index], parts, strict=True)] if index in sums else parts
            totals[index] = totals.get(index, 0) + columns.shape[1]
    return {index: _moments(parts, totals[index], len(batches)) for index, parts in sums.items()}


def _moments(sums: Sequence[np.ndarray], total: int, batches: int) -> Moments:
    """Moments of a network beside itself."""
    mean, second = (part.astype(np.float64) / total for part in sums[:2])
    covariance = second - mean[:, :, None] * mean[:, None, :]
    noise = chance_share(sums[2] / batches, second, covariance, batches)
    energy = np.trace(second, axis1=1, axis2=2) / second.shape[1]
    return Moments(mean, mean, covariance, covariance, covariance, energy, noise)
