"""Locks on files that end with their process, on every system that Python runs on."""

from __future__ import annotations


def lock(descriptor: int, *, wait: bool = True) -> None:
    """Locks an open file for this process alone; closing it unlocks. Raises BlockingIOError where another process
    holds it and nobody is to wait."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        _lock_there(descriptor, wait)
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _lock_there(descriptor: int, wait: bool) -> None:
    import os

    try:
        import msvcrt
    except ModuleNotFoundError:  # neither: processes do not know of each other
        return
    os.lseek(descriptor, 0, os.SEEK_SET)
    while True:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return
        except OSError as error:
            if not wait:
                raise BlockingIOError(error.errno, error.strerror) from None
