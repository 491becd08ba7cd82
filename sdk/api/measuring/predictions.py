"""Predicts the milliseconds of models on boards that are not connected, with intervals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.package.codec.format import MAGIC
from device_agent.record.schema import parse_json
from sdk.api.board_requests import PredictTime
from sdk.api.boards.deploying import package_of, tflite_on_the_way, told_apart
from sdk.api.file_requests import PackedOnTheWay
from sdk.api.files.opening import openings
from sdk.api.files.packing import A_PACKAGE, name_of
from sdk.api.measuring.measure import OpenModel, known_peaks, open_model
from sdk.api.measuring.scaling import measured_models, scale_for, scales_of
from sdk.api.values import PathLike
from sdk.board.catalogue import list_boards, load_board
from sdk.board.description.records import Board
from sdk.deploy.predicting.boards_alike import fastest, is_led_by
from sdk.deploy.predicting.engine import PROFILED, predict_on, target_of
from sdk.deploy.predicting.operators import with_operators
from sdk.deploy.provision.kernel import build_delegate
from sdk.errors import BoardError, DataError, ProvisionError
from sdk.explain import speed, theory
from sdk.explain.run import Report
from sdk.explain.speed.prediction import Prediction
from sdk.explain.speed.predictions import PredictedModel, Predictions, Scale, ThreadsBound, bound, kind_of
from sdk.explain.speed.validation import NetworkKind, Validation
from sdk.graph.on_host.sources.kinds import kind_of as kind_of_file
from sdk.graph.on_host.sources.magic import PACKAGE
from sdk.package.release import release_name
from sdk.report.units import seconds_text
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import read_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import PredictTimeOptions

#: Boards, a model, its runtime: the predictions, in the order of the boards. See :func:`predict_on`.
Engine = Callable[..., list[Prediction]]
#: Endings of the files that hold models.
_MODELS = (".armlet", ".tflite", ".lite", ".keras", ".h5", ".hdf5", ".onnx", ".pt2")
_PLAIN = NetworkKind(memory_decides=False, int8=False)


def predict_models(
    boards: str | Sequence[str],
    sources: PathLike | Sequence[PathLike],
    *,
    progress: Progress = silent,
    **options: Unpack[PredictTimeOptions],
) -> Predictions:
    """Predicts how long an inference of models takes on boards, without any board; nothing is measured.

    Each time has an interval that states the method's own error. ``boards`` are names of the catalogue, one or several;
    ``sources`` packages or models. ``calibrate`` is a run that was measured on one of the boards: its measured model
    scales the predictions for that board. The model has to be among ``sources``, unless the run has its prediction.
    ``options``: see :class:`sdk.api.board_requests.PredictTime`. Raises TypeError for others, BoardError for a board
    that cannot be predicted, DataError for a run of another board or runtime.
    """
    request = build(PredictTime, options, function="predict_models")
    names = [boards] if isinstance(boards, str) else list(boards)
    files = list(sources) if isinstance(sources, (list, tuple)) else [sources]
    return predict_times(names, files, request, progress)


def predict_times(
    boards: Sequence[str],
    sources: Sequence[Any],
    request: PredictTime,
    progress: Progress = silent,
    engine: Engine | None = None,
) -> Predictions:
    """As :func:`predict_models`, with the options as a record. ``engine`` makes the predictions."""
    chosen = [require_core(load_board(name)) for name in dict.fromkeys(boards)]
    if not chosen:
        raise BoardError("for which board?", expected="the name of a board", hint="`sdk boards` lists them.")
    for board in chosen:
        _thread_counts(board, request.threads)  # refused before a minute of work
    said = zip(sources, openings(sources, request.packing), strict=True)
    named = told_apart(sources, [_model_of(source, progress, packing) for source, packing in said])
    models = [open_model(name, data) for name, data in named]
    measured = None
    if request.calibrate is not None:
        runtimes = {board.name: _runtime(board, request.runtime)[0] for board in chosen}
        digests = {_digest(model.tflite) for model in models}
        measured = measured_models(Path(request.calibrate), chosen, runtimes, digests)
    found = [
        one
        for number, model in enumerate(models)
        for one in predict_one(chosen, model, request, partial(_tell, progress, number, len(models)), engine)
    ]
    validation = read_validation()
    if measured is not None:
        scales = scales_of(measured, found)
        found = [scale_for(one, scales, validation) for one in found]
    by_name = {board.name: board for board in chosen}
    found = [replace(one, bounds=_bounds(one, by_name[one.board], request.threads)) for one in found]
    return Predictions(
        models=tuple(found),
        validation=validation.source,
        cells=len(validation.cells),
        median_error=validation.likely("", _PLAIN).median_error,
        calibrated_error=validation.error_with_one_measured(),
        notes=tuple(dict.fromkeys((*_notes(found, validation), *(measured.notes if measured else ())))),
    )


def predict_one(
    boards: Sequence[Board],
    model: OpenModel,
    request: PredictTime,
    progress: Progress = silent,
    engine: Engine | None = None,
    delegate: Path | None = None,
) -> list[PredictedModel]:
    """One model on boards, in their order, nothing scaled; boards with the same runtime share a run of the emulator.

    ``delegate``: the library of Armlet's kernels, where they run.
    """
    groups: dict[tuple[str, str | None], list[Board]] = {}
    for board in boards:
        groups.setdefault(_runtime(board, request.runtime), []).append(board)
    made: dict[str, Prediction] = {}
    for (runtime, version), members in groups.items():
        predictions = (engine or predict_on)(
            members, model.tflite, runtime=runtime, version=version, delegate=delegate, progress=progress
        )
        if request.operators and not all(one.operators for one in predictions):
            predictions = with_operators(members, model.tflite, predictions, progress)
        made.update({board.name: one for board, one in zip(members, predictions, strict=True)})
    validation, totals = read_validation(), theory.totals(model.costs)
    provenance = model.metadata.get("provenance", {})
    digest = _digest(model.tflite)
    return [
        PredictedModel(
            name=model.name,
            board_title=board.title,
            prediction=made[board.name],
            factors=validation.likely(made[board.name].core, kind_of(made[board.name])),
            original_bytes=provenance.get("original_bytes", len(model.tflite)),
            tflite_sha256=digest,
            original_sha256=provenance.get("original_sha256", digest),
            macs=int(provenance.get("original_macs", totals.macs)),
            effective_macs=totals.effective_macs,
            costs=model.costs,
            peaks=known_peaks(board, 1),
        )
        for board in boards
    ]


def beside_measured(
    report: Report,
    board: Board,
    packages: Sequence[tuple[str, bytes]],
    progress: Progress = silent,
    engine: Engine | None = None,
) -> Report:
    """The run with what is predicted for its models, as (name, package or ``.tflite``), in a place of its own; where
    nothing can be predicted, as it was measured, and a note says why."""
    models, notes = [], []
    for record, (name, data) in zip(report.models, packages, strict=True):
        timed = record.measurement
        asked = PredictTime(runtime=timed.runtime)
        try:
            delegate = build_delegate("aarch64") if timed.armlet_operators else None
            (one,) = predict_one([board], open_model(name, data), asked, progress, engine, delegate)
        except (BoardError, ProvisionError) as error:
            return replace(report, notes=(*report.notes, f"nothing was predicted: {error}"))
        models.append(replace(record, predicted=one.as_time()))
        notes += _notes([one], read_validation())
        if timed.armlet_operators:
            operators = f"{timed.armlet_operators} of its operators"
            notes.append(f"{record.name}: predicted with the kernels of Armlet, which ran {operators}")
        if timed.runtime_version != one.prediction.runtime_version:
            versions = f"{timed.runtime_version}, predicted for {one.prediction.runtime_version}"
            notes.append(f"{record.name}: measured with {timed.runtime} {versions}")
    return replace(report, models=tuple(models), notes=(*report.notes, *dict.fromkeys(notes)))


def read_validation() -> Validation:
    """The table that every interval is taken from; it comes with the package."""
    path = Path(speed.__file__).with_name("validation.json")
    return Validation.from_json(parse_json(read_file(path, "the table of validation"), error=DataError))


def are_models(paths: Sequence[Path]) -> list[bool]:
    """Of each path, whether a model is there, told by its bytes; of what does not exist, by its ending."""
    return [
        path.suffix.lower() in _MODELS
        or path.is_dir()
        or (path.is_file() and (bool((kind := kind_of_file(path)).reader) or kind is PACKAGE))
        for path in paths
    ]


def require_core(board: Board) -> Board:
    """The board. Raises BoardError for one that has no core that can be predicted, and says what to do instead."""
    if board.emulated:
        alike = [other.name for other in list_boards() if is_led_by(other, board.qemu_cpu or "")]
        raise BoardError(
            f"{board.name} is emulated: it has no clock and no memory of its own to predict a time for",
            expected="a real board of the catalogue, such as " + ", ".join(alike or ["rpi4", "rpi5"]),
            found=board.name,
        )
    if board.architecture == "host":
        raise BoardError(
            f"{board.name} is this computer: measure on it instead",
            expected="an ARM board of the catalogue",
            found=board.name,
            hint=f"`sdk bench --board {board.name}` measures here.",
        )
    if board.architecture != "aarch64":
        raise BoardError(
            f"{board.name} is a {board.architecture} system, and only 64-bit ARM is predicted",
            expected="a board whose system is aarch64",
            found=board.architecture,
        )
    if not board.clusters:
        raise BoardError(
            f"the file of {board.name} does not say what cores it has",
            expected="[[clusters]] with core and clock",
            found="none",
            hint="docs/add-a-board.md says how to write them.",
        )
    target_of(board)  # whose core is known, and the speed of its memory
    return board


def _thread_counts(board: Board, asked: Any) -> list[int]:
    """The numbers of threads beyond one that a bound is asked for. Raises BoardError for more than the board has."""
    cluster = fastest(board)
    available = len(cluster.cpus)
    counts = [asked] if isinstance(asked, (int, str)) else list(asked)
    found = [available if count == "all" else int(count) for count in counts]
    for count in found:
        if count > available:
            raise BoardError(
                f"a bound for {count} threads is not known on {board.name}: cores of one kind share the work evenly, "
                "those of several kinds do not",
                expected=f"at most {available}, its {cluster.core} cores",
                found=str(count),
            )
    return [count for count in dict.fromkeys(found) if count > 1]


def _bounds(one: PredictedModel, board: Board, asked: Any) -> tuple[ThreadsBound, ...]:
    return tuple(bound(one.prediction, count, one.scale) for count in _thread_counts(board, asked))


def _runtime(board: Board, asked: str | None) -> tuple[str, str | None]:
    """Name and version: what was asked for, else what the board's file prefers."""
    versions = {choice.name: choice.version for choice in board.runtimes}
    if asked is not None:
        return asked, versions.get(asked)
    preferred = board.preferred_runtime
    return ("ai-edge-litert", None) if preferred is None else (preferred.name, preferred.version)


def _model_of(source: PathLike, progress: Progress, packing: PackedOnTheWay) -> tuple[str, bytes]:
    """Name, and the package or the ``.tflite``; nothing is packed, which would take its time."""
    path = Path(source)
    if path.is_file() and read_file(path, A_PACKAGE).startswith(MAGIC):
        return package_of(source, progress, packing=packing)
    return release_name(name_of(path)), tflite_on_the_way(source, progress, packing)


def _digest(tflite: bytes) -> str:
    return hashlib.sha256(tflite).hexdigest()


def _tell(progress: Progress, number: int, count: int, stage: str, done: int, total: int) -> None:
    """Passes progress on, with the number of the model where there are several."""
    progress(stage if count == 1 else f"model {number + 1} of {count}: {stage}", done, total)


def _notes(found: Sequence[PredictedModel], validation: Validation) -> list[str]:
    """What a reader must know before believing a predicted time."""
    said = []
    guessed: dict[str, dict[str, bool]] = {}
    decided = [one for one in found if one.memory_decides]
    if decided:
        where = ", ".join(
            f"{one.name} on {one.board} ({100 * one.prediction.dram_share:.0f} %)" for one in decided
        )
        said.append(
            f"memory decides: {where} of the predicted time waits for DRAM; the method is least sure there, and the "
            "interval is wider"
        )
    for core in dict.fromkeys(one.prediction.core for one in found):
        if not validation.has_core(core):
            said.append(f"no prediction for {core} was compared with a published latency")
    shortest = min(cell.published_seconds for cell in validation.cells)
    for one in found:
        if one.prediction.seconds < shortest / 10:
            said.append(
                f"{one.name} on {one.board}: no time of the table is below {seconds_text(shortest)}; whether the "
                "interval holds for one as short as this is not known"
            )
        if one.prediction.emulated_core.lower() != one.prediction.core.lower():
            said.append(
                f"{one.board}: kernels are those that the runtime takes on {one.prediction.emulated_core}, since the "
                f"emulator has no {one.prediction.core}"
            )
        if one.prediction.runtime in PROFILED and not one.prediction.operators:
            said.append(
                f"{one.name} on {one.board}: the runtime's profiler does not take this model, so its operators have no "
                "times; --operators predicts each alone"
            )
        names = dict.fromkeys(assumption.name.replace("_", " ") for assumption in one.prediction.estimated)
        if names:
            guessed.setdefault(", ".join(names), {})[one.prediction.core] = True
        if one.scale is not None:
            plain = validation.likely(one.prediction.core, one.kind)
            if one.factors.high * plain.low >= one.factors.low * plain.high:
                said.append(
                    f"{one.name} on {one.board}: scaled, but the table allows no narrower interval for it"
                )
            said += _notes_of_scale(one, one.scale, validation)
    said += [f"{', '.join(cores)}: estimated, no source gives: {what}" for what, cores in guessed.items()]
    unknown = [one.name for one in found if any(not cost.counted for cost in one.costs) or not one.costs]
    said += [f"{name}: the MACs of some operators are not known; theory leaves them out" for name in unknown]
    return said


def _notes_of_scale(one: PredictedModel, scale: Scale, validation: Validation) -> list[str]:
    """Why what scales a prediction may not fit it."""
    said = [f"{scale.source} is not trusted: {doubt}" for doubt in scale.doubts]
    predicted = f"{one.prediction.runtime} {one.prediction.runtime_version}"
    if scale.runtime != predicted:
        said.append(f"{scale.source} was measured with {scale.runtime}, and {predicted} is predicted")
    least, greatest = validation.seen()
    if not least <= scale.factor <= greatest:
        said.append(
            f"{scale.model} took {scale.factor:.3g} times what is predicted, further off than any latency of the table "
            f"({least:.2f} to {greatest:.2f}): the board may run at another clock, or other work beside it"
        )
    return said
