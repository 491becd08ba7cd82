"""Calibration serves answers of every kind: maps, several heads, values; what it spends is told by how outputs vary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.recipes.targets import Settings, compress, is_taught
from sdk.compress.solve.answer_loss import AnswerLoss
from sdk.compress.solve.calibrate import calibrate, output_sensitivities, with_biases
from sdk.errors import ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from tests.sdk.compress.solve.test_calibrate import images
from tests.sdk.graph.small_graphs import labelled_noise, small_network

pytestmark = pytest.mark.tensorflow
COUNT = 64
PRICE = 2e-7
_MAP, _SCORES = 9, 14  # tensors of ``small_network``


def answering(*outputs: int, classes: int = 10) -> Graph:
    """The small network with these outputs."""
    return replace(small_network(channels=32, classes=classes), outputs=outputs, signatures=())


KINDS = {
    "a map": answering(_MAP),
    "two heads": answering(_SCORES, _MAP),
    "a value": answering(_SCORES, classes=1),
}


def shares(graph: Graph, constants: dict[int, np.ndarray]) -> list[float]:
    """The squared error of each output as a share of how it varies, on images that nothing saw."""
    executor, fresh = Executor(graph), images(range(500, 564))
    found = []
    for tensor in graph.outputs:
        before = executor(fresh, wanted=tensor).numpy()
        after = executor(fresh, constants, wanted=tensor).numpy()
        found.append(float(np.square(after - before).mean() / before.var(axis=0).mean()))
    return found


@pytest.mark.parametrize("name", list(KINDS))
def test_every_output_is_kept_while_weights_get_small(name: str) -> None:
    graph = with_biases(KINDS[name])
    executor = Executor(graph)
    fisher = output_sensitivities(executor, images, COUNT)
    assert all(sensitivity.channels.max() > 0 for sensitivity in fisher.values()) or name == "a map"
    made = calibrate(executor, images, COUNT, PRICE, fisher)
    weights = sum(graph.tensors[tensor].elements for tensor in made.solutions)
    assert made.bits < 10 * weights  # of 32
    assert max(shares(graph, made.constants)) < 0.05


def test_a_head_that_is_not_the_first_costs_something() -> None:
    """Errors of a layer that only the second output reads are counted."""
    graph = with_biases(KINDS["two heads"])
    both = output_sensitivities(Executor(graph), images, COUNT)
    alone = output_sensitivities(Executor(replace(graph, outputs=(_SCORES,))), images, COUNT)
    pointwise = next(n for n, op in enumerate(graph.operators) if op.outputs[0] == _MAP)
    assert both[pointwise].channels.sum() > 1.5 * alone[pointwise].channels.sum()


def test_the_drawn_loss_tells_what_small_errors_cost() -> None:
    """Half the second moment of its gradient times a squared error is what ``apart`` counts, for a map."""
    import tensorflow as tf

    graph = KINDS["a map"]
    executor = Executor(graph)
    loss = AnswerLoss(executor, images, range(COUNT))
    values = executor.run({0: images(range(4))}, wanted=loss.wanted)
    error = 1e-2 * np.random.default_rng(1).standard_normal(values[_MAP].shape).astype(np.float32)
    counted = loss.apart(loss.of(values), loss.of({_MAP: values[_MAP] + error}))
    random = np.random.default_rng(2)
    drawn = []
    for _ in range(400):
        with tf.GradientTape() as tape:
            tape.watch(values[_MAP])
            told = loss.drawn(values, random)
        gradient = tape.gradient(told, values[_MAP]).numpy()
        drawn.append((gradient * error).reshape(4, -1).sum(axis=1))
    assert 0.5 * np.square(drawn).sum(axis=1).mean() == pytest.approx(counted, rel=0.15)


def test_equal_answers_are_not_apart() -> None:
    graph = KINDS["two heads"]
    executor = Executor(graph)
    loss = AnswerLoss(executor, images, range(8))
    answers = loss.of(executor.run({0: images(range(4))}, wanted=loss.wanted))
    assert {array.shape for array in answers.values()} == {(4, 10), (4, 4 * 4 * 64)}
    assert loss.apart(answers, answers) == 0


def test_a_training_asks_for_scores(tmp_path) -> None:
    data: Dataset = labelled_noise(tmp_path / "d.npz", small_network(), 40)
    assert is_taught(small_network())
    for graph in KINDS.values():
        with pytest.raises(ModelError, match="cannot be trained"):
            compress(graph, data, Settings(effort="train", epochs=1))
