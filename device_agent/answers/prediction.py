"""The answer to an application: the best classes by name, boxes, a map or points, and the raw outputs. Pure."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np


@dataclass(frozen=True)
class Scored:
    """One class: its number, its score as the model gives it, and its label where the package has labels."""

    index: int
    score: float
    label: str | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass(frozen=True)
class Point:
    """A point in pixels of the image, from its left and its top; ``score`` and ``label`` None where there are none."""

    x: float
    y: float
    score: float | None = None
    label: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass(frozen=True)
class Box:
    """A thing that was found: its class, and (left, top, right, bottom) in pixels of the image.

    ``points``: of a body, where the model finds some.
    """

    index: int
    score: float
    label: str | None
    box: tuple[float, float, float, float]
    points: tuple[Point, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        said = {"index": self.index, "score": self.score, "label": self.label, "box": list(self.box)}
        return {**said, "points": [point.to_json() for point in self.points]} if self.points else said


@dataclass(frozen=True)
class Share:
    """A class of a map, and the share of its pixels."""

    index: int
    share: float
    label: str | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class ClassMap:
    """``numbers`` (height, width): the class of each pixel, uint8 or uint16, at the size of the model's output.

    ``box``: (left, top, right, bottom) of the map on the image, in pixels; beyond its edges in a letterbox.
    ``classes``: those that are there, the largest first.
    """

    numbers: Any
    classes: tuple[Share, ...]
    box: tuple[float, float, float, float]

    def at(self, height: int, width: int) -> Any:
        """The class of each pixel of the image, (height, width) as it was given; 0 where the map does not reach."""
        left, top, right, bottom = self.box
        rows, columns = self.numbers.shape
        y = np.floor((np.arange(height) + 0.5 - top) * rows / (bottom - top)).astype(np.int64)
        x = np.floor((np.arange(width) + 0.5 - left) * columns / (right - left)).astype(np.int64)
        inside = ((y >= 0) & (y < rows))[:, None] & ((x >= 0) & (x < columns))[None]
        found = self.numbers[np.clip(y, 0, rows - 1)[:, None], np.clip(x, 0, columns - 1)[None]]
        return np.where(inside, found, 0).astype(self.numbers.dtype)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the numbers as base64 of little-endian rows."""
        stored = self.numbers.astype(self.numbers.dtype.newbyteorder("<"), copy=False)
        return {
            "shape": list(stored.shape),
            "dtype": str(self.numbers.dtype),
            "base64": base64.b64encode(stored.tobytes()).decode("ascii"),
            "box": list(self.box),
            "classes": [share.to_json() for share in self.classes],
        }


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer to one image.

    ``top``: the best classes, the best first; empty where the model is not a classifier. ``outputs``: every output of
    the model, without the leading 1. ``release``: the id of the release that answered, None for a model file. ``task``:
    the task that the package states, None where it states none. ``boxes``, ``map`` and ``points``: the answer of a
    detector, of a segmenting model, of one that finds keypoints; None for other tasks. ``names``: of the outputs.
    """

    top: tuple[Scored, ...]
    outputs: tuple[Any, ...]
    release: str | None = None
    task: str | None = None
    boxes: tuple[Box, ...] | None = None
    map: ClassMap | None = None
    points: tuple[Point, ...] | None = None
    names: tuple[str, ...] = ()

    @property
    def named(self) -> dict[str, Any]:
        """The outputs by the names that the model gives them."""
        return dict(zip(self.names, self.outputs))

    @property
    def index(self) -> int | None:
        """Number of the best class."""
        return self.top[0].index if self.top else None

    @property
    def label(self) -> str | None:
        """Label of the best class."""
        return self.top[0].label if self.top else None

    @property
    def score(self) -> float | None:
        """Score of the best class; a probability where the model ends in a softmax."""
        return self.top[0].score if self.top else None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without the outputs; where these are all that there is, their names and shapes."""
        if self.boxes is not None:
            return {"task": self.task, "boxes": [box.to_json() for box in self.boxes]}
        if self.map is not None:
            return {"task": self.task, "map": self.map.to_json()}
        if self.points is not None:
            return {"task": self.task, "points": [point.to_json() for point in self.points]}
        said: dict[str, Any] = {
            "label": self.label,
            "index": self.index,
            "score": self.score,
            "top": [scored.to_json() for scored in self.top],
        }
        if not self.top:
            said["outputs"] = [{"name": name, "shape": list(one.shape)} for name, one in self.named.items()]
        return said


def best(scores: Any, labels: Sequence[str], count: int) -> tuple[Scored, ...]:
    """The ``count`` highest of ``scores`` (classes,), or (1, ..., classes); equal scores in the order of classes."""
    if scores.size == 0 or scores.shape[-1:] != (scores.size,):
        return ()
    flat = scores.reshape(-1)
    order = np.argsort(-flat, kind="stable")[:count]
    return tuple(
        Scored(int(i), float(flat[i]), labels[int(i)] if int(i) < len(labels) else None) for i in order
    )
