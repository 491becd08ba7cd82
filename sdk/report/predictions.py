"""Predicted times in words, for terminal and page. Each text says that nothing was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdk.explain.breakdown import Peaks
from sdk.explain.run import PREDICTED
from sdk.explain.speed.prediction import PARTS
from sdk.explain.speed.predictions import PredictedModel, Predictions, Scale, ThreadsBound
from sdk.explain.speed.validation import scaled_by
from sdk.report.units import percent_text, seconds_text

#: Names of the parts of the cycles, as people read them.
PART_NAMES = {
    "compute": "compute",
    "l1": "L1",
    "l2": "L2, L3",
    "dram": "DRAM",
    "branch": "branches",
    "dispatch": "dispatch",
}
assert tuple(PART_NAMES) == PARTS
#: This many kernels are named; the record has all.
_KERNELS = 4


def title_text(result: Predictions) -> str:
    """The title of a page or table, which says that nothing was measured."""
    boards = ", ".join(dict.fromkeys(one.board for one in result.models))
    return f"{', '.join(dict.fromkeys(one.name for one in result.models))} on {boards}: {PREDICTED}"


def likely_text(one: PredictedModel) -> str:
    """The likely range of the time, in its known digits: "27.9 - 39.0 ms"."""
    low, high = seconds_text(one.low_seconds), seconds_text(one.high_seconds)
    unit = high.rpartition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} - {high}"


def optional_text(seconds: float | None) -> str:
    """A time, or a dash where nothing is known."""
    return "-" if seconds is None else seconds_text(seconds)


def sentence_of(one: PredictedModel) -> str:
    """One prediction in one sentence."""
    return (
        f"{one.name} on {one.board}: predicted {seconds_text(one.predicted_seconds)}, likely {likely_text(one)}; "
        "not measured"
    )


def bound_text(bound: ThreadsBound) -> str:
    """The time that this many threads do not beat, and why."""
    why = "the shared memory takes that long" if bound.memory_limits else "no loss between the cores"
    return f"{seconds_text(bound.seconds)}: {why}"


def method_text(result: Predictions) -> str:
    """The method's own error, from which the intervals are taken."""
    return (
        f"Against {result.cells} published latencies it was {percent_text(result.median_error, 0)} off in the median, "
        f"{percent_text(result.calibrated_error, 0)} with any one measured model of the board; 8 of 10 lay in "
        f"intervals as these. {result.validation[0].upper()}{result.validation[1:]}."
    )


def facts_of_predictions(result: Predictions) -> list[tuple[str, str]]:
    """Label and text, one pair per line: the verdict first."""
    facts = [
        ("verdict", f"{PREDICTED}: an error of the method stays, and a board has heat, load and other memory")
    ]
    for board in dict.fromkeys(one.board for one in result.models):
        facts.append((board, _board_text([one for one in result.models if one.board == board])))
    ran: dict[str, list[str]] = {}
    for one in result.models:
        kernels = [f"{name} {percent_text(share, 0)}" for name, share in one.prediction.kernels[:_KERNELS]]
        if kernels:
            ran.setdefault(", ".join(kernels), []).append(f"{one.name} on {one.board}")
    facts += [("kernels", f"{', '.join(where)}: {kernels}") for kernels, where in ran.items()]
    facts += [(f"scaled, {board}", text) for board, text in _scale_texts(result.models)]
    facts.append(("method", method_text(result)))
    return facts


def _board_text(there: Sequence[PredictedModel]) -> str:
    first = there[0]
    p = first.prediction
    peak = "" if first.peaks is None else _peak_text(first.peaks)
    return (
        f"{first.board_title}, {p.core} at {p.clock_hz / 1e9:.3g} GHz, one core, {p.runtime} {p.runtime_version}, "
        f"memory {p.memory_bytes_per_second / 1e9:.3g} GB/s read and written{peak}"
    )


def _peak_text(peaks: Peaks) -> str:
    """What theory divides by, of floats and where it is known of int8."""
    integers = "" if peaks.int8_per_second is None else f", int8 {peaks.int8_per_second / 1e9:.3g} GOP/s"
    return f"; theory: {peaks.flop_per_second / 1e9:.3g} GFLOP/s{integers} ({peaks.source})"


def _scale_texts(models: Sequence[PredictedModel]) -> list[tuple[str, str]]:
    """Which measured model scales which predictions, each once."""
    said = {}
    for one in models:
        if (scale := one.scale) is not None:
            when = str(np.datetime64(int(scale.measured_unix_seconds), "s"))[:10]
            said[
                f"by {_taken_over(scale)}: {scale.model} took {seconds_text(scale.measured_seconds)} there on {when} "
                f"with {scale.runtime} ({scale.source}), predicted {seconds_text(scale.predicted_seconds)}"
            ] = one.board
    return [(board, text) for text, board in said.items()]


def _taken_over(scale: Scale) -> str:
    """By what other models of the board are multiplied, and what it is of what was measured."""
    measured = [f"{factor:.3f}" for factor in (scale.factor, *scale.more)]
    if scale.in_common == 1.0 and not scale.more:
        return measured[0]
    within = scaled_by((scale.factor, *scale.more), scale.in_common)
    beyond = "" if within == scale.taken_over else "; what lies beyond every latency of the table, whole"
    return (
        f"{scale.taken_over:.3f} (of {', '.join(measured)}, as far as networks of other boards err alike: one to the "
        f"power of {scale.in_common:.2f}{beyond})"
    )
