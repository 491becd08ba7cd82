"""Operators of two versions of a network are matched; what each adds to the noise is told from what it got."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.rewrite.short_names import shorten_names
from sdk.explain.layers import (
    LayerNoise,
    added_noise,
    advise,
    match_layers,
    watched,
    weights_in_words,
    with_outputs,
)
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import interpret, small_network


@pytest.fixture
def network() -> Graph:
    return small_network()


def test_operators_are_matched_by_the_names_of_their_outputs(network: Graph) -> None:
    matched, unmatched = match_layers(network, network)
    assert [(one.tensor, one.by) for one in matched] == [(tensor, "name") for tensor in watched(network)]
    assert all(one.tensor == one.original for one in matched)
    assert unmatched == ()


def test_operators_without_their_names_are_matched_by_structure(network: Graph) -> None:
    matched, unmatched = match_layers(network, shorten_names(network))
    assert [one.original for one in matched] == list(watched(network))
    assert unmatched == ()


def test_what_has_another_shape_is_told_and_what_follows_is_matched(network: Graph) -> None:
    tensor = next(iter(watched(network)))
    tensors = list(network.tensors)
    *front, channels = tensors[tensor].shape
    tensors[tensor] = replace(tensors[tensor], shape=(*front, channels - 3))
    matched, unmatched = match_layers(network, replace(network, tensors=tuple(tensors)))
    assert tensor not in [one.tensor for one in matched]
    assert len(matched) == len(watched(network)) - 1
    (told,) = unmatched
    assert told.model == "compressed"
    assert f"x{channels} and is" in told.why


def test_an_operator_adds_what_its_inputs_do_not_have(network: Graph) -> None:
    order = list(watched(network))
    decibels = dict.fromkeys(order[:2], 30.0) | dict.fromkeys(order[2:], 10.0)
    added = added_noise(network, decibels)
    assert added[order[0]] == pytest.approx(1e-3)
    assert added[order[1]] == 0.0
    assert added[order[2]] == pytest.approx(0.1 - 1e-3)
    assert added[order[3]] == 0.0


def test_the_layer_that_was_pruned_is_the_one_to_look_at(network: Graph) -> None:
    weight = list(network.weights())[1]
    values = np.asarray(weight.array).copy()
    values.reshape(-1)[: values.size // 2] = 0
    pruned = network.with_data({weight.tensor_index: values})
    matched, _ = match_layers(network, pruned)
    layers = [
        LayerNoise(one.operator, pruned.operators[one.operator].kind, "", (1,), 20.0, added, weights)
        for one in matched
        for weights in [weights_in_words(pruned, one.operator)]
        for added in [0.01 if one.operator == weight.operator_index else 0.0]
    ]
    (told,) = advise(network, pruned, matched, layers)
    assert "100 % of what is added" in told
    assert f"sparsity 0 for {weight.tensor.name!r}" in told


def test_inner_values_become_outputs_that_the_runtime_keeps(network: Graph) -> None:
    tensors = list(watched(network))
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    last = with_outputs(network, [tensors[-1]])
    assert np.array_equal(interpret(write_graph(last), image), interpret(write_graph(network), image))
    first = read_graph(write_graph(with_outputs(network, tensors[:1])))
    assert len(first.operators) == 1
    assert first.tensors[first.outputs[0]].shape == network.tensors[tensors[0]].shape
