"""Steps by which one layer may become coarser: the remaining bits and the added noise of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdk.compress.weights.cluster import cluster_array
from sdk.compress.weights.eight_bits import multiples_of, span
from sdk.compress.weights.grid import channel_axis, multiples, rounded
from sdk.compress.weights.prune import prune_array
from sdk.graph.records import Tensor

MOST_ROWS, MOST_COLUMNS = 96, 192  # channels of a layer, and weights of each, that the steps are judged by
STEPS = tuple(round(0.01 * 1.25**number, 4) for number in range(27))  # of the grid, in root mean squares
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of zeros, where centroids were asked for
_UNTOUCHED_BITS = {2: 14.0, 4: 27.0}  # by bytes of a value: about what floats take that nothing is done to
MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 29, 35, 42, 50, 63)  # of 8-bit numbers
BINARY_PLACES = (3, 4, 5, 6, 7, 8, 10)  # of floats that are rounded
_SCALE_BITS = 16
_SYMBOL_BITS = 20  # of a code's table and codebook


@dataclass(frozen=True)
class Rung:
    """One step: ``bits`` per weight, ``noise`` as a share of the energy of each channel.

    ``step``: of a uniform grid, in root mean squares of the layer, or with ``by_channel`` of each channel; 0 for none.
    ``places``: to which floats are rounded; 0 for no rounding. ``sparsity``: the share of the smallest magnitudes,
    which become zero before that. ``clusters``: of k-means; 0 for none. ``multiple``: of their own steps, to which
    8-bit numbers are rounded.
    """

    bits: float
    noise: float
    step: float = 0.0
    by_channel: bool = False
    places: int = 0
    sparsity: float = 0.0
    clusters: int = 0
    multiple: int = 1


def stored_ladder(tensor: Tensor, axis: int) -> tuple[Rung, ...]:
    """The steps worth taking for 8-bit numbers of any shape, as of :func:`ladder`; the first one leaves them."""
    assert tensor.data is not None
    zero, low, high = span(tensor)
    rows = (_rows(tensor.data, axis) - zero).astype(np.int32)
    energy = np.square(rows, dtype=np.float64).sum(axis=1)
    found = []
    for multiple in MULTIPLES if energy.any() else (1,):
        moved = rows if multiple == 1 else multiples_of(rows, multiple, low, high)
        noise = 0.0 if multiple == 1 else _noise(rows - moved, energy)
        found.append(Rung(_bits(moved.ravel(), tensor.elements), noise, multiple=multiple))
    return _hull(found)


def ladder(
    array: np.ndarray, axis: int, *, sparsity: float | None = None, clusters: int | None = None
) -> tuple[Rung, ...]:
    """The steps worth taking for a float array of any shape: noise ascends, bits fall, both convex.

    ``axis`` counts channels. ``sparsity`` and ``clusters`` are fixed where they are given; without them the first step
    leaves the layer as it is.
    """
    axis_of_steps = channel_axis(array.shape, axis)
    rows = _rows(array, axis)
    untouched = _UNTOUCHED_BITS[array.dtype.itemsize]
    energy = np.square(rows, dtype=np.float64).sum(axis=1)
    if not energy.any() or not np.isfinite(energy).all():
        return (Rung(untouched, 0.0),)
    if clusters is not None:
        return _hull([_clustered(rows, energy, share, clusters, array.size) for share in SHARES])
    pruned = prune_array(rows, sparsity) if sparsity else rows
    found = [
        Rung(untouched * float(np.mean(pruned != 0)), _noise(rows - pruned, energy), sparsity=sparsity or 0.0)
    ]
    for step in STEPS:
        for by_channel in (False, True) if axis_of_steps is not None else (False,):
            numbers, steps = multiples(pruned if by_channel else pruned.reshape(1, -1), step)
            values = (numbers * steps[:, None]).reshape(rows.shape)
            bits = _bits(numbers.ravel().astype(np.int64) + (1 << 15), array.size)
            if by_channel:
                bits += _SCALE_BITS * array.shape[axis] / array.size
            found.append(
                Rung(bits, _noise(rows - values, energy), step, by_channel, sparsity=sparsity or 0.0)
            )
    exponents = np.frexp(pruned[pruned != 0])[1].astype(np.int64)
    share = exponents.size / pruned.size
    for places in BINARY_PLACES if exponents.size else ():
        bits = share * (_bits(exponents, array.size) + 1 + places) + (1.0 if share < 1 else 0.0)
        noise = _noise(rows - rounded(pruned, places), energy)
        found.append(Rung(bits, noise, places=places, sparsity=sparsity or 0.0))
    return _hull(found)


def _rows(array: np.ndarray, axis: int) -> np.ndarray:
    """Some of the array's channels, and of each some weights: (channels, weights) float32."""
    rows = np.moveaxis(array, axis, 0)
    rows = rows.reshape(len(rows), -1)
    rng = np.random.default_rng(0)
    if rows.shape[0] > MOST_ROWS:
        rows = rows[np.sort(rng.choice(rows.shape[0], MOST_ROWS, replace=False))]
    if rows.shape[1] > MOST_COLUMNS:
        rows = rows[:, np.sort(rng.choice(rows.shape[1], MOST_COLUMNS, replace=False))]
    return np.ascontiguousarray(rows, np.float32)


def _clustered(rows: np.ndarray, energy: np.ndarray, share: float, clusters: int, elements: int) -> Rung:
    values = prune_array(rows, share) if share else rows
    if not clusters:
        bits = _UNTOUCHED_BITS[4] * float(np.mean(values != 0)) + (1.0 if share else 0.0)
        return Rung(bits, _noise(rows - values, energy), sparsity=share)
    values = cluster_array(values, clusters)
    _, numbers = np.unique(values, return_inverse=True)
    return Rung(
        _bits(numbers.ravel(), elements), _noise(rows - values, energy), sparsity=share, clusters=clusters
    )


def _noise(apart: np.ndarray, energy: np.ndarray) -> float:
    """Mean over the channels that are not zero of the share of their energy that is noise."""
    noise = np.square(apart, dtype=np.float64).sum(axis=1)
    return float((noise[energy > 0] / energy[energy > 0]).mean())


def _bits(numbers: np.ndarray, elements: int) -> float:
    """Of each weight: the entropy of its symbol, and its part of the table."""
    counts = np.bincount(numbers - numbers.min())
    shares = counts[counts > 0] / numbers.size
    return float(-(shares * np.log2(shares)).sum()) + _SYMBOL_BITS * len(shares) / elements


def _hull(rungs: list[Rung]) -> tuple[Rung, ...]:
    """Those on the lower convex hull of bits over noise."""
    chosen: list[Rung] = []
    for rung in sorted(rungs, key=lambda one: (one.noise, one.bits)):
        if chosen and rung.bits >= chosen[-1].bits:
            continue
        while len(chosen) > 1 and _slope(chosen[-2], rung) <= _slope(chosen[-2], chosen[-1]):
            chosen.pop()
        chosen.append(rung)
    return tuple(chosen)


def _slope(one: Rung, other: Rung) -> float:
    """Bits per noise, negative and rising along a convex ladder."""
    return (other.bits - one.bits) / max(other.noise - one.noise, 1e-30)
