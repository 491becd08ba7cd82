"""mAP of boxes as COCO counts it: matched by pycocotools, with a value for any weights of the images. Pure."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.answers.detections import find_boxes
from device_agent.answers.prediction import Box
from device_agent.image.placement import placement_on
from device_agent.record.task import Task
from sdk.data.scoring.score import Score
from sdk.data.scoring.truth import TrueBoxes
from sdk.errors import DataError

#: COCO counts boxes down to no score at all; below this they change nothing.
_LEAST_SCORE = 0.001
_BOXES_PER_IMAGE = 100
#: Weights times boxes that are worked on at once.
_AT_ONCE = 1 << 22


class BoxScorer:
    """mAP@0.5:0.95 and mAP@0.5. What is right is a TrueBoxes of the picture's own pixels."""

    kind = "boxes"

    def __init__(self, task: Task, input_size: tuple[int, int], fit: str) -> None:
        self._task, self._input_size, self._fit = task, input_size, fit
        self._found: list[tuple[Box, ...]] = []
        self._truths: list[TrueBoxes] = []

    def _boxes(
        self, outputs: Sequence[np.ndarray], height: int, width: int, least: float | None
    ) -> tuple[Box, ...]:
        where = placement_on(height, width, *self._input_size, self._fit)
        read = [outputs[position] for position in self._task.outputs]
        return find_boxes(read, self._task, (), where, self._input_size, least)

    def truth_of(self, outputs: Sequence[np.ndarray], truth: Any = None) -> Any:
        """The boxes of one sample that people would be shown, from outputs such as (n, 6): what another model is
        compared with."""
        height, width = self._input_size if truth is None else (truth.height, truth.width)
        return TrueBoxes.of_answer(self._boxes(outputs, height, width, None), height, width)

    def add(self, outputs: Sequence[np.ndarray], truth: Any) -> None:
        """One sample: every output such as (n, 6), without its leading 1."""
        self._found.append(self._boxes(outputs, truth.height, truth.width, _LEAST_SCORE))
        self._truths.append(truth)

    def scores(self) -> tuple[Score, ...]:
        """mAP@0.5:0.95, then mAP@0.5. Raises DataError where pycocotools is missing."""
        evaluated = matched(self._found, self._truths)
        if evaluated is None:
            empty = np.zeros(len(self._truths))
            return tuple(
                Score(name, len(empty), lambda weights: weights @ empty)
                for name in ("mAP@0.5:0.95", "mAP@0.5")
            )
        curves = _curves(evaluated, len(self._truths))
        return (
            Score("mAP@0.5:0.95", len(self._truths), lambda weights: _mean_precision(curves, weights, 10)),
            Score("mAP@0.5", len(self._truths), lambda weights: _mean_precision(curves, weights, 1)),
        )


def matched(found: Sequence[tuple[Box, ...]], truths: Sequence[TrueBoxes]) -> Any:
    """A COCOeval of pycocotools whose boxes are matched; None where there is nothing that could be found.

    Raises DataError where pycocotools is missing.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise DataError(
            "boxes are counted by pycocotools, which is not installed",
            expected="pip install pycocotools",
            found=str(error),
        ) from error
    boxes = [box for number, truth in enumerate(truths) for box in _true_annotations(number, truth)]
    if not boxes:
        return None
    answers = [box for number, boxes_of in enumerate(found) for box in _answers(number, boxes_of)]
    classes = {box["category_id"] for box in (*boxes, *answers)}
    data = {
        "images": [{"id": number} for number in range(len(truths))],
        "categories": [{"id": number, "name": str(number)} for number in sorted(classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        sides = []
        for annotations in (boxes, answers):
            side = COCO()
            side.dataset = {
                **data,
                "annotations": [{**one, "id": i} for i, one in enumerate(annotations, start=1)],
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iouType="bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
        evaluation.params.maxDets = [_BOXES_PER_IMAGE]
        evaluation.evaluate()
    return evaluation


def _true_annotations(number: int, truth: TrueBoxes) -> list[dict[str, Any]]:
    return [
        _annotation(number, corners, int(kind), crowd=bool(crowd))
        for corners, kind, crowd in zip(truth.corners, truth.classes, truth.crowd, strict=True)
    ]


def _answers(number: int, boxes: Sequence[Box]) -> list[dict[str, Any]]:
    return [{**_annotation(number, box.box, box.index), "score": box.score} for box in boxes]


def _annotation(number: int, corners: Any, kind: int, *, crowd: bool = False) -> dict[str, Any]:
    left, top, right, bottom = map(float, corners)
    size = [left, top, right - left, bottom - top]
    return {
        "image_id": number,
        "category_id": kind,
        "bbox": size,
        "area": size[2] * size[3],
        "iscrowd": int(crowd),
    }


@dataclass(frozen=True, eq=False)
class _Curve:
    """The boxes that were found of one class, the best first.

    ``images`` (d,): the image of each; ``hits`` and ``counts`` (10, d): whether it is a match at each threshold, and
    whether it counts at all; ``things`` (n,): how many there are on each image.
    """

    images: np.ndarray
    hits: np.ndarray
    counts: np.ndarray
    things: np.ndarray


def _curves(evaluation: Any, samples: int) -> list[_Curve]:
    """One for each class that is there."""
    by_class: dict[int, list[Mapping[str, Any]]] = {}
    for one in evaluation.evalImgs:
        if one is not None:
            by_class.setdefault(one["category_id"], []).append(one)
    found = []
    for entries in by_class.values():
        things = np.zeros(samples)
        for one in entries:
            things[one["image_id"]] += np.sum(np.asarray(one["gtIgnore"]) == 0)
        if not things.any():
            continue  # as COCO: a class that is nowhere has no precision
        scores = np.concatenate([one["dtScores"] for one in entries])
        images = np.concatenate([np.full(len(one["dtScores"]), one["image_id"]) for one in entries])
        order = np.argsort(-scores, kind="mergesort")
        ignored = np.concatenate([np.asarray(one["dtIgnore"], bool) for one in entries], axis=1)[:, order]
        matched = np.concatenate([np.asarray(one["dtMatches"]) > 0 for one in entries], axis=1)[:, order]
        found.append(_Curve(images[order].astype(np.int64), matched & ~ignored, ~ignored, things))
    return found


def _mean_precision(curves: Sequence[_Curve], weights: np.ndarray, thresholds: int) -> np.ndarray:
    """Weights (b, n) -> mAP (b,) over the first ``thresholds`` of 0.5, 0.55 ... 0.95; nan where nothing is there."""
    total, classes = np.zeros(len(weights)), np.zeros(len(weights))
    for curve in curves:
        step = max(1, _AT_ONCE // max(1, len(curve.images) * thresholds))
        for start in range(0, len(weights), step):
            rows = slice(start, start + step)
            there = weights[rows] @ curve.things
            found = _precision(curve, weights[rows], there, thresholds)
            total[rows] += np.where(there > 0, found, 0.0)
            classes[rows] += there > 0
    return np.where(classes > 0, total / np.maximum(classes, 1), np.nan)


def _precision(curve: _Curve, weights: np.ndarray, there: np.ndarray, thresholds: int) -> np.ndarray:
    """The mean precision at recalls 0, 0.01 ... 1 and over thresholds: (b,)."""
    if not len(curve.images):
        return np.zeros(len(weights))
    of_boxes = weights[:, None, curve.images]
    hits = np.cumsum(of_boxes * curve.hits[:thresholds], axis=2)
    counted = np.cumsum(of_boxes * curve.counts[:thresholds], axis=2)
    precision = hits / np.maximum(counted, 1e-12)
    precision = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    reached = np.floor(100.0 * hits / np.maximum(there, 1e-12)[:, None, None] + 1e-9) + 1
    new = np.diff(reached, axis=2, prepend=0.0)
    return np.asarray((precision * new).sum(axis=2).mean(axis=1) / 101.0)
