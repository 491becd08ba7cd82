"""The place of a model's input on its image, and the fitting of images. Pure.

Coordinates of an answer are shares of the input, 0 ... 1 from its left and its top; :class:`Placement` makes pixels of
the image of them, whichever way the image was fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.image.resize import fit, stretched
from device_agent.record.task import LETTERBOX, STRETCH

#: What is beside the image in a letterbox, of 0 ... 255; YOLO's exporters use it.
GREY = 114


@dataclass(frozen=True)
class Placement:
    """The input's edges on an image of (``height``, ``width``) pixels; beyond its edges where there is a letterbox."""

    left: float
    top: float
    right: float
    bottom: float
    height: int
    width: int

    def x(self, share: Any) -> Any:
        """Pixels from the image's left of shares of the input's width, an array of any shape."""
        return self.left + share * (self.right - self.left)

    def y(self, share: Any) -> Any:
        """Pixels from the image's top of shares of the input's height, an array of any shape."""
        return self.top + share * (self.bottom - self.top)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom)."""
        return self.left, self.top, self.right, self.bottom


def placement_on(rows: int, columns: int, height: int, width: int, how: str) -> Placement:
    """The place of an input of (height, width) on an image of (rows, columns) pixels that is fitted this way.

    ``how``: see :data:`device_agent.record.task.FITS`.
    """
    if how == STRETCH:
        return Placement(0.0, 0.0, columns, rows, rows, columns)
    if how == LETTERBOX:
        inner_height, inner_width, top, left = _inside(rows, columns, height, width)
        across, down = columns / inner_width, rows / inner_height
        edges = (-left * across, -top * down, (width - left) * across, (height - top) * down)
        return Placement(*edges, rows, columns)
    scale = max(width / columns, height / rows)
    left_edge, top_edge = (columns - width / scale) / 2, (rows - height / scale) / 2
    return Placement(left_edge, top_edge, columns - left_edge, rows - top_edge, rows, columns)


def fitted(image: Any, height: int, width: int, how: str) -> Any:
    """``image`` (h, w, channels), uint8 or float, at (height, width, channels), as :func:`placement_on` says."""
    if how == STRETCH:
        return stretched(image, height, width)
    if how != LETTERBOX:
        return fit(image, height, width)
    inner_height, inner_width, top, left = _inside(image.shape[0], image.shape[1], height, width)
    inner = stretched(image, inner_height, inner_width)
    canvas = np.full((height, width, image.shape[2]), GREY, inner.dtype)
    canvas[top : top + inner_height, left : left + inner_width] = inner
    return canvas


def _inside(rows: int, columns: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Height and width of the image within a letterbox, and its first row and column there."""
    scale = min(width / columns, height / rows)
    inner_height, inner_width = max(1, round(rows * scale)), max(1, round(columns * scale))
    # Where a pixel is over, it goes to the right and the bottom, as YOLO's exporters do.
    return inner_height, inner_width, (height - inner_height) // 2, (width - inner_width) // 2
