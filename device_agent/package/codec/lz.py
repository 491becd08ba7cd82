"""The ``lz`` layout: deflate or LZMA from the standard library, for the skeleton and for what repeats itself.

Output is bounded by the size that the table states, whatever the stream says; so is LZMA's dictionary. A prepared
stream continues a text that both sides have: what all models have in common is in the decoder already.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.package.codec.format import (
    CODECS,
    DEFLATE,
    LZ,
    LZMA,
    MAX_DICTIONARY_LOG2,
    MAX_TFLITE_SIZE,
    MIN_DICTIONARY_LOG2,
    PREPARED,
    CodecUnavailable,
    Cursor,
    LayoutUnknown,
    ParameterInvalid,
    SizeMismatch,
    StreamCorrupt,
)
from device_agent.package.codec.prepared import PREPARED_SIZE, PREPARED_STREAM

_CHUNK = 1 << 16  # bytes decompressed at a time, so that nothing but dictionary and output grows


@dataclass(frozen=True)
class Lz:
    """A compressed stream of ``count`` elements of ``width`` bytes; above width 1 transposed to byte planes."""

    codec: int
    width: int
    count: int
    filters: Any  # LZMA filter chain, or None
    stream: Any  # memoryview
    layout: int = LZ


#: (lc, lp, pb) of prepared streams.
PREPARED_PROPERTIES = (0, 2, 2)


def parse(blob: memoryview, size: int, *, prepared: bool = False) -> Lz:
    """Checks the fields of a coded section that must decode to ``size`` bytes; ``prepared``: its stream may be."""
    cursor = Cursor(blob, 1, len(blob))
    codec = cursor.byte("codec")
    if codec not in CODECS or (codec == PREPARED and not prepared):
        raise LayoutUnknown("codec is not allowed here", expected=str(sorted(CODECS)), found=str(codec))
    width_log2 = cursor.byte("element width")
    if width_log2 > 3:
        raise ParameterInvalid("element width", expected="1, 2, 4 or 8 bytes", found=f"2**{width_log2}")
    count = cursor.varint("number of elements", MAX_TFLITE_SIZE)
    if count << width_log2 != size:
        raise SizeMismatch(
            "section decodes to another size", expected=f"{size} bytes", found=f"{count << width_log2} bytes"
        )
    filters = None
    if codec == LZMA:
        filters = _parse_lzma(cursor)
    elif codec == PREPARED:
        filters = _filters(*PREPARED_PROPERTIES, MAX_DICTIONARY_LOG2)
    return Lz(codec, 1 << width_log2, count, filters, cursor.take(cursor.remaining, "stream"))


def _parse_lzma(cursor: Cursor) -> Any:
    properties = cursor.byte("LZMA properties")
    literal_context, rest = properties % 9, properties // 9
    literal_position, position = rest % 5, rest // 5
    if position > 4 or literal_context + literal_position > 4:
        raise ParameterInvalid("LZMA properties", found=str(properties))
    dictionary = cursor.byte("LZMA dictionary")
    if not MIN_DICTIONARY_LOG2 <= dictionary <= MAX_DICTIONARY_LOG2:
        raise ParameterInvalid(
            "LZMA dictionary",
            expected=f"2**{MIN_DICTIONARY_LOG2} to 2**{MAX_DICTIONARY_LOG2}",
            found=f"2**{dictionary}",
        )
    return _filters(literal_context, literal_position, position, dictionary)


def _filters(literal_context: int, literal_position: int, position: int, dictionary_log2: int) -> Any:
    try:
        import lzma
    except ImportError as error:
        raise CodecUnavailable(
            "this Python has no lzma module",
            hint="Install it (python3-lzma, liblzma), or pack with codecs=('deflate',).",
        ) from error
    return [
        {
            "id": lzma.FILTER_LZMA1,
            "lc": literal_context,
            "lp": literal_position,
            "pb": position,
            "dict_size": 1 << dictionary_log2,
        }
    ]


def decode(content: Lz, out: Any) -> None:
    """Decompresses to ``out``, a (size,) uint8 array; the stream must end exactly there."""
    size = out.size
    flat = out if content.width == 1 else np.empty(size, np.uint8)
    position = 0
    for piece in _pieces(content, size):
        flat[position : position + len(piece)] = np.frombuffer(piece, np.uint8)
        position += len(piece)
    if position != size:
        raise StreamCorrupt("stream is short", expected=f"{size} bytes", found=f"{position} bytes")
    if content.width > 1:
        out.reshape(-1, content.width)[:] = flat.reshape(content.width, -1).T


def head(content: Lz, size: int) -> bytes:
    """The first ``size`` bytes (of a section of width 1), without decompressing the rest."""
    result = b"".join(_pieces(content, size, whole=False))
    if len(result) != size:
        raise StreamCorrupt("stream is short", expected=f"{size} bytes", found=f"{len(result)} bytes")
    return result


def _pieces(content: Lz, size: int, whole: bool = True) -> Any:
    """Yields at most ``size`` bytes in pieces; with ``whole``, checks that the stream ends with them."""
    if content.codec == DEFLATE:
        return _inflate(content.stream, size, whole)
    if content.codec == PREPARED:
        return _after_prepared(content, size, whole)
    return _unlzma(content.filters, bytes(content.stream), size, whole)


def _after_prepared(content: Lz, size: int, whole: bool) -> Any:
    """What follows the prepared text, whose stream the section goes on with."""
    left = PREPARED_SIZE
    for piece in _unlzma(
        content.filters, PREPARED_STREAM + bytes(content.stream), PREPARED_SIZE + size, whole
    ):
        if left < len(piece):
            yield piece[left:]
        left = max(left - len(piece), 0)


def _inflate(stream: Any, size: int, whole: bool) -> Any:
    decoder = zlib.decompressobj(-15)
    # The stream is fed piece by piece, because zlib hands back, as a copy, what it did not get to.
    pending, position, left = b"", 0, size
    try:
        while not decoder.eof and (left or whole):
            if not pending:
                pending = bytes(stream[position : position + _CHUNK])
                position += len(pending)
            # One byte more than allowed: reaches the end of a good stream and shows a long one.
            piece = decoder.decompress(pending, min(left, _CHUNK) or 1)
            pending = decoder.unconsumed_tail
            if piece and not left:
                raise StreamCorrupt("stream is long", expected=f"{size} bytes")
            if not piece and not pending and position == len(stream):
                break
            left -= len(piece)
            if piece:
                yield piece
    except zlib.error as error:
        raise StreamCorrupt("deflate stream is broken", found=str(error)) from error
    if whole and (not decoder.eof or decoder.unused_data or position < len(stream)):
        raise StreamCorrupt("deflate stream does not end with the section")


def _unlzma(stated_filters: Any, stream: bytes, size: int, whole: bool) -> Any:
    import lzma

    # No match reaches further back than there are bytes: what the stream asks for beyond that is memory for nothing.
    [stated] = stated_filters
    filters = [{**stated, "dict_size": min(stated["dict_size"], max(size, 1 << MIN_DICTIONARY_LOG2))}]
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    pending, left = stream, size
    try:
        while left and not decoder.eof:
            piece = decoder.decompress(pending, min(left, _CHUNK))
            pending = b""
            if not piece and decoder.needs_input:
                break
            left -= len(piece)
            yield piece
        if whole and not left and not decoder.eof and decoder.decompress(pending, 1):
            raise StreamCorrupt("stream is long", expected=f"{size} bytes")
    except (lzma.LZMAError, EOFError) as error:
        raise StreamCorrupt("LZMA stream is broken", found=str(error)) from error
    if whole and (not decoder.eof or decoder.unused_data):
        raise StreamCorrupt("LZMA stream does not end with the section")
