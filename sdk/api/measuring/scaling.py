"""One measured model of a board scales the predictions for it, and narrows their intervals as the table allows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.record.measurement import Measurement
from sdk.api.measuring.runs import read_run
from sdk.board.description.records import Board
from sdk.deploy.predicting.boards_alike import fastest
from sdk.errors import DataError
from sdk.explain.run import ModelRecord, Report
from sdk.explain.speed.predictions import PredictedModel, Scale
from sdk.explain.speed.validation import Validation


@dataclass(frozen=True)
class MeasuredModels:
    """The models of a run that can scale predictions of its board, each with its time of one thread. ``notes`` say why
    others cannot."""

    path: Path
    run: Report
    models: tuple[tuple[ModelRecord, Measurement], ...]
    notes: tuple[str, ...] = ()


def measured_models(
    path: Path, boards: Sequence[Board], runtimes: Mapping[str, str], digests: Collection[str]
) -> MeasuredModels:
    """What a run measured that can scale predictions for ``boards``, before any is made.

    ``runtimes``: the one that is predicted for each board. ``digests``: of the ``.tflite`` of what is predicted. Raises
    DataError for a run of another board, other cores or another runtime, one without a time of one thread, and one
    whose models are not among those that are to be predicted.
    """
    run = read_run(path)
    if run.emulated:
        raise DataError(
            f"{path} is not a measurement", expected="a run on a real board", found="an emulated one"
        )
    board = next((board for board in boards if board.name == run.board), None)
    if board is None:
        raise DataError(
            f"{path} was measured on another board",
            expected=" or ".join(f"{board.name} ({fastest(board).core})" for board in boards),
            found=run.board,
            hint="A measurement scales predictions for its own board alone.",
        )
    alone = [(model, timed) for model in run.models if (timed := _single(model)) is not None]
    if not alone:
        raise DataError(f"{path} has no time of one thread", expected="a run with --threads 1", found="none")
    of_runtime = [(model, timed) for model, timed in alone if timed.runtime == runtimes[board.name]]
    if not of_runtime:
        raise DataError(
            f"{path} was measured with another runtime",
            expected=runtimes[board.name],
            found=alone[0][1].runtime,
            hint=f"Predict for that one: --runtime {alone[0][1].runtime}",
        )
    doubts = [(model, timed, _not_alike(timed, board)) for model, timed in of_runtime]
    alike = [(model, timed) for model, timed, doubt in doubts if doubt is None]
    unlike = [(model, doubt) for model, _, doubt in doubts if doubt is not None]
    if not alike:
        expected, found = unlike[0][1]
        raise DataError(
            f"{path} was measured in another way than is predicted", expected=expected, found=found
        )
    known = tuple(pair for pair in alike if pair[1].tflite_sha256 in digests or _has_own(*pair))
    if not known:
        raise DataError(
            f"nothing in {path} is predicted, so there is nothing to scale by",
            expected="one of its models among those that are predicted",
            found=", ".join(dict.fromkeys(model.name for model, _ in alike)),
            hint="Give the file of the measured model beside the others.",
        )
    notes = tuple(f"{model.name} of {path} scales nothing: {found}" for model, (_, found) in unlike)
    return MeasuredModels(path, run, known, notes)


def _has_own(model: ModelRecord, timed: Measurement) -> bool:
    """Whether the run has a prediction beside this measurement, for the same runtime."""
    return model.predicted is not None and model.predicted.runtime == timed.runtime


def _not_alike(timed: Measurement, board: Board) -> tuple[str, str] | None:
    """What is predicted, and what was measured instead; None where both are the same."""
    cluster = fastest(board)
    if timed.armlet_operators:
        return (
            "the runtime's own kernels, which are predicted",
            f"{timed.armlet_operators} operators ran in kernels of Armlet",
        )
    if timed.delegate == "none":
        return "XNNPACK's kernels, which are predicted", "it ran without XNNPACK"
    others = [c for c in board.clusters if c is not cluster and set(timed.cpus) & set(c.cpus)]
    if timed.cpus and others and not set(timed.cpus) & set(cluster.cpus):
        cores = " and ".join(dict.fromkeys(c.core for c in others))
        numbers = ", ".join(map(str, timed.cpus))
        return f"{cluster.core} cores, for which is predicted", f"it ran on {cores} (CPU {numbers})"
    return None


def scales_of(measured: MeasuredModels, found: Sequence[PredictedModel]) -> list[tuple[Scale, str]]:
    """The scale of each measured model for the predictions of its board, with the digest of its ``.tflite``."""
    there = [one for one in found if one.board == measured.run.board]
    return [(_scale(measured, model, timed, there), timed.tflite_sha256) for model, timed in measured.models]


def scale_for(
    one: PredictedModel, scales: Sequence[tuple[Scale, str]], validation: Validation
) -> PredictedModel:
    """The prediction scaled by the measured models of its board, the one most like it before others, never by its own
    time; with that time beside it where it was measured itself."""
    own = [scale for scale, digest in scales if scale.board == one.board and digest == one.tflite_sha256]
    others = [scale for scale, digest in scales if scale.board == one.board and digest != one.tflite_sha256]
    one = replace(one, measured_seconds=own[0].measured_seconds if own else None)
    if not others:
        return one
    best = min(others, key=lambda scale: (scale.kind != one.kind, _apart(scale, one)))
    more = tuple(scale.factor for scale in others if scale is not best)
    best = replace(best, in_common=validation.in_common(), seen=validation.seen(), more=more)
    return replace(
        one, scale=best, factors=validation.likely(one.prediction.core, one.kind, measured=best.kind)
    )


def _apart(scale: Scale, one: PredictedModel) -> float:
    return abs(math.log(scale.predicted_seconds / one.prediction.seconds))


def _single(model: ModelRecord) -> Measurement | None:
    """The measurement of one thread; None where there is none."""
    return next((timed for timed in model.measurements if timed.threads == 1), None)


def _scale(
    measured: MeasuredModels, model: ModelRecord, timed: Measurement, there: Sequence[PredictedModel]
) -> Scale:
    """What a measured model says, by the prediction that was made now, else by the run's own."""
    own = next((one for one in there if one.tflite_sha256 == timed.tflite_sha256), None)
    predicted = own.as_time() if own is not None else model.predicted
    assert predicted is not None  # measured_models has seen it
    return Scale(
        factor=timed.median / predicted.seconds,
        model=model.name,
        board=measured.run.board,
        runtime=f"{timed.runtime} {timed.runtime_version}",
        source=str(measured.path),
        measured_seconds=timed.median,
        predicted_seconds=predicted.seconds,
        measured_unix_seconds=timed.started_unix_seconds,
        memory_decides=predicted.memory_decides,
        int8=predicted.int8,
        doubts=tuple(timed.problems),
    )
