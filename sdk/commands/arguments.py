"""Arguments that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdk.api.values import LABELS, PREPROCESS, positive, shape


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


def board_arguments(sub: argparse.ArgumentParser, board: str | None = None, *, required: bool = True) -> None:
    sub.add_argument(
        "--board",
        required=required and board is None,
        default=board,
        help="name of a board, see `sdk boards`" + (f" (default: {board})" if board else ""),
    )
    address_arguments(sub)


def target_arguments(
    sub: argparse.ArgumentParser, board: str | None = None, *, required: bool = True
) -> None:
    board_arguments(sub, board, required=required)
    sub.add_argument(
        "--runtime", choices=("tflite-runtime", "ai-edge-litert"), help="default: as the board's file says"
    )
    sub.add_argument("--kernel", choices=("auto", "c", "numpy"), default="auto", help="decoder on the board")


def address_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--host", help="address of the board, or a name of ~/.ssh/config")
    sub.add_argument("--port", type=positive, help="port of its SSH server (default: 22)")
    sub.add_argument("--user", help="login name (default: as ~/.ssh/config or the board's file says)")
    sub.add_argument("--key", type=Path, help="private key (default: the SSH agent and the usual files)")
    sub.add_argument(
        "--accept-new-host-key",
        action="store_true",
        help="trust the key of a host that is not in known_hosts; a changed key is always refused",
    )


def address(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("host", "port", "user", "key", "accept_new_host_key")
    return {name: getattr(arguments, name) for name in names}


def target(arguments: argparse.Namespace) -> dict[str, Any]:
    return {**address(arguments), "runtime": arguments.runtime, "kernel": arguments.kernel}


def output_argument(sub: argparse.ArgumentParser, help_text: str) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=help_text)
