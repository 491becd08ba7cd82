"""A session with a board: connected, provisioned, with its agent."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sdk.board.catalogue import load_board
from sdk.board.description.records import Board
from sdk.board.ssh.connection import connect
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.deploy.provision.kernel import KernelBuildError, build, build_delegate
from sdk.deploy.provision.provisioning import Provisioned, provision
from sdk.deploy.target import Target
from sdk.errors import ArmletError, BoardError, RemoteError
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.board.ssh.command import Connection


@dataclass(frozen=True)
class Session:
    """One open connection to a board that is ready to run models."""

    board: Board
    connection: Connection
    provisioned: Provisioned
    agent: RemoteAgent
    kernel: str
    #: The place on the board in which models are deployed that are only to be measured; None: they stay.
    scratch: str | None = None


def agent_folder(connection: Connection) -> str:
    """The agent's folder on a board: ``~/.armlet``, which need not be there yet."""
    done = connection.run(["sh", "-c", 'printf %s "$HOME"'], max_output_bytes=1 << 12)
    home = done.stdout.decode("utf-8", "replace")
    if done.status != 0 or not home.startswith("/") or not home.isprintable():
        raise RemoteError(
            f"{connection.address} has no home folder for this user",
            expected="$HOME, a path from the root",
            found=repr(home)[:80],
        )
    return posixpath.join(home, ".armlet")


def accepted_agent(connection: Connection) -> RemoteAgent | None:
    """The agent that was accepted last on a board, by :mod:`sdk.deploy.provision.provisioning`; None where there
    never was one."""
    launcher = posixpath.join(agent_folder(connection), "python")
    # One of no bytes, as a power cut may leave it, would run nothing and say nothing.
    if connection.run(["test", "-x", launcher, "-a", "-s", launcher]).status != 0:
        return None
    return RemoteAgent(connection, (launcher, "-sS", "-m", "device_agent"))


@contextmanager
def open_connection(
    board_name: str, target: Target, progress: Progress = silent
) -> Iterator[tuple[Board, Connection]]:
    """Connects to a board as it is and sends nothing. Raises BoardError or ConnectionFailed."""
    board = load_board(board_name)
    with ExitStack() as stack:
        progress("connect", 0, 0)
        yield board, stack.enter_context(connect(**login(board, target, stack)))


@contextmanager
def open_session(board_name: str, target: Target, progress: Progress = silent) -> Iterator[Session]:
    """Connects to a board and makes it ready; the first time sends runtime and agent, later nothing.

    Raises BoardError, ConnectionFailed or ProvisionError.
    """
    with open_connection(board_name, target, progress) as (board, connection):
        yield make_ready(board, connection, target, progress)


@contextmanager
def open_scratch_session(board_name: str, target: Target, progress: Progress = silent) -> Iterator[Session]:
    """As :func:`open_session`; what is deployed in it is gone afterwards, and what the board runs stays as it is."""
    with open_session(board_name, target, progress) as ready:
        [session] = in_scratch([ready])
        with discarding(session):
            yield session


def in_scratch(sessions: Sequence[Session]) -> list[Session]:
    """The same sessions with one board, in which models are deployed to a scratch place; see :func:`discarding`."""
    token = secrets.token_hex(8)
    return [replace(one, agent=one.agent.in_scratch(token), scratch=token) for one in sessions]


@contextmanager
def discarding(session: Session) -> Iterator[None]:
    """Removes the scratch place of a session afterwards; without a connection the board does so in time."""
    try:
        yield
    finally:
        with contextlib.suppress(ArmletError):
            session.agent.discard()


def make_ready(board: Board, connection: Connection, target: Target, progress: Progress = silent) -> Session:
    """A board that is connected, with the runtime of ``target``. Raises ProvisionError."""
    provisioned = provision(
        connection,
        kernel=None if target.kernel == "numpy" else _kernel,
        delegate=_delegate,
        runtime=target.runtime,
        version=target.runtime_version,
        preferred=[(r.name, r.version) for r in board.runtimes],
        progress=progress,
    )
    chosen = () if target.kernels == "auto" else (f"--kernels={target.kernels}",)
    return Session(
        board,
        connection,
        provisioned,
        RemoteAgent(connection, (*provisioned.command, *chosen), emulated=board.emulated),
        target.kernel,
    )


def login(board: Board, target: Target, stack: ExitStack) -> dict[str, Any]:
    """The arguments of ``connect``; starts the board first where it lives on this machine."""
    if board.transport == "local" and target.host is None:
        from sdk.board.local import LocalBoard, default_folder

        return stack.enter_context(LocalBoard(default_folder(board.name))).login()
    if board.transport == "virtual" and target.host is None:
        from sdk.board.virtual import VirtualBoard

        return VirtualBoard(board).login()  # it runs in the background: `sdk board start`
    if target.host is None:
        raise BoardError(
            f"where is the board {board.name}?",
            expected="--host with an address or a name of ~/.ssh/config",
            found="no host",
            hint=f"For example: --board {board.name} --host raspberrypi.local",
        )
    return {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "default_user": board.user,
        "key": target.key,
        "known_hosts": target.known_hosts,
        "accept_new_host_key": target.accept_new_host_key,
    }


def _kernel(architecture: str) -> bytes | None:
    """The C decoder for that processor; None where it cannot be built, and numpy decodes."""
    try:
        return build(architecture).read_bytes()
    except KernelBuildError:
        return None


def _delegate(architecture: str) -> bytes | None:
    """The kernels of Armlet for that processor; None where they cannot be built, and the runtime does everything."""
    try:
        return build_delegate(architecture).read_bytes()
    except KernelBuildError:
        return None
