"""Compressing a model: with no data, with calibration on images, or with training on them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.record.usage import Usage
from sdk.api.checking.chosen import by_what_is_chosen
from sdk.api.checking.final_check import final_check
from sdk.api.checking.outputs_kept import OutputsOf
from sdk.api.compress_request import Compress
from sdk.api.files import efforts
from sdk.api.files.compress_opening import Work, able, as_floats, by_magnitude_alone, opened, worked_on
from sdk.api.files.packing import inspect_bytes, name_of
from sdk.api.files.predicted_cost import (
    counted_instructions,
    fours_would_pay,
    predicted_seconds,
    where_layers_run,
)
from sdk.api.files.refusals import check_options
from sdk.api.files.studies import open_study
from sdk.api.files.usage import package_metadata, usage_notes
from sdk.api.results import Compressed
from sdk.api.values import PathLike
from sdk.board.description.records import Board
from sdk.board.ssh.signing import SIGNATURE_BYTES
from sdk.compress.board_form import specialise
from sdk.compress.board_form.mirror import flip_inside
from sdk.compress.recipes import targets
from sdk.compress.recipes.attempts import course_of
from sdk.compress.recipes.harmless import unsolved
from sdk.compress.recipes.recipe import Recipe, to_int8
from sdk.compress.recipes.recipe import apply as apply_recipe
from sdk.compress.rewrite.dynamic_range import dynamic_range
from sdk.compress.rewrite.fuse import fuse
from sdk.compress.rewrite.halves import with_halves
from sdk.compress.weights.blocks import FOUR
from sdk.compress.weights.left_alone import Reach
from sdk.errors import ModelError
from sdk.explain import theory
from sdk.explain.tuning import front
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack as packer
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.system import checkpoint
from sdk.tools.system.files import read_file, write_file
from sdk.tools.system.outputs import check_outputs, suffix_notes
from sdk.tools.system.quiet import quiet_tensorflow

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import CompressOptions
    from sdk.graph.dataset import Dataset

_ASKED = (  # the settings that say which training a checkpoint is of
    "sparsity",
    "clusters",
    "target_bytes",
    "max_loss",
    "samples",
    "epochs",
    "shift",
    "price",
    "block",
    "channels",
    "distill_epochs",
    "target_macs",
    "seed",
)


def compress_model(
    source: PathLike, output: PathLike, *, progress: Progress = silent, **options: Unpack[CompressOptions]
) -> Compressed:
    """Any model that :func:`convert_model` reads -> pruned, clustered and packed at ``output``.

    ``data`` (a folder of images or an ``.npz``) is calibrated or trained on, as ``effort`` says: "none", "calibrate",
    "train", or "auto" for the strongest that data and time allow (:mod:`sdk.api.files.efforts`). Accuracy is checked on
    ``check``, else on the test split of ``data``, else on images kept back. ``target_bytes`` or ``max_loss`` (points)
    is met by a few attempts; in what is left of ``seconds``, or for ``trials``, other sparsities and bits per layer are
    searched with Optuna, in memory or in a ``storage`` that several machines work on (with the name of a ``study``).
    Nothing begins that the ``seconds`` that are left are not enough for. ``recipe`` replays a file that
    ``save_recipe`` wrote, to the same bytes. ``board`` names the board that the graph is put into the fastest form
    for, exactly (docs/arm-speed.md); ``block`` how many output channels of a 1x1 convolution are pruned together
    (None: two where that board runs them sparse, else one). ``channels`` is the share of the multiply-accumulates that
    goes with whole channels, before all else. With ``low_rank`` layers become two of low rank where
    that is smaller at equal error. Without data ``equalise`` makes the channels of neighbouring layers alike, and
    ``correct_biases`` corrects biases on made-up images, for which ``preprocess`` must be known. With ``int8``
    weights and values become 8-bit numbers, their ranges taken from ``data``. ``preprocess`` (where there are data:
    as the model says or shows, else as the images tell) and ``labels`` go into the package, for the board to go by.
    With a ``price`` above 0 (nats of the loss per bit) training counts the bits of the package, too.
    Training keeps its state in the folder ``output`` + ".checkpoint" several times a minute, and a run that was cut
    goes on from there.
    What was chosen of the data and why is in the result's ``notes`` and ``preprocess_why``.
    ``options``: see :class:`sdk.api.compress_request.Compress`. Raises TypeError for others.
    """
    return compress(source, output, build(Compress, options, function="compress_model"), progress)


def compress(
    source: PathLike, output: PathLike, request: Compress, progress: Progress = silent
) -> Compressed:
    """As :func:`compress_model`, with the options as a record."""
    check_outputs(
        [output, beside(output), request.save_recipe, request.save_tflite],
        [source, request.data, request.check, request.labels, request.recipe],
    )
    check_options(request)
    work = opened(source, request, progress)
    with OutputsOf(work.graph, work.usage.preprocess) as outputs:
        made, kept, why = _made(work, request, source, output, outputs, progress)
        told = outputs.kept(made.graph) if by_magnitude_alone(made.recipe) else None
    if request.predict and work.board is not None:
        work = replace(work, seconds=predicted_seconds(work.board, progress))
    package, final, special = _package(
        work, made.graph, made.recipe, name=name_of(source), board=request.board, progress=progress
    )
    models, images = (work.original, package), (work.learn, work.check)
    eight_bits = work.twin is not None or made.recipe.int8
    accuracy, made = final_check(models, images, work.metric, made, request, progress, simulated=eight_bits)
    made, instructions = _counted(work, request, made, final, progress)
    written = Path(output) if made.target_met else beside(output)
    write_file(written, package)
    if kept is not None:
        kept.remove()
    _write_what_else_was_asked_for(request, made.recipe, final)
    return Compressed(
        source=str(source),
        output=written,
        original_bytes=len(work.original),
        inspection=inspect_bytes(package),
        accuracy=accuracy,
        metric="top-1" if work.metric is None else work.metric.name,
        why=why,
        preprocess="" if work.chosen is None else work.chosen.preprocess.name,
        preprocess_why="" if work.chosen is None else work.chosen.why,
        notes=(
            *usage_notes(work.graph, work.usage),
            *work.notes,
            *_distilled_notes(made.recipe, request),
            *outputs.notes,
            *(() if request.block else fours_would_pay(work.graph, special, made.recipe)),
            *_plain_eight_bits(request, made.recipe),
            *_misnamed(output, request),
        ),
        reach=_reached(work, made.recipe),
        outputs=told,
        macs=_work_of(work.graph, final),
        instructions=instructions,
        kernels=() if eight_bits else where_layers_run(made.graph, special),
        **_told(made, special),
    )


def _made(
    work: Work, request: Compress, source: PathLike, output: PathLike, outputs: OutputsOf, progress: Progress
) -> tuple[targets.TargetResult, checkpoint.Folder | None, str]:
    """The compressed graph, where a training keeps its state, and why that effort where it was left open."""
    floats = as_floats(work)
    with by_what_is_chosen(work.metric, floats.graph) as metric:
        work, floats = replace(work, metric=metric), replace(floats, metric=metric)
        if request.recipe is not None:
            return (*_replayed(work, floats.graph, Path(request.recipe), Path(output), progress), "")
        return _tried(work, floats, request, source, output, outputs, progress)


def _tried(
    work: Work,
    floats: Work,
    request: Compress,
    source: PathLike,
    output: PathLike,
    outputs: OutputsOf,
    progress: Progress,
) -> tuple[targets.TargetResult, checkpoint.Folder | None, str]:
    """As :func:`_made`, by attempts; ``floats`` is the work with float32 weights."""
    request = able(work.graph, request)
    settings, why = _settings(floats, request, name_of(source), progress)
    kept = None
    if settings.effort != "none" or settings.int8:
        work = floats
    if (settings.effort == "train" or settings.distill_epochs) and work.learn is not None:
        kept = _checkpoints(
            {n: getattr(settings, n) for n in _ASKED}, Path(output), work.original, work.learn
        )
        settings = replace(settings, checkpoints=kept)
    if _left_open(settings):
        progress("answer made-up inputs", 0, 0)
        settings = replace(settings, harmless=True, judge=outputs if outputs.answers() else None)
    elif settings.effort == "calibrate" and not settings.stored and unsolved(work.graph):
        progress("answer made-up inputs", 0, 0)
        settings = replace(settings, judge=outputs if outputs.answers() else None)
    return targets.compress(work.graph, work.learn, settings, progress, check=work.check), kept, why


def _replayed(
    work: Work, floats: Graph, recipe: Path, output: Path, progress: Progress
) -> tuple[targets.TargetResult, checkpoint.Folder | None]:
    """The graph by a recipe of a file, and where a training or a distillation keeps its state."""
    used = Recipe.from_toml(read_file(recipe, "a recipe that sdk compress wrote").decode("utf-8", "replace"))
    metric = None if work.metric is None else work.metric.beyond_top1
    graph = work.graph if by_magnitude_alone(used) else floats
    kept = courses = None
    learns = used.effort == "train" or (used.channels and used.distill_epochs)
    if learns and work.learn is not None:
        asked = {"recipe": hashlib.sha256(used.to_toml().encode()).hexdigest()}
        kept = _checkpoints(asked, output, work.original, work.learn)
        courses = partial(course_of, kept, progress=progress)
    made = targets.replay(graph, used, work.learn, progress, check=work.check, metric=metric, courses=courses)
    return made, kept


def _left_open(settings: targets.Settings) -> bool:
    """Whether it is to be found how hard each layer may be pruned and shared."""
    if (
        settings.effort != "none"
        or settings.int8
        or settings.max_loss is not None
        or settings.study is not None
    ):
        return False
    asked = sum(number is not None for number in (settings.sparsity, settings.clusters))
    return asked == 0 or (asked == 1 and settings.target_bytes is None)


def _write_what_else_was_asked_for(request: Compress, recipe: Recipe, final: Graph) -> None:
    """The recipe and the .tflite, each where there is a file for it."""
    if request.save_recipe is not None:
        write_file(Path(request.save_recipe), recipe.to_toml().encode())
    if request.save_tflite is not None:
        # For other runtimes, which do not know that the image is to be flipped.
        write_file(Path(request.save_tflite), write_graph(flip_inside(final)))


def _plain_eight_bits(request: Compress, recipe: Recipe) -> tuple[str, ...]:
    """A note that a limit of the loss was checked, and nothing made smaller for it."""
    if request.max_loss is None or not recipe.int8 or recipe.effort == "calibrate":
        return ()
    return (
        "the weights are plain 8-bit numbers, whatever loss is allowed; without --effort none they are made as small "
        "as it allows",
    )


def _misnamed(output: PathLike, request: Compress) -> tuple[str, ...]:
    """Notes on names of files that do not end as what is in them."""
    return (
        *suffix_notes(output, ".armlet"),
        *suffix_notes(request.save_recipe, ".toml"),
        *suffix_notes(request.save_tflite, ".tflite"),
    )


def beside(output: PathLike) -> Path:
    """Where a package goes that misses what was asked: ``net.armlet`` stays as it is, and ``net.missed.armlet`` is
    written."""
    path = Path(output)
    return path.with_name(f"{path.stem}.missed{path.suffix}")


def _settings(work: Work, request: Compress, name: str, progress: Progress) -> tuple[targets.Settings, str]:
    """What the engine is asked for, and why that effort where it was left open; the time begins to count."""
    effort, seconds, int8, why = request.effort, request.seconds, request.int8, ""
    deadline = None if seconds is None else time.monotonic() + seconds
    aims = request.target_bytes is not None or request.max_loss is not None
    if effort == "auto" and not int8:
        progress("choose", 0, 0)
        effort, why = efforts.strongest(
            work.graph,
            work.learn,
            aimed=(aims or request.sparsity is not None) and work.twin is None,
            samples=request.samples,
            epochs=request.epochs,
            seconds=seconds,
        )
        if effort == "train" and request.clusters == 0:
            effort, why = "calibrate", "--clusters 0 asks for weights that share no values; trained ones do"
    searched = request.trials is not None or request.storage is not None
    searched = searched or (seconds is not None and aims and not int8)
    searched = searched and (work.learn is not None or work.check is not None)
    block = request.block
    if block is None:
        block = _block(work.graph, work.board, effort, request.sparsity, int8)
    as_asked = {entry.name for entry in fields(targets.Settings)} & {entry.name for entry in fields(request)}
    asked: dict[str, Any] = {name: getattr(request, name) for name in as_asked}
    asked |= {
        "metric": None if work.metric is None else work.metric.beyond_top1,
        "effort": effort,
        "block": block,
        "made_up": _named(work.usage) if request.correct_biases else "",
        "room": SIGNATURE_BYTES if request.target_bytes is not None else 0,
        "if_worth": request.effort == "auto",
        "stored": work.twin is not None,
        "one_scale": "" if work.twin is None else work.twin.one_scale,
        "seconds_left": None if deadline is None else lambda: deadline - time.monotonic(),
        "fits": _fits(work, request, progress),
        "study": open_study(request.storage, request.study) if searched else None,
        "package": lambda graph, recipe, step: _package(
            work, graph, recipe, name=name, board=request.board, progress=step
        )[0],
    }
    return targets.Settings(**asked), why


def _counted(
    work: Work, request: Compress, made: targets.TargetResult, final: Graph, progress: Progress
) -> tuple[targets.TargetResult, int | None]:
    """The result, which misses its target where the packed graph takes more instructions than asked for, and those."""
    if request.target_instructions is None:
        return made, None
    instructions = counted_instructions(work.board, progress)(final)
    met = made.target_met and instructions <= request.target_instructions
    return replace(made, target_met=met), instructions


def _fits(work: Work, request: Compress, progress: Progress) -> Callable[[Graph], bool] | None:
    """Whether a graph's instructions are at most as many as asked for, in the form for the board where there is one."""
    most = request.target_instructions
    if most is None:
        return None
    counted = counted_instructions(work.board, progress)
    return lambda graph: counted(_finished(work, graph, Recipe(), progress)[0]) <= most


def _package(
    work: Work, graph: Graph, recipe: Recipe, *, name: str, board: str | None, progress: Progress
) -> tuple[bytes, Graph, specialise.Specialised | None]:
    """The package of a compressed graph, with the graph that is in it and what was done for the board."""
    final, special = _finished(work, graph, recipe, progress)
    package = packed(
        final,
        recipe,
        work.original,
        name=name,
        metadata=package_metadata(final, replace(work.usage, flip=final.input_flips)),
        more={} if special is None else {"board": board, "original_macs": _macs(work.graph)},
        progress=progress,
    )
    return package, final, special


def _finished(
    work: Work, graph: Graph, recipe: Recipe, progress: Progress
) -> tuple[Graph, specialise.Specialised | None]:
    """The graph as it is packed: in the form for the board where there is one, and int8 where that was asked for."""
    special = None
    if work.twin is not None and recipe.effort != "none":
        graph = work.twin.put_back(graph)
    if work.board is not None:
        special = specialise.for_board(
            graph,
            work.board,
            caller_flips=True,
            allow_sparse=not recipe.int8,
            seconds=work.seconds,
            armlet=recipe.block >= FOUR and not recipe.dynamic,
        )
    final = graph if special is None else special.graph
    if recipe.dynamic:
        final = dynamic_range(final)
    if recipe.float16:
        final = with_halves(final)
    if recipe.int8:
        progress("quantise", 0, 0)
        with quiet_tensorflow():
            final = to_int8(final if special is not None else fuse(final), recipe, work.learn, progress)
    return final, special


def _reached(work: Work, recipe: Recipe) -> Reach:
    """The layers that a recipe worked on."""
    settled = frozenset(
        name for name, layer in recipe.layers if layer.step or layer.channel_step or layer.places
    )
    by_magnitude = by_magnitude_alone(recipe)
    return worked_on(work.graph, by_magnitude=by_magnitude, measured=bool(recipe.layers), settled=settled)


def _told(made: targets.TargetResult, special: specialise.Specialised | None) -> dict[str, Any]:
    """The fields of :class:`Compressed` about how it was made."""
    return {
        "effort": made.recipe.effort,
        "sparsity": made.recipe.sparsity,
        "clusters": made.recipe.clusters,
        "statement": made.statement,
        "target_met": made.target_met,
        "lost": made.lost,
        "images": made.images,
        "block": made.recipe.block,
        "int8": made.recipe.int8,
        "form": "" if special is None else special.form,
        "passes": () if special is None else tuple(asdict(p) for p in special.passes),
        "curve": _curve(made),
    }


def _curve(made: targets.TargetResult) -> tuple[dict[str, Any], ...]:
    """All that was tried, each with whether none of the others takes fewer bytes, less work and loses less.

    Where nothing was checked, the loss that calibration expects counts.
    """
    lost = [
        point.expected_loss_nats or 0.0 if point.lost is None else point.lost.value for point in made.curve
    ]
    figures = [(point.package_bytes, point.macs, loss) for point, loss in zip(made.curve, lost, strict=True)]
    return tuple(
        {
            "package_bytes": point.package_bytes,
            "macs": point.macs,
            "accuracy_percent": point.accuracy_percent,
            "agreement_percent": point.agreement_percent,
            "points_lost": None if point.lost is None else point.lost.value,
            "points_lost_at_most": None if point.lost is None else point.lost.high,
            "on_front": on_front,
            "recipe": point.recipe.to_json(),
        }
        for point, on_front in zip(made.curve, front(figures), strict=True)
    )


def _distilled_notes(recipe: Recipe, request: Compress) -> tuple[str, ...]:
    """What was done beside the solving of layers, where whole channels went; that nothing was, where none did."""
    count = recipe.distill_epochs
    if not count:
        return ()
    if not recipe.channels:
        return ("nothing was distilled: the target of work is met with all channels",)
    fewer = f" of {request.distill_epochs}: the time was enough for no more" * (
        count < request.distill_epochs
    )
    return (
        f"what whole channels left learned from the original's layers for {count} epoch{'s' * (count > 1)}{fewer}",
    )


def _checkpoints(
    asked: Mapping[str, object], output: Path, original: bytes, data: Dataset
) -> checkpoint.Folder:
    """The folder beside the output that a training which was cut goes on from; it goes when the package is written."""
    about = {"model": hashlib.sha256(original).hexdigest(), "images": data.digest(), **asked}
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
        if effort in ("calibrate", "none"):
            return 1  # zeros are then a by-product, too few to run sparse
        sparsity = targets.TRAINED_SPARSITY if effort == "train" else Recipe.sparsity
    return specialise.block_for(graph, board, sparsity)


def _named(usage: Usage) -> str:
    """The name of the preprocessing that the model wants."""
    if usage.preprocess is None:
        raise ModelError(
            "made-up images need the model's preprocessing",
            expected="--preprocess tf, torch, 01, raw or mean=...:scale=...",
            found="none",
        )
    return usage.preprocess.name


def _work_of(before: Graph, after: Graph) -> tuple[int, int]:
    """Multiply-accumulates of both; zeros where shapes inside are open, so that they cannot be counted."""
    try:
        return _macs(before), _macs(after)
    except ModelError:
        return 0, 0


def _macs(graph: Graph) -> int:
    return theory.totals(theory.operator_costs(graph)).macs
