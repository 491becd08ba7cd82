"""What makes the inputs of a layer uncorrelated and equally large, so that one rate of learning suits all its weights.

In networks whose batch norm is folded, channels differ by orders of magnitude; a training that knows nothing of it is
too fast for some weights and too slow for others. With inputs ``x`` of covariance C the layer computes
``V (C + d)^(-1/2) (x - mean)``, and V learns: the part of the natural gradient that comes from inputs (as in K-FAC,
arXiv 1503.05671), for inputs as they are before the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdk.compress.solve.calibrate import SolvedLayer
from sdk.compress.solve.statistics import BATCH, GraphRunner, Images, some_of

SEEN_ON = 64  # images
POSITIONS = 40_000  # of a layer, at most: a covariance of 1,000 columns is known well enough
DAMPING = 0.01  # of the columns' mean variance
MOST_COLUMNS = 2048  # that are made uncorrelated; of wider layers parts of at most so many


@dataclass(frozen=True, eq=False)
class Whitening:
    """Of one layer: ``mean`` (parts, width) float32, and ``white`` (parts, width, width) float32, symmetric: it makes
    what varies about the mean of about unit covariance. ``back`` is its inverse. The columns of a group are one part,
    or parts of equal width one after the other where they are too many."""

    mean: np.ndarray
    white: np.ndarray
    back: np.ndarray


def whitenings(
    runner: GraphRunner, layers: Sequence[SolvedLayer], images: Images, count: int
) -> dict[int, Whitening]:
    """The whitening of each of these layers, by operator number, as ``count`` images tell."""
    seen: dict[int, list[np.ndarray]] = {}
    batches = range(0, min(count, SEEN_ON), BATCH)
    most = -(-POSITIONS // max(len(batches), 1))
    for number, start in enumerate(batches):
        batch = images(range(start, min(start + BATCH, count)))
        values = runner.run({runner.graph.inputs[0]: batch}, wanted={layer.source for layer in layers})
        for layer in layers:
            there = int(np.prod(layer.shape.positions(values[layer.source])))
            keep = some_of(there, most, number)
            columns = _by_part(np.swapaxes(layer.shape.patches(values[layer.source], keep), 0, 1))
            sums = [
                np.full(1, columns.shape[1], np.float64),
                columns.sum(1, np.float64),
                (np.swapaxes(columns, 1, 2) @ columns).astype(np.float64),
            ]
            index = layer.weight.operator_index
            seen[index] = [a + b for a, b in zip(seen[index], sums, strict=True)] if index in seen else sums
    return {index: _whitening(*sums) for index, sums in seen.items()}


def _by_part(columns: np.ndarray) -> np.ndarray:
    """Columns (groups, positions, columns) as (parts, positions, width), of the least number of parts that will do."""
    groups, positions, count = columns.shape
    parts = next(n for n in range(-(-count // MOST_COLUMNS), count + 1) if count % n == 0)
    apart = columns.reshape(groups, positions, parts, count // parts)
    return np.swapaxes(apart, 1, 2).reshape(groups * parts, positions, count // parts)


def _whitening(total: np.ndarray, sums: np.ndarray, second: np.ndarray) -> Whitening:
    mean = sums / total
    covariance = second / total - mean[:, :, None] * mean[:, None, :]
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0)
    damping = np.maximum(DAMPING * values.mean(axis=1, keepdims=True), 1e-8)
    roots = np.sqrt(values + damping)[:, None, :]
    across = np.swapaxes(vectors, 1, 2)
    white, back = (vectors / roots) @ across, (vectors * roots) @ across
    return Whitening(*(array.astype(np.float32) for array in (mean, white, back)))
