"""Metrics of classes, maps of classes and values: what each sample adds, and the scores of all of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from device_agent.answers.prediction import ClassMap
from device_agent.answers.segmentation import find_map
from device_agent.image.placement import Placement, placement_on
from device_agent.record.task import Task
from sdk.data.meaning.preprocess_evidence import answers
from sdk.data.scoring.score import Score, share, weighted_mean
from sdk.data.scoring.truth import NO_CLASS, TrueMap
from sdk.errors import DataError


class ClassScorer:
    """Top-1, and top-5 where there are more than five classes. What is right is the number of a class."""

    kind = "classes"

    def __init__(self, output: int) -> None:
        self._output = output
        self._right: list[int] = []
        self._rank: list[int] = []
        self._single: list[float] = []
        self._best: list[int] = []
        self._classes = 0

    def truth_of(self, outputs: Sequence[np.ndarray], truth: Any = None) -> Any:
        """The best class of one sample, from outputs such as (classes,): what another model is compared with."""
        del truth
        return int(answers(np.asarray(outputs[self._output]).reshape(1, -1))[0])

    def add(self, outputs: Sequence[np.ndarray], truth: Any) -> None:
        """One sample: every output such as (classes,), without its leading 1, and the class that is right."""
        row = np.asarray(outputs[self._output]).reshape(-1)
        self._classes, label = len(row), int(truth)
        self._right.append(label)
        if len(row) == 1:
            self._single.append(float(row[0]))
            return
        self._best.append(int(np.argmax(row)))
        known = 0 <= label < len(row)
        own = row[label] if known else np.inf
        self._rank.append(int(np.sum(row > own) + np.sum(row[: max(label, 0)] == own)) if known else len(row))

    @property
    def classes(self) -> int:
        """How many classes the answers are of."""
        return max(2, self._classes)

    @property
    def answered(self) -> np.ndarray:
        """The class that is answered for each sample, (n,) int64; equal scores go to the lower class."""
        if self._single:
            return answers(np.array(self._single).reshape(-1, 1))
        return np.array(self._best, np.int64)

    @property
    def right(self) -> np.ndarray:
        """The class that is right for each sample, (n,) int64."""
        return np.array(self._right, np.int64)

    def scores(self) -> tuple[Score, ...]:
        """Top-1, then top-5."""
        found = [share("top-1", self.answered == self.right)]
        if self._classes > 5:
            found.append(share("top-5", np.array(self._rank) < 5))
        return tuple(found)


class MapScorer:
    """Mean IoU over the classes that are there. What is right is a TrueMap, of the picture's own pixels."""

    kind = "maps of classes"

    def __init__(self, task: Task, input_size: tuple[int, int], fit: str) -> None:
        self._task, self._input_size, self._fit = task, input_size, fit
        self._counts: list[tuple[np.ndarray, np.ndarray]] = []

    def _map(self, outputs: Sequence[np.ndarray], height: int, width: int) -> ClassMap:
        where = placement_on(height, width, *self._input_size, self._fit)
        return find_map(outputs[self._task.outputs[0]], self._task, (), where)

    def truth_of(self, outputs: Sequence[np.ndarray], truth: Any = None) -> Any:
        """The map of one sample at the picture's size, from outputs such as (height, width): what another model is
        compared with."""
        height, width = self._input_size if truth is None else truth.numbers.shape
        where = Placement(0.0, 0.0, float(width), float(height), height, width)
        found = (
            find_map(outputs[self._task.outputs[0]], self._task, (), where)
            if truth is None
            else self._map(outputs, height, width)
        )
        return TrueMap(found.at(height, width).astype(np.int64))

    def add(self, outputs: Sequence[np.ndarray], truth: Any) -> None:
        """One sample, of outputs such as (height, width); beyond a crop, which the network did not see, no pixel
        counts."""
        height, width = truth.numbers.shape
        found = self._map(outputs, height, width)
        left, top, right, bottom = found.box
        rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
        inside = ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))[None]
        counts = inside & (truth.numbers != NO_CLASS)
        wanted, given = truth.numbers[counts], found.at(height, width)[counts].astype(np.int64)
        size = int(max(wanted.max(initial=0), given.max(initial=0))) + 1
        same = np.bincount(wanted[wanted == given], minlength=size)
        either = np.bincount(wanted, minlength=size) + np.bincount(given, minlength=size) - same
        self._counts.append((same, either))

    def scores(self) -> tuple[Score, ...]:
        """Mean IoU, then the share of pixels that are right."""
        size = max(len(same) for same, _ in self._counts)
        same, either = (
            np.stack([np.pad(pair[side], (0, size - len(pair[side]))) for pair in self._counts]).astype(
                np.float64
            )
            for side in (0, 1)
        )

        def mean_iou(weights: np.ndarray) -> np.ndarray:
            union = weights @ either
            shares = weights @ same / np.where(union > 0, union, 1.0)
            return np.asarray(shares.sum(axis=1) / np.maximum((union > 0).sum(axis=1), 1))

        return (Score("mean IoU", len(same), mean_iou),)


class ValueScorer:
    """Mean absolute error and root mean square error. What is right are the values themselves."""

    kind = "values"

    def __init__(self, output: int) -> None:
        self._output = output
        self._apart: list[np.ndarray] = []
        self._truths: list[np.ndarray] = []

    def truth_of(self, outputs: Sequence[np.ndarray], truth: Any = None) -> Any:
        """The values (n,) of one sample's output."""
        del truth
        return np.asarray(outputs[self._output], np.float64).reshape(-1)

    def add(self, outputs: Sequence[np.ndarray], truth: Any) -> None:
        """One sample, of outputs such as (n,). Raises DataError where there are not as many values as are right."""
        values = self.truth_of(outputs)
        wanted = np.asarray(truth, np.float64).reshape(-1)
        if values.shape != wanted.shape:
            raise DataError(
                "the right values do not fit the output",
                expected=f"{values.size} for each sample",
                found=str(wanted.size),
            )
        self._apart.append(values - wanted)
        self._truths.append(wanted)

    def scores(self) -> tuple[Score, ...]:
        """Mean absolute error, then root mean square error; a point of loss is a hundredth of the truth's spread."""
        apart, truths = np.stack(self._apart), np.stack(self._truths)
        spread = float(np.abs(truths - np.median(truths, axis=0)).mean())
        points = 100.0 / spread if spread > 0 else 100.0
        squares = weighted_mean((apart**2).mean(axis=1))
        how: dict[str, Any] = {"higher_is_better": False, "points_per_unit": points, "percent": False}
        return (
            Score("mean absolute error", len(apart), weighted_mean(np.abs(apart).mean(axis=1)), **how),
            Score(
                "root mean square error",
                len(apart),
                lambda weights: np.sqrt(np.maximum(squares(weights), 0.0)),
                **how,
            ),
        )


class LikenessScorer:
    """How alike all outputs are to another model's: what is right are that one's outputs, each as it is.

    It serves embeddings, several outputs, and models whose task is not known.
    """

    kind = "outputs"

    def __init__(self) -> None:
        self._likeness: list[float] = []
        self._noise: list[float] = []

    def truth_of(self, outputs: Sequence[np.ndarray], truth: Any = None) -> Any:
        """The outputs of one sample, flat: (n,) each."""
        del truth
        return [np.asarray(one, np.float64).reshape(-1) for one in outputs]

    def add(self, outputs: Sequence[np.ndarray], truth: Any) -> None:
        """One sample: every output of any shape such as (n,), and those that are right, flat."""
        cosines, shares = [], []
        for one, other in zip(self.truth_of(outputs), truth, strict=True):
            sizes = float(np.linalg.norm(one)), float(np.linalg.norm(other))
            cosines.append(1.0 if one.tobytes() == other.tobytes() else 0.0)
            if min(sizes) > 0 and cosines[-1] < 1.0:
                cosines[-1] = float(np.clip(np.dot(one / sizes[0], other / sizes[1]), -1.0, 1.0))
            apart = float(np.linalg.norm(np.nan_to_num(one - other)))
            shares.append(apart / sizes[1] if sizes[1] > 0 else float(apart > 0))
        self._likeness.append(float(np.mean(np.nan_to_num(cosines))))
        self._noise.append(float(np.mean(shares)))

    def scores(self) -> tuple[Score, ...]:
        """The cosine of the angle between the outputs, then the length of the difference as a share of theirs."""
        count = len(self._likeness)
        return (
            Score("cosine", count, weighted_mean(np.array(self._likeness)), percent=False),
            Score(
                "relative difference",
                count,
                weighted_mean(np.array(self._noise)),
                higher_is_better=False,
                percent=False,
            ),
        )
