"""The ``contexts`` layout: bytes whose code depends on their row, their column and the byte before them.

Weights of one byte differ in spread from channel to channel, and neighbours resemble each other; several codes, each
for the places that are alike, take less than one for all. The C kernel decodes the same, with the same checks in the
same order; PACKAGE_FORMAT.md is the authority over both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.package.codec.format import (
    CONTEXTS,
    MAX_CLASSES,
    MAX_CODE_LENGTH,
    MAX_CODES,
    MAX_CODES_TABLE,
    MAX_CONTEXTS,
    MAX_TFLITE_SIZE,
    CodeInvalid,
    Cursor,
    LimitExceeded,
    PaddingInvalid,
    ParameterInvalid,
    SymbolInvalid,
)
from device_agent.package.codec.huffman import expect_ends, lanes, take_index
from device_agent.package.codec.sections import (
    Array,
    Blocks,
    Code,
    expect_complete,
    expect_end,
    parse_blocks,
    parse_count,
    parse_listed_code,
    windows,
)

STEPS = MAX_CODE_LENGTH + 1  # a length is the one before it and a step, modulo this
SIGNED, BY_COLUMNS = 1, 2  # bits of the parameters
_WINDOW_CODES = 57 // MAX_CODE_LENGTH  # codes that 57 bits surely hold


@dataclass(frozen=True)
class ByteCode:
    """A code for bytes: ``values`` (n,) uint8 in the order of ``code``'s symbols."""

    code: Code
    values: Array


@dataclass(frozen=True)
class Contexts:
    """Bytes in the order of their codes, as rows of ``inner``, and what their codes depend on.

    ``rows`` and ``columns`` are (rows,) and (inner,) class numbers, None where there is one class; ``bucket_of`` (256,)
    is the bucket of each byte; ``code_of`` (row classes, column classes, buckets) the number of a code.
    """

    count: int
    inner: int
    by_columns: bool
    rows: Array | None
    columns: Array | None
    bucket_of: Array
    code_of: Array
    codes: tuple[ByteCode, ...]
    blocks: Blocks
    width: int = 1
    layout: int = CONTEXTS


def number_bits(choices: int) -> int:
    """Bits of a number below ``choices`` (1 to 16): 0, 1, 2 or 4, so that none crosses a byte."""
    return 0 if choices == 1 else 1 if choices == 2 else 2 if choices <= 4 else 4


def parse(blob: memoryview, size: int) -> Contexts:
    """Checks everything about a coded section except its bits; ``size`` is what it must decode to, in bytes.

    Raises a subclass of :class:`~device_agent.errors.PackageError`.
    """
    cursor = Cursor(blob, 1, len(blob))
    parameters = cursor.byte("parameters")
    if parameters & ~(SIGNED | BY_COLUMNS):
        raise ParameterInvalid("parameters of contexts", found=f"{parameters:#04x}")
    count = parse_count(cursor, size, 1)
    inner = cursor.varint("elements of a row", MAX_TFLITE_SIZE)
    if inner == 0 or count % inner:
        raise ParameterInvalid("rows do not divide the tensor", expected=str(count), found=str(inner))
    row_classes, column_classes, buckets, codes = (
        _parse_number(cursor, what, limit)
        for what, limit in (
            ("classes of rows", MAX_CLASSES),
            ("classes of columns", MAX_CLASSES),
            ("buckets of the byte before", MAX_CLASSES),
            ("codes", MAX_CODES),
        )
    )
    contexts = row_classes * column_classes * buckets
    if contexts > MAX_CONTEXTS:
        raise LimitExceeded("too many contexts", expected=f"at most {MAX_CONTEXTS}", found=str(contexts))
    flip = 0x80 if parameters & SIGNED else 0
    bucket_of = _parse_buckets(cursor, buckets, flip)
    rows = _parse_numbers(cursor, count // inner, row_classes)
    columns = _parse_numbers(cursor, inner, column_classes)
    code_of = _parse_numbers(cursor, contexts, codes)
    if code_of is None:
        code_of = np.zeros(contexts, np.uint8)
    listed = _parse_codes(cursor, codes, flip)
    shortest = min(item.code.min_length for item in listed)
    blocks = parse_blocks(cursor, count, shortest, None, False)
    expect_end(cursor)
    return Contexts(
        count,
        inner,
        bool(parameters & BY_COLUMNS),
        rows,
        columns,
        bucket_of,
        code_of.reshape(row_classes, column_classes, buckets),
        listed,
        blocks,
    )


def _parse_number(cursor: Cursor, what: str, limit: int) -> int:
    number = cursor.byte(what)
    if not 1 <= number <= limit:
        raise ParameterInvalid(what, expected=f"1 to {limit}", found=str(number))
    return number


def _parse_buckets(cursor: Cursor, buckets: int, flip: int) -> Array:
    """(256,) the bucket of each byte: how many thresholds its rank reaches."""
    thresholds = np.frombuffer(cursor.take(buckets - 1, "thresholds"), np.uint8).astype(np.int64)
    if (np.diff(thresholds, prepend=0) < 1).any():
        raise ParameterInvalid("thresholds do not ascend", found=str(thresholds.tolist()))
    return np.searchsorted(thresholds, np.arange(256) ^ flip, side="right")


def _parse_numbers(cursor: Cursor, count: int, choices: int) -> Array | None:
    """(count,) uint8 below ``choices``, packed; None where there is no choice."""
    bits = number_bits(choices)
    if bits == 0:
        return None
    packed = np.frombuffer(cursor.take((count * bits + 7) >> 3, "numbers of classes"), np.uint8)
    used = count * bits & 7
    if used and packed[-1] >> used:
        raise PaddingInvalid("unused bits of a list of numbers are set")
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (packed[:, None] >> shifts & ((1 << bits) - 1)).reshape(-1)[:count]
    if int(numbers.max()) >= choices:
        raise SymbolInvalid("a class or code does not exist", expected=f"below {choices}")
    return numbers


def _parse_codes(cursor: Cursor, codes: int, flip: int) -> tuple[ByteCode, ...]:
    """Every code: from which rank to which, then the lengths, each as a step from the one before."""
    ranges = np.frombuffer(cursor.take(2 * codes, "ranges of the codes"), np.uint8).reshape(-1, 2).tolist()
    if any(last < first for first, last in ranges):
        raise ParameterInvalid("a code ends before it starts", found=str(ranges))
    lengths = _parse_lengths(cursor, [last - first + 1 for first, last in ranges if last > first])
    result, entries = [], 0
    for first, last in ranges:
        code, ranks = Code(), np.zeros(1, np.int64)
        if last > first:
            of_ranks = lengths.pop(0)
            ranks = np.flatnonzero(of_ranks)
            counts = np.bincount(of_ranks[ranks], minlength=2)[1:].tolist()
            expect_complete(counts)
            code = Code(tuple(counts))
            ranks = ranks[np.argsort(of_ranks[ranks], kind="stable")]
        entries += 1 << code.max_length
        result.append(ByteCode(code, ((ranks + first) ^ flip).astype(np.uint8)))
    if entries > MAX_CODES_TABLE:
        raise LimitExceeded(
            "the codes need too large tables", expected=f"at most {MAX_CODES_TABLE}", found=str(entries)
        )
    return tuple(result)


def _parse_lengths(cursor: Cursor, sizes: list[int]) -> list[Array]:
    """For each of ``sizes`` the lengths of this many codes, (size,) intp; 0: the rank does not occur."""
    if not sizes:
        return []
    code, tokens = parse_listed_code(cursor, STEPS)
    bits = cursor.varint("bits of the lengths", sum(sizes) * MAX_CODE_LENGTH)
    packed = cursor.take((bits + 7) >> 3, "lengths of the codes")
    if bits & 7 and packed[-1] >> (bits & 7):
        raise PaddingInvalid("unused bits of the lengths are set")
    stream = int.from_bytes(packed, "little")
    symbols, code_lengths = code.table()
    steps = tokens[symbols].tolist()
    taken, mask, position = code_lengths.tolist(), len(steps) - 1, 0
    result = []
    for size in sizes:
        lengths, length = [], 0
        for _ in range(size):
            at = stream & mask
            stream >>= taken[at]
            position += taken[at]
            length = (length + steps[at]) % STEPS
            lengths.append(length)
        result.append(np.array(lengths, np.intp))
    if position != bits:
        raise CodeInvalid("lengths of the codes end elsewhere", expected=str(bits), found=str(position))
    if any(not lengths.any() for lengths in result):
        raise CodeInvalid("a code has no symbols")
    return result


def decode(content: Contexts, out: Any) -> None:
    """Writes the section to ``out``, a (count,) uint8 array; raises BlockCorrupt on bits that do not fit."""
    flat = np.empty(content.count, np.uint8) if content.by_columns else out
    tables = _Tables(content)
    blocks = content.blocks
    for first, starts, ends, steps, tail in lanes(blocks):
        begin = first << blocks.log2
        numbers, position = tables.lanes(begin, starts, steps, tail)
        expect_ends(position, ends)
        flat[begin : begin + len(numbers)] = numbers
    if content.by_columns:
        rows = content.count // content.inner
        out.reshape(content.inner, rows)[:] = flat.reshape(rows, content.inner).T


class _Tables:
    """One table after another for the codes; where that of each context starts, and the bits that it looks at."""

    def __init__(self, content: Contexts) -> None:
        tables, starts, masks, start = [], [], [], 0
        for item in content.codes:
            symbols, lengths = item.code.table()
            tables.append(item.values[symbols].astype(np.intp) << 4 | lengths)
            starts.append(start)
            masks.append(len(lengths) - 1)
            start += len(lengths)
        self._table = np.concatenate(tables)
        numbers = content.code_of.reshape(-1)
        self._start = np.array(starts, np.intp)[numbers]
        self._mask = np.array(masks, np.int64)[numbers]
        _, column_classes, self._buckets = content.code_of.shape
        self._content = content
        self._row = column_classes * self._buckets
        self._bucket_of = content.bucket_of.astype(np.intp)
        self._loads = windows(content.blocks.stream)

    def _contexts(self, begin: int, count: int) -> Array:
        """The context of each of the codes from ``begin`` on, but for the byte before it, (count,) intp."""
        content = self._content
        places = np.minimum(np.arange(begin, begin + count), content.count - 1)
        result = np.zeros(count, np.intp)
        if content.rows is not None:
            result += content.rows[places // content.inner].astype(np.intp) * self._row
        if content.columns is not None:
            result += content.columns[places % content.inner].astype(np.intp) * self._buckets
        return result

    def lanes(self, begin: int, starts: Array, steps: int, tail: int) -> tuple[Array, Array]:
        """Bytes in order, (codes,) uint8, and the bit after each lane, (lanes,) int64. A step is a code of each."""
        contexts = np.ascontiguousarray(self._contexts(begin, len(starts) * steps).reshape(-1, steps).T)
        before: Any = self._buckets // 2  # what stands before a block is not looked at
        position = starts.copy()
        taken = np.empty((steps, len(starts)), np.uint8)
        for step in range(steps):
            if step == tail:  # the last block is shorter: from here on its lane runs on zeros and is ignored
                tail_end = int(position[-1])
            if step % _WINDOW_CODES == 0:
                window = self._loads.take(take_index(position >> 3), mode="clip") >> (position & 7)
            context = contexts[step] + before
            entry = self._table.take(
                self._start.take(context) + take_index(window & self._mask.take(context))
            )
            value = entry >> 4
            taken[step] = value
            entry &= 15
            window >>= entry
            position += entry
            before = self._bucket_of.take(value)
        if tail < steps:
            position[-1] = tail_end
        return taken.T.reshape(-1)[: (len(starts) - 1) * steps + tail], position
