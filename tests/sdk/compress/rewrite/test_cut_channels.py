"""Whole channels go together, or not at all, and what is left answers as if no weight read what went."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sdk.compress.rewrite.channel_flow import MAKERS
from sdk.compress.rewrite.coupled_channels import Coupling, Family, coupled_channels
from sdk.compress.rewrite.cut_channels import cut_channels
from sdk.compress.rewrite.structure import groups_of
from sdk.errors import ModelError
from sdk.graph.records import Graph
from tests.sdk.compress.layered_graphs import (
    Layers,
    assert_answers_alike,
    small_mobilenet,
    small_shufflenet,
    squeezed_mobilenet,
)
from tests.sdk.graph.small_graphs import small_network


def flattened() -> Graph:
    """A convolution, a pool, a flattening and two fully connected layers."""
    net = Layers(1, 8, 8, 3)
    x = net.pool(net.conv(net.image, 12, 3, stride=2), "MAX_POOL_2D", 2, stride=2)
    return net.graph(net.dense(net.dense(net.reshape(x, 1, 48), 20), 5))


def branched() -> Graph:
    """Two branches side by side, one of which is also summed with a third, and a constant for every channel."""
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 16, 3)
    y = net.multiply(net.conv(x, 24), net.random(24))
    z = net.add(net.concatenate(x, y), net.conv(x, 40, 3))
    both = net.concatenate(z, net.depthwise(x))
    return net.graph(net.dense(net.mean(net.conv(both, 8)), 5))


def grouped() -> Graph:
    """Groups without a shuffle."""
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.conv(net.image, 16, 3), 24, 3, groups=4)
    return net.graph(net.dense(net.mean(net.conv(x, 8)), 5))


NETWORKS: tuple[Callable[[], Graph], ...] = (
    small_network,
    small_mobilenet,
    small_shufflenet,
    squeezed_mobilenet,
    flattened,
    branched,
    grouped,
)


def some_of(family: Family, steps: int, seed: int = 0) -> np.ndarray:
    """Sets that this many steps take, drawn."""
    rng = np.random.default_rng(seed)
    taken = [rng.permutation(c)[: steps * n] for c, n in zip(family.cells, family.taken, strict=True)]
    return np.concatenate(taken)


def unread(graph: Graph, coupling: Coupling, gone: np.ndarray) -> Graph:
    """The graph, no weight of which reads the sets ``gone``."""
    changes = {}
    for weight in graph.weights():
        operator = graph.operators[weight.operator_index]
        if operator.kind not in MAKERS:
            continue
        sets = coupling.sets(operator.inputs[0])
        groups = groups_of(graph, operator) if operator.kind == "CONV_2D" else 1
        array = weight.array.copy()
        sets = np.tile(sets, groups * array.shape[-1] // len(sets))
        for rows, columns in zip(np.array_split(array, groups), np.array_split(sets, groups), strict=True):
            rows[..., np.isin(columns, gone)] = 0
        changes[weight.tensor_index] = array
    return graph.with_data(changes)


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_left_answers_as_if_nothing_read_what_went(network: Callable[[], Graph]) -> None:
    graph = network()
    coupling = coupled_channels(graph)
    assert coupling.families
    gone = np.concatenate([some_of(f, max(f.steps // 2, 1), n) for n, f in enumerate(coupling.families)])
    cut = cut_channels(graph, coupling, gone)
    assert_answers_alike(unread(graph, coupling, gone), cut, tolerance=2e-5)
    assert sum(w.array.size for w in cut.weights()) < 0.7 * sum(w.array.size for w in graph.weights())


def test_layers_that_are_summed_lose_the_same_channels() -> None:
    graph = small_mobilenet()
    families = coupled_channels(graph).families
    assert sorted(len(family.makers) for family in families) == [1, 1, 2]


def test_a_squeeze_goes_with_the_channels_that_it_weighs() -> None:
    families = coupled_channels(squeezed_mobilenet()).families
    assert [(len(f.sets), len(f.makers)) for f in families] == [
        (16, 2),
        (4, 1),
        (24, 1),
        (48, 2),
        (12, 1),
        (32, 1),
    ]


def test_groups_stay_equally_large() -> None:
    graph = grouped()
    coupling = coupled_channels(graph)
    assert [family.taken for family in coupling.families] == [(1,) * 4, (1,) * 4, (1,)]
    first = coupling.families[0]
    with pytest.raises(ModelError, match="cannot go alone"):
        cut_channels(graph, coupling, first.cells[0][:1])


def test_inputs_and_outputs_stay() -> None:
    graph = small_network()
    cut = cut_channels(graph, coupled_channels(graph), np.zeros(0, np.int64))
    assert cut is graph
    made = {t for family in coupled_channels(graph).families for t in family.makers}
    assert made.isdisjoint(graph.outputs)


def test_what_mixes_channels_in_an_unknown_way_keeps_them() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 16, 3)
    turned = net.transpose(x, 0, 3, 1, 2)
    graph = net.graph(turned, net.dense(net.mean(net.conv(x, 8)), 5))
    coupling = coupled_channels(graph)
    assert [len(family.sets) for family in coupling.families] == [8]


def test_a_layer_whose_weights_two_operators_read_keeps_its_channels() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.image, 16, 3)
    y = net.conv(x, 16)
    first = net.operators[-1]
    z = net.append("CONV_2D", (y, *first.inputs[1:]), net.shape(y), "Conv2DOptions", **first.options)
    graph = net.graph(net.dense(net.mean(net.conv(z, 8)), 5))
    assert [len(family.sets) for family in coupled_channels(graph).families] == [8]
