"""Functions on what a board has: what runs, what happened, back to the release before.

None of them sends anything to the board: they ask the agent that was accepted there last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sdk.deploy import RemoteAgent
from sdk.errors import RemoteError
from sdk.progress import Progress, silent
from sdk.results import BoardStatus, Slot
from sdk.session import LAUNCHED, Target, open_connection


def board_status(board: str, *, progress: Progress = silent, **target: Any) -> BoardStatus:
    """What is installed and deployed on a board; nothing at all where nothing was ever deployed.

    ``target``: see :class:`sdk.session.Target`.
    """
    with open_connection(board, Target(**target), progress) as (known, connection):
        versions: dict[str, Any] = dict.fromkeys(
            ("agent_version", "python_version", "machine", "runtime", "runtime_version", "numpy_version")
        )
        slots: tuple[Slot, ...] = ()
        if connection.run(["test", "-x", LAUNCHED[0]]).status == 0:
            progress("ask the board", 0, 0)
            answer = RemoteAgent(connection, LAUNCHED).status()
            versions = {key: answer[key] for key in versions}
            slots = tuple(Slot.from_answer(slot) for slot in answer["releases"])
        return BoardStatus(board=known.name, address=connection.address, **versions, slots=slots)


def rollback_model(
    board: str, name: str, *, reason: str = "asked for", progress: Progress = silent, **target: Any
) -> Slot:
    """Makes the release before the current one run again; raises RemoteError where there is none."""
    with _agent(board, target, progress) as agent:
        return Slot.from_answer(agent.rollback(name, reason))


def confirm_model(board: str, name: str, *, progress: Progress = silent, **target: Any) -> Slot:
    """Makes the release on trial the one that runs; raises RemoteError where none is on trial."""
    with _agent(board, target, progress) as agent:
        return Slot.from_answer(agent.confirm(name))


@contextmanager
def _agent(board: str, target: dict[str, Any], progress: Progress) -> Iterator[RemoteAgent]:
    with open_connection(board, Target(**target), progress) as (known, connection):
        if connection.run(["test", "-x", LAUNCHED[0]]).status != 0:
            raise RemoteError(
                f"nothing was ever deployed to {known.name} at {connection.address}",
                hint="`sdk deploy` does that.",
            )
        progress("ask the board", 0, 0)
        yield RemoteAgent(connection, LAUNCHED)
