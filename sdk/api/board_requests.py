"""The options of the commands that measure on a board or look at it, each declared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdk.api.compress_request import Compress
from sdk.api.file_requests import CheckData, Opening, PackedOnTheWay
from sdk.api.values import FIT, FITS, FOUND, LABELS, PREPROCESS, TASK, PathLike, sizes
from sdk.compress.defaults import CLUSTERS, EPOCHS, SPARSITY
from sdk.deploy.target import Target
from sdk.tools.option import option, part, same
from sdk.tools.values import counts, duration, number, positive, seconds, share, shares, whole, words

Threads = int | Literal["all"]

ACCURACY = "accuracy"
VARIANTS = "variants, besides dense float and int8"
MEASUREMENT = "measurement"
RESULT = "result"
TIMES = "predicted milliseconds"


@dataclass(frozen=True, kw_only=True)
class Bench(Opening, Target):
    """How models are measured on a board."""

    sizes: Sequence[tuple[int, int]] | None = option(
        None,
        help="sizes of the images, such as 224x224 (default: the model's own; for a suite, all of its sizes)",
        parse=sizes,
        metavar="HxW[,HxW]",
        rare=True,
    )
    threads: Threads | Sequence[Threads] = option(
        1,
        help="numbers of threads of the runtime, or all (default: {default}, an answer for each)",
        parse=counts,
        metavar="N[,N]",
        on_command_line=(1, "all"),
    )
    samples: int = option(4096, help="inferences per model (default: {default})", parse=positive, rare=True)
    seconds: float = option(
        10.0, help="stop after this many seconds, if that comes first (default: {default})", parse=seconds
    )
    precision: float | None = option(
        None,
        help="measure until the 95 %% intervals are within this, such as 1%%, or --seconds are over",
        parse=share,
        metavar="X%",
    )
    self_test: bool = option(
        False, help="also measure the first model against itself: the smallest difference that can be told"
    )
    predict: bool = option(
        False,
        help="predict milliseconds as `sdk predict` does: without --host instead of measuring, with it beside",
    )
    profile: bool = option(
        True, help="time the whole model only, not its operators", flag="--no-profile", rare=True
    )


@dataclass(frozen=True, kw_only=True)
class SoakTime:
    """How long models take turns, in seconds."""

    soak: float | None = option(
        None,
        help="let the models take turns for this long instead, such as 30m: speed over temperature, clock and power",
        parse=duration,
        metavar="30m",
    )


@dataclass(frozen=True, kw_only=True)
class Soaking(Opening, Target, SoakTime):
    """How long models are soaked; half an hour without ``soak``."""

    sizes: Sequence[tuple[int, int]] | None = same(Bench, "sizes")
    threads: Threads = "all"  # a command line takes those of Bench


@dataclass(frozen=True, kw_only=True)
class SuiteNetworks:
    """Which networks of a suite; None: all."""

    networks: Sequence[str] | None = option(
        None,
        help="networks of the suite, by their names in the zoo, such as shufflenet_v1,alexnet",
        flag="--only",
        parse=words,
        metavar="NETWORK[,NETWORK]",
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class RunSuite(Bench, SuiteNetworks):
    """Which networks of a suite, and how they are measured."""

    predict: bool = False  # from Python alone, as the next
    profile: bool = False


@dataclass(frozen=True, kw_only=True)
class Tune(Opening, Target):
    """How much a variant may lose, which are built, how they are measured, and whether the fastest is deployed."""

    data: PathLike = option(help="images, labels optional: a folder or an .npz", parse=Path, group=ACCURACY)
    check: PathLike | None = option(
        None, help="other images to measure the loss on", parse=Path, metavar="DATA", group=ACCURACY
    )
    preprocess: str | None = option(
        None,
        help=f"{PREPROCESS} (default: {FOUND})",
        metavar="NAME",
        group=ACCURACY,
    )
    labels: PathLike | None = option(None, help=LABELS, parse=Path, metavar="FILE", group=ACCURACY)
    truth: PathLike | None = same(Compress, "truth", group=ACCURACY)
    max_loss: float = option(
        help="points of the metric of the model's task (such as top-1 or mAP) that a variant may lose",
        parse=number,
        metavar="POINTS",
        group=ACCURACY,
    )
    sparsities: Sequence[float] = option(
        (0.7, 0.8, 0.9),
        help="shares of zeros, or none (default: {default})",
        parse=shares,
        metavar="X[,X]",
        group=VARIANTS,
        rare=True,
    )
    channels: Sequence[float] = option(
        (0.25,),
        help="shares of the multiply-accumulates to remove with whole channels, or none (default: {default})",
        parse=shares,
        metavar="X[,X]",
        group=VARIANTS,
        rare=True,
    )
    effort: str = option(
        "calibrate",
        help="how zeros are made, as in `sdk compress` (default: {default})",
        choices=("none", "calibrate", "train"),
        group=VARIANTS,
        rare=True,
    )
    samples: int | None = option(
        None,
        help="calibrate on at most N images",
        parse=positive,
        metavar="N",
        group=VARIANTS,
        rare=True,
    )
    epochs: int = option(
        EPOCHS, help="epochs of training (default: {default})", parse=positive, group=VARIANTS, rare=True
    )
    threads: Sequence[int] | None = option(
        None,
        help="threads of the runtime (default: 1 and all cores)",
        parse=counts,
        metavar="N[,N]",
        group=MEASUREMENT,
        rare=True,
    )
    inferences: int = option(
        256,
        help="inferences per candidate (default: {default})",
        parse=positive,
        group=MEASUREMENT,
        rare=True,
    )
    seconds: float = option(
        5.0,
        help="stop after this many seconds, if that comes first (default: {default})",
        parse=seconds,
        group=MEASUREMENT,
        rare=True,
    )
    deploy: bool = option(
        True, help="measure only; nothing stays on the board", flag="--no-deploy", group=RESULT
    )
    keep: PathLike | None = option(
        None,
        help="also write the winner's package to this file",
        parse=Path,
        metavar="FILE.armlet",
        group=RESULT,
    )


@dataclass(frozen=True, kw_only=True)
class Evaluate(Opening, Target):
    """Which images are evaluated, on the board and on the host."""

    data: PathLike | None = option(
        help="folder of images, or .npz with x and y (default: inputs made up for the model)",
        parse=Path,
        on_command_line=None,
    )
    preprocess: str | None = option(None, help=f"{PREPROCESS} (default: {FOUND})", metavar="NAME")
    labels: PathLike | None = option(None, help=LABELS, parse=Path, metavar="FILE")
    task: str | None = option(None, help=TASK, metavar="TASK")
    fit: str | None = option(None, help=FIT, choices=FITS, rare=True)
    truth: PathLike | None = same(CheckData, "truth")
    original: PathLike | None = option(
        None,
        help="the model that this one was made from: both are compared on the same images",
        parse=Path,
        metavar="MODEL",
    )
    split: str | None = option(
        None, help="part of the data to use, where it has both", choices=("train", "test"), rare=True
    )
    limit: int | None = option(None, help="use at most N images, taken evenly", parse=positive)


@dataclass(frozen=True, kw_only=True)
class Predict(Target):
    """How a model is packed on the way, and which part of an answer is shown."""

    packing: PackedOnTheWay = part(PackedOnTheWay)
    top: int = option(5, help="classes in an answer (default: {default})", parse=positive, metavar="N")
    threshold: float | None = option(
        None,
        help="least score of a box (default: as the package says, else 0.25)",
        parse=number,
        metavar="SCORE",
    )


@dataclass(frozen=True, kw_only=True)
class PredictTime:
    """For which boards and runtimes milliseconds are predicted."""

    packing: PackedOnTheWay = part(PackedOnTheWay)
    runtime: str | None = same(Target, "runtime")
    threads: Threads | Sequence[Threads] = option(
        1,
        help="more than one thread gives a bound: the same inference split over this many cores without loss "
        "(default: {default})",
        parse=counts,
        metavar="N[,N]",
        on_command_line=(1,),
        group=TIMES,
    )
    operators: bool = option(
        False,
        help="the time of every operator, too; where the runtime reports none (tflite-runtime), each is run alone as a "
        "model of its own, which takes two to three times as long",
        group=TIMES,
    )
    calibrate: PathLike | None = option(
        None,
        help="run that `sdk bench -o` kept on one of the boards: its measured model scales the predictions for it",
        parse=Path,
        metavar="RUN.json",
        group=TIMES,
    )


@dataclass(frozen=True, kw_only=True)
class Demo(Target):
    """How the demo's networks are compressed and measured."""

    sparsity: float = option(
        SPARSITY, help="share of weights that becomes zero (default: {default})", parse=share
    )
    clusters: int = option(CLUSTERS, help="centroids per layer, 0 for none (default: {default})", parse=whole)
    samples: int = 4096  # from Python alone, as the next
    seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Calibrate(Target):
    """How a board is measured."""

    threads: int = option(1, help="threads of the runtime (default: {default})", parse=positive, rare=True)


@dataclass(frozen=True, kw_only=True)
class FetchRuntimes:
    """Which runtimes are fetched for a board."""

    python_version: str | None = option(
        None, help="Python on the board (default: as its file says)", metavar="X.Y"
    )
    all_runtimes: bool = option(False, help="fetch every runtime that fits, not only the first")


@dataclass(frozen=True, kw_only=True)
class AddBoard:
    """How a board's file is written."""

    replace: bool = option(False, help="replace a board file of that name")
