"""The blobs of a store: files named by the SHA-256 of what is in them, which may arrive in several goes.

    blobs/<sha256>          checked against its name, fsynced, then renamed into place; never changed after
    blobs/<sha256>.part     what has arrived of one, for the next transfer to go on from

Every change is made under the lock of the store (:mod:`device_agent.store.store`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Iterable, Sequence

from device_agent.errors import StoreError
from device_agent.record.release import MAX_BLOBS, MAX_PACKAGE_BYTES, check_digest
from device_agent.store.durable import fsync, named_errors, sha256_of_file, write_durably

#: Blobs are synced together once this many bytes are waiting.
BATCH_BYTES = 8 << 20
#: Bytes that are read from the connection and written at a time.
BLOCK_BYTES = 1 << 18
#: Of a blob whose transfer was cut, less than this is thrown away rather than asked for by the next one.
WORTH_KEEPING_BYTES = 1 << 14


class Blobs:
    """The blobs in one folder, which is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Which of these blobs the host has to send. A blob whose bytes have rotted counts as missing."""
        return tuple(digest for digest in dict.fromkeys(digests) if not self._intact(check_digest(digest)))

    def _intact(self, digest: str) -> bool:
        try:
            return sha256_of_file(self.folder / digest) == digest
        except OSError:
            return False

    def put(self, data: bytes) -> str:
        """Stores bytes; their SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        if not self._intact(digest):
            with named_errors("store a blob"):
                write_durably(self.folder / digest, data)
        return digest

    def partial(self, digests: Iterable[str]) -> dict[str, tuple[int, str]]:
        """The blobs whose beginning a cut transfer left: how many bytes of each are there, and their SHA-256.

        The host compares that with what it has, so that a beginning which did not survive a power cut is not built on.
        """
        found = {}
        for digest in dict.fromkeys(digests):
            part = self._part(check_digest(digest))
            with contextlib.suppress(OSError):
                found[digest] = (part.stat().st_size, sha256_of_file(part))
        return found

    def receive(self, stream: BufferedIOBase, blobs: Sequence[tuple[str, int, int]]) -> None:
        """Stores the blobs (sha256, size, offset) that stand one after the other in ``stream``, each from there on.

        They are written, synced and renamed in batches: where the stream is cut, what came before stays, and the next
        transfer need not send it again. One sync per small blob would take seconds on an SD card.
        """
        if sum(size for _, size, _ in blobs) > MAX_PACKAGE_BYTES or len(blobs) > MAX_BLOBS:
            raise StoreError(
                "too much is sent at once", expected=f"at most {MAX_BLOBS} blobs, {MAX_PACKAGE_BYTES} bytes"
            )
        if len({digest for digest, _, _ in blobs}) < len(blobs):
            raise StoreError("a blob is sent twice", expected="each once")
        batch: list[tuple[Path, str]] = []
        held = 0
        try:
            with named_errors("store a blob"):
                for digest, size, offset in blobs:
                    batch.append((self._receive_one(stream, check_digest(digest), size, offset), digest))
                    held += size
                    if held >= BATCH_BYTES:
                        self._keep(batch)
                        batch, held = [], 0
        finally:
            with named_errors("store a blob"):
                self._keep(batch)

    def _part(self, digest: str) -> Path:
        """Where a blob is while it arrives. One name, because the lock is held: the next transfer goes on there."""
        return self.folder / f"{digest}.part"

    def _receive_one(self, stream: BufferedIOBase, digest: str, size: int, offset: int) -> Path:
        """One blob under its temporary name, its digest checked. Cut, it stays for the next transfer to go on."""
        part = self._part(digest)
        found = hashlib.sha256()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if offset == 0 else 0)
        descriptor = os.open(part, flags, 0o600)
        written = 0
        try:
            written = _hash_beginning(descriptor, offset, found)
            while written < size:
                # What has arrived, rather than as much as was asked for: when the connection goes, nothing is lost.
                block = stream.read1(min(size - written, BLOCK_BYTES))
                if not block:
                    raise StoreError(
                        "the transfer was cut",
                        expected=f"{size} bytes of {digest}",
                        found=f"{written}",
                    )
                found.update(block)
                view = memoryview(block)
                while view:
                    view = view[os.write(descriptor, view) :]
                written += len(block)
            if found.hexdigest() != digest:
                written = 0  # of no use to anyone
                raise StoreError(
                    "a part of the package arrived damaged",
                    expected=f"sha256 {digest}",
                    found=f"sha256 {found.hexdigest()}",
                    hint="Deploy again.",
                )
        except BaseException:
            if written < WORTH_KEEPING_BYTES:
                with contextlib.suppress(OSError):
                    os.unlink(part)
            raise
        finally:
            os.close(descriptor)
        return part

    def _keep(self, batch: Sequence[tuple[Path, str]]) -> None:
        for temporary, _ in batch:
            fsync(temporary)
        for temporary, digest in batch:
            os.replace(temporary, self.folder / digest)
        if batch:
            fsync(self.folder)

    def read(self, digest: str) -> bytes:
        """The bytes of a blob, checked against its name."""
        with named_errors("read a blob"):
            try:
                data = (self.folder / check_digest(digest)).read_bytes()
            except FileNotFoundError:
                raise StoreError(
                    "the store lacks a blob", expected=f"sha256 {digest}", found="nothing"
                ) from None
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise StoreError(
                "a blob on the board is damaged",
                expected=f"sha256 {digest}",
                found=f"sha256 {found}",
                hint="Deploy again: a damaged blob is sent again.",
            )
        return data

    def path(self, digest: str) -> Path:
        """The path of a blob that is there and whole; raises StoreError otherwise."""
        self.read(digest)
        return self.folder / digest


def _hash_beginning(descriptor: int, length: int, digest: Any) -> int:
    """Feeds the first bytes of a file to a digest, and leaves the file at their end; ``length``."""
    left = length
    while left:
        block = os.read(descriptor, min(left, BLOCK_BYTES))
        if not block:
            raise StoreError(
                "what had arrived of a part of the package is gone",
                expected=f"{length} bytes",
                found=f"{length - left}",
                hint="Deploy again.",
            )
        digest.update(block)
        left -= len(block)
    os.ftruncate(descriptor, length)
    return length
