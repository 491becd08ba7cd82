"""What `sdk bench`, `sdk tune` and `sdk eval` can be asked for, each option once. Each says which board, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdk.api.values import LABELS, PREPROCESS, PathLike, sizes
from sdk.deploy.target import Target
from sdk.tools.option import option
from sdk.tools.values import counts, positive, seconds, shares

Threads = int | Literal["all"]

ACCURACY = "accuracy"
VARIANTS = "variants, besides dense float and int8"
MEASUREMENT = "measurement"
RESULT = "result"


@dataclass(frozen=True, kw_only=True)
class Bench(Target):
    """How models are measured on a board."""

    sizes: Sequence[tuple[int, int]] | None = option(
        None,
        help="images of these sizes, such as 224x224 (default: the model's own; of a suite, all)",
        parse=sizes,
        metavar="HxW[,HxW]",
    )
    threads: Threads | Sequence[Threads] = option(
        1,
        help="threads of the runtime, a number or all (default: {default}: two answers)",
        parse=counts,
        metavar="N[,N]",
        on_command_line=(1, "all"),
    )
    samples: int = option(1024, help="inferences per model (default: {default})", parse=positive)
    seconds: float = option(10.0, help="or this long, whichever is first (default: {default})", parse=seconds)
    profile: bool = option(True, help="do not time the operators, only the whole", flag="--no-profile")


@dataclass(frozen=True, kw_only=True)
class Tune(Target):
    """What a variant may lose, which are built, how they are measured, and what becomes of the fastest."""

    data: PathLike = option(help="images, labels optional: a folder or an .npz", parse=Path, group=ACCURACY)
    check: PathLike | None = option(
        None, help="other images to measure the loss on", parse=Path, metavar="DATA", group=ACCURACY
    )
    preprocess: str | None = option(
        None,
        help=f'{PREPROCESS} (default: as the model says, else "tf")',
        metavar="NAME",
        group=ACCURACY,
    )
    labels: PathLike | None = option(None, help=LABELS, parse=Path, metavar="FILE", group=ACCURACY)
    max_loss: float = option(
        help="of top-1 that a variant may lose, or of equal answers",
        parse=float,
        metavar="POINTS",
        group=ACCURACY,
    )
    sparsities: Sequence[float] = option(
        (0.7, 0.8, 0.9),
        help="shares of zeros (default: {default})",
        parse=shares,
        metavar="X[,X]",
        group=VARIANTS,
    )
    effort: str = option(
        "calibrate",
        help="how zeros are made, as in `sdk compress` (default: {default})",
        choices=("none", "calibrate", "train"),
        group=VARIANTS,
    )
    samples: int | None = option(
        None, help="at most so many images to calibrate on", parse=positive, metavar="N", group=VARIANTS
    )
    epochs: int = option(30, help="of training (default: {default})", parse=positive, group=VARIANTS)
    threads: Sequence[int] | None = option(
        None,
        help="of the runtime (default: 1 and all cores)",
        parse=counts,
        metavar="N[,N]",
        group=MEASUREMENT,
    )
    inferences: int = option(
        256, help="per candidate (default: {default})", parse=positive, group=MEASUREMENT
    )
    seconds: float = option(
        5.0,
        help="or this long, whichever is first (default: {default})",
        parse=seconds,
        group=MEASUREMENT,
    )
    deploy: bool = option(
        True, help="measure only; nothing stays on the board", flag="--no-deploy", group=RESULT
    )
    keep: PathLike | None = option(
        None, help="write the winner's package here too", parse=Path, metavar="FILE.armlet", group=RESULT
    )


@dataclass(frozen=True, kw_only=True)
class Evaluate(Target):
    """Which images are counted on the board and here."""

    data: PathLike = option(help="folder of images, or .npz with x and y", parse=Path)
    preprocess: str | None = option(
        None, help="tf, torch, 01, raw or mean=...:scale=... (default: as the package says)"
    )
    split: str | None = option(None, help="where the data have both", choices=("train", "test"))
    limit: int | None = option(None, help="at most so many images, taken evenly", parse=positive)
