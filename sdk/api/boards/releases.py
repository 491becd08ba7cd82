"""Status, history and rollback of the releases on a board.

None of them sends anything to the board: they ask the agent that was accepted there last.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.package.signature import ALLOWED_SIGNERS, REQUIRED
from sdk.api.release_requests import Rollback
from sdk.api.results import BoardStatus, SlotStatus
from sdk.api.values import PathLike
from sdk.board.ssh import signing
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.deploy.session import accepted_agent, agent_folder, open_connection
from sdk.deploy.target import Target
from sdk.errors import RemoteError
from sdk.package.release import release_name
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import RollbackOptions, TargetOptions
    from sdk.board.description.records import Board
    from sdk.board.ssh.command import Connection


def board_status(board: str, *, progress: Progress = silent, **target: Unpack[TargetOptions]) -> BoardStatus:
    """The installed versions and the releases on a board; empty where nothing was ever deployed.

    ``target``: see :class:`sdk.deploy.target.Target`.
    """
    reach = build(Target, target, function="board_status")
    with open_connection(board, reach, progress) as (known, connection):
        return status_of(known, connection, progress)


def status_of(known: Board, connection: Connection, progress: Progress = silent) -> BoardStatus:
    """As :func:`board_status`, over a connection that is open."""
    versions: dict[str, Any] = dict.fromkeys(
        ("agent_version", "python_version", "machine", "runtime", "runtime_version", "numpy_version")
    )
    slots: tuple[SlotStatus, ...] = ()
    either = [_in_agent_folder(connection, name) for name in (ALLOWED_SIGNERS, REQUIRED)]
    signed_only = connection.run(["test", "-e", either[0], "-o", "-e", either[1]]).status == 0
    agent = accepted_agent(connection)
    if agent is not None:
        progress("ask the board", 0, 0)
        answer = agent.status()
        versions = {key: getattr(answer, key) for key in versions}
        slots = tuple(SlotStatus.from_answer(slot) for slot in answer.releases)
    return BoardStatus(
        board=known.name,
        address=connection.address,
        **versions,
        requires_signatures=signed_only,
        slots=slots,
    )


def rollback_model(
    board: str, name: str, *, progress: Progress = silent, **options: Unpack[RollbackOptions]
) -> SlotStatus:
    """Goes back to the release before the current one, or to the earlier one whose id begins with ``to``.

    Newer releases are dropped. Raises RemoteError where there is no such release. ``options``: see
    :class:`sdk.api.release_requests.Rollback`. Raises TypeError for others.
    """
    request = build(Rollback, options, function="rollback_model")
    with board_agent(board, request, progress) as agent:
        return SlotStatus.from_answer(agent.rollback(release_name(name), request.reason, to=request.to))


def confirm_model(
    board: str, name: str, *, progress: Progress = silent, **target: Unpack[TargetOptions]
) -> SlotStatus:
    """Makes the release on trial the one that runs; raises RemoteError where none is on trial."""
    with board_agent(board, build(Target, target, function="confirm_model"), progress) as agent:
        return SlotStatus.from_answer(agent.confirm(release_name(name)))


def require_signatures(
    board: str,
    allowed_signers: PathLike | None,
    *,
    progress: Progress = silent,
    **target: Unpack[TargetOptions],
) -> None:
    """Makes the board accept only packages signed by a key of this file; with None, unsigned packages too.

    The file is as ssh-keygen(1) describes it under "ALLOWED SIGNERS". Raises SignatureError when it names nobody, and
    RemoteError on a board without ssh-keygen, which could not verify anything.
    """
    reach = build(Target, target, function="require_signatures")
    signers = None if allowed_signers is None else signing.read_allowed_signers(Path(allowed_signers))
    with open_connection(board, reach, progress) as (known, connection):
        if signers is None:
            for name in (ALLOWED_SIGNERS, REQUIRED):
                connection.remove(_in_agent_folder(connection, name))
            return
        if connection.run(["sh", "-c", "command -v ssh-keygen"]).status != 0:
            raise RemoteError(
                f"{known.name} at {connection.address} could not verify a signature, and would refuse every package",
                expected="ssh-keygen on the board",
                found="none",
                hint="On Debian and its kin: sudo apt-get install openssh-client",
            )
        # The mark first: whatever is cut or lost, a board that was told to ask for signatures goes on asking.
        connection.put(b"see allowed_signers\n", _in_agent_folder(connection, REQUIRED))
        connection.put(signers, _in_agent_folder(connection, ALLOWED_SIGNERS))


def _in_agent_folder(connection: Connection, name: str) -> str:
    return posixpath.join(agent_folder(connection), name)


@contextmanager
def board_agent(board: str, target: Target, progress: Progress) -> Iterator[RemoteAgent]:
    """The agent that was accepted last on a board, over a connection of its own."""
    with open_connection(board, target, progress) as (known, connection):
        progress("ask the board", 0, 0)
        yield agent_of(known, connection)


def agent_of(known: Board, connection: Connection) -> RemoteAgent:
    """The agent that was accepted last on a board. Raises RemoteError where nothing was ever deployed."""
    agent = accepted_agent(connection)
    if agent is None:
        raise RemoteError(
            f"nothing was ever deployed to {known.name} at {connection.address}",
            hint="`sdk deploy` does that.",
        )
    return agent
