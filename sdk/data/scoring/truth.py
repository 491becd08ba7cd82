"""The right answer for one sample that is not a class: boxes, a map of classes, or values (k,). Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_agent.answers.prediction import Box

#: The kinds of truth that a source may have beside its pictures.
BOXES, MAPS, VALUES = KINDS = ("boxes", "maps of classes", "values")
#: In a map of classes: a pixel that counts for nothing.
NO_CLASS = -1


@dataclass(frozen=True, eq=False)
class TrueBoxes:
    """The things on a picture of (height, width) pixels.

    ``corners`` (k, 4): left, top, right, bottom in pixels; ``classes`` (k,) int64; ``crowd`` (k,) bool: a group of
    things; missing it, or finding it, is not a mistake.
    """

    height: int
    width: int
    corners: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray

    @classmethod
    def of_answer(cls, boxes: tuple[Box, ...], height: int, width: int) -> TrueBoxes:
        """The boxes that a model found, as what another model is compared with."""
        return cls(
            height,
            width,
            np.array([box.box for box in boxes], np.float64).reshape(-1, 4),
            np.array([box.index for box in boxes], np.int64),
            np.zeros(len(boxes), bool),
        )


@dataclass(frozen=True, eq=False)
class TrueMap:
    """``numbers`` (height, width) int64: the class of each pixel of a picture; NO_CLASS where none counts."""

    numbers: np.ndarray
