"""The answer to one image by the task of its model. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Sequence

from device_agent.answers.detections import WITH_POINTS, find_boxes
from device_agent.answers.keypoints import find_points
from device_agent.answers.prediction import Prediction, best
from device_agent.answers.segmentation import find_map
from device_agent.errors import DataError
from device_agent.image.placement import Placement
from device_agent.record.task import CLASSES, DETECTIONS, KEYPOINTS, SEGMENTATION, Task
from device_agent.record.usage import Usage


def answer(
    outputs: Sequence[Any],
    usage: Usage,
    where: Placement | None,
    input_size: tuple[int, int],
    *,
    top: int,
    threshold: float | None = None,
) -> Prediction:
    """What ``outputs``, real values without their leading 1, say of the image that the input was made from.

    ``where``: how the input (height, width: ``input_size``) lies on it; None where the input is not an image. A model
    without a task answers with classes where it has one output, and with its outputs alone where it has several.
    Raises DataError where an output has not the form that the task says.
    """
    task, labels = usage.task, usage.labels
    plain = Prediction((), tuple(outputs), task=None if task is None else task.kind)
    if task is None:
        return replace(plain, top=best(outputs[0], labels, top)) if len(outputs) == 1 else plain
    read = _named(outputs, task)
    if task.kind == CLASSES:
        return replace(plain, top=best(read[0], labels, top))
    if where is None or task.kind not in (DETECTIONS, SEGMENTATION, KEYPOINTS):
        return plain
    if task.kind == SEGMENTATION:
        return replace(plain, map=find_map(read[0], task, labels, where))
    if task.kind == DETECTIONS or task.form in WITH_POINTS:
        return replace(plain, boxes=find_boxes(read, task, labels, where, input_size, threshold))
    return replace(plain, points=find_points(read, task, labels, where, input_size))


def _named(outputs: Sequence[Any], task: Task) -> Sequence[Any]:
    """The outputs that a task names, in its order."""
    if any(position >= len(outputs) for position in task.outputs):
        raise DataError(
            "the package's task names an output that the model does not have",
            expected=f"0 to {len(outputs) - 1}",
            found=", ".join(map(str, task.outputs)),
        )
    return [outputs[position] for position in task.outputs]
