"""Encoders of the layouts of a section: exact costs, and the bytes that device_agent.huffman decodes.

Everything here works on bit patterns (unsigned integers of the element's width), so that NaNs, negative zeros and
padding survive. Sizes are in bytes unless a name says bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_agent.format import (
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
from device_agent.huffman import Code

# A longer limit than needed makes the decoder's tables larger than its first-level cache: spend this share of the
# bits to stay below.
_LIMIT_TOLERANCE = 1.001
# With few zeros the sparse layout decodes at a third of the speed of the dense one: below this it is not worth it.
_SPARSE_MUST_SAVE = 0.99


@dataclass(frozen=True)
class Scales:
    """Factors of the output channels, as in the format: element i takes ``values[(i // inner) % channels]``."""

    inner: int
    values: np.ndarray  # (channels,) float32


def varint(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def code_lengths(counts: np.ndarray, limit: int) -> np.ndarray:
    """Lengths of the optimal prefix code with no code above ``limit`` bits, (n,) int64, for ``counts`` > 0.

    Package-merge (Larmore and Hirschberg, 1990): level by level, pairs of the cheapest items become one item of the
    level above. Every level's choice is a prefix of the symbols sorted by count, so prefix lengths are all we keep.
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
    def build(cls, counts: np.ndarray) -> Encoder:
        """The shortest-table code within ``_LIMIT_TOLERANCE`` of the best; every count must be positive."""
        best = code_lengths(counts, MAX_CODE_LENGTH)
        bits = int((best * counts).sum())
        for limit in range(max(1, int(np.ceil(np.log2(len(counts))))), int(best.max())):
            lengths = code_lengths(counts, limit)
            if int((lengths * counts).sum()) <= bits * _LIMIT_TOLERANCE:
                best, bits = lengths, int((lengths * counts).sum())
                break
        order = np.argsort(best, kind="stable")
        longest = int(best.max())
        code = Code(tuple(np.bincount(best, minlength=longest + 1)[1:].tolist()) if longest else ())
        code_of = np.empty(len(counts), np.int64)
        code_of[order] = code.codewords()
        return cls(code, order, bits, code_of, best)

    def table(self) -> bytes:
        """The code as it stands in a section: longest length, then the number of codes of each length."""
        return bytes([self.code.max_length]) + b"".join(varint(count) for count in self.code.counts)


_FIELDS_AT_ONCE = 1 << 20


def pack_bits(values: np.ndarray, lengths: np.ndarray) -> bytes:
    """Concatenates bit fields, first bit lowest; ``values[i] < 2**lengths[i]``, ``lengths`` at most 32."""
    total = int(lengths.sum())
    packed = np.zeros((total >> 5) + 2, "<u4")
    done = 0  # bits
    # Some at a time: the steps below need seventy bytes for every field, and a tensor may have a hundred million.
    for start in range(0, len(values), _FIELDS_AT_ONCE):
        few = lengths[start : start + _FIELDS_AT_ONCE]
        ends = done + np.cumsum(few)
        starts = ends - few
        shifted = values[start : start + _FIELDS_AT_ONCE].astype(np.uint64) << (starts & 31).astype(np.uint64)
        first = done >> 5
        word = (starts >> 5) - first
        words = (int(ends[-1]) >> 5) - first + 2
        # Fields never overlap, so adding is or-ing; sums stay below 2**32, exact in bincount's float64.
        low = np.bincount(word, (shifted & np.uint64(0xFFFFFFFF)).astype(np.float64), words)
        high = np.bincount(word + 1, (shifted >> np.uint64(32)).astype(np.float64), words)
        packed[first : first + words] |= (low + high).astype(np.uint32)
        done = int(ends[-1])
    return packed.tobytes()[: (total + 7) >> 3]


def block_log2(codes: int) -> int:
    """Codes of a block: few blocks where every byte counts, many where numpy needs lanes to be quick."""
    return 9 if 20_000 <= codes < 1 << 19 else 10


def _index(values: np.ndarray) -> bytes:
    """The index of a number a block: minimum, width, and what each block has above the minimum."""
    least = int(values.min())
    width = int(values.max() - least).bit_length()
    return varint(least) + bytes([width]) + pack_bits(values - least, np.full(len(values), width))


def _block_sums(values: np.ndarray, log2: int) -> np.ndarray:
    return np.add.reduceat(values, np.arange(0, len(values), 1 << log2))


def _scales_field(scales: Scales | None) -> tuple[int, bytes]:
    if scales is None:
        return NO_SCALES, b""
    bits = scales.values.astype("<f4").view("<u4")
    head = varint(scales.inner) + varint(len(bits))
    if not (bits & 0xFFFF).any():
        return BFLOAT16_SCALES, head + (bits >> 16).astype("<u2").tobytes()
    return FLOAT32_SCALES, head + bits.tobytes()


@dataclass(frozen=True)
class Symbols:
    """A tensor as numbers of the distinct values it holds: ``values[numbers]`` are its elements."""

    values: np.ndarray  # (n,) unsigned, ascending
    numbers: np.ndarray  # (count,) uint16: there are at most MAX_SYMBOLS values
    counts: np.ndarray  # (n,)

    @property
    def width(self) -> int:
        return int(self.values.dtype.itemsize)

    @classmethod
    def of(cls, elements: np.ndarray, limit: int = MAX_SYMBOLS) -> Symbols | None:
        """None when there are more than ``limit`` distinct values."""
        stride = max(1, len(elements) // 8192)
        if len(np.unique(elements[::stride])) > limit:  # cheap: most float tensors leave here
            return None
        if elements.dtype.itemsize <= 2:
            counts = np.bincount(elements, minlength=1)
            present = np.flatnonzero(counts)
            renumber = np.zeros(len(counts), np.int64)
            renumber[present] = np.arange(len(present))
            values, counts = present.astype(elements.dtype), counts[present]
            numbers = renumber.astype(np.uint16)[elements]
        else:
            values = np.unique(elements)
            if len(values) > limit:
                return None
            numbers = np.searchsorted(values, elements).astype(np.uint16)
            counts = np.bincount(numbers, minlength=len(values))
        return cls(values, numbers, counts) if len(values) <= limit else None


def encode_raw(elements: np.ndarray) -> bytes:
    return bytes([RAW]) + elements.tobytes()


def entropy_bits(counts: np.ndarray) -> float:
    """Order-0 entropy of all the symbols together, in bits."""
    counts = counts[counts > 0].astype(np.float64)
    total = counts.sum()
    return float(-(counts * np.log2(counts / total)).sum())


def words(symbols: Symbols, word_length: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Distinct words of ``word_length`` elements: ((n, word_length) numbers, (count / word_length,) word of each)."""
    n = len(symbols.values)
    if n > MAX_CENTROIDS or len(symbols.numbers) % word_length or n**word_length > 1 << 20:
        return None
    key = np.zeros(len(symbols.numbers) // word_length, np.int64)
    for digit in range(word_length):
        key = key * n + symbols.numbers[digit::word_length]
    counts = np.bincount(key, minlength=n**word_length)
    present = np.flatnonzero(counts)
    if len(present) > MAX_SYMBOLS:
        return None
    renumber = np.zeros(len(counts), np.int64)
    renumber[present] = np.arange(len(present))
    digits = [present // n ** (word_length - 1 - digit) % n for digit in range(word_length)]
    return np.stack(digits, axis=1), renumber[key]


def encode_dense(
    symbols: Symbols, word_length: int = 1, scales: Scales | None = None, below: int | None = None
) -> bytes | None:
    """The dense layout; None where words of this length do not fit the format, or cannot be smaller than ``below``."""
    if word_length == 1:
        numbers, counts = symbols.numbers, symbols.counts
    else:
        found = words(symbols, word_length)
        if found is None:
            return None
        listed, numbers = found
        counts = np.bincount(numbers)
        if below is not None and entropy_bits(counts) + 8 * listed.size >= 8 * below:
            return None
    encoder = Encoder.build(counts)
    kind, scales_field = _scales_field(scales)
    parameters = symbols.width.bit_length() - 1 | (word_length.bit_length() - 1) << 2 | kind << 4
    parts = [bytes([DENSE, parameters]), varint(len(symbols.numbers)), scales_field, encoder.table()]
    if word_length == 1:
        parts.append(symbols.values[encoder.order].tobytes())
    else:
        parts.append(varint(len(symbols.values)))
        parts.append(listed[encoder.order].astype(np.uint8).tobytes())
        parts.append(symbols.values.tobytes())
    if encoder.code.max_length:
        lengths = encoder.length_of[numbers]
        log2 = block_log2(len(numbers))
        parts += [
            bytes([log2]),
            _index(_block_sums(lengths, log2)),
            pack_bits(encoder.code_of[numbers], lengths),
        ]
    return b"".join(parts)


def gap_tokens(gaps: np.ndarray, split: int, msb: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> (token, extra bits' value, number of extra bits) of each gap, by the scheme (split, msb)."""
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


def best_gap_scheme(gaps: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The (split, msb) whose entropy, extra bits and list of lengths together are smallest, after that cost in bits."""
    histogram = np.bincount(gaps)
    distinct = np.flatnonzero(histogram)
    weights = histogram[distinct]
    best = (float("inf"), (0, 0))
    for split in range(MAX_GAP_SPLIT + 1):
        for msb in range(min(split, MAX_GAP_MSB) + 1):
            token, _, extra = gap_tokens(distinct, split, msb)
            counts = np.bincount(token, weights)
            if len(counts) < 256:
                cost = entropy_bits(counts) + float((extra * weights).sum()) + 4 * len(counts)
                best = min(best, (cost, (split, msb)))
    return best


def _gap_code_field(tokens: np.ndarray, lengths: np.ndarray) -> bytes:
    """The lengths of the codes of ``tokens`` (ascending), by token and 4 bits each."""
    by_token = np.zeros((int(tokens[-1]) + 2) // 2 * 2, np.int64)
    by_token[tokens] = lengths if len(tokens) > 1 else ONLY_TOKEN
    return bytes([int(tokens[-1]) + 1]) + (by_token[::2] | by_token[1::2] << 4).astype(np.uint8).tobytes()


def encode_sparse(symbols: Symbols, scales: Scales | None = None, below: int | None = None) -> bytes | None:
    """The sparse layout around the commonest value; None where all elements are it, or ``below`` is out of reach."""
    background = int(np.argmax(symbols.counts))
    places = np.flatnonzero(symbols.numbers != background)
    if len(places) == 0:
        return None
    numbers = symbols.numbers[places]
    numbers = numbers - (numbers > background)
    kept = np.delete(symbols.values, background)
    gaps = np.diff(places, prepend=-1) - 1
    gap_bits, (split, msb) = best_gap_scheme(gaps)
    value_counts = np.delete(symbols.counts, background)
    if below is not None and gap_bits + entropy_bits(value_counts) >= 8 * below:
        return None
    token, extra, extra_bits = gap_tokens(gaps, split, msb)
    token_counts = np.bincount(token)
    listed = np.flatnonzero(token_counts)
    renumber = np.zeros(len(token_counts), np.int64)
    renumber[listed] = np.arange(len(listed))
    token = renumber[token]
    gap_encoder = Encoder.build(token_counts[listed])
    value_encoder = Encoder.build(value_counts)
    log2 = block_log2(len(places))
    fields = np.empty((len(places), 3), np.int64)
    widths = np.empty((len(places), 3), np.int64)
    fields[:, 0], widths[:, 0] = gap_encoder.code_of[token], gap_encoder.length_of[token]
    fields[:, 1], widths[:, 1] = extra, extra_bits
    fields[:, 2], widths[:, 2] = value_encoder.code_of[numbers], value_encoder.length_of[numbers]
    kind, scales_field = _scales_field(scales)
    return b"".join(
        [
            bytes([SPARSE, symbols.width.bit_length() - 1 | kind << 4]),
            varint(len(symbols.numbers)),
            scales_field,
            symbols.values[background : background + 1].tobytes(),
            varint(len(places)),
            bytes([split | msb << 4]),
            _gap_code_field(listed, gap_encoder.length_of),
            value_encoder.table(),
            kept[value_encoder.order].tobytes(),
            bytes([log2]),
            _index(_block_sums(widths.sum(axis=1), log2)),
            _index(_block_sums(gaps + 1, log2)),
            pack_bits(fields.reshape(-1), widths.reshape(-1)),
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
    """Byte planes of elements of 2, 4 or 8 bytes, each coded on its own; rotated where that is smaller.

    Rotating left by one moves a float's sign below its mantissa, so that the highest plane is the whole exponent
    (of float32), the part that codes well.
    """
    width = elements.dtype.itemsize
    kind = elements.dtype.type
    rotated = elements << kind(1) | elements >> kind(8 * width - 1)
    plain_cost, rotated_cost = (
        sum(
            entropy_bits(np.bincount(plane, minlength=256))
            for plane in variant.view(np.uint8).reshape(-1, width).T
        )
        for variant in (elements, rotated)
    )
    use_rotated = rotated_cost < plain_cost
    chosen = (rotated if use_rotated else elements).view(np.uint8).reshape(-1, width)
    parts = [bytes([PLANES, width.bit_length() - 1 | use_rotated << 4]), varint(len(elements))]
    for number in range(width):
        plane = np.ascontiguousarray(chosen[:, number])
        blob = encode_raw(plane)
        # A code for bytes that are all but uniform saves less than it costs to decode.
        if entropy_bits(np.bincount(plane, minlength=256)) < 7.95 * len(plane):
            symbols = Symbols.of(plane)
            assert symbols is not None
            blob = min(blob, encode_codes(symbols), key=len)
        parts += [varint(len(blob)), blob]
    return b"".join(parts)
