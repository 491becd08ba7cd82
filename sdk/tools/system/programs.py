"""Runs a program of this machine for what it prints, within limits of time and of output."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sdk.tools.system.pipes import Blocks


class ProgramFailed(Exception):
    """A program could not be started, took too long or printed too much; the text says which, in a few words."""


@dataclass(frozen=True)
class Printed:
    """How a program ended: its exit status (negative: the signal that killed it) and what it printed."""

    status: int
    output: str
    errors: str


def processors() -> int:
    """How many processors this process may use, which is how many programs may compute at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_program(
    command: Sequence[str],
    *,
    limit_seconds: float,
    max_bytes: int,
    memory_bytes: int | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Printed:
    """Runs a command with no input and no terminal. Raises ProgramFailed, and then whatever it had started is gone.

    ``max_bytes`` limits each of its two streams, ``memory_bytes`` the addresses of each of its processes, where the
    system has such a limit. ``folder``: where it runs. Bytes that are not UTF-8 come as surrogates.
    """
    if memory_bytes is not None and os.name == "posix":
        command = ["sh", "-c", f'ulimit -v {memory_bytes >> 10} 2>/dev/null; exec "$@"', "sh", *command]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=folder,
            start_new_session=True,  # a group of its own: what it started is ended with it
        )
    except OSError as error:
        raise ProgramFailed(error.strerror or str(error)) from None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        blocks = Blocks(process.stdout, process.stderr)
        try:
            output, errors = _read(process, blocks, limit_seconds, max_bytes)
        except BaseException:
            _kill(process)
            blocks.stop()
            raise
    return Printed(process.returncode, _text(output), _text(errors))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a process with all that it started, where the system has groups of processes."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _read(
    process: subprocess.Popen[bytes], blocks: Blocks, limit_seconds: float, max_bytes: int
) -> tuple[bytes, bytes]:
    """Both streams to their ends."""
    deadline = time.monotonic() + limit_seconds
    found = (bytearray(), bytearray())
    open_streams = len(found)
    while open_streams:
        arrived = blocks.next(deadline)
        if arrived is None:
            raise ProgramFailed(f"no end within {limit_seconds:g} s")
        number, block = arrived
        found[number].extend(block)
        open_streams -= not block
        if len(found[number]) > max_bytes:
            raise ProgramFailed(f"more than {max_bytes} bytes of output")
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"no end within {limit_seconds:g} s") from None
    return bytes(found[0]), bytes(found[1])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
