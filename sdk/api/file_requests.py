"""The options of the commands on files, except `sdk compress`, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdk.api.values import FIT, FITS, FOUND, LABELS, PREPROCESS, TASK, InputShape, PathLike
from sdk.deploy.agent.limits import CheckLimits
from sdk.tools.option import option, part, same
from sdk.tools.values import input_shape, positive, share, size, whole, words


@dataclass(frozen=True, kw_only=True)
class Pack:
    """How the model is used, if its file does not say so."""

    preprocess: str | None = option(
        None, help=f"{PREPROCESS} (default: from the model, if it says)", metavar="NAME"
    )
    labels: PathLike | None = option(None, help=LABELS, parse=Path, metavar="FILE")
    task: str | None = option(None, help=TASK, metavar="TASK")
    fit: str | None = option(None, help=FIT, choices=FITS, rare=True)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Input shape, signature and custom layers, which a model's file may leave open."""

    input_shape: InputShape | None = option(
        None,
        help="shape of an input that the model leaves open, such as 224x224x3; NAME=SHAPE for several inputs",
        parse=input_shape,
        metavar="[NAME=]HxWxC[,...]",
        rare=True,
    )
    signature: str | None = option(
        None,
        help="signature of a SavedModel that has several (default: serving_default)",
        metavar="NAME",
        rare=True,
    )
    custom_objects: tuple[str, ...] = option(
        (),
        help="code of your own layers in a Keras file; the file is imported; several with commas",
        parse=words,
        metavar="FILE.py:Class[,...]",
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class Convert(Opening):
    """The options of :class:`Opening` and :class:`Pack`, for `sdk convert`."""

    preprocess: str | None = same(Pack, "preprocess")
    labels: PathLike | None = same(Pack, "labels")
    task: str | None = same(Pack, "task")
    fit: str | None = same(Pack, "fit")


@dataclass(frozen=True, kw_only=True)
class InstallTool:
    """The packages and the Python of a converter's environment."""

    packages: tuple[str, ...] = option(
        (),
        help="packages that pip installs first instead of the usual ones, such as torch==2.13.0+cpu",
        parse=words,
        metavar="REQUIREMENT[,...]",
    )
    python: str | None = option(
        None, help="Python interpreter of the environment (default: the running one)", metavar="PROGRAM"
    )


PACKED = "for a model that is not packed yet"


@dataclass(frozen=True, kw_only=True)
class PackedOnTheWay(Opening):
    """The options of :class:`Opening` and :class:`Pack`, for a command that packs a model first."""

    input_shape: InputShape | None = same(Opening, "input_shape", group=PACKED)
    signature: str | None = same(Opening, "signature", group=PACKED)
    custom_objects: tuple[str, ...] = same(Opening, "custom_objects", group=PACKED)
    preprocess: str | None = same(Pack, "preprocess", group=PACKED)
    labels: PathLike | None = same(Pack, "labels", group=PACKED)
    task: str | None = same(Pack, "task", group=PACKED)
    fit: str | None = same(Pack, "fit", group=PACKED)


@dataclass(frozen=True, kw_only=True)
class UnpackPackage:
    """The decoder of a package."""

    kernel: str = option(
        "auto", help="decoder (default: {default})", choices=("auto", "c", "numpy"), rare=True
    )


@dataclass(frozen=True, kw_only=True)
class DescribeZoo:
    """The form of a network of the zoo; None: as its paper has it. Each network takes some of these."""

    input_size: int | tuple[int, int] | None = option(
        None,
        help="height and width of the input (default: the paper's)",
        flag="--size",
        parse=size,
        metavar="N or HxW",
    )
    classes: int | None = option(None, help="number of classes (default: the paper's)", parse=positive)
    channels: int | None = option(None, help="channels of the input (default: the paper's)", parse=positive)
    width: float | str | None = option(None, help="multiplier of the channels: MobileNet")
    scale: float | str | None = option(None, help="multiplier of the channels: ShuffleNet")
    groups: int | str | None = option(None, help="groups of the 1x1 convolutions: ShuffleNet V1")
    padding: str | None = option(
        None,
        help="same (as TensorFlow) or symmetric (for sparse kernels): MobileNet, ShuffleNet",
        rare=True,
    )
    stem: str | None = option(None, help="max_pool (as the paper) or depthwise: ShuffleNet", rare=True)
    version: str | None = option(None, help="1.0 or 1.1: SqueezeNet", rare=True)
    reduction: int | None = (
        None  # pixels of the image to one of the last layers: MobileNet; from Python alone
    )


@dataclass(frozen=True, kw_only=True)
class WriteZoo(DescribeZoo):
    """The form of a network of the zoo, and its fresh weights."""

    seed: int = option(0, help="seed of the weights (default: {default})", parse=whole, rare=True)


@dataclass(frozen=True, kw_only=True)
class Sign:
    """The signing key, and the name and number that are signed with the package."""

    key: PathLike | None = option(
        None, help="private key, or .pub of one in the SSH agent (default: as ssh's)", parse=Path
    )
    name: str | None = option(
        None, help="name of the release (default: as the package says, else as its file)", metavar="NAME"
    )
    number: int | None = option(
        None,
        help="number of the release; a board takes no smaller one afterwards (default: the time in seconds)",
        parse=positive,
        metavar="N",
    )
    allow_downgrade: bool = option(
        False, help="let boards take this release even if they confirmed one with a larger number"
    )
    limits: CheckLimits = part(CheckLimits)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """The allowed signers, and where the signature is."""

    allowed_signers: PathLike = option(
        help="lines of a name and a public key, see ssh-keygen(1)", parse=Path, metavar="FILE"
    )
    signature: PathLike | None = option(None, help="default: PACKAGE.sig", parse=Path, metavar="FILE")


@dataclass(frozen=True, kw_only=True)
class ExportRun:
    """Tables of a run to write for other tools."""

    export_markdown: PathLike | None = option(
        None, help="write the table as Markdown, for a pull request", parse=Path, metavar="FILE.md"
    )
    export_csv: PathLike | None = option(
        None,
        help="write the table as CSV, one row per model and number of threads",
        parse=Path,
        metavar="FILE.csv",
    )


@dataclass(frozen=True, kw_only=True)
class ShowRun(ExportRun):
    """How a kept run is shown."""

    html: PathLike | None = option(
        None, help="HTML page to write; it loads nothing from a network", parse=Path, metavar="FILE"
    )
    operators: bool = option(False, help="also show every operator")


@dataclass(frozen=True, kw_only=True)
class CheckData(Opening):
    """For which model data are checked, and how many samples are shown."""

    model: PathLike | None = option(
        None, help="package or model that will use the data", flag="--for", parse=Path, metavar="MODEL"
    )
    preprocess: str | None = option(None, help=f"{PREPROCESS} (default: {FOUND})", metavar="NAME")
    labels: PathLike | None = same(Pack, "labels")
    task: str | None = same(Pack, "task")
    truth: PathLike | None = option(
        None,
        help="right answers: COCO's JSON, a folder of YOLO's text files or of masks, a table or arrays of classes or "
        "values (default: what lies beside the data)",
        parse=Path,
        metavar="FILE",
    )
    split: str | None = option(
        None, help="part of the data to use, where it has both", choices=("train", "test"), rare=True
    )
    limit: int | None = option(None, help="use at most N samples, taken evenly", parse=positive)
    sheet: PathLike | None = option(
        None,
        help="write nine samples as the network sees them here",
        parse=Path,
        metavar="FILE.png",
    )


@dataclass(frozen=True, kw_only=True)
class CompareRuns:
    """The limits beyond which a model counts as slower or larger."""

    limit: float = option(
        0.05,
        help="fail if the whole 95 %% interval is slower by more than this (default: 5%%)",
        flag="--fail-if-slower",
        parse=share,
        metavar="X%",
    )
    size_limit: float | None = option(
        None,
        help="fail if a package is larger by more than this, such as 2%% (default: any size passes)",
        flag="--fail-if-larger",
        parse=share,
        metavar="X%",
    )
