"""Calls the agent in a process of its own: a fresh one measures a cold start, and may crash without harm."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Mapping, Sequence

from device_agent.errors import AgentError, DataError
from device_agent.record.schema import parse_json, read
from device_agent.record.wire import Failure

#: An answer holds raw samples at most, and those of a fresh process are few.
MAX_ANSWER_BYTES = 16 << 20
#: How long the start of a release may take to be made again, by the verb ``mend``.
MEND_SECONDS = 60.0


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
    command = [*python_command("device_agent"), *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=limit_seconds,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        raise AgentError(
            f"`{arguments[0]}` did not finish", expected=f"an answer in {limit_seconds:g} s"
        ) from None
    if done.returncode < 0:
        raise AgentError(f"`{arguments[0]}` crashed", found=f"signal {-done.returncode}")
    try:
        reply = parse_json(done.stdout, most=MAX_ANSWER_BYTES)
    except DataError:
        reply = None
    if not isinstance(reply, dict):
        raise AgentError(f"`{arguments[0]}` gave no answer", found=f"exit status {done.returncode}")
    if done.returncode != 0:
        failure = read(Failure, reply, error=AgentError)
        # The child's whole sentence is in `what`; its class is told so that the reason can be looked up.
        raise AgentError(
            f"{failure.error}: {failure.what}",
            expected=failure.expected,
            found=failure.found,
            hint=failure.hint,
        )
    return reply
