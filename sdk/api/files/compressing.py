"""Compressing a model: with no data, with calibration on images, or with training on them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.package import reader as package_format
from device_agent.record.preprocess import Preprocess
from device_agent.record.usage import Usage
from sdk.api.files import efforts
from sdk.api.files.packing import PathLike, inspect_bytes, name_of
from sdk.api.files.studies import open_study
from sdk.api.files.usage import package_metadata, usage_of
from sdk.api.results import Compressed
from sdk.board.catalogue import load_board
from sdk.board.description.records import Board
from sdk.compress.board_form import specialise
from sdk.compress.board_form.mirror import flip_inside
from sdk.compress.recipes import targets
from sdk.compress.recipes.recipe import Recipe, learned_from, to_int8
from sdk.compress.recipes.recipe import apply as apply_recipe
from sdk.compress.rewrite.fuse import fuse
from sdk.errors import ModelError
from sdk.explain import theory
from sdk.explain.run import Accuracy
from sdk.graph.on_host.convert import convert
from sdk.graph.on_host.data import has_splits, load_dataset
from sdk.graph.on_host.evaluate import predict, top1
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack as packer
from sdk.tools.progress import Progress, silent
from sdk.tools.system import checkpoint
from sdk.tools.system.files import read_file, write_file
from sdk.tools.system.quiet import quiet_tensorflow

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset


def compress_model(
    source: PathLike,
    output: PathLike,
    *,
    effort: str = "auto",
    sparsity: float | None = None,
    clusters: int | None = None,
    scope: str = "layer",
    data: PathLike | None = None,
    check: PathLike | None = None,
    preprocess: str | None = None,
    labels: PathLike | None = None,
    target_bytes: int | None = None,
    max_loss: float | None = None,
    samples: int | None = None,
    epochs: int = 30,
    shift: int = 0,
    price: float = 0.0,
    seconds: float | None = None,
    trials: int | None = None,
    storage: str | None = None,
    study: str | None = None,
    recipe: PathLike | None = None,
    save_recipe: PathLike | None = None,
    save_tflite: PathLike | None = None,
    board: str | None = None,
    block: int | None = None,
    low_rank: bool = True,
    equalise: bool = False,
    correct_biases: bool = False,
    int8: bool = False,
    input_shape: Sequence[int] | None = None,
    progress: Progress = silent,
) -> Compressed:
    """Any model that :func:`convert_model` reads -> pruned, clustered and packed at ``output``.

    ``data`` (a folder of images or an ``.npz``) is calibrated or trained on, as ``effort`` says: "none", "calibrate",
    "train", or "auto" for the strongest that data and time allow (:mod:`sdk.api.files.efforts`). Accuracy is checked on
    ``check``, else on the test split of ``data``, else on images kept back. ``target_bytes`` or ``max_loss`` (points)
    is met by a few attempts; in what is left of ``seconds``, or for ``trials``, other sparsities and bits a layer are
    searched with Optuna, in memory or in a ``storage`` that several machines work on (with the name of a ``study``).
    Nothing begins that the ``seconds`` that are left are not enough for. ``recipe`` replays a file that
    ``save_recipe`` wrote, to the same bytes. ``board`` names the board that the graph is put into the fastest form
    for, exactly (docs/arm-speed.md); ``block`` how many output channels of a 1x1 convolution are pruned together
    (None: two where that board runs them sparse, else one). With ``low_rank`` layers become two of low rank where
    that is smaller at equal error. Without data ``equalise`` makes the channels of neighbouring layers alike, and
    ``correct_biases`` corrects biases on made-up images, for which ``preprocess`` must be known. With ``int8``
    weights and values become 8-bit numbers, their ranges taken from ``data``. ``preprocess`` (where there are data:
    "tf" by default) and ``labels`` (a text file, a label a line) go into the package, for the board to go by.
    With a ``price`` above 0 (nats of the loss a bit) training counts the bits of the package, too.
    Training keeps its state in the folder ``output`` + ".checkpoint" several times a minute, and a run that was cut
    goes on from there.
    """
    progress("convert", 0, 0)
    graph = convert(source, input_shape=input_shape)
    original = write_graph(graph)
    special_board = None if board is None else load_board(board)
    if graph.input_flips and data is not None:
        raise ModelError(
            f"{source} was mirrored for a board already",
            expected="the model that it was made from, which takes images as they are",
            found="one whose images must be flipped",
        )
    usage = usage_of(graph, preprocess=preprocess, labels=labels)
    if usage.preprocess is None and (data is not None or check is not None):
        usage = replace(usage, preprocess=Preprocess.parse("tf"))
    if data is not None and effort != "none":
        with quiet_tensorflow():  # its first import talks
            import tensorflow  # noqa: F401
    kept: checkpoint.Folder | None = None
    why = ""
    splits = data is not None and has_splits(data)
    learn = _dataset(graph, data, usage, "train" if splits else None)
    checked = _dataset(graph, check, usage, None)
    if checked is None and splits:
        checked = _dataset(graph, data, usage, "test")

    if recipe is not None:
        text = read_file(Path(recipe), "a recipe that sdk compress wrote").decode("utf-8", "replace")
        used = Recipe.from_toml(text)
        made = targets.replay(graph, used, learn, progress, check=checked)
    else:
        deadline = None if seconds is None else time.monotonic() + seconds
        if effort == "auto" and not int8:
            progress("choose", 0, 0)
            effort, why = efforts.strongest(graph, learn, samples=samples, epochs=epochs, seconds=seconds)
        aims = target_bytes is not None or max_loss is not None
        searched = trials is not None or storage is not None or (seconds is not None and aims and not int8)
        searched = searched and (learn is not None or checked is not None)
        settings = targets.Settings(
            effort=effort,
            sparsity=sparsity,
            scope=scope,
            clusters=clusters,
            target_bytes=target_bytes,
            max_loss=max_loss,
            samples=samples,
            epochs=epochs,
            shift=shift,
            price=price,
            block=block if block is not None else _block(graph, special_board, effort, sparsity, int8),
            low_rank=low_rank,
            equalise=equalise,
            made_up=_named(usage) if correct_biases else "",
            int8=int8,
            seconds_left=None if deadline is None else lambda: deadline - time.monotonic(),
            study=open_study(storage, study) if searched else None,
            trials=trials,
        )
        if effort == "train" and learn is not None:
            kept = _checkpoints(settings, Path(output), original, learn)
            settings = replace(settings, checkpoints=kept)
        made = targets.compress(graph, learn, settings, progress, check=checked)
    special = None
    if special_board is not None:
        special = specialise.for_board(
            made.graph, special_board, caller_flips=True, allow_sparse=not made.recipe.int8
        )
    final = made.graph if special is None else special.graph
    if made.recipe.int8:
        progress("quantise", 0, 0)
        with quiet_tensorflow():
            final = to_int8(final if special is not None else fuse(final), made.recipe, learn, progress)
    package = packed(
        final,
        made.recipe,
        original,
        name=name_of(source),
        metadata=package_metadata(final, replace(usage, flip=final.input_flips)),
        more={} if special is None else {"board": board, "original_macs": _macs(graph)},
        progress=progress,
    )
    accuracy = None
    on = checked if checked is not None else _unseen(learn, made.recipe)
    if made.recipe.effort == "none" and on is not None:
        accuracy = check_accuracy(original, package_format.unpack(package).tflite, on, progress=progress)
        if int8 and max_loss is not None:
            made = replace(made, target_met=accuracy.points_lost <= max_loss)
    write_file(Path(output), package)
    if kept is not None:
        kept.remove()
    if save_recipe is not None:
        write_file(Path(save_recipe), made.recipe.to_toml().encode())
    if save_tflite is not None:
        # For other runtimes, which do not know that the image is to be flipped.
        write_file(Path(save_tflite), write_graph(flip_inside(final)))
    return Compressed(
        source=str(source),
        output=Path(output),
        original_bytes=len(original),
        effort=made.recipe.effort,
        sparsity=made.recipe.sparsity,
        clusters=made.recipe.clusters,
        inspection=inspect_bytes(package),
        accuracy=accuracy,
        statement=made.statement,
        target_met=made.target_met,
        why=why,
        block=made.recipe.block,
        int8=made.recipe.int8,
        form="" if special is None else special.form,
        passes=() if special is None else tuple(asdict(p) for p in special.passes),
        curve=tuple(
            {
                "package_bytes": point.package_bytes,
                "accuracy_percent": point.accuracy_percent,
                "agreement_percent": point.agreement_percent,
                "recipe": point.recipe.to_json(),
            }
            for point in made.curve
        ),
    )


def _checkpoints(
    settings: targets.Settings, output: Path, original: bytes, data: Dataset
) -> checkpoint.Folder:
    """The folder beside the output that a training which was cut goes on from; it goes when the package is written."""
    asked = (
        "sparsity",
        "clusters",
        "target_bytes",
        "max_loss",
        "samples",
        "epochs",
        "shift",
        "price",
        "block",
        "seed",
    )
    about = {
        "model": hashlib.sha256(original).hexdigest(),
        "images": data.digest(),
        **{name: getattr(settings, name) for name in asked},
    }
    return checkpoint.Folder(checkpoint_of(output), about)


def checkpoint_of(output: PathLike) -> Path:
    """The folder in which a training for this package keeps its state until the package is written."""
    return Path(output).with_name(Path(output).name + ".checkpoint")


def compress_graph(
    graph: Graph,
    recipe: Recipe,
    *,
    name: str,
    metadata: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> bytes:
    """A graph -> package bytes, by a recipe that needs no data."""
    return packed(
        apply_recipe(graph, recipe, progress),
        recipe,
        write_graph(graph),
        name=name,
        metadata=metadata,
        progress=progress,
    )


def packed(
    graph: Graph,
    recipe: Recipe,
    original: bytes,
    *,
    name: str,
    metadata: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> bytes:
    """Package bytes, whose metadata name the recipe and the original that they came from, and ``more`` of the like."""
    provenance = {
        "recipe": recipe.to_json(),
        "original_sha256": hashlib.sha256(original).hexdigest(),
        "original_bytes": len(original),
        **(more or {}),
    }
    return packer.pack(
        write_graph(graph),
        metadata={"name": name, **(metadata or {}), "provenance": provenance},
        progress=lambda done, total: progress("pack", done, total),
    )


def _block(graph: Graph, board: Board | None, effort: str, sparsity: float | None, int8: bool) -> int:
    """Output channels that are pruned together, where the user leaves it open."""
    if board is None or int8:
        return 1
    if sparsity is None:
        if effort == "calibrate":
            return 1  # zeros are then a by-product, too few to run sparse
        sparsity = targets.TRAINED_SPARSITY if effort == "train" else Recipe.sparsity
    return specialise.block_for(graph, board, sparsity)


def _unseen(learn: Dataset | None, recipe: Recipe) -> Dataset | None:
    """Of the images that were learned from, some that the recipe did not use, to check on; all where it used none."""
    if learn is None or not recipe.int8:
        return learn
    rest = np.setdiff1d(learn.indices, learned_from(learn, recipe).indices)
    if rest.size == 0:
        return learn
    return replace(learn, indices=rest).take(targets.SAMPLES)


def _named(usage: Usage) -> str:
    """The name of the preprocessing that the model wants."""
    if usage.preprocess is None:
        raise ModelError(
            "images can be made up only where it is known what the model expects of a pixel",
            expected="--preprocess tf, torch, 01, raw or mean=...:scale=...",
            found="none",
        )
    return usage.preprocess.name


def _macs(graph: Graph) -> int:
    return theory.totals(theory.operator_costs(graph)).macs


def check_accuracy(
    original: bytes, compressed: bytes, dataset: Dataset, *, progress: Progress = silent
) -> Accuracy:
    """Top-1 of two ``.tflite`` models on the host. Without labels, the original's answers count as right."""
    images = dataset.images()
    count = len(images)
    before = top1(predict(original, images, progress=lambda i, n: progress("check the original", i, n)))
    after = top1(predict(compressed, images, progress=lambda i, n: progress("check the compressed", i, n)))
    right = before if dataset.labels is None else dataset.labels
    what = dataset.name if dataset.labels is not None else f"{dataset.name}, agreement with the original"
    return Accuracy(what, count, int(np.sum(before == right)), int(np.sum(after == right)))


def _dataset(graph: Graph, path: PathLike | None, usage: Usage, split: str | None) -> Dataset | None:
    if path is None or usage.preprocess is None:
        return None
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    return load_dataset(path, input_shape=shape, preprocess=usage.preprocess, split=split)
