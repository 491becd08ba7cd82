"""Calls the agent in a process of its own: a fresh one measures a cold start, and may crash without harm."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from typing import Any, Callable, Mapping, NoReturn, Sequence

from device_agent.errors import AgentError, DataError
from device_agent.record.schema import parse_json, read
from device_agent.record.wire import Failure

#: An answer holds raw samples at most, and those of a fresh process are few.
MAX_ANSWER_BYTES = 16 << 20
#: How long the start of a release may take to be made again, by the verb ``mend``.
MEND_SECONDS = 60.0
_BLOCK_BYTES = 1 << 16

#: What this process does with arguments, where it is one call of the agent and nothing else; :func:`call_child` then
#: need not start Python and import the agent again, which takes a second on a slow board.
program: Callable[[Sequence[str]], int] | None = None


def python_command(module: str) -> list[str]:
    """The command that runs a module in a Python of this kind: with the packages that this one finds, and no others."""
    flags = [flag for flag, is_set in (("-S", sys.flags.no_site), ("-s", sys.flags.no_user_site)) if is_set]
    return [sys.executable, *flags, "-m", module]


def call_child(
    arguments: Sequence[str], limit_seconds: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The answer of another agent process of the same kind, with these variables of the environment beside its own.

    Raises AgentError when it fails, crashes or hangs.
    """
    run = _forked if program is not None and "numpy" not in sys.modules else _started
    try:
        status, output = run(arguments, limit_seconds, environment or {})
    except TimeoutError:
        raise AgentError(
            f"`{arguments[0]}` did not finish", expected=f"an answer in {limit_seconds:g} s"
        ) from None
    if status < 0:
        raise AgentError(f"`{arguments[0]}` crashed", found=f"signal {-status}")
    try:
        reply = parse_json(output, most=MAX_ANSWER_BYTES)
    except DataError:
        reply = None
    if not isinstance(reply, dict):
        raise AgentError(f"`{arguments[0]}` gave no answer", found=f"exit status {status}")
    if status != 0:
        failure = read(Failure, reply, error=AgentError)
        # The child's whole sentence is in `what`; its class is told so that the reason can be looked up.
        raise AgentError(
            f"{failure.error}: {failure.what}",
            expected=failure.expected,
            found=failure.found,
            hint=failure.hint,
        )
    return reply


def _started(
    arguments: Sequence[str], limit_seconds: float, environment: Mapping[str, str]
) -> tuple[int, bytes]:
    """Exit status (below 0 the signal that ended it) and output of another process. Raises TimeoutError."""
    command = [*python_command("device_agent"), *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=limit_seconds,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return done.returncode, done.stdout


def _forked(
    arguments: Sequence[str], limit_seconds: float, environment: Mapping[str, str]
) -> tuple[int, bytes]:
    """As :func:`_started`, of a copy of this process: what it imported is there already.

    Not where numpy is: its threads would not be in the copy.
    """
    end = time.monotonic() + limit_seconds
    reading, writing = os.pipe()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.environ.update(environment)
        _continue(arguments, writing)
    os.close(writing)
    blocks = []
    status = None
    try:
        while True:
            if not select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            block = os.read(reading, _BLOCK_BYTES)
            if not block:
                break
            blocks.append(block)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(reading)
        if status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), b"".join(blocks)


def _continue(arguments: Sequence[str], writing: int) -> NoReturn:
    """Does the work of a child with its output on ``writing``; of its parent's files, a lock among them, none stays."""
    status = 1
    try:
        os.dup2(writing, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor > 2:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        assert program is not None
        status = program(arguments)
        sys.stderr.flush()
    except BaseException:  # it must not go on with what its parent does
        traceback.print_exc()
    os._exit(status)
