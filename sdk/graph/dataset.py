"""Samples that a network learns from or is checked on: pixels as stored, preprocessed when a batch is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from device_agent.record.preprocess import Preprocess

_CACHE_BYTES = 1 << 30  # decoded images are kept up to this size; a larger folder is decoded again each time


@dataclass(frozen=True, eq=False)
class Truth:
    """The right answers for the samples of a source: ``of(i)``, as ``kind`` says (:mod:`sdk.data.scoring.truth`).

    ``told``: where it was found, in words.
    """

    kind: str
    of: Callable[[int], Any]
    told: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples in a fixed order. ``load(i)`` gives sample ``i`` as pixels of ``input_shape``, not yet preprocessed."""

    name: str
    input_shape: tuple[int, ...]  # without the batch: (height, width, channels)
    preprocess: Preprocess
    load: Callable[[int], np.ndarray]
    source_digest: Callable[[int], bytes]  # sha256 of what sample i is made from
    indices: np.ndarray  # which samples of the source, in this order
    all_labels: np.ndarray | None = None  # class of every sample of the source
    class_names: tuple[tuple[int, str], ...] = ()  # number and name of each class, as the source calls it
    notes: tuple[str, ...] = ()  # what was passed over, and how classes were told, a sentence each
    order_is_certain: bool = True  # False where classes are names in the order of the alphabet
    are_pixels: bool = True  # False: values go into the network as they are, whatever it expects of a pixel
    input_dtype: str = "float32"  # of the network's input; whole numbers where it takes pixels as they are
    source_name: Callable[[int], str] = str  # what a person calls sample i of the source
    truth: Truth | None = None  # what is right where that is not a class
    _cache: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.indices.size

    @property
    def labels(self) -> np.ndarray | None:
        """Class number of every sample, (n,) int64; None where the source has none."""
        return None if self.all_labels is None else self.all_labels[self.indices]

    def images(self, samples: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """The samples at these positions (all by default), preprocessed: (n, height, width, channels) float32.

        They have the type of the network's input where that takes whole numbers without a scale.
        """
        pixels = self.pixels(samples)
        values = self.preprocess(pixels) if self.are_pixels and len(pixels) else pixels.astype(np.float32)
        dtype = np.dtype(self.input_dtype)
        if dtype.kind == "f":
            return values
        if self.are_pixels:
            self.preprocess.as_whole(self.input_shape[-1], dtype)  # raises where no whole numbers come of it
        bounds = np.iinfo(dtype)
        return np.clip(np.rint(values), bounds.min, bounds.max).astype(dtype)

    def pixels(self, samples: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """The same, not preprocessed: (n, height, width, channels), 0 to 255 where ``are_pixels``, uint8 or float32."""
        chosen = self.indices if samples is None else self.indices[np.asarray(samples, np.int64)]
        found = [self._pixels(int(i)) for i in chosen]
        return np.stack(found) if found else np.empty((0, *self.input_shape), np.float32)

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """(images, labels), ``size`` samples at a time; the last batch may be smaller.

        Images are (n, height, width, channels) float32, labels (n,) int64, None where there are none.
        """
        labels = self.labels
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield self.images(np.arange(start, stop)), None if labels is None else labels[start:stop]

    def take(self, limit: int) -> Dataset:
        """At most ``limit`` samples, taken evenly from the whole set."""
        if limit >= len(self):
            return self
        return self.subset(np.arange(limit) * len(self) // max(limit, 1))

    def subset(self, samples: Sequence[int] | np.ndarray) -> Dataset:
        """The samples at these positions (n,), in this order."""
        return replace(self, indices=self.indices[np.asarray(samples, np.int64)])

    def digest(self) -> str:
        """sha256 (hex) of the samples, their order, labels, size and preprocessing: what a result depends on."""
        total = hashlib.sha256(repr((self.input_shape, self.preprocess)).encode())
        for index in self.indices:
            total.update(self.source_digest(int(index)))
        if self.labels is not None:
            total.update(self.labels.astype("<i8").tobytes())
        return total.hexdigest()

    def _pixels(self, index: int) -> np.ndarray:
        pixels = self._cache.get(index)
        if pixels is None:
            pixels = self.load(index)
            if (len(self._cache) + 1) * pixels.nbytes <= _CACHE_BYTES:
                self._cache[index] = pixels
        return pixels
