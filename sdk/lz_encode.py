"""Encoder of the ``lz`` layout, and the estimates that say when to try it: LZMA is slow, most weights do not repeat."""

from __future__ import annotations

import lzma
import zlib

import numpy as np

from device_agent.format import DEFLATE, LZ, LZMA, MAX_DICTIONARY_LOG2, MIN_DICTIONARY_LOG2, RAW
from sdk.coding import varint

_SAMPLE = 1 << 14  # bytes of one slice of a sample
_SLICES = 3
# LZ decodes ten times slower than the codes, and a sample's promise is not kept to the percent: a tensor must shrink
# by more than this before it is worth the seconds of trying.
_WORTH = 0.97
_REPEATED = 0.02  # share of pieces that occur elsewhere: repeats at a distance, which samples do not see
# Literal context, literal position and position bits worth trying; the first is xz's own choice.
_ALL_PROPERTIES = ((3, 0, 2), (0, 2, 2), (0, 0, 0), (3, 0, 0), (2, 2, 2), (1, 2, 2), (0, 0, 2))
_THOROUGH_SIZE = 1 << 18


def quick_size(content: bytes) -> int:
    """About what these bytes would take inside the skeleton."""
    return min(len(content), len(zlib.compress(content, 6)) - 6) if len(content) <= 1 << 16 else len(content)


def _sample(content: bytes) -> bytes:
    if len(content) <= _SAMPLE * _SLICES:
        return content
    step = (len(content) - _SAMPLE) // (_SLICES - 1)
    return b"".join(content[start : start + _SAMPLE] for start in range(0, step * _SLICES, step))


def _transposed(content: bytes, width: int) -> bytes:
    return np.frombuffer(content, np.uint8).reshape(-1, width).T.tobytes()


def may_win(content: bytes, width: int, size: int) -> bool:
    """Whether an lz section of elements of ``width`` bytes could be smaller than ``size`` bytes."""
    sample = _sample(content)
    sample = sample[: len(sample) // width * width]
    if not sample:
        return False
    if len(sample) < len(content) // width * width and _repeated_share(content) > _REPEATED:
        return True
    if width > 1:
        sample = _transposed(sample, width)
    coded = len(lzma.compress(sample, lzma.FORMAT_RAW, filters=[_filter(sample, (3, 0, 2), preset=2)]))
    return coded * len(content) < size * len(sample) * (_WORTH if len(content) > _THOROUGH_SIZE else 1)


def may_win_whole(tflite: bytes, size: int) -> bool:
    """Whether compressing the whole file at once could beat ``size`` bytes."""
    if len(tflite) <= 1 << 20:
        return True
    return len(zlib.compress(tflite, 1)) * 0.9 < size or _repeated_share(tflite) > _REPEATED


def _repeated_share(content: bytes) -> float:
    """Share of aligned 32-byte pieces that occur more than once, zeros apart."""
    words = np.frombuffer(content, np.uint64, len(content) // 32 * 4).reshape(-1, 4)
    keys = words @ np.array(
        [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], np.uint64
    )
    keys = keys[words.any(axis=1)]
    return 1 - len(np.unique(keys)) / max(1, len(keys))


def _dictionary_log2(size: int) -> int:
    return min(max((max(size, 1) - 1).bit_length(), MIN_DICTIONARY_LOG2), MAX_DICTIONARY_LOG2)


def _filter(content: bytes, properties: tuple[int, int, int], preset: int) -> dict[str, int]:
    literal_context, literal_position, position = properties
    return {
        "id": lzma.FILTER_LZMA1,
        "preset": preset,
        "lc": literal_context,
        "lp": literal_position,
        "pb": position,
        "dict_size": 1 << _dictionary_log2(len(content)),
    }


def encode(content: bytes, width: int = 1) -> bytes:
    """The smallest lz section of ``content`` as elements of ``width`` bytes."""
    flat = _transposed(content, width) if width > 1 else content
    head = bytes([LZ]), bytes([width.bit_length() - 1]) + varint(len(content) // width)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    candidates = [head[0] + bytes([DEFLATE]) + head[1] + deflater.compress(flat) + deflater.flush()]
    for properties in _ALL_PROPERTIES if len(content) <= _THOROUGH_SIZE else _ALL_PROPERTIES[:2]:
        literal_context, literal_position, position = properties
        fields = bytes([(position * 5 + literal_position) * 9 + literal_context, _dictionary_log2(len(flat))])
        filters = [_filter(flat, properties, 9 | lzma.PRESET_EXTREME)]
        stream = lzma.compress(flat, lzma.FORMAT_RAW, filters=filters)
        candidates.append(head[0] + bytes([LZMA]) + head[1] + fields + stream)
    return min(candidates, key=len)


def encode_skeleton(content: bytes) -> bytes:
    """The skeleton's section: raw or lz, never transposed, so that the metadata can be read first."""
    return min(bytes([RAW]) + content, encode(content), key=len)
