"""Arguments that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdk.commands.options import add_options
from sdk.deploy.target import Address, Target
from sdk.tools.option import options_of


def model_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, help=".keras, .h5, SavedModel folder or .tflite")


def recipe_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--sparsity", type=float, default=0.7, help="share of weights that becomes zero (default: 0.7)"
    )
    sub.add_argument("--clusters", type=int, default=32, help="centroids per layer, 0 for none (default: 32)")


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


def target_arguments(
    sub: argparse.ArgumentParser, board: str | None = None, *, required: bool = True
) -> None:
    board_argument(sub, board, required=required)
    add_options(sub, Target)


def address(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in options_of(Address)}


def target(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in options_of(Target)}


def output_argument(sub: argparse.ArgumentParser, help_text: str) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=help_text)
