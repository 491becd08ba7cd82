"""Arguments that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdk.api.values import LABELS, PREPROCESS
from sdk.commands.options import add_options
from sdk.deploy.target import Address, Target
from sdk.tools.option import options_of
from sdk.tools.values import shape


def model_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, help=".keras, .h5, SavedModel folder or .tflite")


def shape_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--input-shape",
        type=shape,
        metavar="HxWxC",
        help="where the model leaves it open, such as 224x224x3",
    )


def usage_arguments(sub: argparse._ActionsContainer, default: str = "as the model says, if it does") -> None:
    sub.add_argument(
        "--preprocess",
        metavar="NAME",
        help=f"{PREPROCESS} (default: {default})",
    )
    sub.add_argument("--labels", type=Path, metavar="FILE", help=LABELS)


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
