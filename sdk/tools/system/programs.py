"""Runs a program of this machine for what it prints, within limits of time and of output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

READ_BYTES = 1 << 16


class ProgramFailed(Exception):
    """A program could not be started, took too long or printed too much; the text says which, in a few words."""


@dataclass(frozen=True)
class Printed:
    """How a program ended: its exit status (negative: the signal that killed it) and what it printed."""

    status: int
    output: str
    errors: str


def run_program(
    command: Sequence[str],
    *,
    limit_seconds: float,
    max_bytes: int,
    memory_bytes: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Printed:
    """Runs a command with no input and no terminal. Raises ProgramFailed, and then whatever it had started is gone.

    ``max_bytes`` is for each of its two streams, ``memory_bytes`` the addresses that each of its processes may use,
    where the system has such a limit. Bytes that are not UTF-8 come as surrogates.
    """
    if memory_bytes is not None:
        command = ["sh", "-c", f'ulimit -v {memory_bytes >> 10} 2>/dev/null; exec "$@"', "sh", *command]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # a group of its own: what it started is ended with it
        )
    except OSError as error:
        raise ProgramFailed(error.strerror or str(error)) from None
    with process:
        try:
            output, errors = _read(process, limit_seconds, max_bytes)
        except BaseException:
            if hasattr(os, "killpg"):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            else:  # no groups of processes: Windows
                process.kill()
            raise
    return Printed(process.returncode, _text(output), _text(errors))


def _read(process: subprocess.Popen[bytes], limit_seconds: float, max_bytes: int) -> tuple[bytes, bytes]:
    """Both streams to their ends."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + limit_seconds
    found = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as waiting:
        for stream in found:
            waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map():
            left = deadline - time.monotonic()
            ready = waiting.select(left) if left > 0 else []
            if not ready:
                raise ProgramFailed(f"no end within {limit_seconds:g} s")
            for key, _ in ready:
                block = os.read(key.fd, READ_BYTES)
                data = found[key.fileobj]  # type: ignore[index]  # one of the two above
                data += block
                if not block:
                    waiting.unregister(key.fileobj)
                if len(data) > max_bytes:
                    raise ProgramFailed(f"more than {max_bytes} bytes of output")
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ProgramFailed(f"no end within {limit_seconds:g} s") from None
    return bytes(found[process.stdout]), bytes(found[process.stderr])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
