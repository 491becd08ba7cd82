"""What the sparse path does not know, said in what it knows."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.board_form.lower import (
    average_pools_as_depthwise,
    concatenations_as_sums,
    enter_channels_first,
    explicit_padding,
    flat_pads,
    global_pools_as_means,
    pixel_convolutions_as_fully_connected,
)
from sdk.compress.rewrite.fuse import fuse
from sdk.compress.rewrite.structure import spatial_padding
from sdk.errors import UnsupportedOperator
from sdk.graph.enums import NO_ACTIVATION, SAME, VALID
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import (
    Layers,
    assert_answers_alike,
    kinds,
    small_mobilenet,
    small_shufflenet,
)


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 1), (3, 2), (5, 2), (5, 1)])
@pytest.mark.parametrize("padding", [SAME, VALID])
def test_an_average_pool_becomes_depthwise_and_keeps_its_border(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    net = Layers(1, size, size, 6)
    graph = net.graph(net.pool(net.image, "AVERAGE_POOL_2D", kernel, stride=stride, padding=padding))
    lowered = average_pools_as_depthwise(graph)
    assert "AVERAGE_POOL_2D" not in kinds(lowered)
    assert ("MUL" in kinds(lowered)) == (padding == SAME and (kernel % 2 == 1 or size % 2 == 1))
    assert_answers_alike(graph, lowered)


def test_an_average_pool_larger_than_its_input_keeps_its_answers() -> None:
    net = Layers(1, 2, 2, 6)
    graph = net.graph(net.pool(net.image, "AVERAGE_POOL_2D", 5, stride=1))
    lowered = average_pools_as_depthwise(graph)
    assert_answers_alike(graph, lowered)


def test_a_concatenation_becomes_a_sum_in_which_every_part_fills_its_own_channels() -> None:
    net = Layers(1, 8, 8, 3)
    made_for_it = net.conv(net.image, 5)
    shared = net.conv(net.image, 4, 3)
    graph = net.graph(net.mean(net.concatenate(made_for_it, net.image, shared)), net.mean(shared))
    lowered = concatenations_as_sums(graph)
    assert kinds(lowered).count("CONCATENATION") == 0
    # The image and the shared value need a convolution that copies them, the first part does not.
    assert kinds(lowered).count("CONV_2D") == 4
    assert kinds(lowered).count("ADD") == 2
    assert_answers_alike(graph, lowered)


def test_a_concatenation_along_space_stays() -> None:
    net = Layers(1, 8, 8, 3)
    joined = net.append(
        "CONCATENATION", (net.image, net.image), (1, 16, 8, 3), "ConcatenationOptions", axis=1,
        fusedActivationFunction=NO_ACTIVATION,
    )  # fmt: skip
    graph = net.graph(net.mean(joined))
    assert write_graph(concatenations_as_sums(graph)) == write_graph(graph)


@pytest.mark.parametrize("channels", [12, 24, 25, 40])
def test_a_value_enters_channels_first_unchanged(channels: int) -> None:
    net = Layers(1, 8, 6, 3)
    x = net.conv(net.image, channels, 3)
    graph = net.graph(net.mean(net.depthwise(x)))
    entered = enter_channels_first(graph, x)
    strided = [op for op in entered.operators if op.kind == "CONV_2D" and op.options["strideW"] == 2]
    assert len(strided) == -(-channels // 12)
    assert all(entered.tensors[op.inputs[1]].shape[1:] == (3, 3, 3) for op in strided)
    assert_answers_alike(graph, entered, tolerance=0)


def test_a_value_of_few_channels_is_refused() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 8)
    with pytest.raises(UnsupportedOperator, match="12 or more"):
        enter_channels_first(net.graph(net.mean(x)), x)


def test_a_pool_over_all_of_space_becomes_a_mean() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.pool(net.conv(net.image, 6), "AVERAGE_POOL_2D", 8, stride=8, padding=VALID)
    graph = net.graph(net.dense(net.reshape(x, 1, 6), 4))
    lowered = global_pools_as_means(graph)
    assert "MEAN" in kinds(lowered)
    assert "AVERAGE_POOL_2D" not in kinds(lowered)
    assert_answers_alike(graph, lowered)


def test_a_classifier_written_as_a_convolution_becomes_fully_connected() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.mean(net.conv(net.image, 6), keep=True), 10, activation=NO_ACTIVATION)
    graph = net.graph(net.reshape(x, 1, 10))
    lowered = fuse(pixel_convolutions_as_fully_connected(graph))
    assert kinds(lowered) == ["CONV_2D", "MEAN", "RESHAPE", "FULLY_CONNECTED"]
    assert_answers_alike(graph, lowered)


def test_padding_is_written_out_for_strided_windows_only() -> None:
    graph = small_mobilenet()
    explicit = explicit_padding(graph)
    assert kinds(explicit).count("PAD") == 2
    for operator in explicit.operators:
        if "CONV_2D" in operator.kind and operator.options["strideW"] == 2:
            assert operator.options["padding"] == VALID
    assert {spatial_padding(explicit, op) for op in explicit.operators} == {None, ((0, 1), (0, 1))}
    assert_answers_alike(graph, explicit)


def test_a_pad_that_no_convolution_takes_in_pads_whole_rows() -> None:
    net = Layers(1, 6, 5, 4)
    padded = net.pad(net.image, (0, 0), (1, 2), (0, 3), (0, 0))
    taken_in = net.pad(net.image, (0, 0), (1, 1), (1, 1), (0, 0))
    pooled = net.pool(padded, "MAX_POOL_2D", 3, stride=2, padding=VALID)
    graph = net.graph(pooled, net.mean(net.conv(taken_in, 8, 3, padding=VALID)))
    flat = flat_pads(graph)
    assert kinds(flat)[:3] == ["RESHAPE", "PAD", "RESHAPE"]
    assert kinds(flat).count("PAD") == 2
    assert kinds(flat).count("RESHAPE") == 2
    assert_answers_alike(graph, flat, tolerance=0)


def test_all_lowerings_together_keep_a_shufflenet_exact() -> None:
    graph = small_shufflenet()
    lowered = concatenations_as_sums(average_pools_as_depthwise(fuse(graph)))
    assert not {"CONCATENATION", "AVERAGE_POOL_2D"} & set(kinds(lowered))
    assert_answers_alike(graph, lowered)
    assert np.isfinite(lowered.tensors[lowered.operators[0].inputs[1]].data).all()
