"""Whole channels go where they cost least, and what is left makes up for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdk.compress.rewrite.coupled_channels import coupled_channels
from sdk.compress.rewrite.cut_channels import cut_channels
from sdk.compress.solve.calibrate import output_sensitivities, solved_layers, with_biases
from sdk.compress.solve.whole_channels.choice import chosen, macs_of
from sdk.compress.solve.whole_channels.costs import Order, chunk_sizes, orders, seen_by
from sdk.compress.solve.whole_channels.narrowing import narrow, narrowed, share_that_fits
from sdk.errors import ModelError
from sdk.explain.theory import operator_costs, totals
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import silent
from tests.sdk.compress.layered_graphs import Layers, small_mobilenet, small_shufflenet
from tests.sdk.graph.small_graphs import labelled_noise, small_network

pytestmark = pytest.mark.tensorflow
COUNT = 64


def images(samples: range) -> np.ndarray:
    """Smooth random images, another for every number."""
    coarse = [np.random.default_rng(i).normal(size=(4, 4, 3)) for i in samples]
    return np.stack([c.repeat(4, axis=0).repeat(4, axis=1) for c in coarse]).astype(np.float32)


def ordered(graph: Graph) -> list[Order]:
    runner, layers = Executor(graph), solved_layers(graph)
    fisher = output_sensitivities(runner, images, COUNT)
    return orders(coupled_channels(graph), layers, seen_by(runner, layers, images, COUNT), fisher)


def test_of_channels_that_say_the_same_only_the_last_costs() -> None:
    net = Layers(1, 16, 16, 3)
    x = net.conv(net.image, 6, 3)
    weight, bias = (net.tensors[t].data for t in net.operators[0].inputs[1:])
    assert weight is not None
    assert bias is not None
    weight[[2, 4]], bias[[2, 4]] = weight[1], bias[1]
    graph = net.graph(net.dense(net.mean(net.conv(x, 8)), 5))
    first = next(o for o in ordered(graph) if len(o.family.sets) == 6)
    sets = coupled_channels(graph).sets(net.operators[0].outputs[0])
    gone = {int(np.flatnonzero(sets == one)[0]) for chunk in first.chunks[:2] for one in chunk}
    assert gone < {1, 2, 4}
    assert max(first.nats[:2]) < first.nats[2]


def test_layers_keep_counts_that_kernels_like() -> None:
    families = coupled_channels(small_network(channels=20)).families
    assert [chunk_sizes(f) for f in families] == [[4, 8], [8, 8, 8, 8]]
    families = coupled_channels(small_mobilenet()).families
    assert [chunk_sizes(f) for f in families] == [[4], [8], [8, 8, 8]]


@pytest.mark.parametrize("network", [small_mobilenet, small_shufflenet])
def test_a_share_of_the_work_goes_and_answers_stay_nearer_than_without_solving(network: object) -> None:
    graph = with_biases(network(16))  # type: ignore[operator]
    found = narrowed(Executor(graph), images, COUNT, 0.25)
    assert found.original_macs == macs_of(graph)
    assert found.macs == macs_of(found.graph) <= 0.75 * macs_of(graph)
    coupling = coupled_channels(graph)
    gone, _ = chosen(graph, coupling, ordered(graph), 0.75 * macs_of(graph))
    fresh = images(range(1000, 1064))
    expected, solved, cut = (
        Executor(g)(fresh).numpy() for g in (graph, found.graph, cut_channels(graph, coupling, gone))
    )
    assert np.square(solved - expected).mean() < 0.5 * np.square(cut - expected).mean()


@pytest.mark.parametrize("network", [small_mobilenet, small_shufflenet])
def test_work_is_counted_as_everywhere(network: object) -> None:
    graph = network(16)  # type: ignore[operator]
    assert macs_of(graph) == totals(operator_costs(graph)).macs


def test_what_a_coarse_step_saved_too_much_is_given_back() -> None:
    graph = with_biases(small_mobilenet(16))
    coupling, order = coupled_channels(graph), ordered(graph)
    most = 0.6 * macs_of(graph)
    gone, nats = chosen(graph, coupling, order, most)
    assert macs_of(cut_channels(graph, coupling, gone)) <= most
    for one in order:
        mine = [chunk for chunk in one.chunks if np.isin(chunk, gone).all()]
        if mine:  # no family could have kept its last channels
            rest = gone[~np.isin(gone, mine[-1])]
            assert macs_of(cut_channels(graph, coupling, rest)) > most
    assert nats <= sum(sum(one.nats) for one in order)


def test_the_least_share_that_fits_is_found(tmp_path: Path) -> None:
    graph = small_network(channels=48)
    data = labelled_noise(tmp_path / "noise.npz", graph, 60)
    most = 0.7 * macs_of(graph)
    share = share_that_fits(graph, data, lambda g: macs_of(g) <= most, 0, silent)
    made = narrow(graph, data, share, 0, silent)
    assert made.macs <= most
    assert narrow(graph, data, share - 0.15, 0, silent).macs > most
    assert share_that_fits(graph, data, lambda g: True, 0, silent) == 0
    with pytest.raises(ModelError, match="below what whole channels can reach"):
        share_that_fits(graph, data, lambda g: False, 0, silent)


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(ModelError, match="this many channels cannot be removed"):
        narrowed(Executor(with_biases(small_mobilenet(16))), images, COUNT, 0.99)


def test_a_network_whose_channels_all_stay_is_refused_with_the_reason() -> None:
    net = Layers(1, 16, 16, 3)
    graph = with_biases(net.graph(net.dense(net.mean(net.image), 5)))
    with pytest.raises(ModelError, match="No layer's channels may go"):
        narrowed(Executor(graph), images, COUNT, 0.2)
