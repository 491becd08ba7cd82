"""Limits of a new release on a board, as options of `sdk deploy`.

Nothing heavy is imported here, because `sdk --help` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdk.tools.option import option
from sdk.tools.values import byte_count, duration


@dataclass(frozen=True)
class CheckLimits:
    """Limits of a release on the board beside right outputs. None: the agent's, which are
    generous: ten times as slow as the release before, and as much memory as is free."""

    inference_seconds: float | None = option(
        None,
        help="revert when an inference takes longer, such as 50ms (default: 10 times the release before)",
        flag="--max-latency",
        parse=duration,
        metavar="TIME",
        rare=True,
    )
    memory_bytes: int | None = option(
        None,
        help="revert when it needs more memory, such as 200MB (default: what is free there)",
        flag="--max-memory",
        parse=byte_count,
        metavar="SIZE",
        rare=True,
    )


NO_LIMITS = CheckLimits()
