"""The hint changes no answer, and the path's rules say what XNNPACK would."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.board_form.cost import kernel_block
from sdk.compress.board_form.lower import explicit_padding
from sdk.compress.board_form.mirror import mirror
from sdk.compress.board_form.sparse_hint import sparse_hint
from sdk.compress.board_form.sparse_path import left_outside, sparse_path
from sdk.compress.weights.prune import prune
from sdk.errors import ModelError
from sdk.graph.enums import NO_ACTIVATION, RELU, SAME
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import (
    Layers,
    assert_answers_alike,
    kinds,
    prune_pointwise,
    small_mobilenet,
)
from tests.sdk.compress.rewrite.test_channels_last import LAST, NO, Build


def test_the_hint_stores_one_weight_sparsely_and_changes_no_answer() -> None:
    graph = prune(small_mobilenet(), 0.8)
    hinted = sparse_hint(graph)
    assert kinds(hinted) == ["DENSIFY", *kinds(graph)]
    assert_answers_alike(graph, hinted, tolerance=0)
    assert_answers_alike(graph, read_graph(write_graph(hinted)), tolerance=0)


def test_the_smallest_pruned_weight_carries_the_hint() -> None:
    graph = prune(small_mobilenet(), 0.8)
    stored = {
        t.name: np.count_nonzero(t.data)
        for t in graph.tensors
        if t.shape[1:3] == (1, 1) and t.data is not None
    }
    smallest = min(stored, key=lambda name: stored[name])
    (carrier,) = [t for t in sparse_hint(graph).tensors if t.sparsity is not None]
    assert carrier.name == f"{smallest}_sparse"
    assert carrier.data is not None
    assert carrier.data.nbytes == 4 * stored[smallest]


def test_a_second_hint_changes_nothing() -> None:
    hinted = sparse_hint(prune(small_mobilenet(), 0.8))
    assert sparse_hint(hinted) is hinted


def test_a_network_without_zeros_gets_no_hint() -> None:
    with pytest.raises(ModelError, match="nothing to run sparse"):
        sparse_hint(small_mobilenet())


def test_a_mirrored_and_pruned_mobilenet_runs_sparse() -> None:
    graph = prune(small_mobilenet(), 0.8)
    before, after = sparse_path(graph), sparse_path(mirror(graph))
    assert not before.fits
    assert after.sparse
    assert not after.hinted
    assert sparse_path(sparse_hint(mirror(graph))).hinted
    assert len(after.entries) == 1
    assert after.zeros / after.parameters == pytest.approx(0.8, abs=0.01)


def test_two_thirds_of_zeros_are_not_enough_and_more_are() -> None:
    mirrored = mirror(small_mobilenet())
    assert not sparse_path(prune(mirrored, 0.66)).sparse
    assert sparse_path(prune(mirrored, 0.68)).sparse


def test_the_share_of_zeros_does_not_change_with_the_hint() -> None:
    mirrored = mirror(prune(small_mobilenet(), 0.8))
    plain, hinted = sparse_path(mirrored), sparse_path(sparse_hint(mirrored))
    assert (plain.zeros, plain.parameters) == (hinted.zeros, hinted.parameters)


def obstacle(net: Layers, last: int) -> str:
    found = sparse_path(explicit_padding(net.graph(net.mean(last))))
    assert not found.sparse
    return "; ".join(found.obstacles)


def entry(size: int = 15) -> tuple[Layers, int]:
    """An odd size, so that SAME pads by one on every side."""
    net = Layers(1, size, size, 3)
    return net, net.conv(net.image, 12, 3, stride=2)


def test_what_stands_in_the_way_is_named() -> None:
    net, x = entry()
    assert "MAX_POOL_2D) has no channels-first form" in obstacle(net, net.pool(x, "MAX_POOL_2D", 3, stride=1))
    net, x = entry()
    assert "(CONV_2D) has groups" in obstacle(net, net.conv(x, 12, groups=3))
    net, x = entry()
    assert "(CONV_2D) is a 3x3 convolution of 12 channels" in obstacle(net, net.conv(x, 12, 3))
    net, x = entry()
    assert "7x7 window" in obstacle(net, net.depthwise(x, 7))
    net, x = entry(16)
    assert "is not padded by 1 on every side" in obstacle(net, x)
    net = Layers(1, 8, 8, 12)
    assert "does not enter through a 3x3 convolution" in obstacle(net, net.conv(net.image, 12))
    net, x = entry()
    assert "a constant that does not come first" in obstacle(net, net.add(x, net.random(1, 1, 1, 12)))
    net, x = entry()
    whole = net.append("ADD", (net.random(*net.shape(x)), x), net.shape(x), "AddOptions")
    assert "a constant that is more than a number per channel" in obstacle(net, whole)
    net, x = entry()
    assert "the path goes on behind" in obstacle(net, net.multiply(x, net.mean(x, keep=True)))


def test_a_value_that_is_read_outside_stands_in_the_way() -> None:
    net, x = entry()
    outside = net.pool(x, "MAX_POOL_2D", 2, stride=2)
    graph = explicit_padding(net.graph(outside, net.mean(net.conv(x, 12))))
    assert "is read by operator" in sparse_path(graph).obstacles[0]


def test_a_convolution_behind_the_mean_stands_in_the_way() -> None:
    net, x = entry()
    x = net.conv(net.mean(net.conv(x, 12), keep=True), 4, activation=NO_ACTIVATION)
    assert sparse_path(explicit_padding(net.graph(x))).obstacles[-1].endswith("stands behind the mean")


def test_a_graph_without_a_mean_has_no_path() -> None:
    net = Layers(1, 8, 8, 3)
    assert not sparse_path(net.graph(net.conv(net.image, 8, activation=RELU))).fits


@pytest.mark.parametrize("block", [1, 2, 4])
def test_blocks_of_channels_share_their_zeros_and_the_share_is_exact(block: int) -> None:
    graph = prune_pointwise(small_mobilenet(), 0.75, block=block)
    for weight in graph.weights():
        if weight.layer != "convolution 1x1":
            assert np.count_nonzero(weight.array) == weight.array.size
            continue
        rows = weight.array.reshape(len(weight.array) // block, block, -1) != 0
        assert (rows.all(axis=1) == rows.any(axis=1)).all()
        assert 1 - rows.mean() == pytest.approx(0.75, abs=0.01)


def test_pairs_get_the_kernel_for_pairs() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(64, 1, 1, 64)).astype(np.float32)
    net = Layers(1, 4, 4, 64)
    net.conv(net.image, 64)
    graph = net.graph(net.mean(net.image)).with_data({1: weight})
    chosen = {b: kernel_block(prune_pointwise(graph, 0.8, block=b).tensors[1].data) for b in (1, 2, 4)}
    assert chosen == {1: 1, 2: 2, 4: 4}
    assert kernel_block(weight) == 4  # dense: every block is full


def test_a_block_goes_by_the_sum_of_its_squares() -> None:
    net = Layers(1, 4, 4, 2)
    net.conv(net.image, 2)
    weight = np.array([[3.0, 2.0], [0.0, 2.5]], np.float32).reshape(2, 1, 1, 2)
    graph = net.graph(net.mean(net.image)).with_data({1: weight})
    kept = prune_pointwise(graph, 0.5, block=2).tensors[1].data
    assert kept.reshape(2, 2).tolist() == [[0.0, 2.0], [0.0, 2.5]]  # 9 < 10.25


@pytest.mark.parametrize(("sparsity", "block"), [(1.0, 2), (-0.1, 2), (0.5, 0)])
def test_a_sparsity_or_a_block_out_of_range_is_refused(sparsity: float, block: int) -> None:
    with pytest.raises(ModelError, match="out of range"):
        prune_pointwise(small_mobilenet(), sparsity, block=block)


def test_what_stands_outside_is_counted_by_operator_and_reason() -> None:
    b = Build(1, 3, 9, 9)
    x = b.turn(0, LAST)
    same = {"padding": SAME, "strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1, **NO}
    for channels in (8, 16):
        weights = (b.random(channels, 3, 3, b.shape(x)[3]), b.random(channels))
        x = b.put("CONV_2D", (x, *weights), (1, 9, 9, channels), "Conv2DOptions", **same)
    x = b.put("MEAN", (x, b.numbers(1, 2)), (1, 16), "ReducerOptions", keepDims=False)
    assert left_outside(b.graph(x)) == [
        "2 x CONV_2D is a 3x3 convolution",
        "1 x TRANSPOSE has no channels-first form",
    ]
