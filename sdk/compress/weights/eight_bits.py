"""Weights as 8-bit numbers on a grid of few steps.

Calibration gives a few whole multiples of a step for each output channel. An 8-bit model that takes those numbers and
their steps as they are is as small as the float one; rounded to 127 steps of each channel's range it would not be.
Numbers that are stored in 8 bits already keep their scales, and become every second, third, ... of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdk.compress.weights.grid import ZERO, bfloat16
from sdk.compress.weights.selection import stored_weights
from sdk.graph.records import Graph, Tensor

MOST = 127
_NEAR = 1e-4  # of a step, that a whole multiple may be off before its exact product is looked at


@dataclass(frozen=True)
class EightBits:
    """``numbers`` int8, of the shape of the weight, times ``scales`` (channels,) float32 along ``axis`` are it."""

    numbers: np.ndarray
    scales: np.ndarray
    axis: int

    @property
    def empty(self) -> np.ndarray:
        """Which channels hold nothing but zeros, (channels,) bool."""
        rows = np.moveaxis(self.numbers, self.axis, 0).reshape(len(self.scales), -1)
        return np.asarray(~rows.any(axis=1))


def on_own_grid(array: np.ndarray, axis: int, *, one_scale: bool = False) -> EightBits | None:
    """The whole numbers of a float32 weight of any shape, exactly; None where some channel is on no grid of 127 steps.

    ``axis`` counts output channels; with ``one_scale`` all of them have the same.
    """
    rows = np.moveaxis(array, axis, 0)
    shape = rows.shape
    flat = np.ascontiguousarray(rows, np.float32).reshape(1 if one_scale else len(rows), -1)
    scales = np.zeros(len(flat), np.float32)
    for number, row in enumerate(flat):
        if len(np.unique(row[:2048])) > 2 * MOST + 1:
            return None
        values = np.unique(np.abs(row))
        values = values[values > 0]
        step = _step(values) if len(values) else np.float32(0.0)
        if step is None:
            return None
        scales[number] = step
    found = scales > 0
    # A channel of zeros gets some other's scale: 0 is not allowed.
    scales = np.where(found, scales, np.median(scales[found]) if found.any() else 1.0).astype(np.float32)
    numbers = np.rint(flat.astype(np.float64) / scales[:, None]).astype(np.int8).reshape(shape)
    every = np.broadcast_to(scales, (shape[0],)).copy()
    return EightBits(np.ascontiguousarray(np.moveaxis(numbers, 0, axis)), every, axis)


def _step(values: np.ndarray) -> np.float32 | None:
    """The largest float32 step of which every value (ascending, positive) is a rounded multiple of 1 to 127."""
    if len(values) > MOST or not np.isfinite(values).all():
        return None
    wide = values.astype(np.float64)
    multiples = np.arange(1, MOST + 1)
    ratios = wide[None, :] * multiples[:, None] / wide[-1]
    near = (np.abs(ratios - np.rint(ratios)) <= _NEAR).all(axis=1) & (np.rint(ratios[:, 0]) >= 1)
    for multiple in multiples[near]:
        whole = np.rint(wide * multiple / wide[-1])
        step = np.float32(wide[-1] / multiple)
        for candidate in (bfloat16(np.array([step]))[0], step, np.nextafter(step, np.float32(0.0))):
            if np.array_equal((whole * candidate).astype(np.float32), values):
                return np.float32(candidate)
        if np.allclose(whole * step, wide, rtol=1e-6, atol=0.0):
            return step
    return None


def on_multiples(graph: Graph, multiples: Mapping[int, int]) -> Graph:
    """The graph in which 8-bit weights, by their tensor number, are multiples of this many steps of their own grid.

    Scales, zero points and biases stay, so that every kernel takes them as before.
    """
    if not multiples:
        return graph
    changed = {}
    for weight in stored_weights(graph):
        if (multiple := multiples.get(weight.tensor_index, 1)) > 1:
            zero, low, high = span(weight.tensor)
            centred = multiples_of(weight.array.astype(np.int32) - zero, multiple, low, high)
            changed[weight.tensor_index] = (centred + zero).astype(weight.array.dtype)
    return graph.with_data(changed)


def span(tensor: Tensor) -> tuple[int, int, int]:
    """The number that stands for zero, and the lowest and the highest from there on, of an 8-bit weight."""
    assert tensor.quantization is not None
    if tensor.dtype == "UINT8":
        zero = int(tensor.quantization.zero_points[0])
        return zero, -zero, 255 - zero
    return 0, -MOST, MOST


def multiples_of(numbers: np.ndarray, multiple: int, low: int, high: int) -> np.ndarray:
    """int32 whole numbers of any shape moved to multiples between two limits; those near zero become zero."""
    ratios = numbers / multiple
    rounded = np.clip(np.rint(ratios), -(-low // multiple), high // multiple).astype(np.int32)
    rounded[np.abs(ratios) < ZERO] = 0
    return rounded * multiple
