"""Points out of a pose or landmark model's output. Pure.

Forms of :class:`device_agent.record.task.Task`, without the leading 1:

posenet     (height, width, points): a logit of each cell; (height, width, 2 * points): y of all points, then x of
            all, in pixels of the input from the cell's own place
movenet     (..., points, 3): y and x as shares of the input, and a score
heatmaps    (height, width, points): where a point's map is highest
points      (..., points, 2) or (..., points, 3): x and y, as shares or as pixels of the input; a depth may follow
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from device_agent.answers.prediction import Point
from device_agent.errors import DataError
from device_agent.image.placement import Placement
from device_agent.record.task import Task

#: Points of one answer.
MAX_POINTS = 1 << 14
_LARGEST_SHARE = 2.0


def find_points(
    outputs: Sequence[Any], task: Task, labels: Sequence[str], where: Placement, input_size: tuple[int, int]
) -> tuple[Point, ...]:
    """The points in their order, in pixels of the image that ``where`` says.

    ``input_size``: (height, width) of the model's input. Raises DataError where the output has not the form that the
    task says.
    """
    values = np.asarray(outputs[0], np.float64)
    scores: Any = None
    if task.form == "posenet" and _is_posenet(outputs):
        x, y, scores = _posenet(values, np.asarray(outputs[1], np.float64), input_size)
    elif task.form == "heatmaps" and values.ndim == 3 and values.size > 0:
        x, y, scores = _peaks(values)
    elif task.form == "movenet" and values.shape[-1:] == (3,):
        y, x, scores = values.reshape(-1, 3).T
    elif task.form == "points" and values.ndim >= 2 and values.shape[-1] in (2, 3):
        x, y = values.reshape(-1, values.shape[-1]).T[:2]
        if np.max(np.nan_to_num(np.abs(np.concatenate([x, y]))), initial=0.0) > _LARGEST_SHARE:
            x, y = x / input_size[1], y / input_size[0]
    else:
        raise DataError(
            "the output holds no points as the package says",
            expected=task.form,
            found=", ".join(str(np.shape(output)) for output in outputs),
            hint="Pack with another --task; `--task raw` gives the outputs as they are.",
        )
    if len(x) > MAX_POINTS:
        raise DataError("these are too many points", expected=f"at most {MAX_POINTS}", found=str(len(x)))
    return tuple(
        Point(
            float(where.x(x[i])),
            float(where.y(y[i])),
            None if scores is None else float(scores[i]),
            labels[i] if i < len(labels) else None,
        )
        for i in range(len(x))
    )


def _peaks(maps: Any) -> tuple[Any, Any, Any]:
    """x and y as shares, from the middle of the highest pixel of each map, and its value; each (points,)."""
    height, width, points = maps.shape
    flat = np.nan_to_num(maps, nan=-np.inf).reshape(-1, points)
    highest = np.argmax(flat, axis=0)
    rows, columns = np.divmod(highest, width)
    return (columns + 0.5) / width, (rows + 0.5) / height, flat[highest, np.arange(points)]


def _is_posenet(outputs: Sequence[Any]) -> bool:
    maps, offsets = (np.shape(output) for output in outputs)
    return len(maps) == 3 and min(maps) > 0 and offsets == (*maps[:2], 2 * maps[2])


def _posenet(maps: Any, offsets: Any, input_size: tuple[int, int]) -> tuple[Any, Any, Any]:
    """x and y as shares of the input, and a probability; each (points,)."""
    rows, columns, points = maps.shape
    flat = np.nan_to_num(maps, nan=-np.inf).reshape(-1, points)
    highest, numbers = np.argmax(flat, axis=0), np.arange(points)
    row, column = np.divmod(highest, columns)
    # Cells lie on the input's edges: the last one of 9 on an input of 257 is at 256.
    y = row * (input_size[0] - 1) / max(rows - 1, 1) + offsets[row, column, numbers]
    x = column * (input_size[1] - 1) / max(columns - 1, 1) + offsets[row, column, points + numbers]
    logits = np.clip(flat[highest, numbers], -50.0, 50.0)
    return (x + 0.5) / input_size[1], (y + 0.5) / input_size[0], 1.0 / (1.0 + np.exp(-logits))
