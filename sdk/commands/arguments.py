"""Arguments that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def model_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, help=".keras, .h5, SavedModel folder or .tflite")
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
        help=f"what the model expects of a pixel: tf, torch, 01, raw or mean=...:scale=... (default: {default})",
    )
    sub.add_argument(
        "--labels", type=Path, metavar="FILE", help="what its classes are called, a label a line"
    )


def recipe_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--sparsity", type=float, default=0.7, help="share of weights that becomes zero (default: 0.7)"
    )
    sub.add_argument("--clusters", type=int, default=32, help="centroids a layer, 0 for none (default: 32)")


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


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text}")
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, found {text}")
    return value


def sizes(text: str) -> tuple[tuple[int, int], ...]:
    from sdk.explain.suites import parse_size

    try:
        return tuple(dict.fromkeys(parse_size(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes such as 224x224,480x640, found {text!r}") from None


def counts(text: str) -> tuple[int | str, ...]:
    """``1,all`` as (1, "all")."""
    try:
        return tuple(dict.fromkeys(part if part == "all" else positive(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers of threads such as 1,4,all, found {text!r}"
        ) from None


def shares(text: str) -> tuple[float, ...]:
    found = tuple(dict.fromkeys(share(part) for part in text.split(",")))
    if not all(0 < value < 1 for value in found):
        raise argparse.ArgumentTypeError(f"expected shares above 0 and below 1 such as 0.7,0.8, found {text}")
    return found


def share(text: str) -> float:
    value = float(text[:-1]) / 100.0 if text.endswith("%") else float(text)
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"expected a share such as 5% or 0.05, found {text}")
    return value


def price(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected nats a bit, from 0 to below 1, found {text}")
    return value


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and below a day, found {text}")
    return value


def byte_count(text: str) -> int:
    number = text.strip().upper().removesuffix("B").strip()
    factor = {"K": 1e3, "M": 1e6, "G": 1e9}.get(number[-1:], 1)
    try:
        size = int(float(number.rstrip("KMG")) * factor)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"expected a size such as 500KB or 1.8MB, found {text!r}")
    return size


def kept_releases(text: str) -> int:
    """How many releases of a name a board keeps: what runs, and at least one to go back to."""
    from sdk.board.description.records import MAX_KEEP, MIN_KEEP

    if not text.isdecimal() or not MIN_KEEP <= int(text) <= MAX_KEEP:
        raise argparse.ArgumentTypeError(f"expected {MIN_KEEP} to {MAX_KEEP} releases, found {text!r}")
    return int(text)


def duration(text: str) -> float:
    for unit, factor in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(unit):
            return seconds(repr(float(text[: -len(unit)]) * factor))
    return seconds(text)


def size(text: str) -> tuple[int, int]:
    sides = shape(text)
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"expected a size such as 224 or 480x640, found {text!r}")
    return sides[0], sides[-1]


def shape(text: str) -> tuple[int, ...]:
    try:
        sides = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        sides = ()
    if not sides or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"expected sizes such as 224x224x3, found {text!r}")
    return sides
