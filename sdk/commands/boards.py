"""Commands about boards: the catalogue, what a board needs, what it is, what it can do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdk.api.board_requests import AddBoard, Calibrate, FetchRuntimes
from sdk.commands.arguments import board_argument, board_arguments
from sdk.commands.options import add_options, keywords
from sdk.commands.output import progress_bar, show
from sdk.commands.parser import add_command, add_group
from sdk.commands.results import (
    AddedBoard,
    FetchedRuntimes,
    KnownBoard,
    KnownBoards,
    SignaturePolicy,
    StoppedBoard,
)
from sdk.deploy.target import Address, Target

BOARDS = ("list the boards that are known, or show one with the sources of its figures", "sdk boards rpi4")


def register(commands: Any) -> None:
    """Adds the commands to the parser's group."""
    sub = add_command(commands, "boards", _boards, *BOARDS)
    sub.add_argument(
        "name", nargs="?", metavar="BOARD", help="show this one, with the sources of its figures"
    )

    board_commands = add_group(commands, "board", "fetch what a board needs; start and stop the virtual one")
    sub = add_command(board_commands, "list", _boards, *BOARDS)
    sub.add_argument(
        "name", nargs="?", metavar="BOARD", help="show this one, with the sources of its figures"
    )
    sub = add_command(
        board_commands,
        "fetch",
        _board_fetch,
        "fetch the runtime for a board now, so that a later deploy needs no internet",
        "sdk board fetch rpi4",
    )
    sub.add_argument("board", help="name of a board, see `sdk boards`")
    add_options(sub, FetchRuntimes)

    sub = add_command(
        board_commands,
        "probe",
        _board_probe,
        "look at a board: its cores, clocks, system, and which board of the catalogue it is",
        "sdk board probe --host raspberrypi.local",
    )
    sub.add_argument("--board", help="board on this machine (local, virtual-arm64), or one to compare with")
    add_options(sub, Address)

    sub = add_command(
        board_commands,
        "add",
        _board_add,
        "look at a board and write its file to your own folder",
        "sdk board add kitchen-pi --host kitchen.local",
    )
    sub.add_argument("name", help="name of the board, for --board")
    add_options(sub, AddBoard, Address)

    _register_emulated(board_commands)
    _register_connected(board_commands)


def _register_emulated(board_commands: Any) -> None:
    for name, run, summary in (
        ("start", _board_start, "start an emulated ARM board on this machine (needs root)"),
        ("stop", _board_stop, "stop an emulated board"),
        ("status", _board_status, "show whether an emulated board runs, and how to reach it"),
    ):
        sub = add_command(board_commands, name, run, summary, f"sdk board {name} virtual-arm64")
        sub.add_argument("board", nargs="?", default="virtual-arm64", help="default: virtual-arm64")


def _register_connected(board_commands: Any) -> None:
    sub = add_command(
        board_commands,
        "doctor",
        _board_doctor,
        "check every byte of Armlet on a board and repair what it can; exit status 1: something is left to do",
        "sdk board doctor --board rpi4 --host raspberrypi.local",
    )
    board_argument(sub)
    add_options(sub, Target)

    sub = add_command(
        board_commands,
        "require-signatures",
        _board_require_signatures,
        "make a board accept only packages signed by an allowed key",
        "sdk board require-signatures --board rpi4 --host raspberrypi.local --allowed-signers allowed_signers",
    )
    board_arguments(sub)
    who = sub.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--allowed-signers",
        type=Path,
        metavar="FILE",
        help="lines of a name and a public key, see ssh-keygen(1)",
    )
    who.add_argument("--off", action="store_true", help="accept unsigned packages again")

    sub = add_command(
        board_commands,
        "calibrate",
        _board_calibrate,
        "measure the peaks of a board through its runtime, for later reports",
        "sdk board calibrate --board rpi4 --host raspberrypi.local",
    )
    board_argument(sub)
    add_options(sub, Calibrate)


def _boards(arguments: argparse.Namespace) -> None:
    from sdk.board.catalogue import list_boards, load_board

    if arguments.name is not None:
        show(arguments, KnownBoard(load_board(arguments.name)))
    else:
        show(arguments, KnownBoards(list_boards()))


def _board_fetch(arguments: argparse.Namespace) -> None:
    from sdk.api.boards.fetch import fetch_runtimes

    with progress_bar(arguments) as progress:
        fetched = fetch_runtimes(arguments.board, **keywords(FetchRuntimes, arguments), progress=progress)
    show(arguments, FetchedRuntimes(fetched))


def _board_probe(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import probing

    with progress_bar(arguments) as progress:
        probed = probing.probe_board(arguments.board, progress=progress, **keywords(Address, arguments))
    show(arguments, probed)


def _board_add(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import probing

    with progress_bar(arguments) as progress:
        probed = probing.probe_board(progress=progress, **keywords(Address, arguments))
    path = probing.add_board(arguments.name, probed, **keywords(AddBoard, arguments))
    show(arguments, AddedBoard(arguments.name, path, tuple(probed.proposal.warnings)))


def _board_start(arguments: argparse.Namespace) -> None:
    from sdk.board import virtual as virtual_board

    with progress_bar(arguments) as progress:
        status = virtual_board.start(arguments.board, progress=progress)
    show(arguments, status)


def _board_stop(arguments: argparse.Namespace) -> None:
    from sdk.board import virtual as virtual_board

    stopped = virtual_board.stop(arguments.board)
    show(arguments, StoppedBoard(arguments.board, stopped))


def _board_status(arguments: argparse.Namespace) -> None:
    from sdk.board import virtual as virtual_board

    status = virtual_board.status(arguments.board)
    show(arguments, status)


def _board_doctor(arguments: argparse.Namespace) -> int:
    from sdk.api.boards import probing

    with progress_bar(arguments) as progress:
        result = probing.doctor_board(arguments.board, progress=progress, **keywords(Target, arguments))
    show(arguments, result)
    return 0 if result.healthy else 1


def _board_require_signatures(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import releases

    with progress_bar(arguments) as progress:
        releases.require_signatures(
            arguments.board, arguments.allowed_signers, progress=progress, **keywords(Address, arguments)
        )
    show(arguments, SignaturePolicy(arguments.board, arguments.allowed_signers is not None))


def _board_calibrate(arguments: argparse.Namespace) -> None:
    from sdk.api.measuring.measure import calibrate_board

    with progress_bar(arguments) as progress:
        result = calibrate_board(arguments.board, **keywords(Calibrate, arguments), progress=progress)
    show(arguments, result)
