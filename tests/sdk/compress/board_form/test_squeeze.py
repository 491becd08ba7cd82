"""Squeeze and excitation in the form of the sparse path: same answers, no mean inside, constants with four axes."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.board_form.squeeze import constants_with_four_axes, inner_means_as_depthwise
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import Layers, assert_answers_alike, kinds


@pytest.mark.parametrize("reshaped", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "steps"),
    [(1, 1, 1), (2, 2, 1), (3, 2, 2), (7, 7, 3), (8, 8, 3), (5, 17, 5), (56, 1, 6)],
)
def test_a_mean_inside_is_a_sum_of_blocks_of_2x2(height: int, width: int, steps: int, reshaped: bool) -> None:
    net = Layers(1, height, width, 8)
    graph = net.graph(net.dense(net.mean(net.squeeze(net.conv(net.image, 8), reshaped=reshaped)), 10))
    made = inner_means_as_depthwise(graph)
    assert kinds(made).count("DEPTHWISE_CONV_2D") == steps
    assert kinds(made).count("MEAN") == 1
    assert kinds(made).count("RESHAPE") == 0
    assert_answers_alike(graph, made)


def test_the_last_mean_stays_and_so_does_one_that_somebody_else_reads() -> None:
    net = Layers(1, 8, 8, 4)
    inner = net.mean(net.image)
    graph = net.graph(net.dense(inner, 3), net.mean(net.conv(net.image, 4)))
    assert write_graph(inner_means_as_depthwise(graph)) == write_graph(graph)


def test_a_mean_over_something_else_than_space_stays() -> None:
    net = Layers(1, 8, 8, 4)
    axes = net.constant(np.array([3], np.int32))
    inner = net.append("MEAN", (net.image, axes), (1, 8, 8, 1), "ReducerOptions", keepDims=True)
    graph = net.graph(net.mean(net.conv(inner, 4)))
    assert write_graph(inner_means_as_depthwise(graph)) == write_graph(graph)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (6,), (1, 6), (1, 1, 6), (1, 1, 1, 6)])
def test_a_number_or_one_for_each_channel_comes_first_with_four_axes(shape: tuple[int, ...]) -> None:
    net = Layers(1, 5, 5, 6)
    x = net.add(net.image, net.random(*shape))
    graph = net.graph(net.mean(net.multiply(x, net.random(*shape))))
    made = constants_with_four_axes(graph)
    for operator in made.operators[:2]:
        constant, value = (made.tensors[t] for t in operator.inputs)
        assert constant.shape == (1, 1, 1, constant.elements)
        assert constant.data is not None
        assert value.data is None
    assert_answers_alike(graph, made, tolerance=0)


@pytest.mark.parametrize("shape", [(5, 1), (5, 5, 1), (1, 5, 5, 6)])
def test_a_constant_that_differs_from_place_to_place_stays(shape: tuple[int, ...]) -> None:
    net = Layers(1, 5, 5, 6)
    graph = net.graph(net.mean(net.add(net.image, net.random(*shape))))
    assert write_graph(constants_with_four_axes(graph)) == write_graph(graph)
