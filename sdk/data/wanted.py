"""What a network wants of data: the shape of its input, how pictures become it, and its classes."""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.record.preprocess import Preprocess


@dataclass(frozen=True)
class Wanted:
    """``shape``: of one sample. ``labels``: of the model's classes, empty where they are not known. ``scores``: how
    many it gives, None where that is not known. ``fit``: one of :data:`device_agent.record.task.FITS`.
    """

    shape: tuple[int, ...]
    preprocess: Preprocess
    labels: tuple[str, ...]
    scores: int | None
    fit: str
