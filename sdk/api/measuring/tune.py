"""`sdk tune`: builds the variants of a model, measures each on the board, and deploys the fastest within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.package import reader as package_format
from device_agent.record.measurement import Measurement, joined
from device_agent.record.preprocess import Preprocess
from device_agent.record.usage import Usage
from sdk.api.board_requests import PredictTime, Tune
from sdk.api.checking.held_against import HeldAgainst
from sdk.api.files.compressing import packed
from sdk.api.files.golden import golden_pair
from sdk.api.files.layout import require_numbers, with_channels_last
from sdk.api.files.opening import reading
from sdk.api.files.packing import name_of
from sdk.api.files.usage import package_metadata, usage_of
from sdk.api.measuring.measure import open_model
from sdk.api.measuring.predictions import predict_one
from sdk.api.values import PathLike
from sdk.board.description.records import Board
from sdk.compress.board_form import specialise
from sdk.compress.recipes import targets
from sdk.compress.recipes.recipe import INT8_SAMPLES, Recipe, Workshop, apply, split, to_int8
from sdk.compress.rewrite.dynamic_range import dynamic_range
from sdk.compress.rewrite.halves import with_halves
from sdk.data.choosing import Chosen
from sdk.data.for_model import open_sources
from sdk.data.scoring.score import Change
from sdk.deploy.predicting.boards_alike import board_behind
from sdk.deploy.predicting.engine import predict_on
from sdk.deploy.predicting.kernel_choice import settle_kernels
from sdk.deploy.provision import instructions
from sdk.deploy.provision.provisioning import prefer
from sdk.deploy.session import Session, discarding, in_scratch, make_ready, open_connection
from sdk.deploy.target import Target
from sdk.errors import BoardError, DataError, ModelError, ProvisionError, RemoteError
from sdk.explain.tuning import Candidate, LeftOut, Tuned, choose
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package.release import Golden, release_name
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import write_file
from sdk.tools.system.outputs import check_outputs, suffix_notes
from sdk.tools.system.quiet import quiet_tensorflow

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import TuneOptions

#: Every candidate has a turn in each round, so that a board that grows warm or busy does so for all of them.
ROUNDS = 3
LOADINGS = 2  # of each in a round
CHECK_IMAGES = 500  # at most, kept back where the data have no images of their own to check on


@dataclass(frozen=True)
class _Variant:
    name: str
    form: str
    package: bytes
    tflite: bytes
    lost: Change
    golden: Golden


@dataclass(frozen=True)
class _Material:
    """The model and the images: some to learn from, others to check on."""

    name: str
    graph: Graph
    original: bytes
    learn: Dataset
    check: Dataset
    samples: int
    hold_out: int
    held: HeldAgainst  # the original, in the metric of its task
    usage: Usage
    chosen: Chosen
    notes: tuple[str, ...]


def tune_model(
    board: str,
    source: PathLike,
    data: PathLike,
    *,
    max_loss: float,
    progress: Progress = silent,
    **options: Unpack[TuneOptions],
) -> Tuned:
    """Builds variants of a model, measures them on ``board`` and deploys the fastest: dense float, sparse float,
    float16 weights, int8, small and dynamic int8, the dense ones also without the ``channels`` that take these shares
    of the multiply-accumulates.

    A variant may lose at most ``max_loss`` points of the metric of the model's task (top-1 of a classifier, mAP of a
    detector, mean IoU, hundredths of the spread of values; without right answers, of the answers that agree with the
    original's) on ``check``, else on the test split of ``data``, else on images that nothing was learned from.
    ``sparsities`` are solved with ``effort`` ("none", "calibrate" or "train"). Each variant runs on every runtime that
    the board's file names (or the one of ``runtime``) and each number of ``threads`` (default: 1 and all cores),
    interleaved, for ``inferences`` or ``seconds``. On an emulated board the time of one thread is predicted for a real
    board with that core, else instructions are counted. ``keep`` is a file for the winner's package. Packages that were
    deployed only to be measured are removed again. ``options``: see :class:`sdk.api.board_requests.Tune`. Raises
    TypeError for others.
    """
    given = {"data": data, "max_loss": max_loss, **options}
    return tune(board, source, build(Tune, given, function="tune_model"), progress)


def tune(board: str, source: PathLike, request: Tune, progress: Progress = silent) -> Tuned:
    """As :func:`tune_model`, with the options as a record."""
    check_outputs([request.keep], [source, request.data, request.check, request.labels])
    material = _material(source, request, progress)
    left_out: list[LeftOut] = []
    with open_connection(board, request, progress) as (board_record, connection):
        sessions = _sessions(board_record, connection, request, left_out, progress)
        forms = [s.provisioned.runtime for s in sessions]
        made = list(_variants(material, board_record, forms, request, progress))
        left_out += [one for one in made if isinstance(one, LeftOut)]
        variants = [one for one in made if not isinstance(one, LeftOut)]
        lost = [_points(one.lost.points_lost) for one in variants]
        if lost and min(lost) > request.max_loss:  # nothing that is measured would change that
            raise _nothing_keeps(request.max_loss, lost)
        predicted_for = ""
        notes: list[str] = []
        if board_record.emulated:
            candidates, predicted_for, notes = cost_emulated(sessions, variants, left_out, progress)
        else:
            candidates = _measure(sessions, variants, request, left_out, progress)
        ranked, best = choose(candidates, request.max_loss)
        if best is None:
            raise _nothing_keeps(request.max_loss, [c.points_lost for c in ranked])
        winner = ranked[best]
        (chosen,) = [v for v in variants if v.name == winner.variant]
        release = ""
        if request.deploy:
            (session,) = [s for s in sessions if s.provisioned.runtime == winner.runtime]
            done = session.agent.deploy(
                chosen.package, release_name(material.name), golden=chosen.golden, progress=progress
            )
            prefer(connection, session.provisioned)
            runtime = session.provisioned.runtime, session.provisioned.runtime_version
            settle_kernels(board_record, session.agent, done, chosen.package, runtime, progress)
            release = done.release
        if request.keep is not None:
            write_file(Path(request.keep), chosen.package)
    too_few = [note] if (note := material.held.too_few(request.max_loss)) else []
    return Tuned(
        model=material.name,
        board=board_record.name,
        emulated=board_record.emulated,
        max_loss=request.max_loss,
        metric=material.held.score.name,
        checked_on=material.held.checked_on,
        samples=len(material.check),
        candidates=ranked,
        left_out=tuple(left_out),
        chosen=best,
        release=release,
        package="" if request.keep is None else str(request.keep),
        preprocess=material.chosen.preprocess.name,
        preprocess_why=material.chosen.why,
        predicted_for=predicted_for,
        notes=(*material.notes, *notes, *too_few, *suffix_notes(request.keep, ".armlet")),
    )


def _nothing_keeps(max_loss: float, lost: Sequence[float]) -> DataError:
    """The error where each variant loses more than was asked for; ``lost``: points of each."""
    return DataError(
        "no variant keeps the accuracy that was asked for",
        expected=f"at most {max_loss:g} points lost",
        found=f"{min(lost):.2f} points" if lost else "no variant that runs",
    )


def _sessions(
    board: Board, connection: Any, request: Tune, left_out: list[LeftOut], progress: Progress
) -> list[Session]:
    """One for every runtime that works there. Raises ProvisionError where none does."""
    sessions = []
    for runtime in _runtimes(board, request):
        try:
            sessions.append(make_ready(board, connection, replace(request, runtime=runtime), progress))
        except ProvisionError as error:
            left_out.append(LeftOut(f"everything on {runtime}", str(error)))
    if not sessions:
        raise ProvisionError(f"no runtime works on {board.name}", found=left_out[-1].reason)
    return sessions


def _material(source: PathLike, request: Tune, progress: Progress) -> _Material:
    data, check, samples = request.data, request.check, request.samples
    progress("convert", 0, 0)
    graph, _ = with_channels_last(convert(source, **reading(request)))
    require_numbers(graph, str(source))
    original = write_graph(graph)
    usage = usage_of(graph, preprocess=request.preprocess, labels=request.labels)
    progress("read the data", 0, 0)
    given = None if request.preprocess is None else Preprocess.parse(request.preprocess)
    found = open_sources(original, usage, data, check, given=given, truth=request.truth)
    learn, checked = found.learn, found.check
    assert learn is not None  # of the data that were asked for
    wanted = min(samples or targets.SAMPLES, len(learn))
    hold_out = 0
    if checked is None:
        if len(learn) < targets.HOLD_OUT * targets.SMALLEST_CHECK:
            raise DataError(
                "too few images to measure a loss on",
                expected=f"at least {targets.HOLD_OUT * targets.SMALLEST_CHECK}, or others with --check",
                found=str(len(learn)),
            )
        hold_out = targets.HOLD_OUT
        kept, _ = split(learn, wanted, hold_out)
        rest = np.setdiff1d(learn.indices, kept.indices)
        checked = replace(learn, indices=rest).take(CHECK_IMAGES)
    return _Material(
        name_of(source),
        graph,
        original,
        learn,
        checked,
        wanted,
        hold_out,
        HeldAgainst(original, checked, found.metric, progress),
        found.usage,
        found.chosen,
        found.notes,
    )


def _runtimes(board: Board, reach: Target) -> list[str]:
    if reach.runtime is not None:
        return [reach.runtime]
    return list(dict.fromkeys(choice.name for choice in board.runtimes)) or ["ai-edge-litert"]


# -- the variants ---------------------------------------------------------------------------------------------------


def _variants(
    material: _Material,
    board: Board,
    runtimes: Sequence[str],
    request: Tune,
    progress: Progress,
) -> Iterator[_Variant | LeftOut]:
    graph = material.graph
    dense = specialise.for_board(graph, board, allow_sparse=False).graph
    nothing = Recipe(sparsity=0.0, clusters=0)
    yield _variant("float", "dense", dense, nothing, material, progress)

    sparse_on = [r for r in runtimes if specialise.runs_sparse(board, r)]
    sparsities = request.sparsities
    names = {s: f"float, {100 * s:.0f} % zero" for s in sparsities}
    if sparse_on:
        for sparsity, pruned, recipe in _pruned(material, board, request, progress):
            made = specialise.for_board(pruned, board, runtime=sparse_on[0], caller_flips=True)
            if made.form == "sparse":
                yield _variant(names[sparsity], "sparse", made.graph, recipe, material, progress)
            else:
                yield LeftOut(names[sparsity], made.passes[-1].reason)
    else:
        reason = f"{' and '.join(runtimes)} skip no zeros on {board.name}: smaller, not faster"
        for sparsity in sparsities:
            yield LeftOut(names[sparsity], reason)

    recipe = replace(nothing, float16=True)
    yield _variant("float16", "dense", with_halves(dense), recipe, material, progress)
    recipe = replace(nothing, dynamic=True)
    yield _variant("dynamic int8", "int8", dynamic_range(dense), recipe, material, progress)
    for share in (0.0, *request.channels):
        yield from _narrow(share, material, board, progress)
    if request.effort != "none":
        yield _small_int8(material, board, progress)


def _small_int8(material: _Material, board: Board, progress: Progress) -> _Variant | LeftOut:
    """int8 whose weights are solved with a price of bits, about as small as solved floats are."""
    name = "small int8"
    kept, _ = split(material.learn, material.samples, material.hold_out)
    recipe = targets.calibration_recipe(material.graph, kept, material.samples, material.hold_out)
    recipe = replace(recipe, int8=True, fitted=True)
    try:
        with quiet_tensorflow():
            graph = apply(material.graph, recipe, progress, material.learn)
            dense = specialise.for_board(graph, board, allow_sparse=False).graph
            quantised = to_int8(dense, recipe, material.learn, progress)
    except ModelError as error:
        return LeftOut(name, str(error))
    return _variant(name, "int8", quantised, recipe, material, progress)


def _narrow(
    share: float, material: _Material, board: Board, progress: Progress
) -> Iterator[_Variant | LeftOut]:
    """int8, and where channels go for this share of the multiply-accumulates also float and dynamic int8."""
    name = f", {100 * share:.0f} % less work" if share else ""
    recipe = Recipe(sparsity=0.0, clusters=0, channels=share, hold_out=material.hold_out)
    graph = material.graph
    if share:
        kept, _ = split(material.learn, material.samples, material.hold_out)
        floats = replace(recipe, samples=material.samples, data_sha256=kept.digest())
        try:
            with quiet_tensorflow():
                graph = apply(graph, floats, progress, material.learn)
        except ModelError as error:
            yield LeftOut(f"whatever has {name[2:]}", str(error))
            return
        dense = specialise.for_board(graph, board, allow_sparse=False).graph
        yield _variant(f"float{name}", "dense", dense, floats, material, progress)
        dynamic = replace(floats, dynamic=True)
        yield _variant(f"dynamic int8{name}", "int8", dynamic_range(dense), dynamic, material, progress)
    progress("quantise", 0, 0)
    few = min(material.samples, INT8_SAMPLES)
    kept, _ = split(material.learn, few, material.hold_out)
    recipe = replace(recipe, int8=True, fitted=True, samples=few, data_sha256=kept.digest())
    with quiet_tensorflow():
        if share:  # on the images that the recipe names, so that it can be replayed
            graph = apply(material.graph, recipe, progress, material.learn)
        dense = specialise.for_board(graph, board, allow_sparse=False).graph
        quantised = to_int8(dense, recipe, material.learn, progress)
    yield _variant(f"int8{name}", "int8", quantised, recipe, material, progress)


def _pruned(
    material: _Material,
    board: Board,
    request: Tune,
    progress: Progress,
) -> Iterator[tuple[float, Graph, Recipe]]:
    """(share of zeros, pruned graph, recipe); what calibrations have in common is done once."""
    graph = material.graph
    effort = request.effort
    recipe = Recipe(effort=effort, clusters=0)
    workshop = None
    if effort == "calibrate":
        kept, _ = split(material.learn, material.samples, material.hold_out)
        recipe = targets.calibration_recipe(graph, kept, material.samples, material.hold_out)
        with quiet_tensorflow():
            workshop = Workshop(graph, kept, recipe.seed, progress)
    elif effort == "train":
        kept, _ = split(material.learn, len(material.learn), material.hold_out)
        recipe = replace(
            recipe,
            clusters=Recipe.clusters,
            samples=len(material.learn),
            hold_out=material.hold_out,
            data_sha256=kept.digest(),
            epochs=request.epochs,
        )
    for sparsity in request.sparsities:
        block = specialise.block_for(graph, board, sparsity)
        wanted = replace(recipe, sparsity=sparsity, block=block)
        if workshop is not None:
            yield sparsity, workshop.run(wanted)[0], wanted
        else:
            yield sparsity, apply(graph, wanted, progress, material.learn), wanted


def _variant(
    name: str, form: str, graph: Graph, recipe: Recipe, material: _Material, progress: Progress
) -> _Variant:
    metadata = package_metadata(graph, replace(material.usage, flip=graph.input_flips))
    package = packed(
        graph, recipe, material.original, name=material.name, metadata=metadata, progress=progress
    )
    tflite = package_format.unpack(package).tflite
    lost = material.held.change(tflite, progress, f"check {name}")
    return _Variant(name, form, package, tflite, lost, golden_pair(package))


# -- the measurements -----------------------------------------------------------------------------------------------


def _candidate(variant: _Variant, session: Session, threads: int, **cost: Any) -> Candidate:
    return Candidate(
        variant=variant.name,
        form=variant.form,
        package_bytes=len(variant.package),
        points_lost=_points(variant.lost.points_lost),
        points_lost_at_most=_points(variant.lost.points_interval[1]),
        reached=f"{variant.lost.before_text} -> {variant.lost.after_text}, {variant.lost.verdict}",
        runtime=session.provisioned.runtime,
        runtime_version=session.provisioned.runtime_version,
        threads=threads,
        **cost,
    )


def _points(lost: float) -> float:
    """An error may grow by more than its spread, which nobody allows."""
    return min(max(lost, -100.0), 100.0)


def cost_emulated(
    sessions: Sequence[Session], variants: Sequence[_Variant], left_out: list[LeftOut], progress: Progress
) -> tuple[list[Candidate], str, list[str]]:
    """Every variant on every runtime: with the time that is predicted for a real board with that core, whose name
    comes second, or where that cannot be told with its instructions; then a note says why."""
    behind = board_behind(sessions[0].board)
    failed: list[LeftOut] = []
    if behind is None:
        why = f"no board of the catalogue has {sessions[0].board.qemu_cpu} as its fastest core"
    else:
        found = _each(sessions, variants, failed, partial(_predicted, behind, progress))
        if found:
            left_out += failed
            return found, behind.name, []
        why = failed[-1].reason
    found = _each(sessions, variants, left_out, partial(_counted, progress))
    return found, "", [f"ranked by instructions, since no time is predicted: {why}"]


def _each(
    sessions: Sequence[Session],
    variants: Sequence[_Variant],
    left_out: list[LeftOut],
    cost: Callable[[Session, _Variant], Candidate],
) -> list[Candidate]:
    """The candidates that have a cost; of the others, why not."""
    found = []
    for session in sessions:
        for variant in variants:
            try:
                found.append(cost(session, variant))
            except (BoardError, ProvisionError) as error:
                left_out.append(LeftOut(f"{variant.name} on {session.provisioned.runtime}", str(error)))
    return found


def _predicted(behind: Board, progress: Progress, session: Session, variant: _Variant) -> Candidate:
    model = open_model(variant.name, variant.tflite)
    asked = PredictTime(runtime=session.provisioned.runtime)
    (one,) = predict_one([behind], model, asked, progress, partial(predict_on, operators=False))
    return _candidate(variant, session, 1, instructions=one.prediction.instructions, predicted=one.as_time())


def _counted(progress: Progress, session: Session, variant: _Variant) -> Candidate:
    count = instructions.count_inference(
        variant.tflite,
        runtime=session.provisioned.runtime,
        version=session.provisioned.runtime_version,
        cpu=session.board.qemu_cpu or "",
        progress=progress,
    )
    return _candidate(variant, session, 1, instructions=count.instructions)


def _measure(
    sessions: Sequence[Session],
    variants: Sequence[_Variant],
    request: Tune,
    left_out: list[LeftOut],
    progress: Progress,
) -> list[Candidate]:
    """Every variant on every runtime that gives its answers, and on every number of threads, in rounds."""
    names = {v.name: f"tune.{number}" for number, v in enumerate(variants)}
    threads = request.threads or sorted({1, max(1, sessions[0].provisioned.facts.cores)})
    sessions = in_scratch(sessions)
    with discarding(sessions[0]):
        runnable = [
            (session, [v for v in variants if _runs(session, v, names[v.name], left_out, progress)])
            for session in sessions
        ]
        taken: dict[tuple[int, str, int], list[Measurement]] = {}
        turns = [(number, count) for number, (_, fit) in enumerate(runnable) if fit for count in threads]
        for turn in range(ROUNDS):
            for done, (number, count) in enumerate(turns):
                progress("measure", turn * len(turns) + done, ROUNDS * len(turns))
                session, fit = runnable[number]
                # How a model starts is the same in each round.
                measure = session.agent.bench_again if turn else session.agent.bench
                runs = measure(
                    [names[v.name] for v in fit],
                    threads=count,
                    kernel=session.kernel,
                    min_samples=math.ceil(request.inferences / ROUNDS),
                    max_seconds=request.seconds / ROUNDS,
                    loadings=LOADINGS,
                )
                for variant, run in zip(fit, runs, strict=True):
                    taken.setdefault((number, variant.name, count), []).append(run)
    by_name = {v.name: v for v in variants}
    return [
        _candidate(by_name[name], sessions[number], count, measurement=replace(joined(runs), model=name))
        for (number, name, count), runs in taken.items()
    ]


def _runs(
    session: Session, variant: _Variant, name: str, left_out: list[LeftOut], progress: Progress
) -> bool:
    """Deploys a variant under a name of its own; False, with a reason, where its golden answers do not come out."""
    try:
        # A board that has the release already checks it again under another runtime.
        session.agent.deploy(variant.package, name, golden=variant.golden, progress=progress)
    except RemoteError as error:
        left_out.append(LeftOut(f"{variant.name} on {session.provisioned.runtime}", str(error)))
        return False
    return True
