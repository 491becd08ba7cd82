"""float16 weights: half the bytes, read back exactly, and answers as near as halves are."""

from __future__ import annotations

import numpy as np

from sdk.compress.rewrite.halves import with_halves, without_halves
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network


def test_weights_become_halves_and_the_answers_stay() -> None:
    graph = small_network(channels=32)
    made = read_graph(write_graph(with_halves(graph)))
    halves = [tensor for tensor in made.tensors if tensor.dtype == "FLOAT16"]
    assert len(halves) == len([w for w in graph.weights() if w.tensor.elements >= 64])
    assert len(write_graph(made)) < 0.7 * len(write_graph(graph))
    picture = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    answers = []
    for one in (graph, made):
        with HostModel(write_graph(one)) as model:
            answers.append(next(iter(model.run([picture]).values())))
    np.testing.assert_allclose(*answers, atol=2e-3)
    assert not np.array_equal(*answers)


def test_they_are_read_back_as_the_floats_that_they_are() -> None:
    graph = small_network(channels=32)
    back = {w.tensor.name: w.array for w in without_halves(with_halves(graph)).weights()}
    for weight in graph.weights():
        held = weight.array.astype(np.float16) if weight.tensor.elements >= 64 else weight.array
        np.testing.assert_array_equal(back[weight.tensor.name], held.astype(np.float32))


def test_what_halves_cannot_hold_stays() -> None:
    graph = small_network(channels=32)
    first = next(graph.weights())
    large = graph.with_data({first.tensor_index: first.array * np.float32(1e6)})
    kept = [w for w in with_halves(large).weights() if w.tensor.name == first.tensor.name]
    assert [w.tensor.dtype for w in kept] == ["FLOAT32"]
    assert kept[0].tensor.data is not None
