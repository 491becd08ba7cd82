"""Channel shuffles and groups fold away without changing an answer."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.board_form.shuffle import fold_shuffles, settle_shuffles, ungroup, ungrouped_weight
from sdk.compress.rewrite.fuse import fuse
from sdk.compress.rewrite.structure import find_shuffles, groups_of
from sdk.errors import UnsupportedOperator
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import (
    Layers,
    assert_answers_alike,
    kinds,
    small_mobilenet,
    small_shufflenet,
)


def grouped(graph: Graph) -> list[int]:
    return [
        groups_of(graph, op) for op in graph.operators if op.kind == "CONV_2D" and groups_of(graph, op) > 1
    ]


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_folding_leaves_no_shuffle_and_no_group(groups: int) -> None:
    graph = small_shufflenet(groups=groups)
    folded = fold_shuffles(graph)
    assert kinds(graph).count("TRANSPOSE") == 4
    assert not {"TRANSPOSE", "RESHAPE"} & set(kinds(folded))
    assert not grouped(folded)
    assert_answers_alike(graph, folded)


def test_folding_keeps_the_products_and_adds_only_zeros() -> None:
    graph = small_shufflenet()
    folded = fold_shuffles(graph)

    def products(g: Graph) -> int:
        return sum(int(np.count_nonzero(w.array)) for w in g.weights())

    assert products(folded) == products(graph)


def test_the_shuffle_is_read_from_what_the_operators_do() -> None:
    net = Layers(1, 4, 4, 12)
    net.shuffle(net.conv(net.image, 12), 3)
    five_axes = net.reshape(net.conv(net.image, 12), 1, 4, 4, 4, 3)
    net.reshape(net.transpose(five_axes, 0, 1, 2, 4, 3), 1, 4, 4, 12)
    pixels_move = net.reshape(net.conv(net.image, 12), 1, 4, 4, 12)
    net.reshape(net.transpose(pixels_move, 0, 2, 1, 3), 1, 4, 4, 12)
    found = find_shuffles(net.graph(net.image))
    assert [shuffle.permutation[:4] for shuffle in found] == [(0, 4, 8, 1), (0, 3, 6, 9)]


def test_a_grouped_weight_is_spread_along_the_diagonal() -> None:
    weight = np.arange(1, 9, dtype=np.float32).reshape(4, 1, 1, 2)
    full = ungrouped_weight(weight, 2)[:, 0, 0]
    assert full.tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]


def test_ungrouping_alone_changes_no_answer() -> None:
    graph = small_shufflenet()
    plain = ungroup(graph)
    assert len(grouped(graph)) == 7
    assert not grouped(plain)
    assert_answers_alike(graph, plain)


def test_a_shuffle_that_reaches_a_mean_is_refused_by_name() -> None:
    net = Layers(1, 8, 8, 3)
    graph = net.graph(net.mean(net.shuffle(net.conv(net.image, 12), 3)))
    with pytest.raises(UnsupportedOperator, match=r"channel shuffle before .* cannot be folded.*MEAN"):
        fold_shuffles(graph)


def test_a_shuffle_that_is_an_output_is_refused() -> None:
    net = Layers(1, 8, 8, 3)
    with pytest.raises(UnsupportedOperator, match="an output of the network"):
        fold_shuffles(net.graph(net.shuffle(net.conv(net.image, 12), 3)))


@pytest.mark.parametrize("max_pool", [True, False])
def test_settling_keeps_the_groups_and_shuffles_fewer_values(max_pool: bool) -> None:
    graph = fuse(small_shufflenet(max_pool=max_pool))
    settled = settle_shuffles(graph)

    def shuffled(g: Graph) -> int:
        return sum(g.tensors[s.output].elements for s in find_shuffles(g))

    # The first goes into the ordinary convolution before it, the next strided one moves behind its stride.
    assert len(find_shuffles(settled)) == len(find_shuffles(graph)) - 1
    assert shuffled(settled) < shuffled(graph) / 2
    assert grouped(settled) == grouped(graph)
    assert_answers_alike(graph, settled)


def test_settling_a_network_without_shuffles_gives_the_same_model() -> None:
    graph = small_mobilenet()
    assert write_graph(settle_shuffles(graph)) == write_graph(graph)
