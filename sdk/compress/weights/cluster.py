"""Weight sharing: every weight of a layer becomes one of few centroids (Deep Compression, arXiv 1510.00149, section 3).

k-means in one dimension with the paper's linear initialisation, which serves the rare large weights better than random
or density-based starts. Zero is a centroid of its own that attracts nothing and does not move, so pruned weights stay
pruned and no other becomes zero.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from sdk.compress.weights.selection import PRUNED_LAYERS, float_weights, pruned_weights
from sdk.errors import ModelError
from sdk.graph.records import Graph

MAX_CENTROIDS = 256  # the package numbers them with one byte
MAX_ITERATIONS = 300  # Lloyd's iterations; on weights it settles after some tens


def cluster(
    graph: Graph,
    clusters: int,
    *,
    layers: Collection[str] = PRUNED_LAYERS,
    skip_first: bool = True,
    own: Mapping[int, int] | None = None,
) -> Graph:
    """Replaces the weights of each selected layer by at most ``clusters`` centroids, zero included where it occurs.

    ``own``: the numbers of single layers of any kind, by their weight's tensor number; ``clusters`` may be 0.
    Raises :class:`ModelError` for a number of clusters outside 2 ... 256.
    """
    own = own or {}
    for number in (clusters, *own.values()) if clusters or not own else own.values():
        check_clusters(number)
    numbers = {}
    if clusters:
        numbers = {w.tensor_index: clusters for w in pruned_weights(graph, layers, skip_first=skip_first)}
    numbers |= own
    return graph.with_data(
        {
            w.tensor_index: cluster_array(w.array, numbers[w.tensor_index])
            for w in float_weights(graph)
            if w.tensor_index in numbers
        }
    )


def check_clusters(number: int, effort: str = "") -> None:
    """Raises :class:`ModelError` for a number of centroids per layer that an effort cannot give.

    Zero, for no limit, is one of them but in training, whose weights are always shared; without an effort they are to
    be shared, too. Solved weights lie on a grid around zero, which has no fewer than three values.
    """
    least, unlimited = 3 if effort == "calibrate" else 2, effort not in ("", "train")
    if least <= number <= MAX_CENTROIDS or (number == 0 and unlimited):
        return
    raise ModelError(
        "the number of clusters is out of range",
        expected=f"{least} to {MAX_CENTROIDS}" + (", or 0 for no limit" if unlimited else ""),
        found=str(number),
    )


def cluster_array(array: np.ndarray, clusters: int) -> np.ndarray:
    """A float array of the same shape and type, its non-zero values moved to k-means centroids."""
    flat = array.ravel()
    nonzero = flat != 0.0
    values = flat[nonzero]
    budget = clusters - (0 if nonzero.all() else 1)  # one number is zero's
    shared = np.zeros_like(flat)
    if values.size:
        centroids = kmeans_1d(values, budget).astype(np.float32)
        shared[nonzero] = centroids.astype(array.dtype)[nearest(values, centroids)]
    return shared.reshape(array.shape)


def kmeans_1d(values: np.ndarray, clusters: int) -> np.ndarray:
    """Centroids of Lloyd's algorithm from a linear initialisation: (k,) float64, ascending, k at most ``clusters``.

    ``values`` are (n,).  In one dimension the clusters are intervals, so sorted values with prefix sums give each step
    in O(clusters log n).  A cluster that no value is nearest to is dropped.
    """
    ordered = np.sort(values.astype(np.float64))
    distinct = np.unique(ordered)
    if distinct.size <= clusters:
        return distinct
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    centroids = np.linspace(ordered[0], ordered[-1], clusters)
    for _ in range(MAX_ITERATIONS):
        edges = np.searchsorted(ordered, (centroids[:-1] + centroids[1:]) / 2)
        bounds = np.concatenate(([0], edges, [ordered.size]))
        counts = np.diff(bounds)
        kept = counts > 0
        means = np.where(kept, np.diff(sums[bounds]) / np.maximum(counts, 1), centroids)
        if np.array_equal(means, centroids):
            break
        centroids = means
    return centroids[kept]


def nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """For each value, of any shape, the number of its nearest centroid, int64.

    ``centroids`` (k,) ascend; of two equally near the lower one is taken.
    """
    middles = (centroids[:-1].astype(np.float64) + centroids[1:].astype(np.float64)) / 2
    return np.searchsorted(middles, values.astype(np.float64))
