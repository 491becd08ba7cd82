"""Scratch places: slots beside those of the board, for models that are to be measured and then gone.

    scratch/<token>/<name>.json     slots of one measurement; blobs, releases and starts are those of the store

Whatever is deployed in a scratch place, what a name of the board stands for stays as it is, and so does its history.
The host that made a place removes it. The place of a host that was cut off goes with the next cleaning that finds it
old, unless a process still works in it: each process holds a lock on the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from pathlib import Path
from typing import Iterator

from device_agent.errors import StoreError

#: A place that no process works in and that was not used for so long is nobody's.
ABANDONED_SECONDS = 3600.0
#: Environment: the place that this process and its children work in; not set where they work on the board's own slots.
VARIABLE = "ARMLET_SCRATCH"

_TOKEN = re.compile(r"[0-9a-f]{8,64}")


def scratch_folder(store: Path, token: str) -> Path:
    """The folder of a place. Raises StoreError for a token that is not of hexadecimal digits."""
    if not _TOKEN.fullmatch(token):
        raise StoreError(
            "this names no scratch place", expected="8 to 64 hexadecimal digits", found=repr(token)[:80]
        )
    return store / "scratch" / token


def open_place(folder: Path) -> int:
    """Makes a place where it is not there, and a descriptor that keeps it from being removed while it is open."""
    for made in (folder.parent, folder):
        made.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.utime(folder)
    return descriptor


def slot_files(store: Path) -> Iterator[Path]:
    """The slots of every place."""
    return (store / "scratch").glob("*/*.json")


def remove_place(folder: Path) -> None:
    """Removes the slots of a place; the parent folder too, once it is empty."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def remove_abandoned(store: Path) -> None:
    """Removes places that were not used for an hour and that no process works in."""
    folders = (store / "scratch").iterdir() if (store / "scratch").is_dir() else ()
    for folder in folders:
        with contextlib.suppress(OSError):
            age = time.time() - folder.lstat().st_mtime
            # From the future: the clock was wrong then, or is now. The lock alone decides.
            if 0.0 <= age < ABANDONED_SECONDS:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_place(folder)
            finally:
                os.close(descriptor)
