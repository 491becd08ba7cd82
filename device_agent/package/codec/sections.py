"""The Huffman layouts of a section: their fields as records, and the parser with all its checks.

Nothing is decoded here: :func:`parse` looks at everything but the bits, so that what a package holds is known (and
refused, where it is wrong) before any of it is decoded. The bits are for :mod:`device_agent.package.codec.huffman`
or the C kernel, which makes the same checks in the same order. PACKAGE_FORMAT.md is the authority over all of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np

from device_agent.package.codec.format import (
    BFLOAT16_SCALES,
    DENSE,
    FLOAT32_SCALES,
    LAYOUTS,
    MAX_BLOCK_LOG2,
    MAX_CENTROIDS,
    MAX_CHANNELS,
    MAX_CODE_LENGTH,
    MAX_GAP_EXPONENT,
    MAX_GAP_MSB,
    MAX_GAP_SPLIT,
    MAX_INDEX_WIDTH,
    MAX_PLANE_BLOCK_LOG2,
    MAX_SYMBOLS,
    MAX_TFLITE_SIZE,
    MIN_BLOCK_LOG2,
    NO_SCALES,
    ONLY_TOKEN,
    PLANES,
    RAW,
    SPARSE,
    BlockIndexInvalid,
    CodeInvalid,
    Cursor,
    LayoutUnknown,
    LimitExceeded,
    PaddingInvalid,
    ParameterInvalid,
    ScaleInvalid,
    SectionTrailingBytes,
    SizeMismatch,
    SymbolInvalid,
)

Array = Any  # np.ndarray; numpy 1.21's generics do not parse on Python 3.8


@dataclass(frozen=True)
class Code:
    """A canonical prefix code: ``counts[i]`` symbols have codes of ``i + 1`` bits; symbols are ranks 0..n-1.

    Empty counts: one symbol, and its code has no bits.
    """

    counts: tuple[int, ...] = ()

    @property
    def max_length(self) -> int:
        """Bits of the longest code; 0 where the only code has none."""
        return len(self.counts)

    @property
    def min_length(self) -> int:
        """Bits of the shortest code; 0 where the only code has none."""
        return next((length for length, count in enumerate(self.counts, 1) if count), 0)

    @property
    def symbols(self) -> int:
        """How many symbols have a code."""
        return sum(self.counts) if self.counts else 1

    def lengths(self) -> Array:
        """Bits of each symbol's code, (n,) integers, ascending."""
        if not self.counts:
            return np.zeros(1, np.intp)
        return np.repeat(np.arange(1, len(self.counts) + 1), self.counts)

    def codewords(self) -> Array:
        """Each symbol's code as it stands in the stream, first bit lowest, (n,) int64."""
        lengths = self.lengths()
        # In a complete code, symbol i starts where the 2**-length of those before it add up to.
        starts = np.concatenate([[0], np.cumsum(1 << (self.max_length - lengths))[:-1]])
        return _reversed_bits(self.max_length)[starts]

    def table(self) -> tuple[Array, Array]:
        """(symbol, length of its code in bits) for every value of the next ``max_length`` bits.

        Both are (n,) whole numbers, with n = 2 ** ``max_length``.
        """
        lengths = self.lengths()
        repeats = 1 << (self.max_length - lengths)
        order = _reversed_bits(self.max_length)
        return np.repeat(np.arange(len(lengths)), repeats)[order], np.repeat(lengths, repeats)[order]


def _reversed_bits(width: int) -> Array:
    """0 .. 2**width - 1, each with its ``width`` bits in reverse order."""
    values = np.arange(1 << width)
    result = np.zeros_like(values)
    for bit in range(width):
        result |= ((values >> bit) & 1) << (width - 1 - bit)
    return result


@dataclass(frozen=True)
class Index:
    """One number for each of ``count`` blocks: ``common``, and ``above``, (count,) int64, what each is larger.

    Where no number is larger, ``above`` is None, and the index takes no memory, however many blocks a few bytes
    announce.
    """

    count: int
    common: int
    above: Array | None = None

    @property
    def total(self) -> int:
        """The sum of all numbers."""
        return self.count * self.common + (0 if self.above is None else int(self.above.sum()))

    def ends(self) -> Array:
        """Sums of the first number, of the first two, and so on: (count,) int64."""
        each = np.broadcast_to(np.int64(self.common), self.count)
        return np.cumsum(each if self.above is None else each + self.above)


@dataclass(frozen=True)
class Blocks:
    """The index and the bits of a section's blocks; every block but the last holds ``1 << log2`` codes."""

    log2: int
    codes: int
    bits: Index  # of each block
    stream: Any  # memoryview
    positions: Index | None = None  # elements of each block (sparse only)


@dataclass(frozen=True)
class Scales:
    """Factors of the output channels: element ``i`` is multiplied by ``values[(i // inner) % channels]``."""

    inner: int
    values: Array  # (channels,) float32


@dataclass(frozen=True)
class Raw:
    """``count`` elements of ``width`` bytes as they are."""

    data: Any
    count: int
    width: int = 1
    layout: int = RAW


@dataclass(frozen=True)
class Dense:
    """Codes for words of ``words.shape[1]`` consecutive centroids each."""

    width: int
    count: int
    scales: Scales | None
    code: Code
    words: Array  # (symbols, word length) unsigned integers of ``width`` bytes: bit patterns of the elements
    centroids: int
    blocks: Blocks | None  # None: the code has no bits
    layout: int = DENSE


@dataclass(frozen=True)
class Sparse:
    """Gap and centroid of every element that is not the background."""

    width: int
    count: int
    scales: Scales | None
    background: int
    nonzeros: int
    gap_code: Code
    gaps: Array  # (tokens, 2) int64: smallest gap of the token, extra bits
    code: Code
    codebook: Array  # (centroids,) unsigned integers of ``width`` bytes
    blocks: Blocks
    layout: int = SPARSE


@dataclass(frozen=True)
class Planes:
    """Byte ``p`` of every element, least significant first, each plane a raw, dense or sparse section."""

    width: int
    count: int
    rotated: bool
    planes: tuple[Raw | Dense | Sparse, ...] = field(default_factory=tuple)
    layout: int = PLANES


Content = Union[Raw, Dense, Sparse, Planes]


def parse(blob: memoryview, size: int) -> Content:
    """Checks everything about a coded section except its bits; ``size`` is what it must decode to, in bytes.

    Raises a subclass of :class:`~device_agent.errors.PackageError`; the ``lz`` layout is not handled here.
    """
    return _parse(Cursor(blob, 0, len(blob)), size, inside_planes=False)


def _parse(cursor: Cursor, size: int, inside_planes: bool) -> Content:
    layout = cursor.byte("layout")
    if layout == RAW:
        return _parse_raw(cursor, size)
    if layout == DENSE:
        return _parse_dense(cursor, size, inside_planes)
    if layout == SPARSE:
        return _parse_sparse(cursor, size, inside_planes)
    if layout == PLANES and not inside_planes:
        return _parse_planes(cursor, size)
    raise LayoutUnknown("layout is not allowed here", found=LAYOUTS.get(layout, str(layout)))


def _parse_raw(cursor: Cursor, size: int) -> Raw:
    _expect_size(cursor.remaining, size)
    return Raw(cursor.take(size, "raw bytes"), size)


def _parse_dense(cursor: Cursor, size: int, inside_planes: bool) -> Dense:
    width, word_length, scale_kind = _parse_parameters(cursor.byte("parameters"), 0b1111, inside_planes)
    count = parse_count(cursor, size, width)
    if count % word_length:
        raise ParameterInvalid(
            "words do not divide the tensor", expected=f"a multiple of {word_length}", found=str(count)
        )
    scales = _parse_scales(cursor, count, scale_kind)
    code = _parse_code(cursor)
    if word_length > 1:
        centroids = cursor.varint("number of centroids", MAX_CENTROIDS)
        numbers = np.frombuffer(cursor.take(code.symbols * word_length, "words"), np.uint8)
        if int(np.max(numbers)) >= centroids:
            raise SymbolInvalid("a word names a centroid that does not exist", expected=f"below {centroids}")
        words = _parse_codebook(cursor, centroids, width, scales)[numbers].reshape(-1, word_length)
    else:
        centroids = code.symbols
        words = _parse_codebook(cursor, centroids, width, scales).reshape(-1, 1)
    blocks = None
    if code.max_length:
        blocks = parse_blocks(cursor, count // word_length, code.min_length, None, inside_planes)
    expect_end(cursor)
    return Dense(width, count, scales, code, words, centroids, blocks)


def _parse_sparse(cursor: Cursor, size: int, inside_planes: bool) -> Sparse:
    width, _, scale_kind = _parse_parameters(cursor.byte("parameters"), 0b0011, inside_planes)
    count = parse_count(cursor, size, width)
    scales = _parse_scales(cursor, count, scale_kind)
    background = _parse_codebook(cursor, 1, width, scales)
    nonzeros = cursor.varint("number of elements that are not background", MAX_TFLITE_SIZE)
    if not 1 <= nonzeros <= count:
        raise ParameterInvalid("more codes than elements", expected=f"1 to {count}", found=str(nonzeros))
    split, msb = _parse_gap_scheme(cursor.byte("gap scheme"))
    existing = (1 << split) + ((MAX_GAP_EXPONENT + 1 - split) << msb)
    gap_code, tokens = parse_listed_code(cursor, existing)
    gaps = gap_values(tokens, split, msb)
    code = _parse_code(cursor)
    codebook = _parse_codebook(cursor, code.symbols, width, scales)
    min_bits = gap_code.min_length + code.min_length
    blocks = parse_blocks(cursor, nonzeros, min_bits, count, inside_planes)
    expect_end(cursor)
    return Sparse(width, count, scales, int(background[0]), nonzeros, gap_code, gaps, code, codebook, blocks)


def _parse_planes(cursor: Cursor, size: int) -> Planes:
    parameters = cursor.byte("parameters")
    width, rotated = 1 << (parameters & 3), bool(parameters & 16)
    if parameters & ~19 or width == 1:
        raise ParameterInvalid("parameters of planes", expected="2, 4 or 8 bytes", found=f"{parameters:#04x}")
    count = parse_count(cursor, size, width)
    planes = []
    for _ in range(width):
        plane_size = cursor.varint("size of a plane", MAX_TFLITE_SIZE)
        start = cursor.position
        cursor.take(plane_size, "a plane")
        plane = _parse(Cursor(cursor.data, start, cursor.position), count, inside_planes=True)
        assert not isinstance(plane, Planes)
        planes.append(plane)
    expect_end(cursor)
    return Planes(width, count, rotated, tuple(planes))


def _parse_parameters(parameters: int, allowed: int, inside_planes: bool) -> tuple[int, int, int]:
    """-> (bytes of an element, elements of a word, kind of channel scales)."""
    width_log2, word_log2, scale_kind = parameters & 3, parameters >> 2 & 3, parameters >> 4 & 3
    if parameters & ~(allowed | 0x30) or width_log2 > 2 or word_log2 > 2 or scale_kind > BFLOAT16_SCALES:
        raise ParameterInvalid("parameters of a Huffman section", found=f"{parameters:#04x}")
    if scale_kind != NO_SCALES and width_log2 != 2:
        raise ParameterInvalid("channel scales need elements of 4 bytes", found=f"{parameters:#04x}")
    if inside_planes and width_log2:
        raise ParameterInvalid("a plane has elements of 1 byte", found=f"{parameters:#04x}")
    return 1 << width_log2, 1 << word_log2, scale_kind


def parse_count(cursor: Cursor, size: int, width: int) -> int:
    """The number of elements of ``width`` bytes that are ``size`` bytes; raises ParameterInvalid, SizeMismatch."""
    count = cursor.varint("number of elements", MAX_TFLITE_SIZE)
    if count == 0:
        raise ParameterInvalid("a section has no elements")
    _expect_size(count * width, size)
    return count


def _parse_scales(cursor: Cursor, count: int, kind: int) -> Scales | None:
    if kind == NO_SCALES:
        return None
    inner = cursor.varint("elements of a channel", MAX_TFLITE_SIZE)
    channels = cursor.varint("number of channels", MAX_CHANNELS)
    if inner * channels == 0 or count % (inner * channels):
        raise ScaleInvalid(
            "channels do not divide the tensor",
            expected=f"divisors of {count}",
            found=f"{inner} x {channels}",
        )
    if kind == FLOAT32_SCALES:
        bits = np.frombuffer(cursor.take(4 * channels, "channel scales"), "<u4")
    else:
        bits = np.frombuffer(cursor.take(2 * channels, "channel scales"), "<u2").astype(np.uint32) << 16
    _expect_finite(bits)
    return Scales(inner, bits.astype(np.uint32).view(np.float32))


def _parse_code(cursor: Cursor) -> Code:
    max_length = cursor.byte("length of the longest code")
    if max_length > MAX_CODE_LENGTH:
        raise CodeInvalid(
            "a code is too long", expected=f"at most {MAX_CODE_LENGTH} bits", found=str(max_length)
        )
    counts = tuple(cursor.varint("number of codes of one length", MAX_SYMBOLS) for _ in range(max_length))
    code = Code(counts)
    if code.symbols > MAX_SYMBOLS:
        raise LimitExceeded(
            "a code has too many symbols", expected=f"at most {MAX_SYMBOLS}", found=str(code.symbols)
        )
    if max_length:
        expect_complete(counts)
    return code


def expect_complete(counts: Sequence[int]) -> None:
    """Raises CodeInvalid unless ``counts[i]`` codes of ``i + 1`` bits have Kraft's sum 1, the last count above 0."""
    longest = len(counts)
    kraft = sum(count << (longest - length) for length, count in enumerate(counts, 1))
    if kraft != 1 << longest or counts[-1] == 0:
        raise CodeInvalid("code lengths are not those of a complete prefix code", found=str(counts))


def _parse_codebook(cursor: Cursor, count: int, width: int, scales: Scales | None) -> Array:
    bits = np.frombuffer(cursor.take(count * width, "codebook"), f"<u{width}")
    if scales is not None:
        _expect_finite(bits)
    return bits


def _parse_gap_scheme(scheme: int) -> tuple[int, int]:
    split, msb = scheme & 15, scheme >> 4
    if split > MAX_GAP_SPLIT or msb > MAX_GAP_MSB or msb > split:
        raise ParameterInvalid("gap scheme", found=f"{scheme:#04x}")
    return split, msb


def parse_listed_code(cursor: Cursor, existing: int) -> tuple[Code, Array]:
    """The code that is stated by the lengths of its tokens, and the token of each of its symbols, (n,) int64.

    ``existing``: how many tokens there are. Raises SymbolInvalid, PaddingInvalid, CodeInvalid.
    """
    listed = cursor.byte("number of tokens")
    if not 1 <= listed <= existing:
        raise SymbolInvalid("a token does not exist", expected=f"1 to {existing} tokens", found=str(listed))
    packed = np.frombuffer(cursor.take((listed + 1) >> 1, "lengths of the codes"), np.uint8)
    nibbles = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1).astype(np.int64)
    if nibbles[listed:].any():
        raise PaddingInvalid("the unused half of a byte is set")
    lengths = nibbles[:listed]
    tokens = np.flatnonzero(lengths)
    if len(tokens) == 1 and tokens[0] == listed - 1 and lengths[-1] == ONLY_TOKEN:
        return Code(), tokens
    if lengths[-1] == 0 or int(np.max(lengths)) > MAX_CODE_LENGTH:
        raise CodeInvalid("lengths of the codes", found=str(lengths.tolist()))
    # bincount and flatnonzero speak intp, which has 32 bits on a 32-bit board.
    counts = np.bincount(lengths[tokens].astype(np.intp), minlength=2)[1:].tolist()
    expect_complete(counts)
    return Code(tuple(counts)), tokens[np.argsort(lengths[tokens], kind="stable")]


def gap_values(tokens: Array, split: int, msb: int) -> Array:
    """(smallest gap, extra bits) of each token, (n, 2) int64, for ``tokens`` (n,); see "Gaps" in the specification."""
    tokens = tokens.astype(np.int64)
    above = np.maximum(tokens - (1 << split), 0)
    extra = split + (above >> msb) - msb
    base = ((1 << msb) + (above & ((1 << msb) - 1))) << extra
    direct = tokens < (1 << split)
    return np.stack([np.where(direct, tokens, base), np.where(direct, 0, extra)], axis=1)


def parse_blocks(
    cursor: Cursor, codes: int, min_bits: int, elements: int | None, inside_planes: bool
) -> Blocks:
    """Index and bits of blocks; ``elements``: also the index of positions, whose sum may not exceed it.

    ``min_bits``: of the shortest code. Raises ParameterInvalid, BlockIndexInvalid, PaddingInvalid.
    """
    log2 = cursor.byte("block size")
    largest = MAX_PLANE_BLOCK_LOG2 if inside_planes else MAX_BLOCK_LOG2
    if not MIN_BLOCK_LOG2 <= log2 <= largest:
        raise ParameterInvalid(
            "block size", expected=f"2**{MIN_BLOCK_LOG2} to 2**{largest}", found=f"2**{log2}"
        )
    blocks = (codes + (1 << log2) - 1) >> log2
    tail = codes - ((blocks - 1) << log2)  # codes of the last block
    index = _parse_index(cursor, blocks, min_bits << log2, min_bits * tail)
    positions = None
    if elements is not None:
        positions = _parse_index(cursor, blocks, 1 << log2, tail)
        if positions.total > elements:
            raise BlockIndexInvalid(
                "blocks reach past the tensor", expected=f"at most {elements}", found=str(positions.total)
            )
    bits = index.total
    stream = cursor.take((bits + 7) >> 3, "bits")
    if bits & 7 and stream[-1] >> (bits & 7):
        raise PaddingInvalid("unused bits of the last byte are set")
    return Blocks(log2, codes, index, stream, positions)


def _parse_index(cursor: Cursor, blocks: int, least: int, least_of_last: int) -> Index:
    """One number per block: a common minimum plus ``width`` bits; each at least ``least``, the last one's own."""
    common = cursor.varint("minimum of a block index", MAX_TFLITE_SIZE)
    width = cursor.byte("width of a block index")
    if width > MAX_INDEX_WIDTH:
        raise ParameterInvalid(
            "width of a block index", expected=f"at most {MAX_INDEX_WIDTH} bits", found=str(width)
        )
    used = blocks * width
    packed = cursor.take((used + 7) >> 3, "block index")
    if used & 7 and packed[-1] >> (used & 7):
        raise PaddingInvalid("unused bits of a block index are set")
    above = None
    if width:
        starts = np.arange(blocks) * width
        above = windows(packed).take(starts >> 3) >> (starts & 7) & ((1 << width) - 1)
    last = common + (0 if above is None else int(above[-1]))
    smallest = common + (0 if above is None or blocks == 1 else int(above[:-1].min()))
    if last < least_of_last or (blocks > 1 and smallest < least):
        raise BlockIndexInvalid("a block is shorter than its codes can be")
    return Index(blocks, common, above)


def windows(stream: Any) -> Array:
    """The 64 bits that start at each byte of the stream, (bytes + 1,) int64; zeros follow the end."""
    padded = np.zeros(len(stream) + 9, np.uint8)
    padded[: len(stream)] = np.frombuffer(stream, np.uint8)
    return np.ndarray((len(stream) + 1,), "<i8", padded, strides=(1,)).astype(np.int64)


def _expect_size(found: int, expected: int) -> None:
    if found != expected:
        raise SizeMismatch(
            "section decodes to another size", expected=f"{expected} bytes", found=f"{found} bytes"
        )


def expect_end(cursor: Cursor) -> None:
    """Raises SectionTrailingBytes where the section goes on."""
    if cursor.remaining:
        raise SectionTrailingBytes("section goes on after its end", found=f"{cursor.remaining} bytes more")


def _expect_finite(bits: Array) -> None:
    if ((bits & 0x7F800000) == 0x7F800000).any():
        raise ScaleInvalid("channel scales and what they multiply must be finite")
