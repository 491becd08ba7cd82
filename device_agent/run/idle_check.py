"""Reads a whole quick start while the machine is idle: a start looks at samples, since all takes longer than it saves.

An ``Agent`` that started from one has it checked by a process of the lowest priority, which gets the processor and the
disk when nobody else wants them. A damaged start is dropped, noted in the history of its name, and made again; an Agent
that runs from it loads again with its next call.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable

from device_agent.errors import ArmletError, StoreError
from device_agent.record.release import Release
from device_agent.run.fresh_process import MEND_SECONDS, call_child, python_command
from device_agent.run.installed import installed_runtime
from device_agent.store import quick_starts as starts
from device_agent.store.store import Store

#: A start that was read whole less than this many seconds ago is not read again.
RECENT_SECONDS = 3600.0
DAMAGED = "its quick start was damaged on the disk: dropped, to be made again"


def begin(home: Path, name: str) -> None:
    """Has the start of what runs under a name checked, by a process of its own; returns at once.

    A check that fails is passed over: the next start begins another.
    """

    def run() -> None:
        with contextlib.suppress(OSError):
            subprocess.run(
                [*python_command("device_agent"), "--home", str(home), "look", name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )

    threading.Thread(target=run, name="armlet-idle-check", daemon=True).start()


def be_idle() -> None:
    """Makes this process one that runs when no other wants to; the disk follows the processor's class (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(19)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # type: ignore[attr-defined, unused-ignore]


def look(
    store: Store, name: str, make: Callable[[Release], Any] | None = None, *, recent: float = RECENT_SECONDS
) -> str:
    """Reads every byte of the start of what runs under a name: "none", "recent", "whole", "dropped" or "mended".

    ``make`` makes the start of a release again; by default a process of its own. Raises StoreError.
    """
    release = store.current(name)
    folder = store.starts / starts.folder_name(release.package_sha256, installed_runtime())
    try:
        record = os.open(folder / starts.RECORD, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "none"
    try:
        try:
            fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of several that began at once, one reads
        except OSError:
            return "recent"
        if 0.0 <= time.time() - os.fstat(record).st_mtime < recent:
            return "recent"
        if starts.is_whole(folder):
            os.utime(record)
            return "whole"
    finally:
        os.close(record)
    return drop_damaged(store, release, make)


def drop_damaged(store: Store, release: Release, make: Callable[[Release], Any] | None = None) -> str:
    """Removes the starts of a release that are not as they were made, says so in its name's history, and makes one
    again: "whole" where none was damaged, "dropped", or "mended". Reads all of them; the caller holds no lock."""
    with store.locked():
        if not starts.require_whole(store.starts, release.package_sha256):
            return "whole"
        with contextlib.suppress(StoreError):
            store.happened(release.name, "mended", release.id, DAMAGED)
    return make_again(release, make)


def make_again(release: Release, make: Callable[[Release], Any] | None = None) -> str:
    """Makes the start of a release that was dropped: "mended", or "dropped" where it starts without from now on."""
    try:
        if make is None:
            call_child(["mend", release.id], MEND_SECONDS)
        else:
            make(release)
    except (ArmletError, OSError):
        return "dropped"
    return "mended"
