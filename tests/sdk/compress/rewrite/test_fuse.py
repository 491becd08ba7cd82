"""Fused and dropped operators change no answer, and what stays is what has work to do."""

from __future__ import annotations

import pytest

from sdk.compress.rewrite.fuse import fuse
from sdk.compress.rewrite.structure import never_negative
from sdk.graph.enums import NO_ACTIVATION, RELU, RELU6, SAME, VALID
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import (
    Layers,
    assert_answers_alike,
    kinds,
    small_mobilenet,
    small_shufflenet,
)


def test_a_shufflenet_keeps_no_activation_that_stands_alone() -> None:
    graph = small_shufflenet()
    fused = fuse(graph)
    assert "RELU" in kinds(graph)
    assert "RELU" not in kinds(fused)
    assert_answers_alike(graph, fused, tolerance=0)


@pytest.mark.parametrize(("kind", "number"), [("RELU", RELU), ("RELU6", RELU6)])
def test_an_activation_behind_a_sum_is_fused_into_it(kind: str, number: int) -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 8)
    graph = net.graph(net.mean(net.unary(kind, net.add(x, net.conv(x, 8, activation=NO_ACTIVATION)))))
    fused = fuse(graph)
    assert kinds(fused) == ["CONV_2D", "CONV_2D", "ADD", "MEAN"]
    assert fused.operators[2].options["fusedActivationFunction"] == number
    assert_answers_alike(graph, fused, tolerance=0)


def test_an_activation_is_not_fused_where_its_input_is_read_twice() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 8, activation=NO_ACTIVATION)
    graph = net.graph(net.mean(net.add(x, net.unary("RELU", x))))
    assert kinds(fuse(graph)) == kinds(graph)


def test_an_activation_behind_a_concatenation_goes_to_the_parts() -> None:
    net = Layers(1, 8, 8, 3)
    positive = net.conv(net.image, 8)
    signed = net.conv(net.image, 4, activation=NO_ACTIVATION)
    graph = net.graph(net.mean(net.unary("RELU", net.concatenate(positive, signed))))
    fused = fuse(graph)
    assert kinds(fused) == ["CONV_2D", "CONV_2D", "CONCATENATION", "MEAN"]
    assert [op.options["fusedActivationFunction"] for op in fused.operators[:2]] == [RELU, RELU]
    assert_answers_alike(graph, fused, tolerance=0)


def test_what_changes_nothing_is_dropped() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 8)
    x = net.unary("RELU", x)  # of what is never negative
    x = net.reshape(net.reshape(x, 1, 64, 8), 1, 8, 8, 8)  # there and back
    x = net.pad(x, (0, 0), (0, 0), (0, 0), (0, 0))
    x = net.transpose(x, 0, 1, 2, 3)
    graph = net.graph(net.mean(net.concatenate(x)))
    fused = fuse(graph)
    assert kinds(fused) == ["CONV_2D", "MEAN"]
    assert_answers_alike(graph, fused, tolerance=0)


@pytest.mark.parametrize(
    ("amounts", "stride", "padding"),
    [((1, 1), 1, SAME), ((0, 1), 2, SAME), ((1, 1), 2, VALID), ((1, 0), 2, VALID)],
)
def test_a_pad_is_dropped_only_where_same_adds_as_much(
    amounts: tuple[int, int], stride: int, padding: int
) -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 8)
    x = net.depthwise(net.pad(x, (0, 0), amounts, amounts, (0, 0)), stride=stride, padding=VALID)
    graph = net.graph(net.mean(x))
    fused = fuse(graph)
    assert ("PAD" in kinds(fused)) == (padding == VALID)
    assert fused.operators[-2].options["padding"] == padding
    assert_answers_alike(graph, fused)


@pytest.mark.parametrize("activation", [RELU, NO_ACTIVATION])
def test_a_pad_before_a_max_pool_is_dropped_only_where_nothing_is_negative(activation: int) -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 8, activation=activation)
    x = net.pool(net.pad(x, (0, 0), (0, 1), (0, 1), (0, 0)), "MAX_POOL_2D", 3, stride=2, padding=VALID)
    graph = net.graph(net.mean(x))
    fused = fuse(graph)
    assert ("PAD" in kinds(fused)) == (activation == NO_ACTIVATION)
    assert_answers_alike(graph, fused, tolerance=0)


def test_a_value_is_never_negative_only_if_all_that_it_is_made_of_are() -> None:
    net = Layers(1, 8, 8, 3)
    signed = net.conv(net.image, 4, activation=NO_ACTIVATION)
    positive = net.conv(net.image, 4, activation=RELU6)
    joined, mixed = net.concatenate(positive, positive), net.concatenate(positive, signed)
    pooled = net.pool(joined, "AVERAGE_POOL_2D", 2, stride=2)
    graph = net.graph(net.mean(mixed), net.mean(pooled))
    found = never_negative(graph)
    assert {positive, joined, pooled} <= found
    assert found.isdisjoint({net.image, signed, mixed})


def test_a_network_without_anything_to_fuse_stays_the_same_model() -> None:
    graph = small_mobilenet()
    assert write_graph(fuse(graph)) == write_graph(graph)
