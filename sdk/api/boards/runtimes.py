"""Which runtime of a board runs a model: the preferred one, else the next that does.

A runtime may lack an operator, or a newer version of one, or compute something else. The health check on the board
finds that out, and the old release runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from sdk.deploy.provision.wheels import RUNTIMES, why_not
from sdk.deploy.session import Session, make_ready
from sdk.deploy.target import Target
from sdk.errors import HealthCheckFailed, ProvisionError, RemoteError
from sdk.tools.progress import Progress

_Result = TypeVar("_Result")


def with_a_runtime(
    session: Session, target: Target, progress: Progress, work: Callable[[Session], _Result]
) -> tuple[Session, _Result, tuple[str, ...]]:
    """The result of ``work`` on the first runtime that passes the health check, its session, and earlier failures.

    A runtime that ``target`` names is the only one that is tried. Raises RemoteError with the reason of each where none
    runs the model; other errors of ``work`` pass through.
    """
    failures: list[str] = []
    try:
        return session, work(session), ()
    except HealthCheckFailed as error:
        if target.runtime is not None:
            raise
        first = error
        failures.append(_failure(session, error))
    for name in _others(session):
        progress(f"try {name}", 0, 0)
        try:
            other = make_ready(session.board, session.connection, replace(target, runtime=name), progress)
            if session.scratch is not None:
                other = replace(other, agent=other.agent.in_scratch(session.scratch), scratch=session.scratch)
            return other, work(other), tuple(failures)
        except HealthCheckFailed as error:
            failures.append(_failure(other, error))
        except ProvisionError as error:
            failures.append(f"{name}: {error}")
    if len(failures) == 1:
        raise first
    raise RemoteError(
        "the board tried the model on each of its runtimes, and went back to what ran before",
        expected="one that passes the health check",
        found="; ".join(failures),
    )


def _failure(session: Session, error: RemoteError) -> str:
    ready = session.provisioned
    return f"{ready.runtime} {ready.runtime_version}: {error.found or error.what}"


def _others(session: Session) -> list[str]:
    """The other runtimes that the board can have, those of its file first."""
    names = dict.fromkeys([*(runtime.name for runtime in session.board.runtimes), *RUNTIMES])
    return [
        name
        for name in names
        if name != session.provisioned.runtime
        and name in RUNTIMES
        and why_not(RUNTIMES[name], session.provisioned.facts) is None
    ]


def note_of(failures: tuple[str, ...], session: Session) -> tuple[str, ...]:
    """Notes for a report on runtimes that did not run the model, and on one whose wheels are not pinned."""
    ready = session.provisioned
    said = [f"{failure}; {ready.runtime} {ready.runtime_version} runs it and is used" for failure in failures]
    if not ready.pinned:
        said.append(
            f"{ready.runtime} {ready.runtime_version} is not pinned: its wheels are as the package index had them"
        )
    return tuple(said)
