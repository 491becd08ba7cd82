"""An image at another size: the shorter side fits, the longer is cropped in the centre, bilinear with antialiasing.

Boards have no Pillow; this does what the host does with it (``resize(..., BILINEAR, box=...)``), so that a network that
was calibrated on the host's images sees the same ones there. For uint8 the arithmetic is Pillow's own, whole weights of
2**-22 and a rounding after each of the two passes (``src/libImaging/Resample.c``), so that the results are equal, or
one level apart where Pillow (from 13 on) makes the second pass first because that is quicker. Pure.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Tuple

import numpy as np

_PRECISION_BITS = 22  # of a weight, Pillow's 32 - 8 - 2

#: First input of each output (n,), and weights (taps, n); the taps of one output are neighbours.
Taps = Tuple[Any, Any]


def fit(image: Any, height: int, width: int) -> Any:
    """``image`` (h, w, channels), uint8 or float, at (height, width, channels) in its own dtype (floats: float32).

    An image that has this size already is returned as it is.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    scale = max(width / columns, height / rows)
    # Box of the source that maps onto the whole target, so that resize and crop are one step.
    box_width, box_height = width / scale, height / scale
    left, top = max(0.0, (columns - box_width) / 2), max(0.0, (rows - box_height) / 2)
    right, bottom = min(columns, left + box_width), min(rows, top + box_height)
    return _resized(image, (left, right), (top, bottom), height, width)


def stretched(image: Any, height: int, width: int) -> Any:
    """All of ``image`` (h, w, channels), uint8 or float, at (height, width, channels): each side by itself.

    An image that has this size already is returned as it is.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    return _resized(image, (0.0, columns), (0.0, rows), height, width)


def _resized(
    image: Any, across_of: tuple[float, float], down_of: tuple[float, float], height: int, width: int
) -> Any:
    """The part of ``image`` between these columns and rows at (height, width, channels)."""
    rows, columns = image.shape[:2]
    # In float32, as Pillow's C takes its box.
    across = _taps(columns, np.float32(across_of[0]), np.float32(across_of[1]), width)
    down = _taps(rows, np.float32(down_of[0]), np.float32(down_of[1]), height)
    # Only the rows that the second pass reads.
    first, last = int(down[0][0]), min(rows, int(down[0][-1]) + len(down[1]))
    image = image[first:last]
    if image.dtype != np.uint8:
        image = image.astype(np.float32, copy=False)
    image = _pass(image, across, axis=1)
    return _pass(image, (down[0] - first, down[1]), axis=0)


@functools.lru_cache(maxsize=32)
def _taps(size: int, start: np.float32, end: np.float32, count: int) -> Taps:
    """Which inputs, and how much of each, make the ``count`` outputs between ``start`` and ``end`` of ``size``."""
    scale = float(np.float32(end - start)) / count
    support = max(scale, 1.0)  # a triangle of this half width: wider than a pixel when it becomes smaller
    taps = math.ceil(support) * 2 + 1
    center = float(start) + (np.arange(count) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    end_of = np.minimum((center + support + 0.5).astype(np.int64), size)
    places = first + np.arange(taps)[:, None]
    weights = np.maximum(1.0 - np.abs((places - center + 0.5) * (1.0 / support)), 0.0)
    weights[places >= end_of] = 0.0
    weights /= np.cumsum(weights, axis=0)[-1]  # one after another, as a loop adds them
    used = max(1, int(np.max(np.nonzero(weights.any(axis=1))[0])) + 1)
    return first, weights[:used]


def _pass(image: Any, taps: Taps, axis: int) -> Any:
    first, weights = taps
    whole = image.dtype == np.uint8
    kind = np.int32 if whole else np.float32
    # 255 times weights that add up to 2**22 stay below 2**31.
    factors = (0.5 + weights * (1 << _PRECISION_BITS)).astype(kind) if whole else weights.astype(kind)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total: Any = None
    for tap, factor in enumerate(factors):
        places = np.minimum(first + tap, image.shape[axis] - 1)  # beyond the edge the weight is zero
        part = np.take(image, places, axis=axis).astype(kind)
        part *= factor.reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    if not whole:
        return total
    total += 1 << (_PRECISION_BITS - 1)
    total >>= _PRECISION_BITS
    return np.clip(total, 0, 255, out=total).astype(np.uint8)
