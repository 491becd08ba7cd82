"""A map of classes out of a segmenting model's output. Pure.

Forms of :class:`device_agent.record.task.Task`, without the leading 1:

scores      (height, width, classes): the highest wins
numbers     (height, width) or (height, width, 1): the class itself
mask        (height, width) or (height, width, 1): class 1 above a half, or above 0 where values are not probabilities
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from device_agent.answers.prediction import ClassMap, Share
from device_agent.errors import DataError
from device_agent.image.placement import Placement
from device_agent.record.task import Task

#: Classes that a map can hold.
MAX_CLASSES = 1 << 16


def find_map(output: Any, task: Task, labels: Sequence[str], where: Placement) -> ClassMap:
    """The map, at the size of the output. Raises DataError where the output has not the form that the task says."""
    values = np.asarray(output)
    if task.form != "scores" and values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != (3 if task.form == "scores" else 2) or values.size == 0:
        raise DataError(
            "the output is not a map of classes",
            expected="(height, width, classes)" if task.form == "scores" else "(height, width)",
            found=str(np.shape(output)),
            hint="Pack with another --task; `--task raw` gives the outputs as they are.",
        )
    if task.form == "scores":
        numbers = np.argmax(values, axis=2).astype(np.uint16)
    elif task.form == "mask":
        least = task.threshold
        if least is None:
            least = 0.5 if values.min() >= 0.0 and values.max() <= 1.0 else 0.0
        numbers = (values > least).astype(np.uint16)
        labels = ("background", *labels) if len(labels) == 1 else labels
    else:
        numbers = np.clip(np.nan_to_num(values), 0, MAX_CLASSES - 1).astype(np.uint16)
    if np.max(numbers) < 256:
        numbers = numbers.astype(np.uint8)
    return ClassMap(numbers, tuple(_shares(numbers, labels)), where.box)


def _shares(numbers: Any, labels: Sequence[str]) -> Any:
    """Every class that is there, the largest first."""
    counts = np.bincount(numbers.reshape(-1))
    for number in np.argsort(-counts, kind="stable").tolist():
        if counts[number] == 0:
            return
        label = labels[number] if number < len(labels) else None
        yield Share(number, float(counts[number] / numbers.size), label)
