"""The loss that tells how far a network's answers are from the original's, in nats, for outputs of every kind.

Scores of classes are told by the divergence of their softmax. All other outputs (boxes, heat maps, maps of classes,
values, features) are taken as the mean of a normal distribution as wide as the output itself varies: half of the
squared error as a share of that energy. The losses of several outputs are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from sdk.graph.records import Graph

BATCH = 8  # images at once
#: Images that tell how much an output varies.
ENERGY_IMAGES = 64
#: Of an output's mean square: no output counts as varying less, such as one that is the same for all images.
LEAST_ENERGY = 0.01


class AnsweringRunner(Protocol):
    """The part of :class:`sdk.graph.in_tensorflow.executor.Executor` that is used here."""

    graph: Graph

    @property
    def answers(self) -> tuple[tuple[int, bool], ...]:
        """The outputs, and whether each ranks classes."""

    def run(
        self, values: Mapping[int, Any], *, wanted: Any, constants: Mapping[int, Any] | None = None
    ) -> Any:
        """Several tensors from given values."""


class AnswerLoss:
    """The loss of one network's answers. ``wanted``: the tensors that it reads."""

    def __init__(self, runner: AnsweringRunner, images: Any, samples: Sequence[int]) -> None:
        """``images``: sample positions -> preprocessed images; those ``samples`` tell how much outputs vary."""
        self._ranks = dict(runner.answers)
        self.wanted = tuple(self._ranks)
        others = [tensor for tensor, ranks in self._ranks.items() if not ranks]
        self._energies = _energies(runner, images, samples[:ENERGY_IMAGES], others) if others else {}

    def drawn(self, values: Mapping[int, Any], random: np.random.Generator) -> Any:
        """A loss, summed over samples, the second moment of whose gradients is the Fisher information.

        ``values``: the tensors ``wanted`` for n samples, of TensorFlow. Labels are drawn from the scores, and
        directions of a normal distribution for other outputs.
        """
        import tensorflow as tf

        losses = []
        for tensor, ranks in self._ranks.items():
            value = values[tensor]
            if ranks:
                scores = tf.reshape(value, (value.shape[0], -1))
                chance = np.cumsum(tf.nn.softmax(scores).numpy(), axis=-1)
                labels = np.minimum(
                    (chance < random.random((len(chance), 1))).sum(axis=1), chance.shape[1] - 1
                )
                losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores))
            else:
                directions = random.standard_normal(value.shape, np.float32)
                losses.append(value * directions / np.sqrt(self._energies[tensor]))
        return tf.add_n([tf.reduce_sum(loss) for loss in losses])

    def of(self, values: Mapping[int, Any]) -> dict[int, np.ndarray]:
        """The answers to n samples for ``apart``, by tensor: (n, k) float64, of scores their softmax's logarithm."""
        return {
            tensor: log_softmax(values[tensor]) if ranks else _flat(values[tensor])
            for tensor, ranks in self._ranks.items()
        }

    def apart(self, before: Mapping[int, np.ndarray], after: Mapping[int, np.ndarray]) -> float:
        """The nats between the answers ``before`` and ``after``, (n, k) each from ``of``, summed over the samples."""
        nats = 0.0
        for tensor, ranks in self._ranks.items():
            one, other = before[tensor], after[tensor]
            if ranks:
                nats += float((np.exp(one) * (one - other)).sum())
            else:
                nats += 0.5 * float(np.square(one - other).sum()) / self._energies[tensor]
        return nats


def _energies(
    runner: AnsweringRunner, images: Any, samples: Sequence[int], wanted: Sequence[int]
) -> dict[int, float]:
    """For each tensor the mean over samples of its squared distance from its mean."""
    source, count = runner.graph.inputs[0], len(samples)
    sums: dict[int, np.ndarray] = {}
    squares = dict.fromkeys(wanted, 0.0)
    for start in range(0, count, BATCH):
        values = runner.run({source: images(samples[start : start + BATCH])}, wanted=wanted)
        for tensor in wanted:
            value = _flat(values[tensor])
            sums[tensor] = sums.get(tensor, np.zeros(1)) + value.sum(axis=0)
            squares[tensor] += float(np.square(value).sum())
    found = {}
    for tensor in wanted:
        whole = squares[tensor] / count
        varies = whole - float(np.square(sums[tensor] / count).sum())
        found[tensor] = max(varies, LEAST_ENERGY * whole, 1e-12)
    return found


def _flat(value: Any) -> np.ndarray:
    value = np.asarray(value, np.float64)
    return value.reshape(len(value), -1)


def log_softmax(scores: Any) -> np.ndarray:
    """The logarithm of each row's softmax, of scores (n, classes): float64 of the same shape."""
    scores = _flat(scores)
    scores = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))
