"""What channels cost is what the network loses without them."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.rewrite.coupled_channels import coupled_channels
from sdk.compress.rewrite.cut_channels import cut_channels
from sdk.compress.solve.calibrate import solved_layers, with_biases
from sdk.compress.solve.whole_channels.costs import Order, chunk_sizes, seen_by
from sdk.compress.solve.whole_channels.losses import _scaled, measured
from sdk.graph.in_tensorflow.executor import Executor
from tests.sdk.compress.layered_graphs import small_mobilenet

pytestmark = pytest.mark.tensorflow
LEARNED, TRIED = 16, range(16, 24)


def images(samples: object) -> np.ndarray:
    """Smooth random images, another for every number."""
    coarse = [np.random.default_rng(i).normal(size=(4, 4, 3)) for i in samples]  # type: ignore[attr-defined]
    return np.stack([c.repeat(4, axis=0).repeat(4, axis=1) for c in coarse]).astype(np.float32)


def logarithms(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def test_costs_are_those_that_the_answers_have() -> None:
    graph = with_biases(small_mobilenet(16))
    runner, layers, coupling = Executor(graph), solved_layers(graph), coupled_channels(graph)
    family = max(coupling.families, key=lambda one: len(one.sets))
    sizes = chunk_sizes(family)
    chunks = tuple(np.split(family.cells[0], np.cumsum(sizes))[: len(sizes)])
    guessed = Order(family, chunks, tuple(1000.0 for _ in sizes))
    seen = seen_by(runner, layers, images, LEARNED)
    (found,) = measured(runner, coupling, layers, seen, [guessed], images, TRIED)
    assert found.chunks is guessed.chunks
    assert all(a <= b for a, b in zip(found.nats, found.nats[1:], strict=False))
    before, cut = (
        logarithms(np.asarray(Executor(g)(images(TRIED), wanted=Executor(g).scores), np.float64))
        for g in (graph, cut_channels(graph, coupling, np.concatenate(chunks)))
    )
    unsolved = (np.exp(before) * (before - cut)).sum(axis=1).mean()
    assert 0 < sum(found.nats) < unsolved  # what is left makes up for a part of it
    assert sum(found.nats) < 1000


def test_sums_are_scaled_between_what_was_measured() -> None:
    assert _scaled((1, 1, 1, 1), [1, 2, 4], [0.5, 1.0, 2.0]) == pytest.approx((0.5, 1.5, 2.5, 3.5))


def test_no_step_is_cheaper_than_the_one_before_it() -> None:
    found = _scaled((1, 1, 1, 1), [1, 4], [4.0, 1.0])
    assert found == pytest.approx((1.5,) * 4)
    assert all(nats > 0 for nats in _scaled((1, 1), [1, 2], [0.0, 0.0]))
