"""Boxes out of a detector's outputs. Pure.

Forms of :class:`device_agent.record.task.Task`, each output without its leading 1:

post-process    boxes (n, 4): top, left, bottom, right, shares of the input; classes (n,); scores (n,); how many (1,)
yolov4          (n, 4): middle x and y, width, height; (n, classes): a score for each class
yolov5          (n, 5 + classes): middle x and y, width, height, objectness, a score for each class
yolov8          (4 + classes + 3 * points, n): middle x and y, width, height, a score for each class, points
yolov8 rows     the same, turned: (n, 4 + classes + 3 * points)
movenet bodies  (n, 51 + 5): y, x and a score of 17 points; top, left, bottom, right, score
final rows      (n, 6): left, top, right, bottom, score, class; already one box for each thing

A YOLO's coordinates are pixels of the input or shares of it, depending on its exporter; :func:`_shares` finds out.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import numpy as np

from device_agent.answers.overlaps import MAX_BOXES, best_apart
from device_agent.answers.prediction import Box, Point
from device_agent.errors import DataError
from device_agent.image.placement import Placement
from device_agent.record.task import Task

#: The least score of a box where neither the caller nor the package says one.
THRESHOLD = 0.25
#: Names of a first label that stands for nothing; the classes of post-processing do not count it.
_NOTHING = ("???", "background", "__background__")
#: The forms of keypoints whose points belong to boxes.
WITH_POINTS = ("yolov8", "movenet bodies")
_BODY_POINTS = 17
#: Coordinates up to here are shares of the input; a box may reach a little beyond it.
_LARGEST_SHARE = 2.0


class Candidates(NamedTuple):
    """``corners`` (n, 4): left, top, right, bottom as shares of the input; ``scores`` (n,); ``classes`` (n,);
    ``points`` (n, k, 3): x, y as shares, and a score."""

    corners: Any
    scores: Any
    classes: Any
    points: Any


def find_boxes(
    outputs: Sequence[Any],
    task: Task,
    labels: Sequence[str],
    where: Placement,
    input_size: tuple[int, int],
    threshold: float | None = None,
) -> tuple[Box, ...]:
    """The boxes, the best first, in pixels of the image that ``where`` says.

    ``outputs``: real values, of each output that the task names, without the leading 1. ``input_size``: (height,
    width) of the model's input. Raises DataError where an output has not the form that the task says.
    """
    least = threshold if threshold is not None else task.threshold
    least = THRESHOLD if least is None else least
    if task.form == "post-process":
        found, labels = _post_processed(outputs), without_nothing(labels)
    elif task.form == "movenet bodies":
        found = _bodies(outputs[0])
    else:
        found = _rows(_joined(outputs) if task.form == "yolov4" else outputs[0], task, input_size, least)
    good = np.flatnonzero(found.scores >= least)
    found = Candidates(*(values[good] for values in found))
    if task.form in ("post-process", "final rows", "movenet bodies"):
        kept = np.argsort(-found.scores, kind="stable")[:MAX_BOXES]
    else:
        kept = best_apart(found.corners, found.scores, found.classes)
    return tuple(_boxes(Candidates(*(values[kept] for values in found)), labels, where))


def without_nothing(labels: Sequence[str]) -> Sequence[str]:
    """The labels that post-processing counts: without a first one that stands for nothing."""
    return labels[1:] if labels and labels[0].lower() in _NOTHING else labels


def _post_processed(outputs: Sequence[Any]) -> Candidates:
    boxes, classes, scores, count = (np.asarray(output) for output in outputs)
    boxes, classes, scores = boxes.reshape(-1, 4), classes.reshape(-1), scores.reshape(-1)
    if not len(boxes) == len(classes) == len(scores) or count.size != 1:
        raise _other_form("boxes (n, 4), classes (n,), scores (n,) and their number", outputs)
    number = int(np.clip(np.nan_to_num(count.reshape(())), 0, len(boxes)))
    corners = boxes[:number, [1, 0, 3, 2]]
    whole = np.clip(np.nan_to_num(classes[:number]), 0, 1 << 30).astype(np.int64)
    return Candidates(corners, scores[:number], whole, np.zeros((number, 0, 3)))


def _joined(outputs: Sequence[Any]) -> Any:
    boxes, scores = (np.asarray(output) for output in outputs)
    if boxes.ndim != 2 or scores.ndim != 2 or boxes.shape != (len(scores), 4):
        raise _other_form("boxes (n, 4) and scores (n, classes)", outputs)
    return np.concatenate([boxes, scores], axis=1)


def _bodies(output: Any) -> Candidates:
    rows = np.asarray(output)
    if rows.ndim != 2 or rows.shape[1] != 3 * _BODY_POINTS + 5:
        raise _other_form("17 points and a box in each row", [output])
    points = rows[:, : 3 * _BODY_POINTS].reshape(len(rows), _BODY_POINTS, 3)[..., [1, 0, 2]]
    corners = rows[:, 3 * _BODY_POINTS :][:, [1, 0, 3, 2]]
    return Candidates(corners, rows[:, -1], np.zeros(len(rows), np.int64), points)


def _rows(output: Any, task: Task, input_size: tuple[int, int], least: float) -> Candidates:
    """Candidates of a YOLO; those below ``least`` may be left out."""
    rows = np.asarray(output)
    if rows.ndim != 2:
        raise _other_form("two dimensions", [output])
    if task.form == "yolov8":
        rows = rows.T
    width = {"yolov5": 5 + task.classes, "final rows": 6}.get(task.form, 4 + task.classes + 3 * task.points)
    # Masks of a segmenting YOLO have coefficients behind the scores, which boxes do not need.
    if rows.shape[1] < width or (task.classes == 0 and task.form != "final rows"):
        raise _other_form(f"{width} values for each box", [output])
    # Widths may be more than twice the input's; middles are not.
    scale = _shares(rows[:, : 4 if task.form == "final rows" else 2], input_size)
    if task.form == "final rows":
        whole = np.clip(np.nan_to_num(rows[:, 5]), 0, 1 << 30).astype(np.int64)
        return Candidates(rows[:, :4] * scale, rows[:, 4], whole, np.zeros((len(rows), 0, 3)))
    first = 5 if task.form == "yolov5" else 4
    of_classes = rows[:, first : first + task.classes]
    classes = np.argmax(of_classes, axis=1)
    scores = of_classes[np.arange(len(rows)), classes]
    if task.form == "yolov5":
        scores = scores * rows[:, 4]
    good = np.flatnonzero(scores >= least)
    rows, scores, classes = rows[good], scores[good], classes[good]
    middle, half = rows[:, :2] * scale[:2], rows[:, 2:4] * scale[:2] / 2
    points = rows[:, first + task.classes : first + task.classes + 3 * task.points].reshape(
        len(rows), task.points, 3
    )
    return Candidates(
        np.concatenate([middle - half, middle + half], axis=1),
        scores,
        classes,
        points * np.array([scale[0], scale[1], 1.0]),
    )


def _shares(coordinates: Any, input_size: tuple[int, int]) -> Any:
    """What x, y, x, y are multiplied with to become shares of the input, (4,), as ``coordinates`` (n, k) tell."""
    height, width = input_size
    finite = coordinates[np.isfinite(coordinates)]
    if not finite.size or float(finite.max()) <= _LARGEST_SHARE:
        return np.ones(4)
    return np.array([1 / width, 1 / height, 1 / width, 1 / height])


def _boxes(found: Candidates, labels: Sequence[str], where: Placement) -> Any:
    """One at a time, cut at the image's edges; those that lie beyond them are left out."""
    lefts, rights = (np.clip(where.x(found.corners[:, side]), 0.0, where.width) for side in (0, 2))
    tops, bottoms = (np.clip(where.y(found.corners[:, side]), 0.0, where.height) for side in (1, 3))
    for row in range(len(found.scores)):
        left, top, right, bottom = (float(v[row]) for v in (lefts, tops, rights, bottoms))
        if not (right > left and bottom > top):
            continue
        number = int(found.classes[row])
        yield Box(
            number,
            float(found.scores[row]),
            labels[number] if number < len(labels) else None,
            (left, top, right, bottom),
            tuple(
                Point(float(where.x(x)), float(where.y(y)), float(score)) for x, y, score in found.points[row]
            ),
        )


def _other_form(expected: str, outputs: Sequence[Any]) -> DataError:
    return DataError(
        "the outputs are not those of the detector that the package names",
        expected=expected,
        found=", ".join(str(np.shape(output)) for output in outputs),
        hint="Pack with another --task; `--task raw` gives the outputs as they are.",
    )
