"""A compressed model compared with its original on the same images, in the metric of the model's task, on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdk.data.scoring.by_task import Metric, Scorer
from sdk.data.scoring.score import Change, Score, change, too_few
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.evaluate import every_output, flips_of
from sdk.graph.on_host.host_model import HostModel
from sdk.tools.progress import Progress, silent

#: Bytes of images that are held at once.
_BATCH_BYTES = 64 << 20


class HeldAgainst:
    """The original's score on images, with which others are compared. ``metric``: of the model on these images.

    Without right answers in the data, the original's own answers count as right.
    """

    def __init__(
        self, original: bytes, dataset: Dataset, metric: Metric, progress: Progress = silent
    ) -> None:
        self._dataset, self._metric = dataset, metric
        self._truths: list[Any] = metric.truths(dataset) if metric.by_truth else []
        scorer = metric.begin()
        self._original = self._scored(original, scorer, progress, "check the original")
        self.kind = scorer.kind

    @property
    def score(self) -> Score:
        """The original's."""
        return self._original

    @property
    def checked_on(self) -> str:
        """Which images, in words."""
        against = "" if self._metric.by_truth else ", answers like the original's"
        return f"{self._dataset.name}{against}"

    def change(self, tflite: bytes, progress: Progress = silent, stage: str = "check") -> Change:
        """The change of the metric in another model. Raises ModelError where it does not take the images."""
        return change(self._original, self._scored(tflite, self._metric.begin(), progress, stage))

    def told(self, found: Change) -> str:
        """A change in words, as the statement of a compression has it."""
        low, high = found.points_interval
        return (
            f"checked on {found.samples:,} images of {self.checked_on}: {found.name} {found.before_text} -> "
            f"{found.after_text}, {found.verdict} ({found.test}); {found.points_lost:.2f} points lost "
            f"(95 %: {low:.2f} to {high:.2f})"
        )

    def too_few(self, points: float) -> str:
        """Why a loss of this many points cannot be told on these images; "" where it can."""
        if self._original.right is not None:
            return too_few(len(self._dataset), points)
        return ""

    def _scored(self, tflite: bytes, scorer: Scorer, progress: Progress, stage: str) -> Score:
        size = max(1, _BATCH_BYTES // max(1, 4 * int(np.prod(self._dataset.input_shape))))
        first = not self._metric.by_truth and not self._truths
        done = 0
        with HostModel(tflite) as model:
            for images, _ in self._dataset.batches(size):
                progress(stage, done, len(self._dataset))
                outputs = every_output(model, images, flips=flips_of(tflite))
                for number in range(len(images)):
                    sample = [output[number] for output in outputs]
                    if first:
                        self._truths.append(scorer.truth_of(sample))
                    scorer.add(sample, self._truths[done + number])
                done += len(images)
        return scorer.scores()[0]
