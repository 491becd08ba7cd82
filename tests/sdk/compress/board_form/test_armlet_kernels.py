"""The operators that run in the kernels of Armlet are told without the delegate, and what they take is about right."""

from __future__ import annotations

import math

import pytest

from device_agent.run.runtime import Model
from sdk.compress.board_form import armlet_kernels, cost
from sdk.compress.weights.prune import prune
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.device_agent.run.kernels.layers_with_zeros import Images, classifier, sparse_matrix
from tests.sdk.compress.layered_graphs import small_mobilenet, small_shufflenet


def chain(keep: float, size: int = 24) -> Graph:
    """Two 3x3 convolutions around a sum, so wide that turning images around costs little."""
    images = Images(size, size, 16)
    x = images.convolve(0, 64, 3, keep=keep, block=4)
    x = images.convolve(images.relu(images.join(x, x)), 64, 3, keep=keep, block=4)
    return read_graph(images.model(x))


def small_ends(size: int) -> Graph:
    """A chain that gains, and behind it convolutions of so many pixels across with half of their weights."""
    images = Images(16, 16, 16)
    x = images.convolve(0, 64, 3, keep=0.1, block=4)
    x = images.pool(x, 16 // size, 16 // size)
    for _ in range(2):
        x = images.convolve(x, 64, keep=0.5, block=4)
    return read_graph(images.model(x))


GRAPHS = {
    "large and sparse": lambda: read_graph(
        classifier([sparse_matrix(512, 1024, 0.09), sparse_matrix(10, 512, 0.1)])
    ),
    "small and hardly sparse": lambda: read_graph(
        classifier([sparse_matrix(64, 64, 0.6), sparse_matrix(10, 64, 1.0)])
    ),
    "a chain with zeros": lambda: chain(0.1),
    "a chain with few zeros": lambda: chain(0.97),
    "MobileNet, fours": lambda: prune(small_mobilenet(32), 0.9, block=4),
    "MobileNet, dense": lambda: small_mobilenet(32),
    "one position per channel": lambda: small_ends(1),
    "four positions per channel": lambda: small_ends(2),
    "ShuffleNet, pairs": lambda: prune(small_shufflenet(), 0.8, block=2),
}


@pytest.mark.usefixtures("c_delegate")
@pytest.mark.parametrize("name", GRAPHS)
def test_the_layers_that_are_told_are_those_that_the_delegate_claims(name: str) -> None:
    graph = GRAPHS[name]()
    told = {one.operator: one.block for one in armlet_kernels.layer_costs(graph) if one.claimed}
    claims = Model(write_graph(graph), kernels="armlet").armlet_operators()
    layers = {n for n, op in enumerate(graph.operators) if op.kind in ("CONV_2D", "FULLY_CONNECTED")}
    assert told == {one.node: one.block for one in claims if one.node in layers}


def test_layers_with_one_position_are_left_to_the_runtime_where_they_gain_nothing() -> None:
    """A kernel computes a whole vector of pixels, of which one is wanted."""

    def last(size: int) -> list[tuple[float, bool]]:
        return [(one.armlet or 0.0, one.claimed) for one in armlet_kernels.layer_costs(small_ends(size))[1:]]

    assert [claimed for _, claimed in last(1)] == [False, False]
    assert [claimed for _, claimed in last(2)] == [True, True]
    assert last(1)[0][0] == pytest.approx(last(2)[0][0], rel=0.2)  # as much work for a quarter of the pixels


@pytest.mark.usefixtures("c_delegate")
def test_layers_of_many_rows_at_once_are_left_to_the_runtime_where_they_gain_nothing() -> None:
    for keep, block, rows in ((0.2, 4, (1,)), (0.09, 1, (1,)), (0.05, 4, (1, 4, 64))):
        for batch in (1, 4, 64):
            data = classifier([sparse_matrix(256, 256, keep, block=block)], batch=batch)
            claims = [op.block for op in Model(data, kernels="armlet").armlet_operators()]
            (told,) = armlet_kernels.layer_costs(read_graph(data))
            assert claims == ([told.block] if told.claimed else [])
            assert told.claimed == (batch in rows)


def test_what_has_no_zeros_costs_nothing_that_could_be_chosen() -> None:
    assert armlet_kernels.instructions(small_mobilenet(32)) == math.inf


def test_a_layer_has_its_cost_in_each_kind_of_kernel() -> None:
    graph = prune(small_mobilenet(32), 0.9, block=4)
    layers = armlet_kernels.layer_costs(graph)
    pointwise = [one for one in layers if one.kind == "CONV 1x1" and one.zeros > 0.8]
    assert pointwise
    for one in pointwise:
        assert one.armlet is not None
        assert one.sparse is not None
        assert one.armlet < one.dense
        assert one.sparse < one.dense
    assert all(one.sparse is None for one in layers if one.kind != "CONV 1x1")
    assert armlet_kernels.instructions(graph) < 0.7 * cost.instructions(graph)
