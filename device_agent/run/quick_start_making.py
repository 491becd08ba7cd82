"""Makes what a release starts quickly from (:mod:`device_agent.store.quick_starts`): kept if it is right and pays."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any, Mapping

from device_agent.errors import AgentError
from device_agent.run.quick_start_model import QuickStartModel
from device_agent.store import quick_starts
from device_agent.store.durable import fsync

#: A start must take less than this share of the time without, or its disk space is not worth it.
WORTH = 0.8
#: After it was made this share of the disk must still be free.
FREE_SHARE = 0.1
# What packed weights may take beyond those of the model, and a quarter of that.
_SPARE_BYTES = 1 << 20


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
) -> quick_starts.QuickStart:
    """Makes the start of a package, and keeps it if it is right and pays; replaces what was there.

    ``reference`` is the same model in the interpreter (:class:`device_agent.run.runtime.Model`), its inputs set; with
    the start the runtime must give the same answers, bit by bit. ``cold_seconds`` is the time of a start without it.
    Raises AgentError, which says why no start was kept, RuntimeUnavailable, or OSError.
    """
    starts.mkdir(mode=0o700, exist_ok=True)
    _require_space(starts, 2 * len(tflite))
    target = starts / quick_starts.folder_name(package_sha256, runtime)
    temporary = starts / f".{os.urandom(8).hex()}.tmp"
    temporary.mkdir(mode=0o700)
    try:
        quick_starts.write_file(temporary / quick_starts.MODEL, tflite)
        _reserve(temporary / quick_starts.WEIGHTS, len(tflite) + len(tflite) // 4 + _SPARE_BYTES)
        QuickStartModel.pack(tflite, temporary / quick_starts.WEIGHTS)
        if not (temporary / quick_starts.WEIGHTS).is_file():
            raise AgentError("XNNPACK wrote no cache: it packs no weights of this model")
        os.chmod(temporary / quick_starts.WEIGHTS, 0o600)
        fsync(temporary / quick_starts.WEIGHTS)
        start = quick_starts.QuickStart(
            folder=temporary,
            runtime=runtime,
            tflite_sha256=tflite_sha256,
            packed=packed,
            metadata=dict(metadata),
            inputs=tuple((t.name, t.scale, t.zero_point) for t in reference.inputs),
            outputs=tuple((t.name, t.scale, t.zero_point) for t in reference.outputs),
            model=quick_starts.describe(temporary / quick_starts.MODEL),
            weights=quick_starts.describe(temporary / quick_starts.WEIGHTS),
            cold_seconds=cold_seconds,
            warm_seconds=0.0,
        )
        if start.model.sha256 != tflite_sha256:
            raise AgentError("the disk gives back another model than was written")
        seconds = _try(start, reference)
        if quick_starts.describe(temporary / quick_starts.WEIGHTS) != start.weights:
            raise AgentError("XNNPACK does not take its own cache, and wrote it again")
        start = dataclasses.replace(start, folder=target, warm_seconds=seconds)
        quick_starts.write_file(temporary / quick_starts.RECORD, quick_starts.to_bytes(start))
        fsync(temporary)
        for other in starts.glob(f"{package_sha256}-*"):  # of another runtime too
            quick_starts.remove(other)
        os.rename(temporary, target)
        fsync(starts)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return start


def _try(start: quick_starts.QuickStart, reference: Any) -> float:
    """The seconds that this start takes. Raises AgentError where it gives other answers, or saves too little."""
    begun = time.perf_counter()
    warm = QuickStartModel(start, threads=reference.threads)
    seconds = time.perf_counter() - begun
    warm.require_same_answers(reference)
    if seconds > WORTH * start.cold_seconds:
        raise AgentError(
            f"it would save too little: {seconds * 1e3:.1f} ms instead of {start.cold_seconds * 1e3:.1f} ms"
        )
    return seconds


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
