"""Finds the factors of the output channels in a float tensor whose weights are float32(centroid * scale).

A layer that is quantized or clustered per channel holds hundreds of times more distinct float32 values than it has
centroids. Taking the scales out leaves one small codebook. Nothing here is approximate: a factorisation is
returned only after every product has been rounded to float32 and found equal to the weight, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from device_agent.package.codec.format import MAX_SYMBOLS
from device_agent.package.codec.sections import Scales
from sdk.package.bit_fields import CHUNK, chunks
from sdk.package.symbols import distinct_values

_MAX_STEP = 255  # largest integer centroid that is looked for
_MAX_DISTINCT = 256  # distinct values of one channel
_ULPS = 2  # neighbours of an estimated scale that are tried


@dataclass(frozen=True)
class Scaled:
    """``centroids``: (count,) float32, few distinct; times ``scales`` they are the tensor."""

    centroids: np.ndarray
    scales: Scales


def _factored(elements: np.ndarray, shape: tuple[int, ...], axis: int, scales: np.ndarray) -> Scaled | None:
    """Centroids for scales that are known; None where some weight is not float32(centroid * scale)."""
    axis %= max(1, len(shape))
    if int(np.prod(shape, dtype=np.int64)) != len(elements) or scales.shape != (shape[axis],):
        return None
    if not (
        np.isfinite(scales).all()
        and scales.all()
        and all(np.isfinite(part).all() for part in chunks(elements))
    ):
        return None
    factors = Scales(int(np.prod(shape[axis + 1 :], dtype=np.int64)), scales)
    centroids = _whole(elements, factors)
    if centroids is None:
        centroids = _shared(elements, factors)
    if centroids is None:
        return None
    for start, part in _parts(centroids):
        weights = elements[start : start + len(part)]
        if (part * _factors(factors, start, len(part))).astype(np.float32).tobytes() != weights.tobytes():
            return None
    return Scaled(centroids, factors)


def _parts(elements: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of its first element, chunk) of all chunks."""
    return zip(range(0, len(elements), CHUNK), chunks(elements), strict=True)


def _factors(scales: Scales, start: int, count: int) -> np.ndarray:
    """The scale of each of ``count`` elements from ``start`` on."""
    channel = np.arange(start, start + count) // scales.inner % len(scales.values)
    return np.asarray(scales.values[channel])


def _ratios(elements: np.ndarray, scales: Scales) -> Iterator[tuple[int, np.ndarray]]:
    """(number of its first element, float64 weights over their scales) of all chunks."""
    for start, part in _parts(elements):
        yield start, part.astype(np.float64) / _factors(scales, start, len(part))


def _whole(elements: np.ndarray, scales: Scales) -> np.ndarray | None:
    """Ratios that are near whole numbers, all of them, as these numbers."""
    centroids = np.empty(len(elements), np.float32)
    for start, ratios in _ratios(elements, scales):
        rounded = np.rint(ratios)
        if not (np.abs(ratios - rounded) <= 1e-5 * np.maximum(np.abs(ratios), 1)).all():
            return None
        centroids[start : start + len(ratios)] = rounded
    return centroids


def _shared(elements: np.ndarray, scales: Scales) -> np.ndarray | None:
    """Ratios that differ by rounding alone become one float32; None where that leaves more than a code can have."""
    distinct = np.empty(0)
    for _, ratios in _ratios(elements, scales):
        distinct = np.union1d(distinct, ratios)
        # Rounding moves a ratio by 6e-8 of itself, so a centroid's ratios never come apart, and these only grow.
        cluster = np.cumsum(np.diff(distinct, prepend=-np.inf) > 4e-7 * np.abs(distinct)) - 1
        if cluster[-1] >= MAX_SYMBOLS:
            return None
    means = (np.bincount(cluster, distinct) / np.bincount(cluster)).astype(np.float32)
    centroids = np.empty(len(elements), np.float32)
    for start, ratios in _ratios(elements, scales):
        centroids[start : start + len(ratios)] = means[cluster[np.searchsorted(distinct, ratios)]]
    return centroids


def detect(elements: np.ndarray, shape: tuple[int, ...]) -> Scaled | None:
    """Integer centroids and their scales along the last or the first axis; None where there are none.

    ``elements`` (n,) are those of a tensor of ``shape``, in order. Only grids are found (centroids that are whole
    numbers up to 255, as after any per-channel quantization): in other codebooks a shared factor of all centroids
    cannot be seen.
    """
    if len(shape) < 2 or int(np.prod(shape, dtype=np.int64)) != len(elements) or len(elements) < 64:
        return None
    for axis in (0, len(shape) - 1):
        if not 1 < shape[axis] <= len(elements) // 8:
            continue
        inner = int(np.prod(shape[axis + 1 :], dtype=np.int64))
        scales = _grid_scales(elements.reshape(-1, shape[axis], inner))
        if scales is not None:
            return _factored(elements, shape, axis, scales)
    return None


def _grid_scales(weights: np.ndarray) -> np.ndarray | None:
    """(groups, channels, inner) weights -> a float32 step for each channel, or None at the first that has none."""
    scales = np.ones(weights.shape[1], np.float32)
    for number in range(len(scales)):
        row = weights[:, number].reshape(-1)
        if len(np.unique(row[:2048])) > _MAX_DISTINCT:
            return None
        # Both signs of as many steps, and both zeros.
        found = distinct_values(row, 2 * _MAX_DISTINCT + 2)
        if found is None or not np.isfinite(found).all():
            return None
        values = np.unique(np.abs(found))
        values = values[values > 0]
        if len(values) == 0:
            continue
        if len(values) > _MAX_DISTINCT:
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
