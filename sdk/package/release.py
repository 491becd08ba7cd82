"""A release made ready to be deployed: its manifest and its blobs, the same for every board that gets it.

Pure. A package is cut into parts (its header, then one part a section), each named by its SHA-256, which is how
boards say what they lack. The manifest's own SHA-256 is the id of the release (device_agent.record.release).
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.package.codec.table import read_table
from sdk.errors import PackageError, RemoteError

#: A file that is not a package is cut into parts of this size.
PART_BYTES = 1 << 20

#: As device_agent.record.release has them; the host reaches that module only over a connection.
RELEASE_SCHEMA = "armlet.release/1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_PARTS = 4096


@dataclass(frozen=True)
class Golden:
    """Inputs and the outputs that the host got for them; the board must come within ``tolerance`` of each output."""

    inputs: np.ndarray
    outputs: np.ndarray
    tolerance: float


@dataclass(frozen=True)
class PreparedRelease:
    """What the agent's ``install`` takes: ``record`` is the manifest, ``blobs`` all that it names, by SHA-256."""

    id: str
    record: Mapping[str, Any]
    blobs: Mapping[str, bytes]

    @property
    def name(self) -> str:
        return str(self.record["name"])

    @property
    def package_sha256(self) -> str:
        return str(self.record["package_sha256"])

    @property
    def package_bytes(self) -> int:
        return sum(size for _, size in self.record["parts"])

    @property
    def manifest(self) -> bytes:
        """Canonical JSON, of which ``id`` is the SHA-256."""
        return manifest_bytes(self.record)


def manifest_bytes(record: Mapping[str, Any]) -> bytes:
    """A manifest as the agent writes it: were it another, its id would be, and nothing would be current."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def prepare(
    data: bytes, name: str, *, golden: Golden | None = None, signature: bytes | None = None
) -> PreparedRelease:
    """The release of a package (or ``.tflite``). Raises RemoteError for what no board would take."""
    check_name(name)
    parts = split(data)
    if not 1 <= len(parts) <= MAX_PARTS:
        raise RemoteError(
            "this cannot be deployed", expected=f"1 to {MAX_PARTS} parts", found=str(len(parts))
        )
    blobs = {hashlib.sha256(part).hexdigest(): part for part in parts}
    record: dict[str, Any] = {
        "schema": RELEASE_SCHEMA,
        "name": name,
        "package_sha256": hashlib.sha256(data).hexdigest(),
        "parts": [[hashlib.sha256(part).hexdigest(), len(part)] for part in parts],
        "golden_inputs_sha256": None,
        "golden_outputs_sha256": None,
        "golden_tolerance": 0.0,
    }
    if golden is not None:
        for key, array in (("inputs", golden.inputs), ("outputs", golden.outputs)):
            blob = zlib.compress(npy_bytes(array), 9)
            digest = hashlib.sha256(blob).hexdigest()
            blobs[digest] = blob
            record[f"golden_{key}_sha256"] = digest
        record["golden_tolerance"] = float(golden.tolerance)
    if signature is not None:
        digest = hashlib.sha256(signature).hexdigest()
        blobs[digest] = signature
        record["signature_sha256"] = digest
    return PreparedRelease(hashlib.sha256(manifest_bytes(record)).hexdigest(), record, blobs)


def split(data: bytes) -> list[bytes]:
    """The parts of a package or a .tflite; joined they are ``data``."""
    try:
        table = read_table(data)
    except PackageError:
        return [data[i : i + PART_BYTES] for i in range(0, len(data), PART_BYTES)]
    cuts = sorted({0, table.header_size, *(section.offset for section in table.sections), len(data)})
    return [data[a:b] for a, b in itertools.pairwise(cuts) if a < b]


def check_name(name: str) -> str:
    """The name itself, if it can be that of a release; what begins with a dash would be an option to the agent."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise RemoteError(
            "this cannot be the name of a release",
            expected="1 to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
            found=repr(name)[:80],
        )
    return name


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
