"""Processes as proc(5) shows them, known by number and start: a number alone may meanwhile be another process."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.record.named_kinds import Size
from device_agent.record.schema import limits, record


def stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the state on (the third), or none where there is no such process."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # where it is our own child, so that it does not stay a zombie
    try:
        # The second field is a name in parentheses, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def start_ticks(pid: int) -> int:
    """When it started, in the kernel's clock ticks since boot; 0 where there is no such process."""
    fields = stat(pid)
    return int(fields[19]) if fields else 0


@record(what="the state of a virtual board")
@dataclass(frozen=True)
class Running:
    """A process that listens on ``port``, known by when it ``started`` (ticks since boot) beside its number."""

    pid: Size
    started: int
    port: int = field(metadata=limits(low=1, high=65535))


def alive(state: Running) -> bool:
    """Whether that process still runs."""
    fields = stat(state.pid)
    return bool(fields) and fields[0] != "Z" and int(fields[19]) == state.started


def children(pid: int) -> list[int]:
    """The processes that a process of one thread has started and not yet waited for."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
