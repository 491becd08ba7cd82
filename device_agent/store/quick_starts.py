"""Files for a quick start of a release: its decoded model, and XNNPACK's packed weights, as files to be mapped.

    store/starts/<package>-<runtime>-<core>/     0700, files 0600; made in a temporary folder, then renamed into place
        model.tflite       what the package decodes to
        weights.xnnpack    XNNPACK's weight cache (``tflite/delegates/xnnpack/weight_cache.h``)
        start.json         the record: sizes, times, SHA-256, and what the runtime says of inputs and outputs

XNNPACK does not notice when a cache belongs to another model, so the folder's name holds the digest of the package, the
runtime with its version and the core; how many threads run makes no difference to the file. Both files were read back
and compared by SHA-256 when they were made. A start checks only sizes, times and samples of the files, since reading
all of them takes longer than the start; a folder that fails this is not used, and is made again. The whole files are
read when the machine is idle after a start (:mod:`device_agent.run.idle_check`), by every deploy, and by the doctor.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Collection, Mapping

from device_agent.errors import AgentError, ArmletError
from device_agent.record.kinds import Integer
from device_agent.record.named_kinds import RawText, Seconds, Sha256
from device_agent.record.schema import parse_json, read, record, record_kind
from device_agent.store.durable import sha256_of_file

SCHEMA = "armlet.start/1"
#: The one whose XNNPACK reads its packed weights from a file.
RUNTIME = "ai-edge-litert"
MODEL, WEIGHTS, RECORD = "model.tflite", "weights.xnnpack", "start.json"
MAX_RECORD_BYTES = 1 << 22


# Samples of a file: this many blocks of this many bytes, evenly spread, the first and the last among them.
_SAMPLES = 32
_SAMPLE_BYTES = 4096

#: Lines of /proc/cpuinfo that name the core and its instruction set, on ARM and x86.
_CPU_LINES = re.compile(
    r"^(CPU (?:implementer|architecture|variant|part|revision)|Features"
    r"|vendor_id|cpu family|model|stepping|flags)\s*:(.*)$",
    re.MULTILINE,
)
if TYPE_CHECKING:
    ZeroPoint = int
else:
    ZeroPoint = Integer(-(1 << 31), 1 << 31)

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class File:
    """One file as it was when it was made; ``sample`` is a CRC-32 over parts of it."""

    size: int
    mtime_ns: int
    sha256: Sha256
    sample: int


@record(SCHEMA, "the record of a start", AgentError)
@dataclass(frozen=True)
class _Kept:
    """What ``start.json`` holds."""

    #: "ai-edge-litert 2.3.0".
    runtime: str
    tflite_sha256: Sha256
    #: False for a release that is a plain .tflite.
    packed: bool
    metadata: Mapping[str, Any]
    #: Name, scale and zero point of each, in the order of the interpreter.
    inputs: tuple[tuple[RawText, float, ZeroPoint], ...]
    outputs: tuple[tuple[RawText, float, ZeroPoint], ...]
    model: File
    weights: File
    #: From the release's files to a ready interpreter when it was made, without it and with it.
    cold_seconds: Seconds
    warm_seconds: Seconds


@dataclass(frozen=True)
class QuickStart(_Kept):
    """One start in its ``folder``, whole as far as a quick look tells."""

    folder: Path

    @property
    def weights_path(self) -> Path:
        """The file of packed weights."""
        return self.folder / WEIGHTS

    def map_model(self) -> mmap.mmap:
        """The .tflite, mapped read-only."""
        with open(self.folder / MODEL, "rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def cpu_identity(root: Path = Path("/")) -> str:
    """Twelve hexadecimal digits for the architecture, the cores' makes and their instruction sets."""
    try:
        with open(root / "proc/cpuinfo", encoding="ascii", errors="replace") as file:
            text = file.read(1 << 20)
    except OSError:
        text = ""
    lines = sorted({f"{name}:{value.strip()}" for name, value in _CPU_LINES.findall(text)})
    return hashlib.sha256("\n".join([os.uname().machine, *lines]).encode()).hexdigest()[:12]


def folder_name(package_sha256: str, runtime: str) -> str:
    """The name of the folder of a package's start under a runtime ("ai-edge-litert 2.3.0") on this machine's cores."""
    return f"{package_sha256}-{_UNSAFE.sub('-', runtime)[:64]}-{cpu_identity()}"


def find(starts: Path, package_sha256: str, runtime: str) -> QuickStart | None:
    """The start of a package; None where there is none, or what is there does not look as it was made."""
    folder = starts / folder_name(package_sha256, runtime)
    try:
        with open(folder / RECORD, "rb") as file:
            kept = read(_Kept, parse_json(file.read(MAX_RECORD_BYTES), most=MAX_RECORD_BYTES))
        start = QuickStart(**vars(kept), folder=folder)
        for name, known in ((MODEL, start.model), (WEIGHTS, start.weights)):
            found = os.stat(folder / name)
            if (found.st_size, found.st_mtime_ns) != (known.size, known.mtime_ns):
                return None
            if _sample(folder / name) != known.sample:
                return None
    except (OSError, ArmletError):
        return None
    return start if start.runtime == runtime else None


def is_whole(folder: Path) -> bool:
    """Whether every byte of a start is as it was made; :func:`find` looks at samples."""
    try:
        with open(folder / RECORD, "rb") as file:
            kept = read(_Kept, parse_json(file.read(MAX_RECORD_BYTES), most=MAX_RECORD_BYTES))
        return all(
            sha256_of_file(folder / name) == known.sha256
            for name, known in ((MODEL, kept.model), (WEIGHTS, kept.weights))
        )
    except (OSError, ArmletError):
        return False


def identity(path: Path) -> tuple[int, ...] | None:
    """What tells a file of a start from one that was made again in its place; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def require_whole(starts: Path, package_sha256: str) -> int:
    """Removes the starts of a package that are not as they were made; how many. Reads all of them."""
    folders = (
        [one for one in starts.iterdir() if one.name.startswith(package_sha256)] if starts.is_dir() else []
    )
    damaged = [folder for folder in folders if not is_whole(folder)]
    for folder in damaged:
        remove(folder)
    return len(damaged)


def collect(starts: Path, packages: Collection[str]) -> int:
    """Removes the starts of other packages than these, and what a cut one left; how many bytes were freed."""
    freed = 0
    for folder in starts.iterdir() if starts.is_dir() else ():
        if folder.name.partition("-")[0] not in packages:
            freed += remove(folder)
    return freed


def remove(folder: Path) -> int:
    """Takes the record away first, so that a half-removed folder is not a start; the bytes of what was there."""
    with contextlib.suppress(OSError):
        os.unlink(folder / RECORD)
    size = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            size += path.lstat().st_size
    shutil.rmtree(folder, ignore_errors=True)
    return size


def write_file(path: Path, data: bytes) -> None:
    """Writes a file that must not exist yet, for its owner alone, and flushes it to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def describe(path: Path) -> File:
    """Size, time, SHA-256 and sampled checksum of a file, by which it is known again."""
    found = path.stat()
    return File(found.st_size, found.st_mtime_ns, sha256_of_file(path), _sample(path))


def _sample(path: Path) -> int:
    with open(path, "rb") as file:
        last = max(0, os.fstat(file.fileno()).st_size - _SAMPLE_BYTES)
        checksum = 0
        for number in range(_SAMPLES):
            file.seek(last * number // (_SAMPLES - 1))
            checksum = zlib.crc32(file.read(_SAMPLE_BYTES), checksum)
    return checksum


def to_bytes(start: QuickStart) -> bytes:
    """The content of ``start.json``."""
    return json.dumps(record_kind(_Kept).write(start), sort_keys=True).encode()
