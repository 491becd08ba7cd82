"""Bit fields of a section: packed lowest bit first, a chunk at a time, and the index of what each block takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Elements worked on at a time. Packing takes some seventy bytes for each of them, and a tensor may have a hundred
#: million; what a chunk takes also stays in the processor's second-level cache.
CHUNK = 1 << 16


def chunks(elements: np.ndarray) -> Iterator[np.ndarray]:
    """Views of ``elements`` (n,), CHUNK of them at a time; the last may be shorter."""
    for start in range(0, len(elements), CHUNK):
        yield elements[start : start + CHUNK]


def varint(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class BitWriter:
    """Concatenates bit fields, first bit lowest; ``bits`` are all of them together."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._packed = np.zeros((bits >> 5) + 2, "<u4")
        self._done = 0

    def add(self, values: np.ndarray, lengths: np.ndarray) -> None:
        """Adds fields: ``values`` (n,) of ``lengths`` (n,) bits each, 0 to 32, with ``values[i] < 2**lengths[i]``.

        n is at most some CHUNK, for the memory.
        """
        if len(values) == 0:
            return
        ends = self._done + np.cumsum(lengths)
        starts = ends - lengths
        shifted = values.astype(np.uint64) << (starts & 31).astype(np.uint64)
        first = self._done >> 5
        word = (starts >> 5) - first
        words = (int(ends[-1]) >> 5) - first + 2
        # Fields never overlap, so adding is or-ing; sums stay below 2**32, exact in bincount's float64.
        low = np.bincount(word, (shifted & np.uint64(0xFFFFFFFF)).astype(np.float64), words)
        high = np.bincount(word + 1, (shifted >> np.uint64(32)).astype(np.float64), words)
        self._packed[first : first + words] |= (low + high).astype(np.uint32)
        self._done = int(ends[-1])

    def bytes(self) -> bytes:
        """All fields, unused bits of the last byte zero."""
        assert self._done == self._bits
        return self._packed.view(np.uint8)[: (self._bits + 7) >> 3].tobytes()


def pack_bits(values: np.ndarray, lengths: np.ndarray) -> bytes:
    """Bit fields one after another, first bit lowest: ``values`` (n,) of ``lengths`` (n,) bits each, 0 to 32.

    ``values[i] < 2**lengths[i]``; unused bits of the last byte are zero.
    """
    writer = BitWriter(int(lengths.sum()))
    for some, of_length in zip(chunks(values), chunks(lengths), strict=True):
        writer.add(some, of_length)
    return writer.bytes()


class BlockIndex:
    """Sums of a number over the codes of each block (``1 << log2`` codes), added a chunk at a time."""

    def __init__(self, log2: int) -> None:
        self._size = 1 << log2
        self._sums: list[int] = []
        self._filled = 0  # codes of the last block

    def add(self, values: np.ndarray) -> None:
        """Adds the number of each of the next codes, (n,)."""
        start = 0
        if self._sums and self._filled < self._size and len(values):
            start = min(self._size - self._filled, len(values))
            self._sums[-1] += int(values[:start].sum())
            self._filled += start
        if start < len(values):
            self._sums += np.add.reduceat(values, np.arange(start, len(values), self._size)).tolist()
            self._filled = (len(values) - start - 1) % self._size + 1

    def bytes(self) -> bytes:
        """The index as it stands in a section: minimum, width, and what each block has above the minimum."""
        sums = np.array(self._sums, np.int64)
        least = int(np.min(sums))
        width = int(np.max(sums) - least).bit_length()
        return varint(least) + bytes([width]) + pack_bits(sums - least, np.full(len(sums), width))
