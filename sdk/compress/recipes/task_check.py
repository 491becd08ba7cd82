"""The same as :mod:`sdk.compress.recipes.check` in the metric of the model's task, over all of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.record.intervals import Interval
from sdk.compress.recipes.check import LEAST_BATCH, WATCHED_IMAGES, Checked, Checker
from sdk.data.scoring.by_task import Metric, Scorer
from sdk.data.scoring.score import Score, change
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

#: Of the original's outputs this many bytes are kept, to hold others against.
KEPT_BYTES = 512 << 20


class TaskChecker(Checker):
    """Holds graphs against the original on images, in a metric other than the top-1 of a first output."""

    def __init__(
        self,
        graph: Graph,
        dataset: Dataset,
        metric: Metric,
        report: Progress = silent,
        held_out: bool = False,
    ) -> None:
        self.dataset, self.report, self.held_out = dataset, report, held_out
        self._metric = metric
        self._truths: list[Any] = metric.truths(dataset) if metric.by_truth else []
        self._outputs: list[list[np.ndarray]] = []
        self._kept_bytes = 0
        scorer = metric.begin()
        for number, outputs in enumerate(self._samples(graph)):
            if not metric.by_truth:
                self._truths.append(scorer.truth_of(outputs))
            scorer.add(outputs, self._truths[number])
            self._keep(outputs)
        self._score = scorer.scores()[0]
        self.accuracy = _percent(self._score) if metric.by_truth else None

    def _keep(self, outputs: list[np.ndarray]) -> None:
        if self._kept_bytes < KEPT_BYTES:
            self._outputs.append(outputs)
            self._kept_bytes += sum(one.nbytes for one in outputs)

    def __call__(
        self, graph: Graph, watch: Callable[[int, float], None] = lambda batches, nats: None
    ) -> Checked:
        """Scores one graph. What ``watch`` is told, and stands for nats, is the power of the difference of all outputs
        as a share of the original's.
        """
        scorer: Scorer = self._metric.begin()
        apart: list[float] = []
        alike: list[float] = []
        for number, outputs in enumerate(self._samples(graph)):
            scorer.add(outputs, self._truths[number])
            if number < len(self._outputs):
                share, cosine = _difference(self._outputs[number], outputs)
                apart.append(share)
                alike.append(cosine)
            if (number + 1) % WATCHED_IMAGES == 0:
                watch((number + 1) // WATCHED_IMAGES, float(np.mean(apart)))
        score = scorer.scores()[0]
        found = change(self._score, score)
        return Checked(
            _percent(score) if self._metric.by_truth else None,
            100.0 * float(np.mean(alike)),
            float(np.mean(apart)),
            Interval(found.points_lost, *found.points_interval),
            f"{found.name} {found.before_text} -> {found.after_text}",
        )

    def statement(self, checked: Checked, verb: str = "checked") -> str:
        """In words, what was measured on what, and how sure the loss is."""
        kept = "kept back for it" if self.held_out else "of their own"
        against = "" if self._metric.by_truth else ", which hold no right answers, against the original's"
        where = f"{verb} on {len(self.dataset):,} images of {self.dataset.name} {kept}{against}"
        return (
            f"{where}: {checked.reached}; outputs are {checked.agreement_percent:.2f} % like the original's (cosine); "
            f"{checked.lost.value:.2f} points lost, at most {checked.lost.high:.2f} with 95 % confidence"
        )

    def _samples(self, graph: Graph) -> Iterator[list[np.ndarray]]:
        """Every output of each image, without its leading 1; or values that are chosen by, see :class:`Executor`."""
        executor = Executor(graph)
        done = 0
        for images, _ in self.dataset.batches(LEAST_BATCH):
            self.report("check", done, len(self.dataset))
            found = executor.run({graph.inputs[0]: images}, wanted=executor.outputs)
            arrays = [np.asarray(found[tensor]) for tensor in executor.outputs]
            for number in range(len(images)):
                yield [array[number] for array in arrays]
            done += len(images)
        self.report("check", done, done)


def checker_of(
    graph: Graph, dataset: Dataset, metric: Metric | None, report: Progress = silent, held_out: bool = False
) -> Checker:
    """The checker of graphs on images: by the top-1 of the first output where ``metric`` is None."""
    if metric is None:
        return Checker(graph, dataset, report, held_out)
    return TaskChecker(graph, dataset, metric, report, held_out)


def _percent(score: Score) -> float | None:
    """A share in percent; None for an error, which has a unit of its own."""
    return 100.0 * score.value if score.percent else None


def _difference(original: list[np.ndarray], other: list[np.ndarray]) -> tuple[float, float]:
    """The power of the difference as a share of the original's, and the cosine of the angle; means over outputs."""
    shares, cosines = [], []
    for one, two in zip(original, other, strict=True):
        first, second = (np.asarray(side, np.float64).reshape(-1) for side in (one, two))
        power, apart = float(np.dot(first, first)), float(np.sum(np.square(second - first)))
        size = np.sqrt(power) * float(np.linalg.norm(second))
        shares.append(apart / power if power > 0 else float(apart > 0))
        cosines.append(float(np.dot(first, second)) / size if size > 0 else float(apart == 0))
    return float(np.mean(shares)), float(np.mean(cosines))
