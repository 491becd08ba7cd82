"""Files that are there whole or not at all, whenever the power goes; and errors of the disk by name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import Iterator

from device_agent.errors import StoreError


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            block = file.read(1 << 20)
            if not block:
                return digest.hexdigest()
            digest.update(block)


def write_durably(path: Path, data: bytes) -> None:
    """Temporary name, data, fsync, rename, fsync of the folder: cut anywhere, the old file or the new one is there."""
    temporary = path.with_name(f"{path.name}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Syncs a file or a folder: what was renamed into a folder is safe once the folder is synced."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def named_errors(doing: str) -> Iterator[None]:
    """An OSError on the way becomes a StoreError that says what to do about it."""
    hints = {
        errno.ENOSPC: "The board's disk is full: free some space, then deploy again.",
        errno.EDQUOT: "The quota of this user is used up: free some space, then deploy again.",
        errno.EROFS: "The board's file system is read-only: remount it or repair it.",
        errno.EACCES: "Check who owns the folder.",
    }
    try:
        yield
    except OSError as error:
        raise StoreError(f"could not {doing}", found=str(error), hint=hints.get(error.errno or 0)) from error


def is_full(error: StoreError) -> bool:
    """Whether :func:`named_errors` made this of a disk, or a quota, that has no more space."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
