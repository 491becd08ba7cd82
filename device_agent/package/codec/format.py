"""Constants, limits and named errors of the ``.armlet`` format, and the cursor that reads its integers.

Every number here appears in a table of PACKAGE_FORMAT.md; a test compares the two. Nothing in this module touches
files: it is the vocabulary that :mod:`device_agent.package.reader` and :mod:`device_agent.package.codec.huffman`
share.
"""

from __future__ import annotations

from typing import Any

from device_agent.errors import PackageError

# --- Identification (PACKAGE_FORMAT.md, "Header") ---------------------------------------------------------
MAGIC = b"\x89ARMLET\n"  # as in PNG: a byte above 127 and a line feed show a transfer that was not binary
FORMAT_VERSION = 3  # of packages that hold what version 2 has not (contexts, prepared streams)
FORMAT_VERSIONS = (
    2,
    FORMAT_VERSION,
)  # that are read; a package is written in the oldest that has what it holds
FIXED_HEADER_SIZE = 52  # bytes before the table
DIGEST_SIZE = 32  # SHA-256
DIGEST_PREFIX_SIZE = 4  # bytes of a section's SHA-256 that the table repeats, to tell which one is damaged

# --- Layouts of a section ---------------------------------------------------------------------------------
RAW, LZ, DENSE, SPARSE, PLANES, CONTEXTS = range(6)
LAYOUTS = {
    RAW: "raw",
    LZ: "lz",
    DENSE: "dense",
    SPARSE: "sparse",
    PLANES: "planes",
    CONTEXTS: "contexts",
}

# --- Codecs of the lz layout ------------------------------------------------------------------------------
DEFLATE, LZMA, PREPARED = 1, 2, 3
CODECS = {DEFLATE: "deflate", LZMA: "lzma", PREPARED: "lzma, prepared"}

# --- Kinds of channel scales ------------------------------------------------------------------------------
NO_SCALES, FLOAT32_SCALES, BFLOAT16_SCALES = range(3)

# --- In the list of gap codes: the token is the only one, and its code has no bits ------------------------
ONLY_TOKEN = 15

# --- Limits: a package that needs more is refused before anything is allocated for it ----------------------
MAX_TFLITE_SIZE = 1 << 30  # bytes
MAX_HEADER_SIZE = 1 << 20  # bytes, fixed part and table
MAX_METADATA_SIZE = 1 << 16  # bytes of JSON
MAX_METADATA_DEPTH = 64  # objects and lists inside one another
MAX_METADATA_DIGITS = 400  # characters of a whole number
MAX_SECTIONS = 4096
MAX_SPANS = 16384
MAX_BUNDLE_SIZE = 1 << 20  # decoded bytes of a section that fills several spans
MAX_CODE_LENGTH = 12  # bits
MAX_SYMBOLS = 1024  # symbols of one code
MAX_CENTROIDS = 256  # when codes stand for words of several weights
MAX_CHANNELS = 1 << 16
MIN_BLOCK_LOG2 = 6
MAX_BLOCK_LOG2 = 16
MAX_PLANE_BLOCK_LOG2 = 10  # inside planes: a decoder puts them together some blocks at a time
MAX_INDEX_WIDTH = 30  # bits of one entry of a block index
MAX_GAP_SPLIT = 7
MAX_GAP_MSB = 2
MAX_GAP_EXPONENT = 29
MIN_DICTIONARY_LOG2 = 12
MAX_DICTIONARY_LOG2 = 26
MAX_CLASSES = 16  # of rows, of columns, of the element before
MAX_CONTEXTS = 1024
MAX_CODES = 16  # of one section with contexts
MAX_CODES_TABLE = 1 << 15  # entries of their tables, 2**(bits of the longest code) each


class NotAPackage(PackageError):
    """The file does not start with the magic bytes."""


class UnsupportedVersion(PackageError):
    """The package is of a version of the format that this reader does not know."""


class UnsupportedFlags(PackageError):
    """A bit that this version reserves is set."""


class LimitExceeded(PackageError):
    """A size or a count is beyond a named limit of the format, or beyond the caller's own."""


class PackageTruncated(PackageError):
    """The file ends before the header says it does."""


class TrailingBytes(PackageError):
    """The file goes on after its last section."""


class HeaderCorrupt(PackageError):
    """The checksum over header and table does not match."""


class TableInvalid(PackageError):
    """The table ends early, goes on too long or holds an integer that is not in its shortest form."""


class SpanInvalid(PackageError):
    """A span leaves the model, is empty, or names a source that it may not name."""


class SectionDigestMismatch(PackageError):
    """The coded bytes of the sections do not have the SHA-256 that the table states."""


class ResultDigestMismatch(PackageError):
    """Everything decoded, and the result still is not the model that was packed."""


class MetadataInvalid(PackageError):
    """The metadata are not a JSON object in UTF-8."""


class SectionTruncated(PackageError):
    """A section ends inside one of its own fields."""


class SectionTrailingBytes(PackageError):
    """A section goes on after its last field."""


class LayoutUnknown(PackageError):
    """A section is of a layout, or a codec, that the package's version does not have or does not allow there."""


class ParameterInvalid(PackageError):
    """A parameter of a section is outside its range, or a reserved bit of it is set."""


class SizeMismatch(PackageError):
    """A section decodes to another number of bytes than its spans hold."""


class CodeInvalid(PackageError):
    """The code lengths of a Huffman code are not those of a complete prefix code."""


class SymbolInvalid(PackageError):
    """A code stands for a gap token or a centroid that does not exist."""


class BlockIndexInvalid(PackageError):
    """The index of blocks does not add up to the bits or to the weights of the section."""


class BlockCorrupt(PackageError):
    """A block does not end at the bit, or at the weight, that the index states."""


class PaddingInvalid(PackageError):
    """Unused bits of a last byte are not zero."""


class ScaleInvalid(PackageError):
    """Channel scales do not divide the tensor, or scale or centroid is not finite."""


class StreamCorrupt(PackageError):
    """The deflate or LZMA stream of a section is broken or of another length than stated."""


class CodecUnavailable(PackageError):
    """This Python was built without the codec that the package needs (``lzma``)."""


# Order is the contract with huffman.c: the kernel returns minus (position + 1).
KERNEL_ERRORS = (
    SectionTruncated,
    SectionTrailingBytes,
    LayoutUnknown,
    ParameterInvalid,
    SizeMismatch,
    CodeInvalid,
    SymbolInvalid,
    BlockIndexInvalid,
    BlockCorrupt,
    PaddingInvalid,
    ScaleInvalid,
    LimitExceeded,
)


def nesting(value: Any) -> int:
    """Objects and lists inside one another; level by level, since recursion is what a deep nesting exhausts."""
    depth, level = 0, [value]
    while True:
        level = [item for item in level if isinstance(item, (dict, list))]
        if not level:
            return depth
        depth += 1
        level = [part for item in level for part in (item.values() if isinstance(item, dict) else item)]


class Cursor:
    """Reads little-endian integers from ``data[position:end]`` and refuses, by ``error``, to go past the end."""

    def __init__(
        self, data: memoryview, position: int, end: int, error: type[PackageError] = SectionTruncated
    ) -> None:
        self.data = data
        self.position = position
        self.end = end
        self.error = error

    @property
    def remaining(self) -> int:
        """Bytes that are left."""
        return self.end - self.position

    def take(self, size: int, what: str) -> memoryview:
        """The next ``size`` bytes."""
        if size > self.remaining:
            raise self.error(
                f"package ends inside {what}", expected=f"{size} bytes", found=f"{self.remaining} bytes"
            )
        start = self.position
        self.position += size
        return self.data[start : self.position]

    def byte(self, what: str) -> int:
        """The next byte, 0 to 255. Raises the cursor's error at the end."""
        return self.take(1, what)[0]

    def varint(self, what: str, limit: int) -> int:
        """An unsigned LEB128 of at most 5 bytes, in its shortest form, not above ``limit``."""
        value = 0
        for index in range(5):
            byte = self.byte(what)
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index:
                    break
                if value > limit:
                    raise LimitExceeded(f"{what} is too large", expected=f"at most {limit}", found=str(value))
                return value
        error = TableInvalid if self.error is TableInvalid else ParameterInvalid
        raise error(f"{what} is not a varint in shortest form")
