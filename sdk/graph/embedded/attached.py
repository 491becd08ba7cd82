"""Files that come behind a ``.tflite`` as a zip: labels, vocabularies, notes of the exporter. In memory.

``zipfile`` opens such a model as it is, because a zip is read from its end. Limits hold for what a hostile zip unpacks
to.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

MAX_FILES = 256
#: Bytes of all files together, unpacked. A sentencepiece model has one million.
MAX_BYTES = 64 << 20

#: Files that cannot be read, or do not fit, before no further one is tried: each may cost as much as all together.
MAX_FAILURES = 4

_END = b"PK\x05\x06"
_END_SPACE = 22 + 65_535  # of the record at a zip's end, with the longest comment
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,  # an encrypted file
    NotImplementedError,
)


@dataclass(frozen=True)
class AttachedFiles:
    """Name and bytes of each file; ``problems`` says in words which could not be read."""

    files: tuple[tuple[str, bytes], ...] = ()
    problems: tuple[str, ...] = ()

    def get(self, name: str) -> bytes | None:
        """The bytes of the file of that name; None where there is none."""
        return dict(self.files).get(name)


NO_FILES = AttachedFiles()


def read_attached(tflite: bytes) -> AttachedFiles:
    """The files of the zip behind a model; none where there is no zip."""
    if _END not in tflite[-_END_SPACE:]:
        return AttachedFiles()
    try:
        with zipfile.ZipFile(io.BytesIO(tflite)) as archive:
            return _read(archive)
    except _BROKEN:
        # Weights may hold these four bytes by chance: then there is no zip, and nothing is lost.
        return AttachedFiles()


def _read(archive: zipfile.ZipFile) -> AttachedFiles:
    files: dict[str, bytes] = {}
    problems: list[str] = []
    space = MAX_BYTES
    unpacked = archive.open  # of bytes in memory
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        if len(problems) == MAX_FAILURES:
            problems.append("several attached files cannot be read; the others were left out")
            break
        if len(files) == MAX_FILES:
            problems.append(f"more than {MAX_FILES} files are attached; the others were left out")
            break
        try:
            if entry.compress_type not in _METHODS:
                raise zipfile.BadZipFile("a kind of compression that is not read here")
            with unpacked(entry) as file:
                content = file.read(space + 1)
        except _BROKEN as error:
            problems.append(f"the attached file {entry.filename} cannot be read: {str(error)[:200]}")
            continue
        if len(content) > space:
            problems.append(
                f"the attached file {entry.filename} was left out: all together have more than {MAX_BYTES} bytes"
            )
            continue
        space -= len(content)
        files[entry.filename] = content
    return AttachedFiles(tuple(files.items()), tuple(problems))


def with_attached(tflite: bytes, files: Iterable[tuple[str, bytes]]) -> bytes:
    """The model with these files behind it; the same files give the same bytes. Without files, the model itself."""
    files = tuple(files)
    if not files:
        return tflite
    buffer = io.BytesIO()
    buffer.write(tflite)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name)  # of 1980-01-01
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_STORED)
    return buffer.getvalue()
