"""Encoders of the layouts of a section: exact costs, and the bytes that device_agent.package.codec.huffman decodes.

Everything here works on bit patterns (unsigned integers of the element's width), so that NaNs, negative zeros and
padding survive. Sizes are in bytes unless a name says bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from device_agent.package.codec.format import (
    BFLOAT16_SCALES,
    DENSE,
    FLOAT32_SCALES,
    MAX_CENTROIDS,
    MAX_CODE_LENGTH,
    MAX_GAP_MSB,
    MAX_GAP_SPLIT,
    MAX_SYMBOLS,
    NO_SCALES,
    ONLY_TOKEN,
    PLANES,
    RAW,
    SPARSE,
)
from device_agent.package.codec.huffman import Code
from device_agent.package.codec.sections import Scales
from sdk.package.bit_fields import CHUNK, BitWriter, BlockIndex, chunks, varint
from sdk.package.symbols import Symbols, entropy_bits

# A longer limit than needed makes the decoder's tables larger than its first-level cache: spend this share of the
# bits to stay below.
_LIMIT_TOLERANCE = 1.001
# With few zeros the sparse layout decodes at a third of the speed of the dense one: below this it is not worth it.
_SPARSE_MUST_SAVE = 0.99


def code_lengths(counts: np.ndarray, limit: int) -> np.ndarray:
    """Lengths of the optimal prefix code with no code above ``limit`` bits, (n,) int64, for ``counts`` > 0.

    Package-merge (Larmore and Hirschberg, 1990): level by level, pairs of the cheapest items become one item of the
    level above. Every level's choice is a prefix of the symbols sorted by count, so only prefix lengths are kept.
    """
    order = np.argsort(counts, kind="stable")
    leaves = counts[order].astype(np.int64)
    n = len(leaves)
    if n == 1:
        return np.zeros(1, np.int64)
    if n > 1 << limit:
        raise ValueError(f"{n} symbols have no code of {limit} bits")
    merged, leaf_flags = leaves, [np.ones(n, bool)]
    for _ in range(limit - 1):
        pairs = len(merged) // 2
        packages = merged[0 : 2 * pairs : 2] + merged[1 : 2 * pairs : 2]
        both = np.concatenate([leaves, packages])
        position = np.argsort(both, kind="stable")
        merged = both[position]
        leaf_flags.append(position < n)
    lengths = np.zeros(n, np.int64)
    taken = 2 * n - 2
    for flags in reversed(leaf_flags):
        chosen = int(flags[:taken].sum())
        lengths[:chosen] += 1
        taken = 2 * (taken - chosen)
    result = np.empty(n, np.int64)
    result[order] = lengths
    return result


@dataclass(frozen=True)
class Encoder:
    """A canonical code for symbols 0..n-1 and how they are renumbered: ``order[rank]`` is the symbol of a rank."""

    code: Code
    order: np.ndarray
    bits: int  # of all symbols counted
    code_of: np.ndarray  # (n,) by symbol
    length_of: np.ndarray

    @classmethod
    def build(
        cls, counts: np.ndarray, longest: int = MAX_CODE_LENGTH, tolerance: float = _LIMIT_TOLERANCE
    ) -> Encoder:
        """The shortest-table code within ``tolerance`` of the best that has no code above ``longest`` bits.

        ``counts`` (n,): how often each symbol occurs, 1 or more.
        """
        best = code_lengths(counts, longest)
        bits = int((best * counts).sum())
        for limit in range(max(1, int(np.ceil(np.log2(len(counts))))), int(best.max())):
            lengths = code_lengths(counts, limit)
            if int((lengths * counts).sum()) <= bits * tolerance:
                best = lengths
                break
        return cls.of_lengths(counts, best)

    @classmethod
    def of_lengths(cls, counts: np.ndarray, lengths: np.ndarray) -> Encoder:
        """The canonical code of ``lengths`` (n,) bits for symbols that occur ``counts`` (n,) times."""
        order = np.argsort(lengths, kind="stable")
        longest = int(lengths.max())
        code = Code(tuple(np.bincount(lengths, minlength=longest + 1)[1:].tolist()) if longest else ())
        code_of = np.empty(len(counts), np.int64)
        code_of[order] = code.codewords()
        return cls(code, order, int((lengths * counts).sum()), code_of, lengths)

    def table(self) -> bytes:
        """The code as it stands in a section: longest length, then the number of codes of each length."""
        return bytes([self.code.max_length]) + b"".join(varint(count) for count in self.code.counts)


def block_log2(codes: int) -> int:
    """Codes of a block: few blocks where every byte counts, many where numpy needs lanes to be quick."""
    return 9 if 20_000 <= codes < 1 << 19 else 10


def _scales_field(scales: Scales | None) -> tuple[int, bytes]:
    if scales is None:
        return NO_SCALES, b""
    bits = scales.values.astype("<f4").view("<u4")
    head = varint(scales.inner) + varint(len(bits))
    if not (bits & 0xFFFF).any():
        return BFLOAT16_SCALES, head + (bits >> 16).astype("<u2").tobytes()
    return FLOAT32_SCALES, head + bits.tobytes()


def encode_raw(elements: np.ndarray) -> bytes:
    """The section of elements that are stored as they are, (n,) of any type."""
    return bytes([RAW]) + elements.tobytes()


@dataclass(frozen=True)
class _Words:
    """Words of ``length`` elements: which of them occur, and how often. Their numbers are made when they are needed."""

    length: int
    listed: np.ndarray  # (n, length) numbers of the elements of each word that occurs
    counts: np.ndarray  # (n,)
    renumber: np.ndarray  # of a word's key, to its place in ``listed``

    @classmethod
    def of(cls, symbols: Symbols, length: int) -> _Words | None:
        """None where words of this length do not fit the format."""
        n = len(symbols.values)
        if n > MAX_CENTROIDS or len(symbols.numbers) % length or n**length > 1 << 20:
            return None
        counts = np.zeros(n**length, np.int64)
        for chunk in chunks(symbols.numbers):
            counts += np.bincount(_keys(chunk, length, n), minlength=n**length)
        present = np.flatnonzero(counts)
        if len(present) > MAX_SYMBOLS:
            return None
        renumber = np.zeros(len(counts), np.uint16)
        renumber[present] = np.arange(len(present))
        digits = [present // n ** (length - 1 - digit) % n for digit in range(length)]
        return cls(length, np.stack(digits, axis=1), counts[present], renumber)

    def numbers(self, symbols: Symbols) -> Iterator[np.ndarray]:
        """The words of the tensor by their place in ``listed``, a chunk at a time."""
        for chunk in chunks(symbols.numbers):
            yield self.renumber[_keys(chunk, self.length, len(symbols.values))]


def _keys(numbers: np.ndarray, length: int, n: int) -> np.ndarray:
    """Every ``length`` numbers below ``n`` as one. A chunk is a multiple of every word length."""
    key = numbers[0::length].astype(np.int64)
    for digit in range(1, length):
        key = key * n + numbers[digit::length]
    return key


def encode_dense(
    symbols: Symbols, word_length: int = 1, scales: Scales | None = None, below: int | None = None
) -> bytes | None:
    """The dense layout; None where words of this length do not fit the format, or cannot be smaller than ``below``."""
    words = None
    counts = symbols.counts
    if word_length > 1:
        words = _Words.of(symbols, word_length)
        if words is None:
            return None
        counts = words.counts
        if below is not None and entropy_bits(counts) + 8 * words.listed.size >= 8 * below:
            return None
    encoder = Encoder.build(counts)
    kind, scales_field = _scales_field(scales)
    parameters = symbols.width.bit_length() - 1 | (word_length.bit_length() - 1) << 2 | kind << 4
    parts = [bytes([DENSE, parameters]), varint(len(symbols.numbers)), scales_field, encoder.table()]
    if words is None:
        parts.append(symbols.values[encoder.order].tobytes())
    else:
        parts.append(varint(len(symbols.values)))
        parts.append(words.listed[encoder.order].astype(np.uint8).tobytes())
        parts.append(symbols.values.tobytes())
    if encoder.code.max_length:
        log2 = block_log2(len(symbols.numbers) // word_length)
        index, bits = BlockIndex(log2), BitWriter(encoder.bits)
        for numbers in chunks(symbols.numbers) if words is None else words.numbers(symbols):
            lengths = encoder.length_of[numbers]
            index.add(lengths)
            bits.add(encoder.code_of[numbers], lengths)
        parts += [bytes([log2]), index.bytes(), bits.bytes()]
    return b"".join(parts)


def gap_tokens(gaps: np.ndarray, split: int, msb: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(token, extra bits' value, number of extra bits) of each gap, by the scheme of ``split`` and ``msb``.

    ``gaps`` are (n,) whole numbers of at least 0; all three results are (n,) int64.
    """
    exponent = np.maximum(np.frexp(gaps.astype(np.float64))[1] - 1, 0).astype(np.int64)
    extra_bits = np.maximum(exponent - msb, 0)
    top = (gaps >> extra_bits) & ((1 << msb) - 1)
    token = (1 << split) + ((exponent - split) << msb) + top
    direct = gaps < 1 << split
    return (
        np.where(direct, gaps, token),
        np.where(direct, 0, gaps & ((1 << extra_bits) - 1)),
        np.where(direct, 0, extra_bits),
    )


def best_gap_scheme(gap_counts: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The cost in bits and the (split, msb) whose entropy, extra bits and list of lengths together are smallest.

    ``gap_counts`` (n,): how often a gap of 0 ... n - 1 occurs.
    """
    distinct = np.flatnonzero(gap_counts)
    weights = gap_counts[distinct]
    best = (float("inf"), (0, 0))
    for split in range(MAX_GAP_SPLIT + 1):
        for msb in range(min(split, MAX_GAP_MSB) + 1):
            token, _, extra = gap_tokens(distinct, split, msb)
            counts = np.bincount(token, weights)
            if len(counts) < 256:
                cost = entropy_bits(counts) + float((extra * weights).sum()) + 4 * len(counts)
                best = min(best, (cost, (split, msb)))
    return best


def listed_code_field(tokens: np.ndarray, lengths: np.ndarray) -> bytes:
    """The lengths of the codes of ``tokens`` (n,), ascending, by token and 4 bits each."""
    by_token = np.zeros((int(tokens[-1]) + 2) // 2 * 2, np.int64)
    by_token[tokens] = lengths if len(tokens) > 1 else ONLY_TOKEN
    return bytes([int(tokens[-1]) + 1]) + (by_token[::2] | by_token[1::2] << 4).astype(np.uint8).tobytes()


def _coded_elements(symbols: Symbols, background: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(gap before it, number among the values that are not background) of every coded element, a chunk at a time."""
    last = -1
    for start, chunk in zip(range(0, len(symbols.numbers), CHUNK), chunks(symbols.numbers), strict=True):
        places = np.flatnonzero(chunk != background)
        if len(places):
            numbers = chunk[places]
            places += start
            yield np.diff(places, prepend=last) - 1, numbers - (numbers > background)
            last = int(places[-1])


def encode_sparse(symbols: Symbols, scales: Scales | None = None, below: int | None = None) -> bytes | None:
    """The sparse layout around the commonest value; None where all elements are it, or ``below`` is out of reach."""
    background = int(np.argmax(symbols.counts))
    value_counts = np.delete(symbols.counts, background)
    coded = int(value_counts.sum())
    if coded == 0:
        return None
    gap_counts = np.zeros(1, np.int64)
    for gaps, _ in _coded_elements(symbols, background):
        found = np.bincount(gaps, minlength=len(gap_counts))
        found[: len(gap_counts)] += gap_counts
        gap_counts = found
    gap_bits, (split, msb) = best_gap_scheme(gap_counts)
    if below is not None and gap_bits + entropy_bits(value_counts) >= 8 * below:
        return None
    distinct = np.flatnonzero(gap_counts)
    token, _, extra_bits = gap_tokens(distinct, split, msb)
    # bincount's weights are float64: exact, the counts being far below 2**53.
    token_counts = np.bincount(token, gap_counts[distinct]).astype(np.int64)
    listed = np.flatnonzero(token_counts)
    renumber = np.zeros(len(token_counts), np.int64)
    renumber[listed] = np.arange(len(listed))
    gap_encoder = Encoder.build(token_counts[listed])
    value_encoder = Encoder.build(value_counts)
    log2 = block_log2(coded)
    lengths, spans = BlockIndex(log2), BlockIndex(log2)
    bits = BitWriter(gap_encoder.bits + int((extra_bits * gap_counts[distinct]).sum()) + value_encoder.bits)
    for gaps, numbers in _coded_elements(symbols, background):
        token, extra, extra_bits = gap_tokens(gaps, split, msb)
        token = renumber[token]
        fields = [gap_encoder.code_of[token], extra, value_encoder.code_of[numbers]]
        widths = [gap_encoder.length_of[token], extra_bits, value_encoder.length_of[numbers]]
        lengths.add(sum(widths))
        spans.add(gaps + 1)
        bits.add(np.stack(fields, axis=1).reshape(-1), np.stack(widths, axis=1).reshape(-1))
    kind, scales_field = _scales_field(scales)
    kept = np.delete(symbols.values, background)
    return b"".join(
        [
            bytes([SPARSE, symbols.width.bit_length() - 1 | kind << 4]),
            varint(len(symbols.numbers)),
            scales_field,
            symbols.values[background : background + 1].tobytes(),
            varint(coded),
            bytes([split | msb << 4]),
            listed_code_field(listed, gap_encoder.length_of),
            value_encoder.table(),
            kept[value_encoder.order].tobytes(),
            bytes([log2]),
            lengths.bytes(),
            spans.bytes(),
            bits.bytes(),
        ]
    )


def encode_codes(symbols: Symbols, scales: Scales | None = None) -> bytes:
    """The smallest of the dense and sparse layouts of these symbols."""
    best = encode_dense(symbols, 1, scales)
    assert best is not None
    share = symbols.counts.max() / len(symbols.numbers)
    # Words pay where a code of one element wastes part of its bits: few symbols, or one that is very common.
    for candidate, must_save in (
        (encode_dense(symbols, 2, scales, len(best)) if len(symbols.values) <= 64 else None, 1.0),
        (encode_dense(symbols, 4, scales, len(best)) if len(symbols.values) <= 16 else None, 1.0),
        (
            encode_sparse(symbols, scales, len(best)) if share >= 0.2 else None,
            _SPARSE_MUST_SAVE if share < 0.8 else 1.0,
        ),
    ):
        if candidate is not None and len(candidate) < must_save * len(best):
            best = candidate
    return best


def encode_planes(elements: np.ndarray) -> bytes:
    """Byte planes of elements (n,) of 2, 4 or 8 bytes, each coded on its own; rotated where that is smaller.

    Rotating left by one moves a float's sign below its mantissa, so that the highest plane is the whole exponent (of
    float32), the part that codes well.
    """
    width = elements.dtype.itemsize
    plain, rotated = (np.zeros((width, 256), np.int64) for _ in range(2))
    for chunk in chunks(elements):
        for counts, variant in ((plain, chunk), (rotated, _rotated_left(chunk))):
            for number, plane in enumerate(_planes_of(variant)):
                counts[number] += np.bincount(plane, minlength=256)
    use_rotated = sum(map(entropy_bits, rotated)) < sum(map(entropy_bits, plain))
    parts = [bytes([PLANES, width.bit_length() - 1 | use_rotated << 4]), varint(len(elements))]
    for number, counts in enumerate(rotated if use_rotated else plain):
        plane = np.empty(len(elements), np.uint8)
        for chunk, into in zip(chunks(elements), chunks(plane), strict=True):
            into[:] = _planes_of(_rotated_left(chunk) if use_rotated else chunk)[number]
        coded = None
        # A code for bytes that are all but uniform saves less than it costs to decode.
        if entropy_bits(counts) < 7.95 * len(plane):
            symbols = Symbols.of(plane)
            assert symbols is not None
            coded = encode_codes(symbols)
        blob = coded if coded is not None and len(coded) < 1 + len(plane) else encode_raw(plane)
        parts += [varint(len(blob)), blob]
    return b"".join(parts)


def _rotated_left(elements: np.ndarray) -> np.ndarray:
    kind = elements.dtype.type
    return elements << kind(1) | elements >> kind(8 * elements.dtype.itemsize - 1)


def _planes_of(elements: np.ndarray) -> np.ndarray:
    """(width, n) bytes of each significance, lowest first."""
    return elements.view(np.uint8).reshape(-1, elements.dtype.itemsize).T
