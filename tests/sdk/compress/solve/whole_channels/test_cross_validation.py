"""A layer is drawn toward the weights that it had as far as images that it was not solved on ask for it."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.solve.calibrate import solved_layers, with_biases
from sdk.compress.solve.statistics import Moments, Streams, together
from sdk.compress.solve.whole_channels.cross_validation import PARTS, TRIED, chance_by_parts
from sdk.graph.in_tensorflow.executor import Executor
from tests.sdk.compress.layered_graphs import small_mobilenet
from tests.sdk.compress.solve.whole_channels.test_narrowing import images


def parts_of(positions: int, columns: int = 24) -> list[Moments]:
    """The student reads what the teacher reads, and noise as large, which nothing makes up for."""
    chance = np.random.default_rng(0)
    found = []
    for _ in range(PARTS):
        teacher = chance.normal(size=(positions, columns))
        student = teacher + chance.normal(size=teacher.shape)
        t, s = teacher - teacher.mean(0), student - student.mean(0)
        covariance, cross = s.T @ s / positions, t.T @ s / positions
        energy = np.array([np.square(student).mean()])
        means = student.mean(0)[None], teacher.mean(0)[None]
        none = np.zeros_like(covariance)[None]
        found.append(Moments(*means, covariance[None], cross[None], none, energy, np.zeros(1)))
    return found


def test_few_positions_ask_for_more_restraint_than_many() -> None:
    weights = np.random.default_rng(1).normal(size=(1, 5, 24))
    kept, stays = np.ones((1, 24), bool), np.ones((1, 5), bool)
    few, many = (chance_by_parts(weights, parts_of(count), kept, stays) for count in (12, 20_000))
    assert few > many
    assert many == TRIED[0]


def test_rows_that_go_have_no_say() -> None:
    parts, weights = parts_of(200), np.zeros((1, 2, 24))
    weights[0, 0] = 1.0
    kept, stays = np.ones((1, 24), bool), np.array([[True, False]])
    alone = chance_by_parts(weights, parts, kept, stays)
    weights[0, 1] = 1e6
    assert chance_by_parts(weights, parts, kept, stays) == alone


@pytest.mark.tensorflow
def test_parts_together_are_the_whole() -> None:
    graph = with_biases(small_mobilenet(16))
    streams = Streams(Executor(graph), images, 64)
    for layer in solved_layers(graph)[1:4]:
        streams.advance(layer.weight.operator_index, {})
        whole = streams.moments(layer.shape, layer.source)
        parts = streams.moments_of_parts(layer.shape, layer.source, PARTS)
        assert len(parts) == PARTS
        again = together(parts)
        for name in ("student_mean", "teacher_mean", "covariance", "cross", "energy"):
            one, other = getattr(whole, name), getattr(again, name)
            assert np.abs(one - other).max() <= 1e-5 * max(np.abs(one).max(), 1.0), name
