"""Nothing is added to the network's answer, and enough zeros to its weights."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.board.catalogue import load_board
from sdk.compress.board_form.mirror import mirror
from sdk.compress.board_form.sparse_hint import sparse_hint
from sdk.compress.board_form.sparse_path import sparse_path
from sdk.compress.board_form.specialise import for_board
from sdk.compress.board_form.zero_branch import zero_branch
from sdk.errors import UnsupportedOperator
from tests.sdk.compress.layered_graphs import (
    Layers,
    assert_answers_alike,
    kinds,
    prune_pointwise,
    small_mobilenet,
)


def test_a_network_pruned_by_half_gets_the_zeros_that_it_lacks_and_no_more() -> None:
    graph = prune_pointwise(small_mobilenet(), 0.5)
    mirrored = mirror(graph)
    lacking = sparse_path(mirrored)
    assert lacking.fits
    assert not lacking.sparse
    filled = zero_branch(mirrored, lacking.missing_zeros)
    path = sparse_path(filled)
    assert path.sparse
    added = path.zeros - lacking.zeros
    assert added == path.parameters - lacking.parameters
    assert 0 <= added - lacking.missing_zeros < 2 * 32
    assert_answers_alike(graph, filled)


@pytest.mark.parametrize("count", [1, 64, 1000])
def test_the_branch_computes_nothing_whatever_its_size(count: int) -> None:
    graph = small_mobilenet()
    filled = zero_branch(graph, count)
    assert kinds(filled).count("CONV_2D") == kinds(graph).count("CONV_2D") + 2
    assert_answers_alike(graph, filled, tolerance=0)


def test_the_hint_is_not_given_by_a_weight_of_the_branch() -> None:
    hinted = sparse_hint(zero_branch(prune_pointwise(small_mobilenet(), 0.5), 100))
    (carrier,) = [t for t in hinted.tensors if t.sparsity is not None]
    assert carrier.data is not None
    assert np.any(carrier.data)


def test_a_graph_without_a_mean_has_no_place_for_it() -> None:
    net = Layers(1, 8, 8, 3)
    with pytest.raises(UnsupportedOperator, match="has no place"):
        zero_branch(net.graph(net.conv(net.image, 8)), 100)


def test_half_of_the_weights_in_pairs_are_enough_on_a_board_and_none_are_not() -> None:
    net = Layers(1, 64, 64, 3)
    x = net.conv(net.image, 32, 3, stride=2)
    for _ in range(3):
        x = net.conv(net.depthwise(x), 128)
    graph = net.graph(net.dense(net.mean(x), 10))
    board = load_board("rpi4")
    made = for_board(prune_pointwise(graph, 0.5), board)
    assert made.form == "sparse"
    assert "zero_branch" in made.applied
    assert sparse_path(made.graph).sparse
    assert_answers_alike(prune_pointwise(graph, 0.5), made.graph)
    assert "zero_branch" not in for_board(graph, board).applied
