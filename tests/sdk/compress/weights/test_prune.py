"""Magnitude pruning takes exactly the smallest weights, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sdk.compress.weights.prune import prune, prune_array
from sdk.compress.weights.selection import select_weights
from sdk.errors import ModelError
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

finite = st.floats(-4, 4, width=32, allow_subnormal=False)
weight_arrays = arrays(np.float32, array_shapes(max_dims=4, max_side=8), elements=finite)
shares = st.floats(0, 0.999)


def arrays_by_layer(graph: Graph) -> dict[str, np.ndarray]:
    return {w.tensor.name: w.array for w in graph.weights()}


@given(weight_arrays, shares)
def test_at_least_the_floor_of_the_share_becomes_zero_and_no_other_weight_changes(
    array: np.ndarray, sparsity: float
) -> None:
    pruned = prune_array(array, sparsity)
    assert pruned.shape == array.shape
    assert pruned.dtype == array.dtype
    changed = pruned != array
    assert not pruned[changed].any()
    count = int(np.floor(sparsity * array.size))
    zeros_before = int((array == 0).sum())
    assert int((pruned == 0).sum()) == max(count, zeros_before)


@given(weight_arrays, shares)
def test_every_weight_that_stays_is_at_least_as_large_as_every_one_that_went(
    array: np.ndarray, sparsity: float
) -> None:
    pruned = prune_array(array, sparsity)
    gone = np.abs(array[pruned == 0])
    kept = np.abs(array[pruned != 0])
    if gone.size and kept.size:
        assert gone.max() <= kept.min()


@given(weight_arrays, shares, shares)
def test_more_sparsity_prunes_a_superset(array: np.ndarray, first: float, second: float) -> None:
    low, high = sorted((first, second))
    gone_low, gone_high = prune_array(array, low) == 0, prune_array(array, high) == 0
    assert (gone_low <= gone_high).all()


def test_ties_are_broken_by_position_so_that_the_count_is_exact() -> None:
    pruned = prune_array(np.full((2, 5), 0.5, np.float32), 0.5)
    assert pruned.ravel().tolist() == [0.0] * 5 + [0.5] * 5


def test_the_first_layer_depthwise_layers_and_biases_stay_as_they_are() -> None:
    graph = small_network()
    before, after = arrays_by_layer(graph), arrays_by_layer(prune(graph, 0.9))
    for name in ("stem/weight", "depthwise/weight"):
        np.testing.assert_array_equal(before[name], after[name])
    for old, new in zip(graph.tensors, prune(graph, 0.9).tensors, strict=True):
        if "bias" in old.name:
            np.testing.assert_array_equal(old.data, new.data)
    assert {w.tensor.name for w in select_weights(graph)} == {"pointwise/weight", "classifier/weight"}


@pytest.mark.parametrize("scope", ["layer", "global"])
@given(sparsity=shares)
@settings(max_examples=25)
def test_the_count_is_exact_in_each_scope(scope: str, sparsity: float) -> None:
    graph = small_network()
    pruned = prune(graph, sparsity, scope=scope)
    sizes = [w.array.size for w in select_weights(graph)]
    zeros = [int((w.array == 0).sum()) for w in select_weights(pruned)]
    if scope == "layer":
        assert zeros == [int(np.floor(sparsity * n)) for n in sizes]
    else:
        assert sum(zeros) == int(np.floor(sparsity * sum(sizes)))


def test_global_scope_takes_more_from_the_layer_with_smaller_weights() -> None:
    graph = small_network()
    small = next(w for w in graph.weights() if w.tensor.name == "classifier/weight")
    graph = graph.with_data({small.tensor_index: small.array / 100})
    pruned = arrays_by_layer(prune(graph, 0.5, scope="global"))
    assert not pruned["classifier/weight"].any()
    assert (pruned["pointwise/weight"] == 0).mean() < 0.5


def test_the_same_call_gives_the_same_bytes_and_leaves_its_input_alone() -> None:
    graph = small_network()
    before = write_graph(graph)
    assert write_graph(prune(graph, 0.7)) == write_graph(prune(graph, 0.7))
    assert write_graph(graph) == before


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ModelError, match="sparsity"):
        prune(small_network(), sparsity)


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ModelError, match="scope"):
        prune(small_network(), 0.5, scope="block")


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("block", [2, 4])
def test_pairs_of_1x1_weights_go_together_and_fours_in_every_layer_but_depthwise_ones(
    scope: str, block: int
) -> None:
    graph = prune(small_network(channels=15), 0.6, scope=scope, block=block)
    layers = arrays_by_layer(graph)
    pointwise = layers["pointwise/weight"]
    whole = len(pointwise) // block * block  # channels that are left over stay by themselves
    used = pointwise[:whole].reshape(-1, block, pointwise.shape[-1]) != 0
    assert (used.any(axis=1) == used.all(axis=1)).all()
    classifier = layers["classifier/weight"]
    whole = len(classifier) // block * block
    used = classifier[:whole].reshape(-1, block, classifier.shape[-1]) != 0
    alone = used.any(axis=1) != used.all(axis=1)
    assert alone.any() if block == 2 else not alone.any()
    both = np.concatenate([pointwise.ravel(), classifier.ravel()])
    assert (both == 0).mean() == pytest.approx(0.6, abs=block / both.size + 0.005)
