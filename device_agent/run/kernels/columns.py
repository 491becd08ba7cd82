"""The reference of columns.c in numpy: how a matrix of zeros is packed by columns, and what a layer of it gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MAX_GAP = 255
MAX_CENTROIDS = 256
NIBBLE_CENTROIDS = 16


class PackedColumns(NamedTuple):
    """``starts`` (columns + 1,) uint32 in ``entries`` (bytes,) uint8; ``centroids`` (count,) float32, or none where
    values stand as floats."""

    block: int
    starts: np.ndarray
    entries: np.ndarray
    centroids: np.ndarray


def pack_columns(weights: np.ndarray, block: int) -> PackedColumns:
    """The matrix (rows, columns) float32 as columns.c packs it for one thread, blocks of ``block`` rows."""
    rows, columns = weights.shape
    height = -(-rows // block) * block
    padded = np.zeros((height, columns), np.float32)
    padded[:rows] = weights + np.float32(0.0)  # -0 is 0
    blocks = padded.reshape(height // block, block, columns)
    values = dict.fromkeys([0.0, *padded[padded != 0.0].tolist()])
    centroids = (
        np.array(list(values), np.float32) if len(values) <= MAX_CENTROIDS else np.empty(0, np.float32)
    )
    entries, starts = bytearray(), [0]
    for column in range(columns):
        place = 0
        for row in np.flatnonzero(blocks[:, :, column].any(axis=1)):
            gap = int(row) - place
            while gap > MAX_GAP:
                entries += _entry(MAX_GAP, np.zeros(block, np.float32), centroids)
                gap -= MAX_GAP + 1
            entries += _entry(gap, blocks[row, :, column], centroids)
            place = int(row) + 1
        starts.append(len(entries))
    return PackedColumns(
        block, np.array(starts, np.uint32), np.frombuffer(bytes(entries), np.uint8), centroids
    )


def _entry(gap: int, values: np.ndarray, centroids: np.ndarray) -> bytes:
    if not len(centroids):
        return bytes([gap]) + values.astype("<f4").tobytes()
    index = [int(np.flatnonzero(centroids == value)[0]) for value in values]
    if len(centroids) <= NIBBLE_CENTROIDS and len(index) > 1:
        index = [low | high << 4 for low, high in zip(index[::2], index[1::2])]
    return bytes([gap, *index])


def run_columns(
    weights: np.ndarray, inputs: np.ndarray, bias: np.ndarray | None, low: float, high: float
) -> np.ndarray:
    """Outputs (batch, rows) float64 of inputs (batch, columns) through the matrix (rows, columns)."""
    sums = inputs.astype(np.float64) @ weights.astype(np.float64).T
    return np.clip(sums if bias is None else sums + bias, low, high)
