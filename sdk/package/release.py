"""A release made ready to be deployed: its manifest and its blobs, the same for every board that gets it.

Pure. A package is cut into parts (its header, then one part per section), each named by its SHA-256, which is how
boards say what they lack. The manifest's own SHA-256 is the id of the release (device_agent.record.release).
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from device_agent.package.codec.table import read_table
from device_agent.record import release as on_board
from device_agent.record.kinds import MAX_TEXT
from device_agent.record.release import MAX_PARTS, OutputLimit, Release
from device_agent.record.schema import canonical
from device_agent.record.visible import visible
from device_agent.tensors.rows import write_row
from sdk.errors import PackageError, RemoteError

#: Hexadecimal digits that tell names apart which look alike to a board.
_NAME_DIGITS = 8
#: A file that is not a package is cut into parts of this size.
PART_BYTES = 1 << 20


@dataclass(frozen=True)
class Golden:
    """Inputs and the outputs that the host got for them, and how far those of a board may be from them.

    ``inputs`` has one array (cases, ...) for each input of the model, ``outputs`` and ``limits`` one for each output;
    values are in the types that they are stored in. ``alternatives`` are other answers that are just as right, each
    like ``outputs``: a board has to come close to one of them.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    limits: tuple[OutputLimit, ...]
    alternatives: tuple[tuple[np.ndarray, ...], ...] = ()


@dataclass(frozen=True)
class PreparedRelease:
    """The input of the agent's ``install``: ``record`` is the manifest, ``blobs`` all that it names, by SHA-256."""

    id: str
    record: Release
    blobs: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """The name it is deployed under."""
        return self.record.name

    @property
    def package_sha256(self) -> str:
        """SHA-256 of the package, in hexadecimal digits."""
        return self.record.package_sha256

    @property
    def package_bytes(self) -> int:
        """Bytes of the package."""
        return self.record.size

    @property
    def manifest(self) -> bytes:
        """Canonical JSON, of which ``id`` is the SHA-256."""
        return canonical(self.record)


def prepare(
    data: bytes,
    name: str,
    *,
    golden: Golden | None = None,
    title: str | None = None,
) -> PreparedRelease:
    """The release of a package (or ``.tflite``). Raises RemoteError for what no board would take.

    ``title``: what people call the model; it is kept where ``name`` was made from it.
    """
    check_name(name)
    parts = split(data)
    if not 1 <= len(parts) <= MAX_PARTS:
        raise RemoteError(
            "this cannot be deployed", expected=f"1 to {MAX_PARTS} parts", found=str(len(parts))
        )
    blobs = {hashlib.sha256(part).hexdigest(): part for part in parts}
    record = Release(
        name=name,
        package_sha256=hashlib.sha256(data).hexdigest(),
        parts=tuple((hashlib.sha256(part).hexdigest(), len(part)) for part in parts),
    )
    if golden is not None:
        record = replace(
            record,
            golden_inputs_sha256=_add(blobs, zlib.compress(write_row(golden.inputs), 9)),
            golden_outputs_sha256=_add(
                blobs,
                zlib.compress(
                    write_row([a for row in (golden.outputs, *golden.alternatives) for a in row]), 9
                ),
            ),
            golden_limits=golden.limits,
        )
    if title is not None and title != name and release_name(title) == name:
        record = replace(record, title=visible(title, most=MAX_TEXT))
    return PreparedRelease(record.id, record, blobs)


def _add(blobs: dict[str, bytes], blob: bytes) -> str:
    """Its SHA-256, by which it is among ``blobs`` now."""
    digest = hashlib.sha256(blob).hexdigest()
    blobs[digest] = blob
    return digest


def split(data: bytes) -> list[bytes]:
    """The parts of a package or a .tflite; joined they are ``data``."""
    try:
        table = read_table(data)
    except PackageError:
        return [data[i : i + PART_BYTES] for i in range(0, len(data), PART_BYTES)]
    cuts = sorted({0, table.header_size, *(section.offset for section in table.sections), len(data)})
    return [data[a:b] for a, b in itertools.pairwise(cuts) if a < b]


def release_name(name: str) -> str:
    """A name that boards take, for any text: plain names stay as they are, no two others become the same.

    A text that loses something on the way, or that a board would take for the path of a file, gets a name that ends in
    eight digits of its SHA-256: ``my model`` is ``my-model-76eeb051``.
    """
    if on_board.NAME.fullmatch(name) and not name.lower().endswith(on_board.MODEL_SUFFIXES):
        return name
    text = unicodedata.normalize("NFC", name)  # file systems store the same name in two ways
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_NAME_DIGITS]
    latin = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", latin)[: 63 - _NAME_DIGITS].strip("-._")
    return f"{slug or 'model'}-{digest}"


def check_name(name: str) -> str:
    """The name itself, if it can be that of a release; what begins with a dash would be an option to the agent."""
    return on_board.check_name(name, RemoteError)
