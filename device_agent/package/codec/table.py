"""Header and table of a package: which sections it has, and which bytes of the model they fill.

A section's SHA-256 is its name; the table holds the first bytes of each, which tell which section is damaged, and one
SHA-256 over all of them in full, which nobody can forge. PACKAGE_FORMAT.md, "File".
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from device_agent.package.codec.format import (
    DIGEST_PREFIX_SIZE,
    DIGEST_SIZE,
    FIXED_HEADER_SIZE,
    FORMAT_VERSIONS,
    MAGIC,
    MAX_BUNDLE_SIZE,
    MAX_HEADER_SIZE,
    MAX_METADATA_SIZE,
    MAX_SECTIONS,
    MAX_SPANS,
    MAX_TFLITE_SIZE,
    Cursor,
    HeaderCorrupt,
    LimitExceeded,
    NotAPackage,
    PackageTruncated,
    SpanInvalid,
    TableInvalid,
    UnsupportedFlags,
    UnsupportedVersion,
)

SKELETON = 0  # the section that holds metadata and everything of the model that is not in another section


@dataclass(frozen=True)
class Span:
    """``size`` bytes at ``offset`` of the .tflite; they come from ``section``, starting at its byte ``start``."""

    offset: int
    size: int
    section: int
    start: int


@dataclass(frozen=True)
class SectionEntry:
    """A section as the table states it; ``offset`` and ``coded_size`` in the package, ``size`` decoded.

    ``digest_prefix``: the first bytes of the SHA-256 of its coded bytes.
    """

    offset: int
    coded_size: int
    size: int
    digest_prefix: bytes


@dataclass(frozen=True)
class PackageTable:
    """Header and table of a package. ``sections_sha256``: over the sections' SHA-256, one after another."""

    format_version: int
    header_size: int
    tflite_size: int
    tflite_sha256: bytes
    metadata_size: int
    sections_sha256: bytes
    sections: tuple[SectionEntry, ...]
    spans: tuple[Span, ...]

    @property
    def package_size(self) -> int:
        """Bytes of the whole package: header and sections."""
        return self.header_size + sum(section.coded_size for section in self.sections)


def read_table(data: bytes, *, max_size: int = MAX_TFLITE_SIZE) -> PackageTable:
    """Checks header and table; ``data`` may end where the sections start.

    ``max_size``: the largest .tflite the caller can take, in bytes; more is refused here, from the header.
    """
    view = memoryview(data)
    version, header_size, tflite_size = _read_header(view, max_size)
    cursor = Cursor(view, FIXED_HEADER_SIZE, header_size - 4, TableInvalid)
    metadata_size = cursor.varint("size of the metadata", MAX_METADATA_SIZE)
    coded = []
    for _ in range(cursor.varint("number of sections", MAX_SECTIONS)):
        coded_size = cursor.varint("coded size of a section", 2 * MAX_TFLITE_SIZE)
        coded.append((coded_size, bytes(cursor.take(DIGEST_PREFIX_SIZE, "digest of a section"))))
    if not coded:
        raise TableInvalid("package has no sections", expected="at least the skeleton")
    sections_sha256 = bytes(cursor.take(DIGEST_SIZE, "digest of the sections"))
    spans = _read_spans(cursor, len(coded), tflite_size)
    if cursor.remaining:
        raise TableInvalid("table goes on after its end", found=f"{cursor.remaining} bytes more")
    sizes = _section_sizes(spans, len(coded))
    sizes[SKELETON] = metadata_size + tflite_size - sum(span.size for span in spans)
    offset = header_size
    entries = []
    for (coded_size, prefix), size in zip(coded, sizes):
        entries.append(SectionEntry(offset, coded_size, size, prefix))
        offset += coded_size
    return PackageTable(
        version,
        header_size,
        tflite_size,
        bytes(view[20:52]),
        metadata_size,
        sections_sha256,
        tuple(entries),
        tuple(spans),
    )


def _read_header(view: memoryview, max_size: int) -> tuple[int, int, int]:
    """Format version, bytes of the header and bytes of the .tflite, when magic, limits and checksum hold."""
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise NotAPackage(
            "not an armlet package", expected=repr(MAGIC), found=repr(bytes(view[: len(MAGIC)]))
        )
    if len(view) < FIXED_HEADER_SIZE:
        raise PackageTruncated(
            "package ends in its header", expected=f"{FIXED_HEADER_SIZE} bytes", found=f"{len(view)} bytes"
        )
    version = int.from_bytes(view[8:10], "little")
    flags = int.from_bytes(view[10:12], "little")
    header_size = int.from_bytes(view[12:16], "little")
    tflite_size = int.from_bytes(view[16:20], "little")
    if version not in FORMAT_VERSIONS:
        raise UnsupportedVersion(
            "package is of another format version",
            expected=" or ".join(map(str, FORMAT_VERSIONS)),
            found=str(version),
            hint="Update the agent on the board, or pack again with the version that the board has.",
        )
    if flags:
        raise UnsupportedFlags("reserved flags are set", expected="0", found=f"{flags:#06x}")
    if not FIXED_HEADER_SIZE + 4 <= header_size <= MAX_HEADER_SIZE:
        raise LimitExceeded(
            "size of the header",
            expected=f"{FIXED_HEADER_SIZE + 4} to {MAX_HEADER_SIZE}",
            found=str(header_size),
        )
    if tflite_size > min(MAX_TFLITE_SIZE, max_size):
        raise LimitExceeded(
            "size of the model",
            expected=f"at most {min(MAX_TFLITE_SIZE, max_size)} bytes",
            found=f"{tflite_size} bytes",
        )
    if len(view) < header_size:
        raise PackageTruncated(
            "package ends in its header", expected=f"{header_size} bytes", found=f"{len(view)} bytes"
        )
    checksum = int.from_bytes(view[header_size - 4 : header_size], "little")
    if zlib.crc32(view[: header_size - 4]) != checksum:
        raise HeaderCorrupt(
            "checksum of the header does not match",
            expected=f"{checksum:#010x}",
            found=f"{zlib.crc32(view[: header_size - 4]):#010x}",
        )
    return version, header_size, tflite_size


def _read_spans(cursor: Cursor, sections: int, tflite_size: int) -> list[Span]:
    spans: list[Span] = []
    used = [0] * sections
    position = 0
    for number in range(cursor.varint("number of spans", MAX_SPANS)):
        position += cursor.varint("distance of a span from the one before", MAX_TFLITE_SIZE)
        size = cursor.varint("size of a span", MAX_TFLITE_SIZE)
        source = cursor.varint("source of a span", 2 * MAX_SPANS)
        if size == 0 or position + size > tflite_size:
            raise SpanInvalid(
                f"span {number} leaves the model",
                expected=f"1 to {tflite_size - position} bytes",
                found=str(size),
            )
        target = source >> 1
        if source & 1:
            if target >= number or spans[target].size != size:
                raise SpanInvalid(
                    f"span {number} repeats what is not an earlier span of its size", found=str(target)
                )
            spans.append(Span(position, size, spans[target].section, spans[target].start))
        else:
            if not 1 <= target < sections:
                raise SpanInvalid(
                    f"span {number} names no section", expected=f"1 to {sections - 1}", found=str(target)
                )
            spans.append(Span(position, size, target, used[target]))
            used[target] += size
        position += size
    return spans


def _section_sizes(spans: list[Span], sections: int) -> list[int]:
    """Decoded bytes of each section; refuses unused ones and bundles that would need too much memory."""
    sizes = [0] * sections
    starts: list[set[int]] = [set() for _ in range(sections)]
    for span in spans:
        sizes[span.section] = max(sizes[span.section], span.start + span.size)
        starts[span.section].add(span.start)
    for number in range(1, sections):
        if sizes[number] == 0:
            raise SpanInvalid(f"section {number} fills no span")
        if len(starts[number]) > 1 and sizes[number] > MAX_BUNDLE_SIZE:
            raise LimitExceeded(
                "size of a section with several spans",
                expected=f"at most {MAX_BUNDLE_SIZE}",
                found=str(sizes[number]),
            )
    return sizes
