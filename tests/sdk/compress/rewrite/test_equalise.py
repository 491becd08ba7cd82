"""Equalised channels: the same answers, ranges alike, and nothing done where an activation forbids it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.rewrite.equalise import equalise, pairs
from sdk.compress.weights.cluster import cluster
from sdk.graph.enums import RELU, RELU6
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import interpret, small_network


def network(activation: int) -> Graph:
    """The small network with channels of very unlike size, the same in what it answers but for the activation."""
    plain = small_network(channels=16)
    operators = tuple(
        op.with_options(fusedActivationFunction=activation)
        if op.options.get("fusedActivationFunction") == RELU6
        else op
        for op in plain.operators
    )
    return replace(plain, operators=operators)


def unlike(graph: Graph) -> Graph:
    sizes = np.exp(np.random.default_rng(0).normal(0, 1.5, 16)).astype(np.float32)
    data = {t: np.array(graph.tensors[t].data) for t in (1, 2, 4)}
    return graph.with_data({1: data[1] / sizes[:, None, None, None], 2: data[2] / sizes, 4: data[4] * sizes})


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)


def test_every_layer_of_a_relu_network_is_paired_with_the_next() -> None:
    assert pairs(network(RELU)) == [(0, 1), (1, 2), (2, 4)]


def test_relu6_is_left_alone() -> None:
    graph = network(RELU6)
    assert pairs(graph) == []
    assert write_graph(equalise(graph)) == write_graph(graph)


def test_a_value_that_two_read_is_left_alone() -> None:
    graph = network(RELU)
    seen = replace(graph, outputs=(*graph.outputs, 3), signatures=())
    assert pairs(seen) == [(1, 2), (2, 4)]


def test_the_answers_stay_and_the_ranges_of_makers_and_readers_become_equal() -> None:
    graph = unlike(network(RELU))
    made = equalise(graph)
    np.testing.assert_allclose(
        interpret(write_graph(made), image()), interpret(write_graph(graph), image()), rtol=1e-4, atol=1e-5
    )
    pointwise, classifier = made.tensors[7].data, made.tensors[12].data
    assert pointwise is not None
    assert classifier is not None
    np.testing.assert_allclose(
        np.abs(pointwise).reshape(32, -1).max(axis=1), np.abs(classifier).max(axis=0), rtol=1e-2
    )


def test_a_channel_without_weights_stays_as_it_is() -> None:
    graph = unlike(network(RELU))
    weight = np.array(graph.tensors[7].data)
    weight[3] = 0
    made = equalise(graph.with_data({7: weight}))
    assert all(np.isfinite(w.array).all() for w in made.weights())


@pytest.mark.parametrize("seed", [1, 2])
def test_few_centroids_fit_unlike_channels_better_once_they_are_alike(seed: int) -> None:
    graph = unlike(network(RELU))
    expected = interpret(write_graph(graph), image(seed))

    def error(source: Graph) -> float:
        shared = cluster(source, 8, layers=("convolution", "depthwise", "convolution 1x1"), skip_first=False)
        return float(np.square(interpret(write_graph(shared), image(seed)) - expected).mean())

    assert error(equalise(graph)) < error(graph)
