"""What makes a release start quickly: its decoded model, and XNNPACK's packed weights, as files to be mapped.

    store/starts/<package>-<runtime>-<core>/     0700, files 0600; made in a temporary folder, then renamed into place
        model.tflite       what the package decodes to
        weights.xnnpack    XNNPACK's weight cache (``tflite/delegates/xnnpack/weight_cache.h``)
        start.json         the record: sizes, times, SHA-256, and what the runtime says of inputs and outputs

XNNPACK does not notice when a cache belongs to another model, so the folder's name holds the digest of the package, the
runtime with its version and the core; how many threads run makes no difference to the file. Both files were read back
and compared by SHA-256 when they were made. A start looks at sizes, times and samples of the files alone, since reading
all of them takes longer than the start; a folder that fails this is no start, and is made anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import mmap
import os
import re
import secrets
import shutil
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Collection, Mapping

from device_agent.errors import AgentError
from device_agent.store.durable import fsync, sha256_of_file

SCHEMA = "armlet.start/1"
#: The one whose XNNPACK reads its packed weights from a file.
RUNTIME = "ai-edge-litert"
MODEL, WEIGHTS, RECORD = "model.tflite", "weights.xnnpack", "start.json"
MAX_RECORD_BYTES = 1 << 22

#: A start must take less than this share of the time without, or its disk space is not worth it.
WORTH = 0.8
#: After it was made this share of the disk must still be free.
FREE_SHARE = 0.1

# What packed weights may take beyond those of the model, and a quarter of that.
_SPARE_BYTES = 1 << 20
# Samples of a file: so many blocks of so many bytes, evenly spread, the first and the last among them.
_SAMPLES = 32
_SAMPLE_BYTES = 4096

#: Lines of /proc/cpuinfo that name the core and its instruction set, on ARM and x86.
_CPU_LINES = re.compile(
    r"^(CPU (?:implementer|architecture|variant|part|revision)|Features"
    r"|vendor_id|cpu family|model|stepping|flags)\s*:(.*)$",
    re.MULTILINE,
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class File:
    """One file as it was when it was made; ``sample`` is a CRC-32 over parts of it."""

    size: int
    mtime_ns: int
    sha256: str
    sample: int


@dataclass(frozen=True)
class Start:
    """One start, whole as far as a quick look tells."""

    folder: Path
    #: "ai-edge-litert 2.3.0".
    runtime: str
    tflite_sha256: str
    #: False for a release that is a plain .tflite.
    packed: bool
    metadata: Mapping[str, Any]
    #: Name, scale and zero point of each, in the order of the interpreter.
    inputs: tuple[tuple[str, float, int], ...]
    outputs: tuple[tuple[str, float, int], ...]
    model: File
    weights: File
    #: From the release's files to a ready interpreter when it was made, without it and with it.
    cold_seconds: float
    warm_seconds: float

    @property
    def weights_path(self) -> Path:
        return self.folder / WEIGHTS

    def map_model(self) -> mmap.mmap:
        """The .tflite, mapped read-only."""
        with open(self.folder / MODEL, "rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    def is_whole(self) -> bool:
        """Reads both files to the end and compares their SHA-256."""
        return all(
            sha256_of_file(self.folder / name) == known.sha256
            for name, known in ((MODEL, self.model), (WEIGHTS, self.weights))
        )


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
    """Of the start of a package under a runtime ("ai-edge-litert 2.3.0") on this machine's cores."""
    return f"{package_sha256}-{_UNSAFE.sub('-', runtime)[:64]}-{cpu_identity()}"


def find(starts: Path, package_sha256: str, runtime: str) -> Start | None:
    """The start of a package; None where there is none, or what is there does not look as it was made."""
    folder = starts / folder_name(package_sha256, runtime)
    try:
        with open(folder / RECORD, "rb") as file:
            record = json.loads(file.read(MAX_RECORD_BYTES))
        if record.pop("schema") != SCHEMA:
            return None
        model, weights = File(**record.pop("model")), File(**record.pop("weights"))
        inputs, outputs = (
            tuple((str(name), float(scale), int(zero)) for name, scale, zero in record.pop(side))
            for side in ("inputs", "outputs")
        )
        start = Start(folder, model=model, weights=weights, inputs=inputs, outputs=outputs, **record)
        for name, known in ((MODEL, model), (WEIGHTS, weights)):
            found = os.stat(folder / name)
            if (found.st_size, found.st_mtime_ns) != (known.size, known.mtime_ns):
                return None
            if _sample(folder / name) != known.sample:
                return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return start if start.runtime == runtime else None


def build(
    starts: Path,
    package_sha256: str,
    runtime: str,
    *,
    tflite: bytes,
    tflite_sha256: str,
    packed: bool,
    metadata: Mapping[str, Any],
    reference: Any,
    cold_seconds: float,
) -> Start:
    """Makes the start of a package, and keeps it if it is right and pays; replaces what was there.

    ``reference`` is the same model in the interpreter (:class:`device_agent.run.runtime.Model`), its inputs set;
    with the start the runtime must give the same answers, bit by bit. ``cold_seconds`` is what a start takes
    without. Raises AgentError that says why there is none, RuntimeUnavailable, or OSError.
    """
    from device_agent.run.quick_start_model import WarmModel

    starts.mkdir(mode=0o700, exist_ok=True)
    _require_space(starts, 2 * len(tflite))
    target = starts / folder_name(package_sha256, runtime)
    temporary = starts / f".{secrets.token_hex(8)}.tmp"
    temporary.mkdir(mode=0o700)
    try:
        _write(temporary / MODEL, tflite)
        _reserve(temporary / WEIGHTS, len(tflite) + len(tflite) // 4 + _SPARE_BYTES)
        WarmModel.pack(tflite, temporary / WEIGHTS)
        if not (temporary / WEIGHTS).is_file():
            raise AgentError("XNNPACK wrote no cache: it packs no weights of this model")
        os.chmod(temporary / WEIGHTS, 0o600)
        fsync(temporary / WEIGHTS)
        start = Start(
            temporary,
            runtime=runtime,
            tflite_sha256=tflite_sha256,
            packed=packed,
            metadata=dict(metadata),
            inputs=tuple((t.name, t.scale, t.zero_point) for t in reference.inputs),
            outputs=tuple((t.name, t.scale, t.zero_point) for t in reference.outputs),
            model=_describe(temporary / MODEL),
            weights=_describe(temporary / WEIGHTS),
            cold_seconds=cold_seconds,
            warm_seconds=0.0,
        )
        if start.model.sha256 != tflite_sha256:
            raise AgentError("the disk gives back another model than was written")
        begun = time.perf_counter()
        warm = WarmModel(start, threads=reference.threads)
        seconds = time.perf_counter() - begun
        warm.require_same_answers(reference)
        del warm
        if seconds > WORTH * cold_seconds:
            raise AgentError(
                f"it would save too little: {seconds * 1e3:.1f} ms instead of {cold_seconds * 1e3:.1f} ms"
            )
        if _describe(temporary / WEIGHTS) != start.weights:
            raise AgentError("XNNPACK does not take its own cache, and wrote it anew")
        start = dataclasses.replace(start, folder=target, warm_seconds=seconds)
        _write(temporary / RECORD, json.dumps(_to_json(start), sort_keys=True).encode())
        fsync(temporary)
        for other in starts.glob(f"{package_sha256}-*"):  # of another runtime too
            _remove(other)
        os.rename(temporary, target)
        fsync(starts)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return start


def collect(starts: Path, packages: Collection[str]) -> int:
    """Removes the starts of other packages than these, and what a cut one left; how many bytes were freed."""
    freed = 0
    for folder in starts.iterdir() if starts.is_dir() else ():
        if folder.name.partition("-")[0] not in packages:
            freed += _remove(folder)
    return freed


def _remove(folder: Path) -> int:
    """Takes the record away first, so that a half-removed folder is no start; the bytes of what was there."""
    with contextlib.suppress(OSError):
        os.unlink(folder / RECORD)
    size = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            size += path.lstat().st_size
    shutil.rmtree(folder, ignore_errors=True)
    return size


def _require_space(folder: Path, size: int) -> None:
    disk = os.statvfs(folder)
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if free - size < FREE_SHARE * total:
        raise AgentError(
            "too little of the disk is free for it",
            expected=f"{size >> 20} MB, and {100 * FREE_SHARE:.0f} % of the disk besides",
            found=f"{free >> 20} MB",
        )


def _reserve(path: Path, size: int) -> None:
    """Raises OSError unless so much can be written: XNNPACK ends the process when the disk is full while it writes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
        os.unlink(path)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _describe(path: Path) -> File:
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


def _to_json(start: Start) -> dict[str, Any]:
    record = dataclasses.asdict(start)
    del record["folder"]
    return {"schema": SCHEMA, **record}
