"""A tensor as numbers of the few distinct values that it holds, a chunk at a time: tensors are large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_agent.package.codec.format import MAX_SYMBOLS
from sdk.package.bit_fields import chunks


def histogram(elements: np.ndarray, size: int = 0) -> np.ndarray:
    """How often each of 0 .. max (at least ``size`` numbers) occurs among unsigned integers, (n,) int64.

    bincount alone would first make eight bytes of every element.
    """
    counts = np.zeros(size, np.int64)
    for chunk in chunks(elements):
        found = np.bincount(chunk, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return counts


def entropy_bits(counts: np.ndarray) -> float:
    """Order-0 entropy of all the symbols together, in bits; ``counts`` (n,) is how often each occurs."""
    counts = counts[counts > 0].astype(np.float64)
    total = counts.sum()
    return float(-(counts * np.log2(counts / total)).sum())


def distinct_values(elements: np.ndarray, limit: int) -> np.ndarray | None:
    """The distinct ones of ``elements`` (n,), ascending, of the same type; None where there are more than ``limit``."""
    values = elements[:0]
    for chunk in chunks(elements):
        fresh = chunk
        if len(values):
            at = np.searchsorted(values, chunk)
            at[at == len(values)] = 0
            fresh = chunk[values[at] != chunk]
        if len(fresh):
            values = np.union1d(values, fresh)
            if len(values) > limit:
                return None
    return values


@dataclass(frozen=True)
class Symbols:
    """A tensor as numbers of the distinct values it holds: ``values[numbers]`` are its elements."""

    values: np.ndarray  # (n,) unsigned, ascending
    numbers: np.ndarray  # (count,) uint8 or uint16
    counts: np.ndarray  # (n,)

    @property
    def width(self) -> int:
        """Bytes of one element."""
        return int(self.values.dtype.itemsize)

    @classmethod
    def of(cls, elements: np.ndarray, limit: int = MAX_SYMBOLS) -> Symbols | None:
        """The symbols of ``elements`` (n,) unsigned; None when there are more than ``limit`` distinct values."""
        stride = max(1, len(elements) // 8192)
        if len(np.unique(elements[::stride])) > limit:  # cheap: most float tensors leave here
            return None
        narrow = elements.dtype.itemsize <= 2
        if narrow:
            every = histogram(elements)
            values = np.flatnonzero(every).astype(elements.dtype)
        else:
            found = distinct_values(elements, limit)
            if found is None:
                return None
            values = found
        if len(values) > limit:
            return None
        numbers = np.empty(len(elements), np.uint8 if len(values) <= 256 else np.uint16)
        if narrow:
            renumber = np.zeros(len(every), numbers.dtype)
            renumber[values] = np.arange(len(values))
        for chunk, into in zip(chunks(elements), chunks(numbers), strict=True):
            into[:] = renumber[chunk] if narrow else np.searchsorted(values, chunk)
        return cls(values, numbers, every[values] if narrow else histogram(numbers, len(values)))
