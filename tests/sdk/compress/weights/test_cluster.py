"""Weight sharing leaves few values, keeps zeros, and never does worse with more centroids than it must."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sdk.compress.weights.cluster import cluster, cluster_array, kmeans_1d, nearest
from sdk.compress.weights.prune import prune
from sdk.errors import ModelError
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

finite = st.floats(-4, 4, width=32, allow_subnormal=False)
weight_arrays = arrays(np.float32, array_shapes(max_dims=4, max_side=8), elements=finite)
cluster_counts = st.integers(2, 40)


def squared_error(values: np.ndarray, centroids: np.ndarray) -> float:
    return float(((values - centroids[nearest(values, centroids)]) ** 2).sum())


@given(weight_arrays, cluster_counts)
def test_at_most_the_asked_number_of_values_is_left_and_zeros_are_exactly_where_they_were(
    array: np.ndarray, clusters: int
) -> None:
    shared = cluster_array(array, clusters)
    assert shared.shape == array.shape
    assert shared.dtype == np.float32
    assert np.unique(shared).size <= clusters
    np.testing.assert_array_equal(shared[array == 0], 0)


@given(weight_arrays, cluster_counts)
def test_clustering_twice_changes_nothing_more(array: np.ndarray, clusters: int) -> None:
    once = cluster_array(array, clusters)
    np.testing.assert_array_equal(cluster_array(once, clusters), once)


@given(weight_arrays)
def test_an_array_of_few_values_is_kept_exactly(array: np.ndarray) -> None:
    distinct = np.unique(array).size
    if 2 <= distinct + 1 <= 256:
        np.testing.assert_array_equal(cluster_array(array, max(distinct + 1, 2)), array)


@given(arrays(np.float64, st.integers(1, 200), elements=st.floats(-3, 3)), st.integers(1, 20))
def test_every_centroid_is_the_mean_of_the_values_nearest_to_it(values: np.ndarray, clusters: int) -> None:
    centroids = kmeans_1d(values, clusters)
    assert 1 <= centroids.size <= clusters
    assert (np.diff(centroids) >= 0).all()
    assert centroids[0] >= values.min() - 1e-12
    assert centroids[-1] <= values.max() + 1e-12
    members = nearest(values, centroids)
    for number in np.unique(members):
        np.testing.assert_allclose(centroids[number], values[members == number].mean(), atol=1e-9)


@given(arrays(np.float64, st.integers(2, 200), elements=st.floats(-3, 3)), st.integers(1, 20))
def test_the_error_is_never_above_that_of_the_linear_start(values: np.ndarray, clusters: int) -> None:
    start = np.linspace(values.min(), values.max(), clusters)
    assert squared_error(values, kmeans_1d(values, clusters)) <= squared_error(values, start) + 1e-9


def test_twice_the_centroids_halve_the_error_of_bell_shaped_weights_at_least() -> None:
    values = np.random.default_rng(0).normal(0, 1, 4000)
    errors = [squared_error(values, kmeans_1d(values, k)) for k in (2, 4, 8, 16, 32, 64)]
    assert all(finer < coarser / 2 for coarser, finer in pairwise(errors))


def test_nearest_agrees_with_comparing_every_distance() -> None:
    rng = np.random.default_rng(1)
    values, centroids = rng.normal(size=300), np.sort(rng.normal(size=9))
    expected = np.abs(values[:, None] - centroids).argmin(axis=1)
    np.testing.assert_array_equal(nearest(values, centroids), expected)


def test_layers_that_pruning_leaves_alone_are_left_alone_too() -> None:
    graph = small_network()
    shared = cluster(prune(graph, 0.5), 8)
    before = {w.tensor.name: w.array for w in graph.weights()}
    for weight in shared.weights():
        if weight.tensor.name in ("stem/weight", "depthwise/weight"):
            np.testing.assert_array_equal(weight.array, before[weight.tensor.name])
        else:
            assert 6 <= np.unique(weight.array).size <= 8
            assert (weight.array == 0).mean() == 0.5


def test_the_same_call_gives_the_same_bytes() -> None:
    assert write_graph(cluster(small_network(), 16)) == write_graph(cluster(small_network(), 16))


@pytest.mark.parametrize("clusters", [-1, 0, 1, 257])
def test_a_number_of_clusters_out_of_range_is_refused(clusters: int) -> None:
    with pytest.raises(ModelError, match="clusters"):
        cluster(small_network(), clusters)
