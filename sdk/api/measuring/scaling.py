"""One measured model of a board scales the predictions for it, and narrows their intervals as the table allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from device_agent.record.measurement import Measurement
from sdk.api.measuring.runs import read_run
from sdk.errors import DataError
from sdk.explain.run import ModelRecord, Report
from sdk.explain.speed.predictions import PredictedModel, Scale
from sdk.explain.speed.validation import Validation


def scales_of(path: Path, found: Sequence[PredictedModel]) -> list[tuple[Scale, str]]:
    """The scale of each measured model of a run for the predictions of its board, with the digest of its ``.tflite``.

    Raises DataError for a run of another board or runtime, one without a time of one thread, and one whose models are
    not among those that were predicted.
    """
    run = read_run(path)
    there = [one for one in found if one.board == run.board]
    if run.emulated:
        raise DataError(
            f"{path} is not a measurement", expected="a run on a real board", found="an emulated one"
        )
    if not there:
        boards = dict.fromkeys(f"{one.board} ({one.prediction.core})" for one in found)
        raise DataError(
            f"{path} was measured on another board",
            expected=" or ".join(boards),
            found=run.board,
            hint="A measurement scales predictions for its own board alone.",
        )
    measured = [(model, timed) for model in run.models if (timed := _single(model)) is not None]
    if not measured:
        raise DataError(f"{path} has no time of one thread", expected="a run with --threads 1", found="none")
    runtimes = dict.fromkeys(one.prediction.runtime for one in there)
    fitting = [(model, timed) for model, timed in measured if timed.runtime in runtimes]
    if not fitting:
        raise DataError(
            f"{path} was measured with another runtime",
            expected=", ".join(runtimes),
            found=measured[0][1].runtime,
            hint=f"Predict for that one: --runtime {measured[0][1].runtime}",
        )
    made = [_scale(run, path, model, timed, there) for model, timed in fitting]
    scales = [(scale, timed.tflite_sha256) for scale, (_, timed) in zip(made, fitting, strict=True) if scale]
    if not scales:
        raise DataError(
            f"nothing in {path} was predicted, so there is nothing to scale by",
            expected="one of its models among those that are predicted",
            found=", ".join(dict.fromkeys(model.name for model, _ in fitting)),
            hint="Give the file of the measured model beside the others.",
        )
    return scales


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
    best = replace(best, in_common=validation.in_common(), more=more)
    return replace(
        one, scale=best, factors=validation.likely(one.prediction.core, one.kind, measured=best.kind)
    )


def _apart(scale: Scale, one: PredictedModel) -> float:
    return abs(math.log(scale.predicted_seconds / one.prediction.seconds))


def _single(model: ModelRecord) -> Measurement | None:
    """The measurement of one thread; None where there is none."""
    return next((timed for timed in model.measurements if timed.threads == 1), None)


def _scale(
    run: Report, path: Path, model: ModelRecord, timed: Measurement, there: Sequence[PredictedModel]
) -> Scale | None:
    """What a measured model says; None where nobody predicted it."""
    alike = [
        one
        for one in there
        if one.tflite_sha256 == timed.tflite_sha256 and one.prediction.runtime == timed.runtime
    ]
    if alike:
        predicted = alike[0].prediction.seconds
        kind = alike[0].kind
        memory_decides, int8 = kind.memory_decides, kind.int8
    elif model.predicted is not None and model.predicted.runtime == timed.runtime:
        predicted = model.predicted.seconds
        memory_decides, int8 = model.predicted.memory_decides, model.predicted.int8
    else:
        return None
    return Scale(
        factor=timed.median / predicted,
        model=model.name,
        board=run.board,
        runtime=f"{timed.runtime} {timed.runtime_version}",
        source=str(path),
        measured_seconds=timed.median,
        predicted_seconds=predicted,
        measured_unix_seconds=timed.started_unix_seconds,
        memory_decides=memory_decides,
        int8=int8,
        doubts=tuple(timed.problems),
    )
