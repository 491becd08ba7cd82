"""Models for the benchmarks of the package: pruned and clustered variants of any float .tflite.

Deliberately simple (magnitude pruning, one-dimensional k-means from a linear start, no fine-tuning): the size of a
package depends on how many weights are zero and how many centroids there are, not on how good they are. Works on the
bytes, so that it needs nothing but numpy and runs on models that nothing else here can edit.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdk.package.pack import weight_buffers

KMEANS_ROUNDS = 12


@dataclass(frozen=True)
class Variant:
    """One row of a benchmark: the bytes of a .tflite and where they come from."""

    name: str
    tflite: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.tflite).hexdigest()


def kmeans(values: np.ndarray, clusters: int) -> np.ndarray:
    """Centroids (clusters,) float32 of one-dimensional values, linear start, Lloyd's iteration on sorted values."""
    ordered = np.sort(values.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = np.linspace(ordered[0], ordered[-1], clusters)
    for _ in range(KMEANS_ROUNDS):
        edges = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [len(ordered)]])
        held = np.diff(bounds)
        totals = sums[bounds[1:]] - sums[bounds[:-1]]
        centroids = np.sort(np.where(held > 0, totals / np.maximum(held, 1), centroids))
    return centroids.astype(np.float32)


def compressed(tflite: bytes, *, sparsity: float, clusters: int) -> bytes:
    """Every float32 weight tensor of two or more axes pruned to ``sparsity`` and clustered.

    Depthwise kernels (OHWI with O = 1) are clustered and not pruned, as is usual; biases are left alone.
    """
    result = bytearray(tflite)
    for span in weight_buffers(tflite):
        if span.dtype != "float32" or len(span.shape) < 2 or span.size < 1024:
            continue
        weights = np.frombuffer(tflite, np.float32, span.size // 4, span.offset).copy()
        depthwise = len(span.shape) == 4 and span.shape[0] == 1
        if not depthwise and sparsity > 0:
            weights[np.abs(weights) <= np.quantile(np.abs(weights), sparsity)] = 0
        kept = weights != 0
        centroids = kmeans(weights[kept], clusters)
        edges = (centroids[1:] + centroids[:-1]) / 2
        weights[kept] = centroids[np.searchsorted(edges, weights[kept])]
        result[span.offset : span.offset + span.size] = weights.tobytes()
    return bytes(result)


def variants(paths: list[Path], sparsities: list[float], clusters: int) -> list[Variant]:
    """Each .tflite as it is, and pruned and clustered at each sparsity; folders are searched for .tflite files."""
    files = [file for path in paths for file in (sorted(path.glob("*.tflite")) if path.is_dir() else [path])]
    rows = []
    for file in files:
        tflite = file.read_bytes()
        rows.append(Variant(f"{file.stem} as it is", tflite))
        for sparsity in sparsities:
            name = f"{file.stem} {sparsity:.0%} zero, {clusters} centroids"
            rows.append(Variant(name, compressed(tflite, sparsity=sparsity, clusters=clusters)))
    return rows


def model_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which variants there are."""
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--sparsity", nargs="*", type=float, default=[0.0, 0.5, 0.9])
    parser.add_argument("--clusters", type=int, default=16)
