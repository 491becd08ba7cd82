"""The options of `sdk compress` and :func:`sdk.compress_model`, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdk.api.file_requests import Opening
from sdk.api.values import FIT, FITS, FOUND, LABELS, PREPROCESS, TASK, PathLike
from sdk.compress.defaults import EPOCHS
from sdk.tools.option import option
from sdk.tools.values import amount, byte_count, count, duration, number, positive, price, share, whole

LEARN = "data"
REACH = "targets"
SEARCH = "search over sparsity and bits of every layer (Optuna)"
AGAIN = "recipes"


@dataclass(frozen=True, kw_only=True)
class Compress(Opening):
    """Data, targets, search and recipes of a compression; None leaves a setting to the effort's default."""

    preprocess: str | None = option(
        None,
        help=f"{PREPROCESS} (default: {FOUND})",
        metavar="NAME",
    )
    labels: PathLike | None = option(None, help=LABELS, parse=Path, metavar="FILE")
    task: str | None = option(None, help=TASK, metavar="TASK")
    fit: str | None = option(None, help=FIT, choices=FITS, rare=True)

    data: PathLike | None = option(
        None, help="images, labels optional: a folder or an .npz", parse=Path, group=LEARN
    )
    check: PathLike | None = option(
        None, help="other images to check the accuracy on", parse=Path, metavar="DATA", group=LEARN
    )
    truth: PathLike | None = option(
        None,
        help="right answers for the images to check on, if they are not beside them: COCO's JSON, a folder of "
        "YOLO's text files or of masks, a table or arrays of classes or values",
        parse=Path,
        metavar="FILE",
        group=LEARN,
        rare=True,
    )
    effort: str = option(
        "auto",
        help="none: by magnitude; calibrate: layer by layer on images; train: end to end on images "
        "(default: the strongest that data and time allow, see docs/compression.md)",
        choices=("auto", "none", "calibrate", "train"),
        group=LEARN,
    )
    samples: int | None = option(
        None, help="use at most N of the images", parse=positive, metavar="N", group=LEARN, rare=True
    )
    epochs: int = option(
        EPOCHS,
        help="epochs of training, at most (default: {default})",
        parse=positive,
        group=LEARN,
        rare=True,
    )
    shift: int = option(
        0,
        help="move training images by up to this many pixels (default: {default})",
        parse=count,
        metavar="PIXELS",
        group=LEARN,
        rare=True,
    )
    price: float = option(
        0.0,
        help="price of a bit of the package in training, in nats of the loss, such as 3e-8 "
        "(default: {default}, none)",
        parse=price,
        metavar="NATS",
        group=LEARN,
        rare=True,
    )

    target_bytes: int | None = option(
        None,
        help="largest size of the package, such as 500KB",
        flag="--target-size",
        parse=byte_count,
        metavar="SIZE",
        group=REACH,
    )
    max_loss: float | None = option(
        None,
        help="points of the task's metric (such as top-1 or mAP) that may be lost",
        parse=number,
        metavar="POINTS",
        group=REACH,
    )
    seconds: float | None = option(
        None,
        help="train and search no longer than this, such as 20m",
        flag="--time-budget",
        parse=duration,
        metavar="TIME",
        group=REACH,
    )
    sparsity: float | None = option(
        None,
        help="share of weights that becomes zero (default: without data, as much as the outputs allow, layer by layer)",
        parse=share,
        group=REACH,
    )
    clusters: int | None = option(
        None,
        help="centroids per layer, at most: 2 to 256, solved weights 3 to 256, or 0 for no limit but in training "
        "(default: without data, a grid per layer, as fine as the outputs need)",
        parse=whole,
        group=REACH,
    )
    scope: str = option(
        "layer",
        help="compare magnitudes per layer, or across all",
        choices=("layer", "global"),
        group=REACH,
        rare=True,
    )
    board: str | None = option(
        None,
        help="put the graph into the form that runs fastest on this board, with the same answers; see `sdk boards`",
        flag="--for",
        metavar="BOARD",
        group=REACH,
    )
    predict: bool = option(
        False,
        help="let predicted milliseconds decide between the dense and the sparse form for the board of --for, instead "
        "of an estimate of instructions; takes a minute (see `sdk predict`)",
        group=REACH,
        rare=True,
    )
    block: int | None = option(
        None,
        help="output channels that become zero together, as sparse kernels need it: 2 in 1x1 convolutions, for the "
        "runtime's; 4 in every layer but depthwise ones, for Armlet's (default: 2 where the board of --for runs 1x1 "
        "convolutions sparse, else 1)",
        parse=whole,
        choices=(1, 2, 4),
        group=REACH,
        rare=True,
    )
    target_macs: int | None = option(
        None,
        help="remove whole channels until an inference takes at most this many multiply-accumulates, such as 250M",
        parse=amount,
        metavar="N",
        group=REACH,
    )
    target_instructions: int | None = option(
        None,
        help="the same for instructions on the emulated core of the board of --for, else a Cortex-A72",
        parse=amount,
        metavar="N",
        group=REACH,
    )
    channels: float = option(
        0.0,
        help="share of the multiply-accumulates to remove as whole channels, before all else; makes every runtime "
        "faster; needs --data (default: {default})",
        parse=share,
        metavar="SHARE",
        group=REACH,
    )
    distill_epochs: int = option(
        0,
        help="epochs of training of what is left after whole channels went, on what the original's layers make of the "
        "images, without labels (default: {default}, it is solved layer by layer)",
        parse=count,
        metavar="N",
        group=REACH,
        rare=True,
    )
    low_rank: bool = option(
        True,
        help="without training, split fully connected and 1x1 layers into two of low rank where that takes fewer "
        "bits at equal error (default: auto)",
        choices={"auto": True, "off": False},
        group=REACH,
        rare=True,
    )
    equalise: bool = option(
        False,
        help="without data: even out the channels of neighbouring layers, exactly, before weights are shared",
        group=REACH,
        rare=True,
    )
    correct_biases: bool = option(
        False,
        help="without data: restore the mean of each channel on made-up images by its bias",
        group=REACH,
        rare=True,
    )
    int8: bool = option(
        False,
        help="8-bit weights and values; ranges are taken from --data; weights are solved to be small with --effort "
        "calibrate, --target-size or --max-loss",
        group=REACH,
    )

    allow_unchanged: bool = option(
        False, help="write the package even if no layer can be compressed", group=REACH, rare=True
    )

    trials: int | None = option(
        None,
        help="number of recipes to try (default with --storage: 30)",
        parse=positive,
        metavar="N",
        group=SEARCH,
        rare=True,
    )
    storage: str | None = option(
        None,
        help="keep the study in this storage, so that several machines can share it: sqlite:///FILE, postgresql://..., "
        "journal:FILE, redis://HOST, grpc://HOST:PORT (default: in memory)",
        metavar="URL",
        group=SEARCH,
        rare=True,
    )
    study: str | None = option(
        None,
        help="name of the study in the storage (default: armlet)",
        metavar="NAME",
        group=SEARCH,
        rare=True,
    )

    recipe: PathLike | None = option(
        None, help="replay a recipe, to the same bytes", parse=Path, metavar="FILE", group=AGAIN
    )
    save_recipe: PathLike | None = option(
        None, help="write the recipe as TOML", parse=Path, metavar="FILE", group=AGAIN
    )
    save_tflite: PathLike | None = option(
        None, help="write the compressed .tflite too", parse=Path, metavar="FILE", group=AGAIN, rare=True
    )
