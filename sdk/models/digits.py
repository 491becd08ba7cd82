"""The demo's data: handwritten digits that scikit-learn brings along, so that nothing is downloaded.

``sklearn.datasets.load_digits`` is the test part of the UCI "Optical Recognition of Handwritten Digits" data
(Alpaydin and Kaynak 1998): 1,797 digits of 13 writers, 8x8 pixels of 0 ... 16. They are split at random, class by
class, into train, validation and test; every writer may occur in all three, so the test accuracy speaks of new
digits, not of new writers.

A split and its images depend on nothing but the constants here: the generator is numpy's frozen one and the
upsampling is integer arithmetic, so that every machine sees the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sdk.errors import DataError

SIZE = 96  # pixels, height and width of the images that the demo's networks take
CHANNELS = 3  # three equal ones: sparse kernels want three (XNNPACK's NCHW path)
CLASSES = 10
SPLIT_SEED = 20260124
SPLITS = {"train": 0.6, "validation": 0.2, "test": 0.2}
PREPROCESS = "tf"
"""What the networks expect of a pixel: ``(pixel - 127.5) / 127.5``, by the name it has in
``sdk.data.loading``."""

SOURCE_PIXELS = 8
SOURCE_LEVELS = 16  # pixels are 0 ... 16 inclusive
SOURCE_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


@dataclass(frozen=True, eq=False)
class Samples:
    """One part of the digits.

    ``indices`` int64 (n,) are positions in scikit-learn's order, ``small`` uint8 (n, 8, 8) the digits as stored
    (0 ... 16) and ``labels`` int64 (n,) their classes.
    """

    indices: np.ndarray
    small: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, size: int = SIZE, channels: int = CHANNELS) -> np.ndarray:
        """The digits at ``size``: uint8 (n, size, size, channels), 0 ... 255, channels all equal."""
        gray = upsample(self.small, size)
        return np.repeat(gray[..., None], channels, axis=-1)

    def inputs(self, size: int = SIZE) -> np.ndarray:
        """The digits as the networks want them: (n, size, size, 3) float32 of -1 ... 1 (see ``PREPROCESS``)."""
        return normalise(self.images(size))


def normalise(images: np.ndarray) -> np.ndarray:
    """Pixels 0 ... 255 of any shape to float32 -1 ... 1."""
    return (images.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


def load_splits() -> dict[str, Samples]:
    """``train``, ``validation`` and ``test``, disjoint, each with every class in the same share.

    Raises:
        DataError: scikit-learn is missing, or its digits are not the ones that the demo was trained on.
    """
    small, labels = _load()
    generator = np.random.RandomState(SPLIT_SEED)
    chosen: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for digit in range(CLASSES):
        order = generator.permutation(np.flatnonzero(labels == digit))
        edges = np.rint(np.cumsum(list(SPLITS.values())) * len(order)).astype(int)
        for name, part in zip(SPLITS, np.split(order, edges[:-1]), strict=True):
            chosen[name].append(part)
    splits = {}
    for name, parts in chosen.items():
        indices = np.sort(np.concatenate(parts)).astype(np.int64)
        splits[name] = Samples(indices, small[indices], labels[indices])
    return splits


def upsample(small: np.ndarray, size: int) -> np.ndarray:
    """Bilinear interpolation, half-pixel centres, edges repeated.

    uint8 (n, 8, 8) of 0 ... 16 to uint8 (n, size, size) of 0 ... 255.
    """
    weights = _interpolation(small.shape[-1], size)
    scaled = weights @ small.astype(np.int64) @ weights.T
    full = SOURCE_LEVELS * (2 * size) ** 2
    return ((2 * 255 * scaled + full) // (2 * full)).astype(np.uint8)


def _interpolation(source: int, size: int) -> np.ndarray:
    """Weights (size, source) of bilinear interpolation in units of ``1 / (2 * size)``, so whole numbers."""
    unit = 2 * size
    # Centre of output pixel i, in source pixels: (i + 1/2) * source / size - 1/2.
    centre = (2 * np.arange(size, dtype=np.int64) + 1) * source - size
    centre = np.clip(centre, 0, (source - 1) * unit)
    low = np.minimum(centre // unit, source - 2)
    weights = np.zeros((size, source), np.int64)
    rows = np.arange(size)
    weights[rows, low + 1] = centre - low * unit
    weights[rows, low] = unit - weights[rows, low + 1]
    return weights


def _load() -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(_stored()) as file:
        rows = np.loadtxt(file, np.int64, delimiter=",")  # (digits, pixels and the class)
    small = rows[:, :-1].reshape(-1, SOURCE_PIXELS, SOURCE_PIXELS).astype(np.uint8)
    labels = rows[:, -1].copy()
    digest = hashlib.sha256(small.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    if digest != SOURCE_SHA256:
        raise DataError(
            "scikit-learn's digits are not the ones that the demo was trained on",
            expected=f"sha256 {SOURCE_SHA256}",
            found=f"{len(labels)} digits with sha256 {digest}",
            hint="Use a release of scikit-learn from 1.3 on.",
        )
    return small, labels


def _stored() -> Path:
    """The file that ``load_digits`` reads; importing scikit-learn for it takes two seconds of a processor."""
    spec = find_spec("sklearn")
    folders = (spec.submodule_search_locations if spec is not None else None) or ()
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    raise DataError(
        "The handwritten digits come with scikit-learn",
        expected="scikit-learn",
        found="it without digits" if folders else "no module named sklearn",
        hint="Install the demo's packages: pip install 'armlet[host,demo]'",
    )
