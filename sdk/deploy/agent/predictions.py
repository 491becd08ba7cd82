"""The answer of an agent about a picture, as records: classes, boxes, a map, or points, in pixels of the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from device_agent.record.named_kinds import Count, Share, Size
from device_agent.record.schema import limits, record, write
from sdk.deploy.agent.answers import Base64, NotNegative, Words


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class ScoredAnswer:
    """A class and its score; None where the board's was not a number."""

    index: Count
    score: float | None = None
    label: Words | None = None


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class PointAnswer:
    """A point, from the picture's left and top; None for what was not a number."""

    x: float | None
    y: float | None
    score: float | None = None
    label: Words | None = None


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class BoxAnswer:
    """A thing that was found, in (left, top, right, bottom)."""

    index: Count
    box: tuple[float, float, float, float]
    score: float | None = None
    label: Words | None = None
    points: tuple[PointAnswer, ...] = ()


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class ClassShareAnswer:
    """A class of a map, and the share of its pixels."""

    index: Count
    share: Share
    label: Words | None = None


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class MapAnswer:
    """A map of classes: its numbers in base64, row by row, and (left, top, right, bottom) of it on the picture."""

    shape: tuple[Size, Size]
    box: tuple[float, float, float, float]
    classes: tuple[ClassShareAnswer, ...]
    base64: Base64
    dtype: str = field(default="uint8", metadata=limits(choices=("uint8", "uint16")))


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class PredictAnswer:
    """The answer of a model about one picture. ``task`` None: the package does not say what the model is for.

    ``boxes``, ``map`` and ``points`` are None for models of other tasks; ``outputs`` are the shapes of what came out.
    """

    seconds: NotNegative
    task: Words | None = None
    top: tuple[ScoredAnswer, ...] = ()
    boxes: tuple[BoxAnswer, ...] | None = None
    map: MapAnswer | None = None
    points: tuple[PointAnswer, ...] | None = None
    outputs: tuple[tuple[Count, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return write(self)
