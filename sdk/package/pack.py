"""Packs the bytes of a .tflite into an ``.armlet`` package, layout by layout, by exact cost.

    pack(tflite)             -> package bytes; device_agent.package.reader.unpack gives the same .tflite back
    weight_buffers(tflite)   -> where the weights stand (sdk.package.spans)

Pure: bytes in, bytes out. The format is device_agent/package/PACKAGE_FORMAT.md.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.package.codec.format import (
    CONTEXTS,
    DIGEST_PREFIX_SIZE,
    FIXED_HEADER_SIZE,
    FORMAT_VERSION,
    FORMAT_VERSIONS,
    LZ,
    MAGIC,
    MAX_METADATA_DEPTH,
    MAX_METADATA_SIZE,
    MAX_SECTIONS,
    MAX_SPANS,
    MAX_TFLITE_SIZE,
    PLANES,
    PREPARED,
    RAW,
    LimitExceeded,
    nesting,
)
from sdk.package import coding, context_encode, lz_encode, scales
from sdk.package.bit_fields import varint
from sdk.package.spans import BufferSpan, weight_buffers
from sdk.package.symbols import Symbols

_TABLE_COST = DIGEST_PREFIX_SIZE + 4 + 8  # digest, sizes and span of one section in the table
_SMALLEST_SECTION = 256  # bytes decoded: below, digest and table eat what a code saves
_MOST_KEPT = 1 << 25  # bytes of coded sections
_WHOLE_MUST_SAVE = 0.999  # a package without sections has to be sent whole whenever anything changes
_BUNDLE_SIZE = (
    1 << 14
)  # decoded bytes; larger ones code no better, and one changed bias sends all of its bundle
_BUNDLE_DTYPES = ("float32", "float16", "bfloat16", "int32", "int8", "uint8", "int16")
# Bytes of which codes leave more than this share are as good as noise to them: LZMA's arithmetic code is better by a
# percent or several, and where it is, the whole file would be LZMA's without a section of its own.
_HARDLY_CODED = 0.4
_LZ_MUST_SAVE = 0.997
_LZ_PROMISED = 1.02  # of the size so far: what LZMA's best contexts may take off a quick trial
_STRETCH, _STRETCHES = 1 << 14, 4  # bytes of a stretch outside all buffers, and how many are worth a section
_NOISE = 1.08  # of what LZMA takes: what one code may take where several hopefully take less
_CONTEXTS_MUST_SAVE = 0.998  # of what one code takes, which decodes some times as fast


@dataclass(frozen=True)
class _Piece:
    """A coded section and the spans (offset, size) that it fills, in order."""

    blob: bytes
    spans: tuple[tuple[int, int], ...]


#: What was coded last, by the digest of the .tflite, oldest first.
_CODED: dict[bytes, tuple[list[_Piece], list[tuple[int, int, int]]]] = {}


def pack(
    tflite: bytes,
    *,
    metadata: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> bytes:
    """The package of these bytes. Any bytes pack; those of a .tflite pack well.

    ``metadata``: a small JSON object (at most 64 KiB) that travels in the package. ``progress(done, total)``:
    called in bytes. Raises :class:`LimitExceeded` where model or metadata are larger than the format allows.
    """
    text = (
        json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if metadata
        else b""
    )
    if len(text) > MAX_METADATA_SIZE:
        raise LimitExceeded(
            "metadata are too large", expected=f"at most {MAX_METADATA_SIZE} bytes", found=str(len(text))
        )
    if nesting(metadata) > MAX_METADATA_DEPTH:
        raise LimitExceeded("metadata are nested too deep", expected=f"at most {MAX_METADATA_DEPTH} levels")
    if len(tflite) > MAX_TFLITE_SIZE:
        raise LimitExceeded(
            "model is too large", expected=f"at most {MAX_TFLITE_SIZE} bytes", found=str(len(tflite))
        )
    pieces, repeats = _coded_once(tflite, progress or (lambda done, total: None))
    package = _assemble(tflite, text, pieces, repeats)
    if lz_encode.may_win_whole(tflite, len(package)):
        # Something in it repeats at a distance, which no code of single weights can see.
        whole = _assemble(tflite, text, [], [])
        if len(whole) < _WHOLE_MUST_SAVE * len(package):
            package = whole
    return package


def _coded_once(
    tflite: bytes, progress: Callable[[int, int], None]
) -> tuple[list[_Piece], list[tuple[int, int, int]]]:
    """As :func:`_pieces`. A compression ends in the package of one of its attempts, with other metadata: what was coded
    for the attempt is not coded again."""
    digest = hashlib.sha256(tflite).digest()
    found = _CODED.get(digest)
    if found is not None:
        progress(len(tflite), len(tflite))
        return found
    found = _pieces(tflite, progress)
    # Several threads may pack: each looks at a copy of the keys.
    for oldest in list(_CODED):
        if _size(found) + sum(map(_size, list(_CODED.values()))) <= _MOST_KEPT:
            break
        _CODED.pop(oldest, None)
    if _size(found) <= _MOST_KEPT:
        _CODED[digest] = found
    return found


def _size(coded: tuple[list[_Piece], list[tuple[int, int, int]]]) -> int:
    return sum(len(piece.blob) for piece in coded[0])


def _pieces(
    tflite: bytes, progress: Callable[[int, int], None]
) -> tuple[list[_Piece], list[tuple[int, int, int]]]:
    """-> sections, and repeated spans as (offset, size, offset of the span that they repeat)."""
    spans = [span for span in weight_buffers(tflite) if span.size >= 16][: MAX_SPANS // 2]
    total = sum(span.size for span in spans)
    view = memoryview(tflite)
    done = 0
    first_of: dict[bytes, int] = {}
    pieces: list[_Piece] = []
    repeats = []
    small: dict[str, list[BufferSpan]] = {}
    for span in spans:
        content = view[span.offset : span.offset + span.size]
        digest = hashlib.sha256(content).digest()
        if digest in first_of:
            repeats.append((span.offset, span.size, first_of[digest]))
        elif span.size >= _SMALLEST_SECTION and len(pieces) < MAX_SECTIONS // 2:
            blob = encode_buffer(content, span)
            if _bundles_well(span) and (span.size < _BUNDLE_SIZE // 2 and blob[0] in (RAW, PLANES)):
                small.setdefault(span.dtype, []).append(span)
            elif len(blob) + _TABLE_COST < _inside(content, span.width):
                pieces.append(_Piece(blob, ((span.offset, span.size),)))
                first_of[digest] = span.offset
        elif _bundles_well(span):
            small.setdefault(span.dtype, []).append(span)
        done += span.size
        progress(done, total)
    for members in small.values():
        pieces += _bundles(tflite, members)
    pieces += _noise_between(tflite, spans)
    # A span can only repeat one that a section fills; the others stay in the skeleton.
    return pieces, repeats


def _noise_between(tflite: bytes, spans: list[BufferSpan]) -> list[_Piece]:
    """Stretches outside all buffers that codes suit better than LZMA: weights inside what a custom operator holds."""
    result = []
    ends = [0, *(span.offset + span.size for span in spans)]
    starts = [*(span.offset for span in spans), len(tflite)]
    view = memoryview(tflite)
    for start, end in zip(ends, starts, strict=True):
        if end - start < _STRETCHES * _STRETCH:
            continue
        noisy = [
            at for at in range(start, end - _STRETCH + 1, _STRETCH) if _is_noise(view[at : at + _STRETCH])
        ]
        while noisy:
            many = next((n for n, at in enumerate(noisy) if at != noisy[0] + n * _STRETCH), len(noisy))
            if many >= _STRETCHES:
                result += _noise(view, noisy[0], noisy[0] + many * _STRETCH)
            noisy = noisy[many:]
    return result


def _noise(view: memoryview, start: int, end: int) -> list[_Piece]:
    """The section of some stretches, without those at both ends that LZMA takes less for."""

    def coded(first: int, last: int) -> bytes:
        return context_encode.encode_contexts(np.frombuffer(view[first:last], np.uint8), ()) or bytes(last)

    blob, shorter = coded(start, end), True
    while shorter and end - start > _STRETCHES * _STRETCH:
        shorter = False
        for first, last, left in (
            (start + _STRETCH, end, view[start : start + _STRETCH]),
            (start, end - _STRETCH, view[end - _STRETCH : end]),
        ):
            found = coded(first, last)
            if len(found) + lz_encode.noise_size(left) < len(blob):
                blob, start, end, shorter = found, first, last, True
                break
    if len(blob) + _TABLE_COST < lz_encode.noise_size(view[start:end]):
        return [_Piece(blob, ((start, end - start),))]
    return []


def _is_noise(content: memoryview) -> bool:
    """Whether one code for these bytes, or a few, may take less than LZMA."""
    counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
    return context_encode.section_bits(counts) < 8 * _NOISE * lz_encode.noise_size(content)


def _inside(content: bytes | memoryview, width: int) -> int:
    """About what elements of ``width`` bytes would take inside the skeleton: LZMA's does not store noise as it is."""
    if len(content) > 1 << 16:
        return lz_encode.quick_size(content)
    quick = lz_encode.quick_size(content) if width > 1 else 0
    return quick if 0 < quick < len(content) else lz_encode.inside_size(content)


def _bundles_well(span: BufferSpan) -> bool:
    return span.dtype in _BUNDLE_DTYPES and span.size % span.width == 0


def _bundles(tflite: bytes, members: list[BufferSpan]) -> list[_Piece]:
    """Small buffers of one type (biases, above all) coded together, where that beats leaving them in the skeleton."""
    result = []
    while members:
        taken, size = [], 0
        while members and size < _BUNDLE_SIZE:
            taken.append(members.pop(0))
            size += taken[-1].size
        content = b"".join(tflite[span.offset : span.offset + span.size] for span in taken)
        blob = encode_elements(content, taken[0].width, ())
        if len(blob) + _TABLE_COST + 4 * len(taken) < _inside(content, taken[0].width):
            result.append(_Piece(blob, tuple((span.offset, span.size) for span in taken)))
    return result


def encode_buffer(content: bytes | memoryview, span: BufferSpan) -> bytes:
    """The smallest section for one buffer."""
    found = None
    if span.width == 4 and span.dtype in ("float32", "") and content and len(content) % 4 == 0:
        found = scales.detect(np.frombuffer(content, "<f4"), span.shape)
    return encode_elements(content, span.width, () if found is None else (found,), span.shape)


def encode_elements(
    content: bytes | memoryview, width: int, scaled: tuple[scales.Scaled, ...], shape: tuple[int, ...] = ()
) -> bytes:
    """The smallest section for ``content`` as elements of ``width`` bytes, or as what ``scaled`` factors it into.

    ``shape``: of the tensor, where there is one.
    """
    best: bytes | None = None  # raw, which is made only where nothing is smaller

    def offer(blob: bytes) -> None:
        nonlocal best
        if len(blob) < (1 + len(content) if best is None else len(best)):
            best = blob

    widths = [width] if len(content) % width == 0 else []
    if len(content) <= 1 << 16 and 1 not in widths:
        widths.append(1)
    for item in widths:
        elements = np.frombuffer(content, f"<u{item}")
        symbols = Symbols.of(elements) if item <= 4 else None
        if symbols is not None:
            offer(coding.encode_codes(symbols))
        if item > 1 and (symbols is None or len(symbols.values) > 64):
            offer(coding.encode_planes(elements))
    for factors in scaled:
        symbols = Symbols.of(factors.centroids.view("<u4"))
        if symbols is not None:
            offer(coding.encode_codes(symbols, factors.scales))
    if width == 1 and best is not None and len(best) > _HARDLY_CODED * len(content):
        found = context_encode.encode_contexts(np.frombuffer(content, np.uint8), shape)
        if found is not None and len(found) < _CONTEXTS_MUST_SAVE * min(len(best), 1 + len(content)):
            offer(found)
    for item in {1, width} if len(content) % width == 0 else {1}:
        most = 1 + len(content) if best is None else len(best)
        if lz_encode.may_win(content, item, most):
            offer(lz_encode.encode(content, item))
        elif width == 1 and most > _HARDLY_CODED * len(content) and _lz_promises(content, most):
            blob = lz_encode.encode(content)
            if len(blob) < _LZ_MUST_SAVE * most:
                offer(blob)
    return best if best is not None else coding.encode_raw(np.frombuffer(content, np.uint8))


def _lz_promises(content: bytes | memoryview, most: int) -> bool:
    """Whether LZMA with the contexts that suit these bytes could take less than ``most`` bytes."""
    return lz_encode.noise_size(content) < _LZ_PROMISED * most


def _version(blobs: list[bytes]) -> int:
    """The oldest version that has what these sections hold: boards with an older agent read what they can."""
    new = blobs[0][:2] == bytes([LZ, PREPARED]) or any(blob[0] == CONTEXTS for blob in blobs)
    return FORMAT_VERSION if new else FORMAT_VERSIONS[0]


def _assemble(
    tflite: bytes, metadata: bytes, pieces: list[_Piece], repeats: list[tuple[int, int, int]]
) -> bytes:
    blobs = [piece.blob for piece in pieces]
    places = [
        (offset, size, 2 * (number + 1))
        for number, piece in enumerate(pieces)
        for offset, size in piece.spans
    ]
    whole = {piece.spans[0][0] for piece in pieces if len(piece.spans) == 1}
    places += [(offset, size, -1 - of) for offset, size, of in repeats if of in whole]
    places.sort()
    number_at = {offset: number for number, (offset, _, _) in enumerate(places)}
    table, skeleton, position = [], [metadata], 0
    for offset, size, source in places:
        if source < 0:
            source = 2 * number_at[-1 - source] + 1
        table.append(varint(offset - position) + varint(size) + varint(source))
        skeleton.append(tflite[position:offset])
        position = offset + size
    skeleton.append(tflite[position:])
    blobs.insert(0, lz_encode.encode_skeleton(b"".join(skeleton)))
    fields = [varint(len(metadata)), varint(len(blobs))]
    digests = [hashlib.sha256(blob).digest() for blob in blobs]
    fields += [
        varint(len(blob)) + digest[:DIGEST_PREFIX_SIZE] for blob, digest in zip(blobs, digests, strict=True)
    ]
    fields.append(hashlib.sha256(b"".join(digests)).digest())
    fields += [varint(len(table)), *table]
    variable = b"".join(fields)
    header_size = FIXED_HEADER_SIZE + len(variable) + 4
    header = b"".join(
        [
            MAGIC,
            _version(blobs).to_bytes(2, "little"),
            bytes(2),
            header_size.to_bytes(4, "little"),
            len(tflite).to_bytes(4, "little"),
            hashlib.sha256(tflite).digest(),
            variable,
        ]
    )
    return b"".join([header, zlib.crc32(header).to_bytes(4, "little"), *blobs])


__all__ = ["BufferSpan", "encode_buffer", "pack", "weight_buffers"]
