"""Encoder of the ``contexts`` layout: which rows, columns and neighbours of a tensor of bytes are alike.

Everything here is about ranks: bytes in the order of the numbers that they stand for. Histograms are (n, 256) int64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from device_agent.package.codec.contexts import BY_COLUMNS, SIGNED, STEPS, number_bits
from device_agent.package.codec.format import CONTEXTS, MAX_CODE_LENGTH, MAX_CODES_TABLE
from sdk.package.bit_fields import CHUNK, BitWriter, BlockIndex, pack_bits, varint
from sdk.package.coding import Encoder, code_lengths, listed_code_field

_SMALLEST = 1 << 10  # bytes: below, the tables eat what contexts save
_LISTED = 1 << 13  # rows or columns up to which each is looked at
_LENGTHS_BITS = 1.3  # about what the length of a code takes, of each rank between the first and the last
_FIELDS_BITS = 8 * 24  # of a section with one code, beside lengths and blocks
_CLASSES = (
    (1, 1),
    (2, 1),
    (4, 1),
    (8, 1),
    (1, 2),
    (1, 4),
    (1, 8),
    (2, 2),
    (4, 2),
    (2, 4),
    (4, 4),
    (8, 4),
    (4, 8),
    (8, 8),
)
_BUCKETS = (4, 8, 12)
_CODES = (1, 2, 3, 4, 6, 8, 12, 16)
_ELEMENTS_PER_CODE = 1500  # fewer do not pay for the table of one more
_TABLE_TOLERANCE = 1.0003  # of the bits: a shorter longest code makes smaller tables
_ROUNDS = 6  # of sorting into classes


def section_bits(counts: np.ndarray) -> float:
    """What a section of bytes takes in bits, by one code for all of them.

    ``counts`` (n,), n at most 256: how often each value occurs, in the order of the values. The price of a value is the
    difference that one more of it makes. Sections with several codes take less, the more rows and columns differ.
    """
    counts = np.asarray(counts, np.int64)
    used = np.flatnonzero(counts)
    if len(used) == 0:
        return 0.0
    lengths = code_lengths(counts[used], MAX_CODE_LENGTH)
    listed = _FIELDS_BITS + _LENGTHS_BITS * (used[-1] - used[0] + 1)
    return float((lengths * counts[used]).sum() + listed + _block_bits(int(counts.sum())))


def _entropies(histograms: np.ndarray) -> np.ndarray:
    """(n,) bits of each row of (n, 256) counts, order 0."""
    totals = histograms.sum(1)
    logs = np.log2(np.maximum(histograms, 1))
    return totals * np.log2(np.maximum(totals, 1)) - (histograms * logs).sum(1)


def _code_bits(histograms: np.ndarray) -> np.ndarray:
    """(n,) about what a code for each of (n, 256) counts takes in bits, its table included."""
    used = histograms > 0
    ranges = histograms.shape[1] - used.argmax(1) - used[:, ::-1].argmax(1)
    # A Huffman code is about 0.03 bits above the entropy.
    bits = _entropies(histograms) + 0.03 * histograms.sum(1) + 16 + _LENGTHS_BITS * ranges
    return np.where(used.any(1), bits, 0.0)


def _block_bits(count: int) -> float:
    return 10.0 * count / (1 << _block_log2(count))


def _block_log2(count: int) -> int:
    return 11 if count >= 1 << 16 else 10


@dataclass(frozen=True)
class _Plan:
    """How elements find their code; ``rows``, ``columns`` are class numbers or None, as in the decoder."""

    inner: int
    by_columns: bool
    rows: np.ndarray | None
    columns: np.ndarray | None
    classes: tuple[int, int]
    thresholds: np.ndarray  # (buckets - 1,) ranks
    code_of: np.ndarray  # (contexts,)

    @property
    def buckets(self) -> int:
        return len(self.thresholds) + 1

    @property
    def contexts(self) -> int:
        return self.classes[0] * self.classes[1] * self.buckets

    def places(self, ranks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(ranks, the context of each without the one before it), some at a time, in the order of the codes."""
        for start in range(0, len(ranks), CHUNK):
            chunk = ranks[start : start + CHUNK]
            contexts = np.zeros(len(chunk), np.int64)
            if self.rows is not None or self.columns is not None:
                at = np.arange(start, start + len(chunk))
                if self.rows is not None:
                    contexts += self.rows[at // self.inner].astype(np.int64) * self.classes[1]
                if self.columns is not None:
                    contexts += self.columns[at % self.inner]
            yield chunk, contexts

    def coded(self, ranks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(ranks, the number of the code of each), some at a time."""
        block, before = 1 << _block_log2(len(ranks)), 0
        for chunk, contexts in self.places(ranks):
            if self.buckets > 1:
                preceding = np.concatenate([[before], chunk[:-1]])
                buckets = np.searchsorted(self.thresholds, preceding, side="right")
                buckets[::block] = self.buckets // 2  # a chunk is whole blocks
                contexts = contexts * self.buckets + buckets
                before = int(chunk[-1])
            yield chunk, self.code_of[contexts]

    def side_bytes(self, count: int, codes: int) -> int:
        """Bytes of the fields that say which class and which code."""
        bits = [
            (self.classes[0], count // self.inner),
            (self.classes[1], self.inner),
            (codes, self.contexts),
        ]
        return 16 + self.buckets + sum((number_bits(choices) * many + 7) // 8 for choices, many in bits)


def encode_contexts(elements: np.ndarray, shape: Sequence[int]) -> bytes | None:
    """The contexts layout of ``elements`` (n,) uint8, a tensor of this shape; None where one would not be smaller."""
    if len(elements) < _SMALLEST:
        return None
    counts = np.bincount(elements, minlength=256)
    used = np.flatnonzero(counts)
    as_signed = np.sort(used ^ 0x80)
    signed = bool(as_signed[-1] - as_signed[0] < used[-1] - used[0])
    ranks = elements ^ np.uint8(0x80) if signed else elements
    plain = _Plan(len(ranks), False, None, None, (1, 1), np.zeros(0, np.int64), np.zeros(1, np.int64))
    best, planned = float("inf"), plain
    for inner in _inners(len(ranks), shape):
        for cost, plan in _plans(ranks, inner):
            if cost < best:
                best, planned = cost, plan
    if planned.by_columns:
        ranks = np.ascontiguousarray(ranks.reshape(planned.inner, -1).T).reshape(-1)
    return _encode(ranks, planned, signed)


def _inners(count: int, shape: Sequence[int]) -> list[int]:
    """Elements of a row that are worth a look: behind the first axis, and the last axis."""
    if not shape or int(np.prod(shape)) != count:
        return [size for size in (128, 1024) if count % size == 0] or [count]
    found = [count // shape[0], shape[-1]]
    return list(dict.fromkeys(inner for inner in found if inner > 1)) or [count]


def _plans(ranks: np.ndarray, inner: int) -> Iterator[tuple[float, _Plan]]:
    """(cost in bits, plan) of what is tried for rows of ``inner``: classes first, then what stands before."""
    rows = len(ranks) // inner
    sides = [
        _histograms(ranks.reshape(rows, inner)) if 1 < rows <= _LISTED else None,
        _histograms(np.ascontiguousarray(ranks.reshape(rows, inner).T))
        if rows > 1 and inner <= _LISTED
        else None,
    ]
    best, chosen = (
        float("inf"),
        _Plan(inner, False, None, None, (1, 1), np.zeros(0, np.int64), np.zeros(1, np.int64)),
    )
    sorted_into: dict[tuple[int, int], np.ndarray | None] = {}
    for side, histograms in enumerate(sides):
        for many in (1, 2, 4, 8):
            if many == 1:
                sorted_into[side, many] = None
            elif histograms is not None and len(histograms) > many:
                sorted_into[side, many] = _sorted_into(histograms, many)
    for classes in _CLASSES:
        if (0, classes[0]) in sorted_into and (1, classes[1]) in sorted_into:
            if classes[0] * classes[1] * _ELEMENTS_PER_CODE > 8 * len(ranks):
                continue
            plan = replace(
                chosen,
                rows=sorted_into[0, classes[0]],
                columns=sorted_into[1, classes[1]],
                classes=classes,
            )
            cost, plan = _with_codes(plan, _context_histograms(ranks, plan), len(ranks))
            if cost < best:
                best, chosen = cost, plan
    yield best, chosen
    for plan, order in (
        (chosen, ranks),
        (_turned(chosen, rows), np.ascontiguousarray(ranks.reshape(rows, inner).T).reshape(-1)),
    ):
        if plan.by_columns and rows == 1:
            continue
        pairs = _pair_histograms(order, plan)
        if _entropies(pairs.reshape(-1, 256)).sum() + 0.02 * len(ranks) > _entropies(pairs.sum(1)).sum():
            continue
        marginal = np.cumsum(pairs.sum((0, 2)))
        for buckets in _BUCKETS:
            cuts = np.searchsorted(marginal, np.arange(1, buckets) * marginal[-1] / buckets) + 1
            thresholds = np.unique(cuts[(cuts > 0) & (cuts < 256)])
            cost, found = _with_codes(
                replace(plan, thresholds=thresholds), _bucketed(pairs, thresholds), len(ranks)
            )
            yield cost, found


def _turned(plan: _Plan, rows: int) -> _Plan:
    """The same classes, the tensor taken column by column."""
    return replace(
        plan,
        inner=rows,
        by_columns=True,
        rows=plan.columns,
        columns=plan.rows,
        classes=(plan.classes[1], plan.classes[0]),
    )


def _histograms(lines: np.ndarray) -> np.ndarray:
    """(n, 256) how often each rank occurs in each of (n, m) lines."""
    result = np.empty((len(lines), 256), np.int64)
    for number, line in enumerate(lines):
        result[number] = np.bincount(line, minlength=256)
    return result


def _context_histograms(ranks: np.ndarray, plan: _Plan) -> np.ndarray:
    """(classes, 256) counts by the classes of row and column."""
    size = plan.classes[0] * plan.classes[1] * 256
    result = np.zeros(size, np.int64)
    for chunk, contexts in plan.places(ranks):
        result += np.bincount(contexts << 8 | chunk, minlength=size)
    return result.reshape(-1, 256)


def _pair_histograms(ranks: np.ndarray, plan: _Plan) -> np.ndarray:
    """(classes, 256 ranks before, 256 ranks) counts."""
    size = plan.classes[0] * plan.classes[1] << 16
    result = np.zeros(size, np.int64)
    before = 0
    for chunk, contexts in plan.places(ranks):
        preceding = np.concatenate([[before], chunk[:-1]])
        found = np.bincount(contexts << 16 | preceding << 8 | chunk)
        result[: len(found)] += found
        before = int(chunk[-1])
    return result.reshape(-1, 256, 256)


def _bucketed(pairs: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(classes * buckets, 256) counts by class and by the bucket of the rank before."""
    starts = np.concatenate([[0], thresholds]).astype(np.int64)
    return np.add.reduceat(pairs, starts, axis=1).reshape(-1, 256)


def _sorted_into(histograms: np.ndarray, classes: int, start: np.ndarray | None = None) -> np.ndarray:
    """(n,) uint8: the class of each of (n, 256) counts, so that a code for each class takes few bits together.

    The classes start from the spread of each row, or from ``start`` (n,); then every row moves to the class whose code
    suits it best.
    """
    if classes == 1:
        return np.zeros(len(histograms), np.uint8)
    if start is None:
        totals = np.maximum(histograms.sum(1), 1)
        ranks = np.arange(256)
        means = histograms @ ranks / totals
        start = (histograms * np.abs(ranks - means[:, None])).sum(1) / totals
    histograms = histograms.astype(np.float64)
    result = np.argsort(np.argsort(start, kind="stable")) * classes // len(start)
    for _ in range(_ROUNDS):
        sums = _sums(histograms, result, classes) + 0.02
        before, costs = result, -(histograms @ np.log2(sums / sums.sum(1, keepdims=True)).T)
        result = costs.argmin(1)
        if (result == before).all():
            break
    return result.astype(np.uint8)


def _sums(histograms: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """(count, 256) counts of each class together, as floats, which are exact here."""
    return (classes == np.arange(count)[:, None]).astype(np.float64) @ histograms


def _with_codes(plan: _Plan, histograms: np.ndarray, count: int) -> tuple[float, _Plan]:
    """The cost in bits and the plan whose contexts, (n, 256) counts, share codes as suits them."""
    best, code_of = float("inf"), np.zeros(len(histograms), np.int64)
    means = histograms @ np.arange(256) / np.maximum(histograms.sum(1), 1)
    for codes in _CODES:
        if codes > len(histograms) or (codes > 1 and codes * _ELEMENTS_PER_CODE > count):
            break
        for start in (None, means) if plan.buckets > 1 and codes > 1 else (None,):
            found = _sorted_into(histograms, codes, start)
            cost = float(_code_bits(_sums(histograms, found, codes)).sum()) + 8 * plan.side_bytes(
                count, codes
            )
            if cost < best:
                best, code_of = cost, found.astype(np.int64)
    # Codes that no context has are not listed.
    return best + _block_bits(count), replace(
        plan, code_of=np.unique(code_of, return_inverse=True)[1].reshape(-1)
    )


def _numbers_field(numbers: np.ndarray | None, choices: int) -> bytes:
    bits = number_bits(choices)
    if numbers is None or bits == 0:
        return b""
    return pack_bits(numbers.astype(np.int64), np.full(len(numbers), bits))


def _encode(ranks: np.ndarray, plan: _Plan, signed: bool) -> bytes:
    """The section of ``ranks`` (n,) in the order of the codes."""
    codes = int(plan.code_of.max()) + 1
    counts = np.zeros((codes, 256), np.int64)
    for chunk, numbers in plan.coded(ranks):
        counts += np.bincount(numbers << 8 | chunk, minlength=256 * codes).reshape(-1, 256)
    lengths, codewords = np.zeros((codes, 256), np.int64), np.zeros((codes, 256), np.int64)
    for number, of_code in enumerate(counts):
        lengths[number], codewords[number] = _code(of_code, MAX_CODES_TABLE // codes)
    log2 = _block_log2(len(ranks))
    index, bits = BlockIndex(log2), BitWriter(int((lengths * counts).sum()))
    for chunk, numbers in plan.coded(ranks):
        widths = lengths[numbers, chunk]
        index.add(widths)
        bits.add(codewords[numbers, chunk], widths)
    head = [CONTEXTS, (SIGNED if signed else 0) | (BY_COLUMNS if plan.by_columns else 0)]
    return b"".join(
        [
            bytes(head),
            varint(len(ranks)),
            varint(plan.inner),
            bytes([*plan.classes, plan.buckets, codes]),
            plan.thresholds.astype(np.uint8).tobytes(),
            _numbers_field(plan.rows, plan.classes[0]),
            _numbers_field(plan.columns, plan.classes[1]),
            _numbers_field(plan.code_of, codes),
            _codes_field(counts, lengths),
            bytes([log2]),
            index.bytes(),
            bits.bytes(),
        ]
    )


def _code(counts: np.ndarray, largest_table: int) -> tuple[np.ndarray, np.ndarray]:
    """(lengths, codewords) of the ranks, each (256,), of a code whose table is not above ``largest_table`` entries."""
    lengths, codewords = np.zeros(256, np.int64), np.zeros(256, np.int64)
    ranks = np.flatnonzero(counts)
    if len(ranks) > 1:
        longest = min(MAX_CODE_LENGTH, largest_table.bit_length() - 1)
        encoder = Encoder.build(counts[ranks], longest, _TABLE_TOLERANCE)
        lengths[ranks], codewords[ranks] = encoder.length_of, encoder.code_of
    return lengths, codewords


def _codes_field(counts: np.ndarray, lengths: np.ndarray) -> bytes:
    """Ranges and lengths of all codes, (codes, 256) each."""
    ranges, steps = [], []
    for of_code, by_rank in zip(counts, lengths, strict=True):
        used = np.flatnonzero(of_code)
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
        ranges += [first, last]
        if last > first:
            steps.append(np.diff(by_rank[first : last + 1], prepend=0) % STEPS)
    if not steps:
        return bytes(ranges)
    every = np.concatenate(steps)
    how_often = np.bincount(every, minlength=STEPS)
    tokens = np.flatnonzero(how_often)
    of_tokens = code_lengths(how_often[tokens], MAX_CODE_LENGTH)
    encoder = Encoder.of_lengths(how_often[tokens], of_tokens)
    numbers = np.searchsorted(tokens, every)
    widths = encoder.length_of[numbers]
    return b"".join(
        [
            bytes(ranges),
            listed_code_field(tokens, of_tokens),
            varint(int(widths.sum())),
            pack_bits(encoder.code_of[numbers], widths),
        ]
    )
