"""Weights on a uniform grid: whole multiples of one step for a layer, or of a step for each of its output channels.

With an entropy code behind it a uniform grid takes fewer bits at equal noise than centroids that k-means places, and a
step for each channel keeps the small channels that folding batch norm leaves.  The package finds the grid by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sdk.compress.weights.selection import float_weights
from sdk.graph.records import Graph

#: Largest multiple: the package looks for no larger one.
MOST_STEPS = 255
#: Values below this many steps become zero, a little more than half of one: zeros cost fewest bits.
ZERO = 0.6
#: A channel of fewer weights gets no step of its own.
LEAST_PER_CHANNEL = 8


def bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 values of the same shape, rounded to the nearest that bfloat16 holds.

    The package stores such scales in half the bytes.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def channel_axis(shape: tuple[int, ...], axis: int) -> int | None:
    """The axis whose channels may have steps of their own, counted from the front; None where there is none."""
    axis %= len(shape)
    elements = int(np.prod(shape, dtype=np.int64))
    if axis not in (0, len(shape) - 1) or shape[axis] < 2 or elements // shape[axis] < LEAST_PER_CHANNEL:
        return None
    return axis


def put_on_grids(
    graph: Graph, steps: Mapping[int, float], channel_steps: Mapping[int, float], places: Mapping[int, int]
) -> tuple[Graph, dict[int, np.ndarray]]:
    """The graph with some weights on grids, by their tensor number: of one step, or of a step for each channel.

    Others are rounded to this many binary ``places``. The second result are the float32 values of float16 weights whose
    channels have steps, of their shapes such as (64, 3, 3, 32): the package knows such steps of float32 alone, and
    stores those in less.
    """
    changed: dict[int, np.ndarray] = {}
    halves: dict[int, np.ndarray] = {}
    for weight in float_weights(graph) if steps or channel_steps or places else ():
        number, axis = weight.tensor_index, channel_axis(weight.tensor.shape, weight.channel_axis)
        if number in steps:
            changed[number] = on_grid(weight.array, steps[number])
        elif number in places:
            changed[number] = rounded(weight.array, places[number])
        elif number in channel_steps:
            values = on_grid(weight.array, channel_steps[number], axis)
            (halves if weight.tensor.dtype == "FLOAT16" else changed)[number] = values
    return graph.with_data(changed), halves


def on_grid(array: np.ndarray, step: float, axis: int | None = None) -> np.ndarray:
    """A float array of any shape moved to whole multiples of ``step`` root mean squares of all, or of each channel.

    Of the same shape; float32 where there are channels, else of the same type.
    """
    rows = array[None] if axis is None else np.moveaxis(array, axis, 0)
    flat = np.ascontiguousarray(rows, np.float32).reshape(len(rows), -1)
    numbers, steps = multiples(flat, step)
    values = (numbers.astype(np.float32) * steps[:, None]).reshape(rows.shape)
    if axis is None:
        return np.ascontiguousarray(values[0]).astype(array.dtype)
    return np.ascontiguousarray(np.moveaxis(values, 0, axis))


def multiples(rows: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """(int16 multiples (rows, n), float32 step of each row (rows,)) of float32 rows (rows, n)."""
    rms = np.sqrt(np.square(rows, dtype=np.float64).mean(axis=1))
    largest = np.abs(rows).max(axis=1, initial=0.0)
    # bfloat16 may round down, by less than a hundredth.
    steps = bfloat16(np.maximum(step * rms, 1.01 * largest / MOST_STEPS))
    steps = np.where((steps > 0) & np.isfinite(steps), steps, np.float32(1.0)).astype(np.float32)
    ratios = rows / steps[:, None]
    numbers = np.rint(ratios)
    numbers[np.abs(ratios) < ZERO] = 0.0
    return numbers.astype(np.int16), steps


def rounded(array: np.ndarray, bits: int) -> np.ndarray:
    """A float array of the same shape and type, its values rounded to this many bits behind the binary point.

    That keeps every weight to the same share of itself, for layers that no grid is fine enough for.
    """
    fraction, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, bits + 1)), exponent - bits - 1).astype(array.dtype)
