"""Encoder of the ``lz`` layout, and the estimates that say when to try it: LZMA is slow, most weights do not repeat."""

from __future__ import annotations

import functools
import lzma
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from device_agent.package.codec.format import (
    DEFLATE,
    LZ,
    LZMA,
    MAX_DICTIONARY_LOG2,
    MIN_DICTIONARY_LOG2,
    PREPARED,
    RAW,
)
from device_agent.package.codec.lz import PREPARED_PROPERTIES
from device_agent.package.codec.prepared import PREPARED_END, PREPARED_SIZE, PREPARED_STREAM
from sdk.package.bit_fields import varint

_SAMPLE = 1 << 14  # bytes of one slice of a sample
_SLICES = 3
_WINDOWS = 1024  # looked up to estimate how much repeats
# LZ decodes ten times slower than the codes, and a sample's promise is not kept to the percent: a tensor must shrink
# by more than this before it is worth the seconds of trying.
_WORTH = 0.97
_REPEATED = 0.02  # share of pieces that occur elsewhere: repeats at a distance, which samples do not see
# Literal context, literal position and position bits worth trying; the first is xz's own choice. Weights of a byte have
# no context (0, 0, 0), or one of the channels beside each other (0, 2 to 4, ...): a few percent of an int8 model.
_USUAL = (3, 0, 2)
_NOISE = (0, 0, 0)
_ALL_PROPERTIES = (
    *(_USUAL, (0, 0, 0), (0, 0, 2), (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (4, 0, 2), (0, 1, 1)),
    *((0, 2, 0), (0, 2, 2), (2, 2, 2), (0, 3, 0), (0, 3, 3), (1, 3, 3), (0, 4, 0), (0, 4, 4)),
)
_THOROUGH_SIZE = 1 << 12  # bytes up to which all of them are tried; above, those that a sample likes
_EVERY = tuple(
    (literal, place, position)
    for literal in range(5)
    for place in range(5 - literal)
    for position in range(5)
)
_SMALL_SKELETON = 1 << 13  # bytes up to which all that LZMA knows are tried on it
_LARGE_SKELETON = 1 << 20  # bytes above which a prepared text of some KB is nothing
_LIKED = 2  # of them
_LIKED_SLICE, _LIKED_SLICES = 1 << 13, 4  # bytes of the sample
_ALIGNED = 16  # bytes: every place has the same position bits in a sample as in the whole


def quick_size(content: bytes | memoryview) -> int:
    """About what these bytes would take inside the skeleton."""
    return min(len(content), len(zlib.compress(content, 6)) - 6) if len(content) <= 1 << 16 else len(content)


def inside_size(content: bytes | memoryview) -> int:
    """About what bytes that hardly repeat take inside the skeleton, by LZMA."""
    return len(lzma.compress(content, lzma.FORMAT_RAW, filters=[_filter(content, _USUAL, preset=6)]))


def noise_size(content: bytes | memoryview) -> int:
    """About what bytes without contexts take by LZMA, in a section of their own."""
    return len(lzma.compress(content, lzma.FORMAT_RAW, filters=[_filter(content, _NOISE, preset=6)]))


def _liked(content: bytes | memoryview) -> list[tuple[int, int, int]]:
    """The properties to try: all for few bytes, else those that do best on slices, and xz's own."""
    if len(content) <= _THOROUGH_SIZE:
        return list(_ALL_PROPERTIES)
    sample = content
    if len(content) > _LIKED_SLICE * _LIKED_SLICES:
        step = (len(content) - _LIKED_SLICE) // (_LIKED_SLICES - 1) // _ALIGNED * _ALIGNED
        sample = b"".join(content[n * step : n * step + _LIKED_SLICE] for n in range(_LIKED_SLICES))
    sizes = {
        properties: len(
            lzma.compress(sample, lzma.FORMAT_RAW, filters=[_filter(sample, properties, preset=6)])
        )
        for properties in _ALL_PROPERTIES
    }
    best = sorted(_ALL_PROPERTIES, key=lambda one: sizes[one])[:_LIKED]
    return [*best, *([] if _USUAL in best else [_USUAL])]


def _sample(content: bytes | memoryview) -> bytes | memoryview:
    if len(content) <= _SAMPLE * _SLICES:
        return content
    step = (len(content) - _SAMPLE) // (_SLICES - 1)
    return b"".join(content[start : start + _SAMPLE] for start in range(0, step * _SLICES, step))


def _transposed(content: bytes | memoryview, width: int) -> bytes:
    return np.frombuffer(content, np.uint8).reshape(-1, width).T.tobytes()


def may_win(content: bytes | memoryview, width: int, size: int) -> bool:
    """Whether an lz section of elements of ``width`` bytes could be smaller than ``size`` bytes."""
    sample = _sample(content)
    sample = sample[: len(sample) // width * width]
    if not sample:
        return False
    if len(sample) < len(content) // width * width and _repeated_share(content, width, size) > _REPEATED:
        return True
    if width > 1:
        sample = _transposed(sample, width)
    coded = len(lzma.compress(sample, lzma.FORMAT_RAW, filters=[_filter(sample, (3, 0, 2), preset=2)]))
    return coded * len(content) < size * len(sample) * (_WORTH if len(content) > _SAMPLE * _SLICES else 1)


_LOOK_CLOSE = 1 << 24  # bytes
_PIECE = 1 << 20  # bytes
_HASHES = 1 << 16  # of windows, at a time: each takes forty bytes
_R = 0x9E3779B97F4A7C15  # odd, its bits without a pattern: 2**64 over the golden ratio


# What LZMA makes of what DEFLATE left, at best. Large files are tried with less hope: each trial takes twenty times
# their size of memory.
_PROMISED, _PROMISED_LARGE = 0.85, 0.9
_LARGE_FILE = 1 << 22  # bytes
# What the settings that suit a file leave of what the better of two usual ones left, at best; small files are tried.
_SUITED = 0.8
_SMALL_FILE = 1 << 12  # bytes


def may_win_whole(tflite: bytes, size: int) -> bool:
    """Whether compressing the whole file at once could beat ``size`` bytes."""
    if len(tflite) <= _SMALL_FILE:
        return True
    if len(tflite) <= 1 << 16:
        return _SUITED * min(inside_size(tflite), noise_size(tflite)) < size
    fast = zlib.compressobj(1)
    view = memoryview(tflite)
    deflated = sum(len(fast.compress(view[at : at + _PIECE])) for at in range(0, len(view), _PIECE))
    promised = (deflated + len(fast.flush())) * (_PROMISED if len(tflite) <= _LARGE_FILE else _PROMISED_LARGE)
    return promised < size or _repeated_share(tflite, 4, size) > _REPEATED


def _repeated_share(content: bytes | memoryview, width: int, size: int) -> float:
    """Share of windows that occur more than once at any distance, in units of ``width`` bytes; estimated.

    A window is long enough to take 16 bytes coded (``size`` is the coded size of all elements), so that weights with
    few values do not look repeated by chance. Windows that hold a single value are left out.
    """
    if len(content) > _LOOK_CLOSE:
        # Of a large tensor the part that a dictionary spans, in large units.
        size = size * (1 << MAX_DICTIONARY_LOG2) // max(len(content), 1 << MAX_DICTIONARY_LOG2)
        content, width = content[: 1 << MAX_DICTIONARY_LOG2], max(width, 4)
    units = np.frombuffer(content, f"<u{min(width, 4)}", len(content) // width * width // min(width, 4))
    window = max(8, 16 * len(units) // max(1, size))
    if len(units) < 2 * window:
        return 0.0
    picked = np.linspace(0, len(units) - window, _WINDOWS).astype(np.int64)
    picked = picked[units[picked] != units[picked + window // 2]]
    if len(picked) == 0:
        return 0.0
    start, of_picked = 0, []
    for hashes in _hashes(units, window):
        here = picked[(picked >= start) & (picked < start + len(hashes))]
        of_picked.append(hashes[here - start])
        start += len(hashes)
    wanted, times = np.unique(np.concatenate(of_picked), return_counts=True)
    # Most hashes are none of those: a table over their upper 16 bits says so before the binary search.
    likely = np.zeros(1 << 16, bool)
    likely[wanted >> np.uint64(48)] = True
    found = np.zeros(len(wanted), np.int64)
    for hashes in _hashes(units, window):
        hashes = hashes[likely[hashes >> np.uint64(48)]]
        at = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
        found += np.bincount(at[wanted[at] == hashes], minlength=len(wanted))
    return float(times[found > 1].sum() / _WINDOWS)


def _hashes(units: np.ndarray, window: int) -> Iterator[np.ndarray]:
    """A hash of the window at each unit, in chunks: the sum of (unit + 1) * r**place in it, modulo 2**64."""
    step = max(_HASHES, window)
    # r is odd, so a sum over places from the chunk's start can be brought back to places from the window's start.
    power = np.cumprod(np.full(step + window, _R, np.uint64)) * np.uint64(pow(_R, -1, 1 << 64))
    inverse = np.cumprod(np.full(step, pow(_R, -1, 1 << 64), np.uint64)) * np.uint64(_R)
    for start in range(0, len(units) - window + 1, step):
        here = units[start : start + step + window - 1].astype(np.uint64) + np.uint64(1)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(here * power[: len(here)])])
        yield (sums[window:] - sums[:-window]) * inverse[: len(here) - window + 1]


def _dictionary_log2(size: int) -> int:
    return min(max((max(size, 1) - 1).bit_length(), MIN_DICTIONARY_LOG2), MAX_DICTIONARY_LOG2)


def _filter(content: bytes | memoryview, properties: tuple[int, int, int], preset: int) -> dict[str, int]:
    literal_context, literal_position, position = properties
    return {
        "id": lzma.FILTER_LZMA1,
        "preset": preset,
        "lc": literal_context,
        "lp": literal_position,
        "pb": position,
        "dict_size": 1 << _dictionary_log2(len(content)),
    }


def _head(codec: int, content: bytes | memoryview, width: int) -> bytes:
    return bytes([LZ, codec, width.bit_length() - 1]) + varint(len(content) // width)


def encode_deflate(content: bytes | memoryview, width: int) -> bytes:
    """``content`` as elements of ``width`` bytes, by deflate."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    flat = _transposed(content, width) if width > 1 else content
    return _head(DEFLATE, content, width) + deflater.compress(flat) + deflater.flush()


def encode_lzma(content: bytes | memoryview, width: int, properties: tuple[int, int, int]) -> bytes:
    """``content`` as elements of ``width`` bytes, by LZMA with these (lc, lp, pb)."""
    literal_context, literal_position, position = properties
    flat = _transposed(content, width) if width > 1 else content
    fields = bytes([(position * 5 + literal_position) * 9 + literal_context, _dictionary_log2(len(flat))])
    return _head(LZMA, content, width) + fields + lzma_stream(flat, properties)


def lzma_stream(content: bytes | memoryview, properties: tuple[int, int, int]) -> bytes:
    """LZMA's stream of ``content`` with these (lc, lp, pb), as small as it gets."""
    filters = [_filter(content, properties, 9 | lzma.PRESET_EXTREME)]
    return lzma.compress(content, lzma.FORMAT_RAW, filters=filters)


@functools.cache
def prepared_text() -> bytes:
    """The text that prepared streams begin after."""
    filters = [_filter(bytes(PREPARED_SIZE), PREPARED_PROPERTIES, 9)]
    return lzma.decompress(PREPARED_STREAM + PREPARED_END, lzma.FORMAT_RAW, filters=filters)


def encode_prepared(content: bytes | memoryview) -> bytes | None:
    """``content`` as a skeleton that goes on where the prepared text ends; None where this LZMA writes another stream
    of that text than the one that decoders have."""
    stream = lzma_stream(prepared_text() + content, PREPARED_PROPERTIES)
    if not stream.startswith(PREPARED_STREAM):
        return None
    return _head(PREPARED, content, 1) + stream[len(PREPARED_STREAM) :]


def encode(content: bytes | memoryview, width: int = 1) -> bytes:
    """The smallest lz section of ``content`` as elements of ``width`` bytes."""
    return _smallest(content, width, _liked(_transposed(content, width) if width > 1 else content))


def _smallest(content: bytes | memoryview, width: int, properties: Sequence[tuple[int, int, int]]) -> bytes:
    return min(
        [encode_deflate(content, width), *(encode_lzma(content, width, it) for it in properties)], key=len
    )


def encode_skeleton(content: bytes | memoryview) -> bytes:
    """The skeleton's section: raw or lz, never transposed, so that the metadata can be read first."""
    return _of_skeleton(bytes(content)) if len(content) <= _LARGE_SKELETON else _any_skeleton(content)


@functools.lru_cache(maxsize=8)
def _of_skeleton(content: bytes) -> bytes:
    """The attempts of one compression differ in their weights: each would try dozens of settings on the same bytes."""
    return _any_skeleton(content)


def _any_skeleton(content: bytes | memoryview) -> bytes:
    properties = _EVERY if len(content) <= _SMALL_SKELETON else _liked(content)
    found = [bytes([RAW]) + content, _smallest(content, 1, properties)]
    prepared = encode_prepared(content) if content and len(content) <= _LARGE_SKELETON else None
    return min(found if prepared is None else [*found, prepared], key=len)
