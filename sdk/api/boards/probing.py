"""Functions that look at a board: write its file, check what is on it."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdk.api.board_requests import AddBoard
from sdk.api.results import Diagnosis
from sdk.board.catalogue import list_boards, load_board, user_folder
from sdk.board.description.board_file import parse_board
from sdk.board.description.records import Board, RuntimeChoice
from sdk.board.facts import Facts
from sdk.board.probe import Probe, probe
from sdk.board.proposal import Proposal, propose
from sdk.board.ssh.connection import connect
from sdk.deploy.provision.provisioning import check_trees, launcher_is_whole, prefer
from sdk.deploy.provision.wheels import RUNTIMES, why_not
from sdk.deploy.session import agent_folder, login, make_ready, open_connection
from sdk.deploy.target import Target
from sdk.errors import BoardError
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.shown import Shown
from sdk.tools.system.files import write_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import AddBoardOptions, TargetOptions

#: What a board without a file is asked through: whatever answers at --host.
_ANY_BOARD = Board(name="board", title="a board", architecture="aarch64", transport="ssh")


@dataclass(frozen=True)
class Probed(Shown):
    """Facts about a board, and a proposal for its board file."""

    address: str
    probe: Probe
    proposal: Proposal

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"address": self.address, **self.probe.to_json(), "proposal": self.proposal.to_json()}


def probe_board(
    board: str | None = None, *, progress: Progress = silent, **target: Unpack[TargetOptions]
) -> Probed:
    """Looks at a board: over one connection, in one round trip, with nothing needed there but a shell.

    ``board`` is needed only for boards on this machine; elsewhere it is the board to compare with, where the device
    tree does not name one. ``target``: see :class:`sdk.deploy.target.Target`. Raises BoardError, ConnectionFailed or
    RemoteError.
    """
    reach = build(Target, target, function="probe_board")
    known = load_board(board) if board is not None else None
    if known is None and reach.host is None:
        raise BoardError(
            "which board?",
            expected="--host with an address or a name of ~/.ssh/config, or --board with one on this machine",
            found="neither",
        )
    with ExitStack() as stack:
        progress("connect", 0, 0)
        arguments = login(known or _ANY_BOARD, reach, stack)
        connection = stack.enter_context(connect(**arguments))
        progress("look at the board", 0, 0)
        found = probe(connection)
        proposal = propose(found, list_boards(), runtimes_for(found.facts), board=known)
        return Probed(connection.address, found, proposal)


def runtimes_for(facts: Facts) -> tuple[RuntimeChoice, ...]:
    """The runtimes that have wheels for a board. First the one that runs pruned networks sparse on every core."""
    fitting = [runtime for runtime in RUNTIMES.values() if why_not(runtime, facts) is None]
    fitting.sort(key=lambda runtime: runtime.name != "ai-edge-litert")
    python = ".".join(map(str, facts.python[:2])) if facts.python else ""
    source = f"has wheels for Python {python} on {facts.wheel_architecture}"
    return tuple(RuntimeChoice(runtime.name, runtime.version, source) for runtime in fitting)


def add_board(name: str, probed: Probed, **options: Unpack[AddBoardOptions]) -> Path:
    """Writes the proposed file to the user's folder, where ``--board NAME`` finds it.

    Raises BoardError for a name that files cannot have, or that is taken, unless ``replace`` is set. ``options``: see
    :class:`sdk.api.board_requests.AddBoard`. Raises TypeError for others.
    """
    request = build(AddBoard, options, function="add_board")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", name):
        raise BoardError(
            "this cannot be the name of a board",
            expected="lower-case letters, digits and hyphens",
            found=repr(name)[:80],
        )
    path = user_folder() / f"{name}.toml"
    if path.exists() and not request.replace:
        raise BoardError(
            f"there is a board {name} already", found=str(path), hint="Choose another name, or --replace."
        )
    parse_board(probed.proposal.toml, name=name, origin=str(path))  # what is written can be read
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, probed.proposal.toml.encode())
    return path


def doctor_board(board: str, *, progress: Progress = silent, **target: Unpack[TargetOptions]) -> Diagnosis:
    """Checks every byte of Armlet on a board, repairs what it can, and returns what it found and did.

    Damaged environments and agents are sent again, damaged quick starts are made again. ``target``: see
    :class:`sdk.deploy.target.Target`. Raises RemoteError, ProvisionError.
    """
    reach = build(Target, target, function="doctor_board")
    with open_connection(board, reach, progress) as (known, connection):
        progress("look at the environments", 0, 0)
        root = agent_folder(connection)
        whole = launcher_is_whole(connection, root)  # before what it names may go
        count, damaged = check_trees(connection, root)
        found = [(f"{tree[:20]}... was damaged", "sent again, where it is needed") for tree in damaged]
        session = make_ready(known, connection, reach, progress)
        if count and (not whole or damaged):
            prefer(connection, session.provisioned)
            if not whole:
                found.append(("~/.armlet/python was lost or damaged", "written again"))
        progress("look at what is deployed", 0, 0)
        said = session.agent.doctor()
        return Diagnosis(
            board=known.name,
            address=connection.address,
            checked={"environments and agents": count, **said.checked},
            found=(*found, *((one.what, one.mended) for one in said.found)),
        )
