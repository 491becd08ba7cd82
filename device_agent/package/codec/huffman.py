"""Canonical Huffman codes: the reference decoder, in numpy.

The C kernel (huffman.c, loaded by :mod:`device_agent.package.kernel`) accepts and refuses the same bytes;
PACKAGE_FORMAT.md is the authority over both.

How numpy can be quick at a serial code: a section is cut into blocks of 2**block_log2 codes, the index says how many
bits each takes, and so every block is a lane. All lanes advance one code per step, with one table look-up on vectors as
long as there are blocks. A few blocks are decoded one after the other, code by code: a step of numpy takes as long as
dozens of steps of Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from device_agent.package.codec.format import BlockCorrupt
from device_agent.package.codec.sections import (
    Array,
    Blocks,
    Code,
    Content,
    Dense,
    Planes,
    Raw,
    Sparse,
    parse,
    windows,
)

# Codes decoded at a time: bounds what the numpy decoder takes beside the output to a few megabytes.
_CHUNK_CODES = 1 << 19
# With fewer lanes than this a code at a time is quicker, and costs no more than one code for one.
_FEWEST_LANES = 24
_WINDOW_BITS = 57  # a 64-bit load at any byte still holds this many bits after shifting out 0..7


def decode(content: Content, out: Array) -> None:
    """Writes the section to ``out``, a (size,) uint8 array; raises :class:`BlockCorrupt` on bits that do not fit."""
    if isinstance(content, Planes):
        for number, plane in enumerate(content.planes):
            _decode_elements(plane, out[number :: content.width])
        if content.rotated:
            _rotate_right(out.view(f"<u{content.width}"))
        return
    elements = out.view(f"<u{content.width}")
    _decode_elements(content, elements)
    scales = getattr(content, "scales", None)
    if scales is not None:
        # One rounding to float32 per element, in every decoder: no wider intermediate is allowed.
        grouped = elements.view("<f4").reshape(-1, len(scales.values), scales.inner)
        with np.errstate(over="ignore", under="ignore"):
            np.multiply(grouped, scales.values[None, :, None], out=grouped)


def _rotate_right(elements: Array) -> None:
    bits = 8 * elements.dtype.itemsize
    one = elements.dtype.type(1)
    for start in range(0, len(elements), _CHUNK_CODES):
        part = elements[start : start + _CHUNK_CODES]
        part[:] = (part >> one) | (part << elements.dtype.type(bits - 1))


def _decode_elements(content: Raw | Dense | Sparse, elements: Array) -> None:
    if isinstance(content, Raw):
        elements[:] = np.frombuffer(content.data, np.uint8)
    elif isinstance(content, Sparse):
        _decode_sparse(content, elements)
    elif content.blocks is None:
        elements.reshape(-1, content.words.shape[1])[:] = content.words[0]
    else:
        _decode_dense(content, content.blocks, elements)


def take_index(values: Array) -> Array:
    """Indices (n,) as take wants them: on a 32-bit board it refuses those of 64 bits. Elsewhere nothing is copied."""
    return values.astype(np.intp, copy=False)


def lanes(blocks: Blocks) -> Any:
    """Yields (first block, first bits, last bits, codes of a full one of these blocks, of the last), some at a time."""
    last_bits = blocks.bits.ends()
    starts = np.concatenate([[0], last_bits[:-1]])
    at_once = max(1, _CHUNK_CODES >> blocks.log2)
    for first in range(0, len(starts), at_once):
        last = min(first + at_once, len(starts))
        tail = min(blocks.codes - ((last - 1) << blocks.log2), 1 << blocks.log2)
        steps = tail if last - first == 1 else 1 << blocks.log2
        yield first, starts[first:last], last_bits[first:last], steps, tail


def _decode_dense(content: Dense, blocks: Blocks, elements: Array) -> None:
    symbols, lengths = content.code.table()
    table = symbols << 4 | lengths
    word_length = content.words.shape[1]
    one_by_one = _DenseCodes(content, table) if blocks.bits.count < _FEWEST_LANES else None
    loads = windows(blocks.stream) if one_by_one is None else None
    for first, starts, ends, steps, tail in lanes(blocks):
        if one_by_one is not None:
            numbers, position = one_by_one.decode(starts, steps, tail)
        else:
            numbers, position = _dense_lanes(table, content.code.max_length, loads, starts, steps, tail)
        expect_ends(position, ends)
        begin = (first << blocks.log2) * word_length
        elements[begin : begin + len(numbers) * word_length] = content.words[numbers].reshape(-1)


def _dense_lanes(
    table: Array, max_length: int, loads: Array, starts: Array, steps: int, tail: int
) -> tuple[Array, Array]:
    """Symbols in order, (codes,) uint16, and the bit after each lane, (lanes,) int64. A step is a code of each lane."""
    mask = len(table) - 1
    per_window = _WINDOW_BITS // max_length
    position = starts.copy()
    taken = np.empty((steps, len(starts)), np.uint16)
    for step in range(steps):
        if step == tail:  # the last block is shorter: from here on its lane runs on zeros and is ignored
            tail_end = int(position[-1])
        if step % per_window == 0:
            window = loads.take(take_index(position >> 3), mode="clip") >> (position & 7)
        entry = table.take(take_index(window & mask))
        taken[step] = entry
        entry &= 15
        window >>= entry
        position += entry
    if tail < steps:
        position[-1] = tail_end
    return (taken >> 4).T.reshape(-1)[: (len(starts) - 1) * steps + tail], position


class _DenseCodes:
    """The codes of a dense section one after the other."""

    def __init__(self, content: Dense, table: Array) -> None:
        assert content.blocks is not None
        self._stream = bytes(content.blocks.stream)
        self._table: list[int] = table.tolist()
        self._per_window = _WINDOW_BITS // content.code.max_length

    def decode(self, starts: Array, steps: int, tail: int) -> tuple[Array, Array]:
        """As :func:`_dense_lanes`."""
        table, stream, per_window = self._table, self._stream, self._per_window
        mask = len(table) - 1
        taken: list[int] = []
        position = starts.copy()
        for lane, bit in enumerate(starts.tolist()):
            window = 0
            for step in range(tail if lane == len(starts) - 1 else steps):
                if step % per_window == 0:
                    window = int.from_bytes(stream[bit >> 3 : (bit >> 3) + 8], "little") >> (bit & 7)
                entry = table[window & mask]
                taken.append(entry >> 4)
                window >>= entry & 15
                bit += entry & 15
            position[lane] = bit
        return np.array(taken, np.uint16), position


def _decode_sparse(content: Sparse, elements: Array) -> None:
    elements[:] = content.background
    blocks = content.blocks
    assert blocks.positions is not None
    position_ends = blocks.positions.ends()
    position_starts = np.concatenate([[0], position_ends[:-1]])
    tables = _SparseTables(content)
    loads = windows(blocks.stream) if blocks.bits.count >= _FEWEST_LANES else None
    for first, starts, ends, steps, tail in lanes(blocks):
        if loads is None:
            gaps, values, position = tables.one_by_one(starts, steps, tail)
        else:
            gaps, values, position = tables.lanes(loads, starts, steps, tail)
        expect_ends(position, ends)
        gaps += 1
        places = np.cumsum(gaps, axis=0)
        places += position_starts[first : first + len(starts)] - 1
        last_places = places[-1].copy()
        last_places[-1] = places[tail - 1, -1]
        expect_ends(last_places + 1, position_ends[first : first + len(starts)])
        kept = (len(starts) - 1) * steps + tail
        elements[places.T.reshape(-1)[:kept]] = content.codebook[values.T.reshape(-1)[:kept]]


class _SparseTables:
    """One look-up for all of a gap and one for all of a value, in lanes or one after the other."""

    def __init__(self, content: Sparse) -> None:
        token, token_length = content.gap_code.table()
        gap_base, gap_extra = content.gaps[token, 0], content.gaps[token, 1]
        symbols, lengths = content.code.table()
        # gap << 10 | extra bits << 5 | bits of the code, and symbol << 4 | bits of the code.
        self._gaps = gap_base << 10 | gap_extra << 5 | token_length
        self._values = symbols << 4 | lengths
        self._has_extra = bool(gap_extra.any())
        self._stream = content.blocks.stream

    def lanes(self, loads: Array, starts: Array, steps: int, tail: int) -> tuple[Array, Array, Array]:
        """Gaps and symbols, (steps, lanes), and the bit after each lane, (lanes,) int64. A step is a code of each."""
        gap_mask, value_mask = len(self._gaps) - 1, len(self._values) - 1
        low_bits = (1 << np.arange(32, dtype=np.int64)) - 1
        position = starts.copy()
        gaps = np.empty((steps, len(starts)), np.int64)
        values = np.empty((steps, len(starts)), np.uint16)
        for step in range(steps):
            if step == tail:
                tail_end = int(position[-1])
            window = loads.take(take_index(position >> 3), mode="clip") >> (position & 7)
            entry = self._gaps.take(take_index(window & gap_mask))
            used = entry & 31
            window >>= used
            if self._has_extra:
                extra = entry >> 5 & 31
                np.add(entry >> 10, window & low_bits.take(take_index(extra)), out=gaps[step])
                window >>= extra
                position += extra
            else:
                gaps[step] = entry >> 10
            position += used
            entry = self._values.take(take_index(window & value_mask))
            values[step] = entry >> 4
            position += entry & 15
        if tail < steps:
            position[-1] = tail_end
        return gaps, values, position

    def one_by_one(self, starts: Array, steps: int, tail: int) -> tuple[Array, Array, Array]:
        """The same; what stands behind the codes of the last lane are zeros."""
        gap_table, value_table = self._gaps.tolist(), self._values.tolist()
        gap_mask, value_mask, stream = len(gap_table) - 1, len(value_table) - 1, bytes(self._stream)
        position = starts.copy()
        gaps = np.zeros((len(starts), steps), np.int64)
        values = np.zeros((len(starts), steps), np.uint16)
        for lane, bit in enumerate(starts.tolist()):
            lane_gaps: list[int] = []
            lane_values: list[int] = []
            for _ in range(tail if lane == len(starts) - 1 else steps):
                window = int.from_bytes(stream[bit >> 3 : (bit >> 3) + 8], "little") >> (bit & 7)
                entry = gap_table[window & gap_mask]
                used, extra = entry & 31, entry >> 5 & 31
                window >>= used
                lane_gaps.append((entry >> 10) + (window & ((1 << extra) - 1)))
                entry = value_table[window >> extra & value_mask]
                lane_values.append(entry >> 4)
                bit += used + extra + (entry & 15)
            gaps[lane, : len(lane_gaps)] = lane_gaps
            values[lane, : len(lane_values)] = lane_values
            position[lane] = bit
        return gaps.T, values.T, position


def expect_ends(found: Array, expected: Array) -> None:
    """Raises BlockCorrupt unless blocks end at ``expected`` (n,): bits, or elements."""
    wrong = np.flatnonzero(found != expected)
    if len(wrong):
        raise BlockCorrupt(
            "a block does not end where the index says",
            expected=str(int(expected[wrong[0]])),
            found=str(int(found[wrong[0]])),
        )


__all__ = ["Code", "decode", "parse"]
