"""Reads a package: checks the header, the table and the sections, and gives back the ``.tflite``.

PACKAGE_FORMAT.md is the specification. Pure: bytes in, bytes out; no files, no clock, nothing printed.
:mod:`device_agent.package.reader` chooses the decoder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Callable, Mapping, Protocol

import numpy as np

from device_agent.package.codec import contexts, huffman, lz, sections
from device_agent.package.codec.format import (
    CONTEXTS,
    FORMAT_VERSION,
    LAYOUTS,
    LZ,
    MAX_METADATA_DEPTH,
    MAX_METADATA_DIGITS,
    MAX_TFLITE_SIZE,
    RAW,
    LayoutUnknown,
    MetadataInvalid,
    PackageTruncated,
    ResultDigestMismatch,
    SectionDigestMismatch,
    TrailingBytes,
    nesting,
)
from device_agent.package.codec.table import SKELETON, PackageTable, SectionEntry, Span, read_table


class Decoder(Protocol):
    """A decoder of sections: :class:`device_agent.package.kernel.Kernel`."""

    def decode(self, coded: Any, out: Any) -> None:
        """Decodes ``coded`` to ``out``, both contiguous 1-D uint8 arrays; raises PackageError."""


@dataclass(frozen=True)
class Section:
    """One coded piece of the model. Sizes in bytes; ``offset`` is where its first span starts in the .tflite.

    ``nonzeros`` (elements other than the background) is known only for the sparse layout; ``centroids`` is 0 where
    there is no codebook.
    """

    offset: int
    size: int
    coded_size: int
    layout: str
    width: int
    count: int
    centroids: int
    nonzeros: int | None
    scaled: bool
    spans: tuple[tuple[int, int], ...]
    sha256: str


@dataclass(frozen=True)
class Package:
    """The contents of a package. Sizes in bytes; ``skeleton_size`` is coded, as it stands in the file."""

    format_version: int
    package_size: int
    tflite_size: int
    tflite_sha256: str
    metadata: dict[str, Any]
    header_size: int
    skeleton_size: int
    sections: tuple[Section, ...]
    data: bytes = field(repr=False, compare=False)

    @property
    def package_sha256(self) -> str:
        """SHA-256 of the whole file; computed when asked for, since who starts a model mostly knows it."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Unpacked:
    """The model, its package and the decoder that ran: ``"c"`` or ``"numpy"``."""

    tflite: bytes
    package: Package
    kernel: str


def read(data: bytes, *, max_size: int = MAX_TFLITE_SIZE) -> Package:
    """Checks header, table, digests and the fields of every section; the bits of the codes are left to unpack."""
    return describe(data, open_package(data, max_size))


Content = Any  # huffman.Content | contexts.Contexts | lz.Lz


@dataclass(frozen=True)
class Opened:
    """A package whose every field is checked; ``digests`` are the SHA-256 of its sections."""

    table: PackageTable
    contents: tuple[Content, ...]
    digests: tuple[bytes, ...]


def open_package(data: bytes, max_size: int) -> Opened:
    """Checks every field of a package; decodes no section.

    ``max_size``: the largest .tflite that the caller can take, in bytes. Raises PackageError.
    """
    table = read_table(data, max_size=max_size)
    if len(data) < table.package_size:
        raise PackageTruncated(
            "package ends in its sections", expected=f"{table.package_size} bytes", found=f"{len(data)} bytes"
        )
    if len(data) > table.package_size:
        raise TrailingBytes(
            "package goes on after its end",
            expected=f"{table.package_size} bytes",
            found=f"{len(data)} bytes",
        )
    digests = section_digests(data, table)
    view = memoryview(data)
    contents = tuple(
        read_section(
            view[entry.offset : entry.offset + entry.coded_size],
            entry,
            skeleton=number == SKELETON,
            version=table.format_version,
        )
        for number, entry in enumerate(table.sections)
    )
    return Opened(table, contents, digests)


def section_digests(data: bytes, table: PackageTable) -> tuple[bytes, ...]:
    """The SHA-256 of every section's coded bytes, checked against the table: its name wherever it is kept or sent.

    Raises :class:`SectionDigestMismatch`, which names the section where its prefix tells which one it is.
    """
    view = memoryview(data)
    digests = []
    for number, entry in enumerate(table.sections):
        digest = hashlib.sha256(view[entry.offset : entry.offset + entry.coded_size]).digest()
        prefix = digest[: len(entry.digest_prefix)]
        if prefix != entry.digest_prefix:
            raise SectionDigestMismatch(
                f"section {number} has another digest",
                expected=f"{entry.digest_prefix.hex()}...",
                found=f"{prefix.hex()}...",
            )
        digests.append(digest)
    root = hashlib.sha256(b"".join(digests)).digest()
    if root != table.sections_sha256:
        raise SectionDigestMismatch(
            "the sections together have another digest",
            expected=table.sections_sha256.hex(),
            found=root.hex(),
        )
    return tuple(digests)


def read_section(
    blob: memoryview, entry: SectionEntry, *, skeleton: bool = False, version: int = FORMAT_VERSION
) -> Content:
    """Checks every field of one section, on its own; ``version`` of the format says what it may be."""
    layout = blob[0] if len(blob) else RAW
    if layout == LZ:
        content = lz.parse(blob, entry.size, prepared=skeleton and version >= FORMAT_VERSION)
        if skeleton and content.width != 1:
            raise LayoutUnknown("the skeleton is not transposed", found=f"width {content.width}")
        return content
    if skeleton and layout != RAW:
        raise LayoutUnknown("the skeleton is raw or lz", found=LAYOUTS.get(layout, str(layout)))
    if layout == CONTEXTS and version >= FORMAT_VERSION:
        return contexts.parse(blob, entry.size)
    return sections.parse(blob, entry.size)


def decode_section(blob: memoryview, content: Content, out: Any, decoder: Decoder | None) -> None:
    """Decodes one section to ``out``, a contiguous uint8 array; ``decoder`` None: with numpy."""
    if isinstance(content, lz.Lz):
        lz.decode(content, out)
    elif decoder is not None:
        decoder.decode(np.frombuffer(blob, np.uint8), out)
    elif isinstance(content, contexts.Contexts):
        contexts.decode(content, out)
    else:
        huffman.decode(content, out)


#: Gives the bytes of a section, in their order, to the function, from its coded bytes.
Streamed = Callable[[memoryview, Callable[[Any], Any]], None]


def decode(
    data: bytes,
    opened: Opened,
    out: memoryview,
    decoder: Decoder | None,
    streamed: Mapping[int, Streamed] = MappingProxyType({}),
) -> None:
    """Writes the exact .tflite to ``out``, of the size that the table says; ``decoder`` None: with numpy.

    Sections that are ``streamed``, by their number, are not written; each fills one span, and what it gives counts as
    that span's bytes in the digest of the model. Raises PackageError.
    """
    table, contents = opened.table, opened.contents
    view = memoryview(data)
    target = np.frombuffer(out, np.uint8) if len(out) else np.empty(0, np.uint8)
    spans_of: list[list[Span]] = [[] for _ in table.sections]
    for span in table.spans:
        spans_of[span.section].append(span)
    for number, (entry, content, spans) in enumerate(zip(table.sections, contents, spans_of)):
        if number == SKELETON or number in streamed:
            continue
        blob = view[entry.offset : entry.offset + entry.coded_size]
        whole = next((span for span in spans if span.size == entry.size), None)
        if whole is not None:
            decoded = target[whole.offset : whole.offset + whole.size]
        else:
            decoded = np.empty(entry.size, np.uint8)
        decode_section(blob, content, decoded, decoder)
        for span in spans:
            if span is not whole:
                target[span.offset : span.offset + span.size] = decoded[span.start : span.start + span.size]
    _fill_skeleton(table, contents[SKELETON], target)
    digest = _digest(view, table, out, streamed)
    if digest != table.tflite_sha256:
        raise ResultDigestMismatch(
            "the decoded model has another digest", expected=table.tflite_sha256.hex(), found=digest.hex()
        )


def _digest(
    data: memoryview, table: PackageTable, out: memoryview, streamed: Mapping[int, Streamed]
) -> bytes:
    """The SHA-256 of the model: of ``out``, but of what sections give that are streamed."""
    digest, position = hashlib.sha256(), 0
    for span in table.spans:
        if span.section in streamed:
            digest.update(out[position : span.offset])
            entry = table.sections[span.section]
            streamed[span.section](data[entry.offset : entry.offset + entry.coded_size], digest.update)
            position = span.offset + span.size
    digest.update(out[position:])
    return digest.digest()


def _fill_skeleton(table: PackageTable, content: Content, target: Any) -> None:
    """What lies between the spans, in order, from the skeleton's bytes after the metadata."""
    skeleton = np.empty(table.sections[SKELETON].size, np.uint8)
    decode_section(memoryview(b""), content, skeleton, None)
    source, position = table.metadata_size, 0
    for span in table.spans:
        size = span.offset - position
        target[position : span.offset] = skeleton[source : source + size]
        source, position = source + size, span.offset + span.size
    target[position:] = skeleton[source:]


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_METADATA_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _metadata(table: PackageTable, content: Content) -> dict[str, Any]:
    if table.metadata_size == 0:
        return {}
    if isinstance(content, lz.Lz):
        text = lz.head(content, table.metadata_size)
    else:
        text = bytes(content.data[: table.metadata_size])
    try:
        metadata = json.loads(text.decode("utf-8"), parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise MetadataInvalid("metadata are not JSON", found=str(error)) from error
    if not isinstance(metadata, dict):
        raise MetadataInvalid("metadata are not a JSON object", found=type(metadata).__name__)
    if nesting(metadata) > MAX_METADATA_DEPTH:
        raise MetadataInvalid("metadata are nested too deep", expected=f"at most {MAX_METADATA_DEPTH} levels")
    return metadata


def describe(data: bytes, opened: Opened) -> Package:
    """The description of a checked package for ``sdk inspect`` and the agent.

    Raises MetadataInvalid.
    """
    table, contents = opened.table, opened.contents
    described = []
    spans_of: list[list[tuple[int, int]]] = [[] for _ in table.sections]
    for span in table.spans:
        spans_of[span.section].append((span.offset, span.size))
    for number, (entry, content) in enumerate(zip(table.sections, contents)):
        if number == SKELETON:
            continue
        spans = tuple(spans_of[number])
        centroids = getattr(content, "centroids", 0)
        if isinstance(content, sections.Sparse):
            centroids = content.code.symbols
        described.append(
            Section(
                offset=spans[0][0],
                size=entry.size,
                coded_size=entry.coded_size,
                layout=LAYOUTS[content.layout],
                width=content.width,
                count=content.count,
                centroids=centroids,
                nonzeros=getattr(content, "nonzeros", None),
                scaled=getattr(content, "scales", None) is not None,
                spans=spans,
                sha256=opened.digests[number].hex(),
            )
        )
    return Package(
        format_version=table.format_version,
        package_size=len(data),
        tflite_size=table.tflite_size,
        tflite_sha256=table.tflite_sha256.hex(),
        metadata=_metadata(table, contents[SKELETON]),
        header_size=table.header_size,
        skeleton_size=table.sections[SKELETON].coded_size,
        sections=tuple(described),
        data=data,
    )
