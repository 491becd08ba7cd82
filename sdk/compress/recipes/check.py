"""Counts right answers of a compressed network on images that it did not learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from device_agent.record.intervals import Interval, paired_interval
from sdk.compress.solve.answer_loss import log_softmax
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

LEAST_BATCH, MOST_BATCH, BATCH_VALUES = (
    32,
    256,
    1 << 20,
)  # images at once; together they have about this many values
WATCHED_IMAGES = 256  # of a check that may be ended early, so that its mean is not an accident


@dataclass(frozen=True)
class Checked:
    """One check. ``accuracy_percent`` is None without labels; ``divergence_nats`` is the mean of the Kullback-Leibler
    divergence of the answers from the original's, which tells networks apart that are right equally often. ``lost`` are
    points of top-1, or of agreement without labels, or of the metric of the model's task, and their 95 % interval;
    ``reached``: that metric in words."""

    accuracy_percent: float | None
    agreement_percent: float
    divergence_nats: float
    lost: Interval
    reached: str = ""


class Judge(Protocol):
    """Tells the noise in the outputs of a graph, as a share of their energy."""

    @property
    def probes(self) -> int:
        """How many graphs may be tried by ``quick``."""

    @property
    def late(self) -> bool:
        """Whether no more is to be tried than is needed."""

    def noise(self, graph: Graph) -> float:
        """On all inputs; infinity where the graph does not run."""

    def quick(self, graph: Graph) -> float:
        """On a few of them."""

    def unseen(self, graph: Graph) -> float:
        """The mean on others, which no choice was made on."""

    def other_answers(self, graph: Graph) -> float:
        """The share of those others to which a classifier answers with another class; 0 where it is none."""


class Checker:
    """Counts right answers, and answers like the original's, on images."""

    def __init__(
        self,
        graph: Graph,
        dataset: Dataset,
        report: Progress = silent,
        held_out: bool = False,
    ) -> None:
        self.dataset, self.report, self.held_out = dataset, report, held_out
        self.scores = np.concatenate(list(self._scores(graph)))
        self.original = self.scores.argmax(axis=1)
        self.accuracy = _percent(self.original == dataset.labels) if dataset.labels is not None else None

    def __call__(
        self, graph: Graph, watch: Callable[[int, float], None] = lambda batches, nats: None
    ) -> Checked:
        """Counts for one graph. ``watch`` is told the divergence after every few batches, and may raise to end it."""
        answers: list[np.ndarray] = []
        nats: list[np.ndarray] = []
        done = 0
        for number, scores in enumerate(self._scores(graph), start=1):
            answers.append(scores.argmax(axis=1))
            nats.append(divergence(self.scores[done : done + len(scores)], scores))
            done += len(scores)
            if done % WATCHED_IMAGES == 0:
                watch(number, float(np.concatenate(nats).mean()))
        answered = np.concatenate(answers)
        labels = self.dataset.labels
        right = self.original if labels is None else labels
        losses = (self.original == right).astype(np.float64) - (answered == right)
        return Checked(
            None if labels is None else _percent(answered == labels),
            _percent(answered == self.original),
            float(np.concatenate(nats).mean()),
            points_lost(losses),
        )

    def statement(self, checked: Checked, verb: str = "checked") -> str:
        """In words, what was measured on what, and how sure the loss is."""
        kept = "kept back for it" if self.held_out else "of their own"
        where = f"{verb} on {len(self.dataset):,} images of {self.dataset.name} {kept}"
        agreement = f"{checked.agreement_percent:.2f} % of the answers are the original's"
        lost = f"{checked.lost.value:.2f} points lost, at most {checked.lost.high:.2f} with 95 % confidence"
        if self.accuracy is None or checked.accuracy_percent is None:
            return f"{where}, which have no labels: {agreement}; {lost}"
        share = f"top-1 {self.accuracy:.2f} % -> {checked.accuracy_percent:.2f} %"
        return f"{where}: {share}; {agreement}; {lost}"

    def _scores(self, graph: Graph) -> Any:
        executor = Executor(graph)
        done = 0
        fitting = BATCH_VALUES // int(np.prod(self.dataset.input_shape))
        batch = 1 << (min(max(fitting, LEAST_BATCH), MOST_BATCH).bit_length() - 1)
        for images, _ in self.dataset.batches(batch):
            self.report("check", done, len(self.dataset))
            yield np.asarray(executor(images, wanted=executor.scores)).reshape(len(images), -1)
            done += len(images)
        self.report("check", done, done)


def points_lost(losses: np.ndarray) -> Interval:
    """The loss in points and its 95 % interval, from the loss of each of n images, (n,) of -1 to 1."""
    lost = paired_interval(losses)
    return Interval(100 * lost.value, 100 * lost.low, 100 * lost.high)


def divergence(original: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence in nats of each row's softmax from the original's: scores (n, classes) -> (n,)."""
    p, q = log_softmax(original), log_softmax(other)
    return (np.exp(p) * (p - q)).sum(axis=1)


def _percent(right: Any) -> float:
    return float(100 * np.mean(right))
