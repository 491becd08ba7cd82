"""The requirements of a network on data: the shape of its input, the fitting of pictures, the kind of right answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device_agent.record.preprocess import Preprocess
from device_agent.record.task import Task


@dataclass(frozen=True)
class Wanted:
    """``shape``: of one sample. ``labels``: of the model's classes, empty where they are not known. ``scores``: how
    many it gives, None where that is not known. ``fit``: one of :data:`device_agent.record.task.FITS`.

    ``task``: of a detector or a segmenting model, None for others. ``values``: how many it gives for each sample, where
    they may be something other than classes; 0 where they are classes. ``truth``: the file or folder of right answers;
    None: it is found.
    """

    shape: tuple[int, ...]
    preprocess: Preprocess
    labels: tuple[str, ...]
    scores: int | None
    fit: str
    task: Task | None = None
    values: int = 0
    truth: Path | None = None
