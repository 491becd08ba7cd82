"""Arguments that several commands share: models, boards and addresses."""

from __future__ import annotations

import argparse
from pathlib import Path

from sdk.commands.options import add_options
from sdk.deploy.target import Address


def model_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, help=".keras, .h5, SavedModel folder or .tflite")


def board_argument(sub: argparse.ArgumentParser, board: str | None = None, *, required: bool = True) -> None:
    sub.add_argument(
        "--board",
        required=required and board is None,
        default=board,
        help="name of a board, see `sdk boards`" + (f" (default: {board})" if board else ""),
    )


def board_arguments(sub: argparse.ArgumentParser, board: str | None = None, *, required: bool = True) -> None:
    board_argument(sub, board, required=required)
    add_options(sub, Address)


def output_argument(sub: argparse.ArgumentParser, help_text: str) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=help_text)
