"""Finds the factors of the output channels in a float tensor whose weights are float32(centroid * scale).

A layer that is quantized or clustered per channel holds hundreds of times more distinct float32 values than it has
centroids. Taking the scales out leaves one small codebook. Nothing here is approximate: a factorisation is
returned only after every product has been rounded to float32 and found equal to the weight, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdk.coding import Scales

_MAX_STEP = 255  # largest integer centroid that is looked for
_MAX_DISTINCT = 256  # distinct values of one channel
_ULPS = 2  # neighbours of an estimated scale that are tried


@dataclass(frozen=True)
class Scaled:
    """``centroids``: (count,) float32, few distinct; times ``scales`` they are the tensor."""

    centroids: np.ndarray
    scales: Scales


def _channel_view(elements: np.ndarray, shape: tuple[int, ...], axis: int) -> tuple[np.ndarray, int]:
    """-> (groups, channels, inner) view, and inner."""
    inner = int(np.prod(shape[axis + 1 :], dtype=np.int64))
    return elements.reshape(-1, shape[axis], inner), inner


def from_hint(elements: np.ndarray, shape: tuple[int, ...], axis: int, scales: np.ndarray) -> Scaled | None:
    """Centroids for scales that are known; None where some weight is not float32(centroid * scale)."""
    axis %= max(1, len(shape))
    if int(np.prod(shape, dtype=np.int64)) != len(elements) or scales.shape != (shape[axis],):
        return None
    if not (np.isfinite(scales).all() and scales.all() and np.isfinite(elements).all()):
        return None
    view, inner = _channel_view(elements, shape, axis)
    factors = scales[None, :, None]
    ratios = view.astype(np.float64) / factors
    centroids = _shared(ratios)
    if (centroids * factors).astype(np.float32).tobytes() != view.tobytes():
        return None
    return Scaled(centroids.reshape(-1), Scales(inner, scales))


def _shared(ratios: np.ndarray) -> np.ndarray:
    """Ratios that differ by rounding alone become one float32; integers win where they are near."""
    rounded = np.rint(ratios)
    if (np.abs(ratios - rounded) <= 1e-5 * np.maximum(np.abs(ratios), 1)).all():
        return rounded.astype(np.float32)
    distinct, numbers = np.unique(ratios, return_inverse=True)
    apart = np.diff(distinct, prepend=-np.inf) > 4e-7 * np.abs(distinct)
    cluster = np.cumsum(apart) - 1
    means = np.bincount(cluster, distinct) / np.bincount(cluster)
    return means.astype(np.float32)[cluster[numbers.reshape(ratios.shape)]]


def detect(elements: np.ndarray, shape: tuple[int, ...]) -> Scaled | None:
    """Integer centroids and their scales along the last or the first axis, where they exist.

    Only grids are found (centroids that are whole numbers up to 255, as after any per-channel quantization); other
    codebooks need a hint, because a shared factor of all centroids cannot be seen.
    """
    if len(shape) < 2 or int(np.prod(shape, dtype=np.int64)) != len(elements) or len(elements) < 64:
        return None
    for axis in (0, len(shape) - 1):
        if not 1 < shape[axis] <= len(elements) // 8:
            continue
        view, _ = _channel_view(elements, shape, axis)
        scales = _grid_scales(np.moveaxis(view, 1, 0).reshape(shape[axis], -1))
        if scales is not None:
            return from_hint(elements, shape, axis, scales)
    return None


def _grid_scales(rows: np.ndarray) -> np.ndarray | None:
    """(channels, n) weights -> a float32 step for each channel, or None at the first that has none."""
    scales = np.ones(len(rows), np.float32)
    for number, row in enumerate(rows):
        if len(np.unique(row[:2048])) > _MAX_DISTINCT:
            return None
        values = np.unique(np.abs(row))
        values = values[values > 0]
        if len(values) == 0:
            continue
        if len(values) > _MAX_DISTINCT or not np.isfinite(values).all():
            return None
        step = _grid_step(values)
        if step is None:
            return None
        scales[number] = step
    return scales


def _grid_step(values: np.ndarray) -> np.float32 | None:
    """The largest float32 step of which every value (ascending, positive) is a float32-rounded whole multiple."""
    largest = float(values[-1])
    multiples = np.arange(1, _MAX_STEP + 1)
    ratios = values.astype(np.float64)[None, :] / (largest / multiples[:, None])
    near = (np.abs(ratios - np.rint(ratios)) <= 1e-4).all(axis=1)
    for multiple in multiples[near & (np.rint(ratios[:, 0]) >= 1)]:
        whole = np.rint(values.astype(np.float64) / (largest / multiple)).astype(np.float32)
        step = np.float32(largest / multiple)
        for candidate in _neighbours(step):
            if np.array_equal(whole * candidate, values):
                return candidate
    return None


def _neighbours(step: np.float32) -> list[np.float32]:
    result = [step]
    up = down = step
    for _ in range(_ULPS):
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(0))
        result += [up, down]
    return result
