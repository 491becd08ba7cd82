"""A run, or predictions, as one row per model and number of threads, for other tools: records, Markdown, CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from device_agent.record.visible import visible
from sdk.data.meaning.shares import wilson
from sdk.explain.run import PREDICTED, ModelRecord, Report
from sdk.explain.speed.predictions import PredictedModel, Predictions
from sdk.report.predictions import likely_text
from sdk.report.units import bytes_text, percent_text, ratio_text, seconds_range_text, seconds_text

#: The columns, in order. Seconds, bytes and shares; None where nothing is known, or where a time means nothing.
COLUMNS = (
    *("model", "board", "runtime", "threads", "original_bytes", "package_bytes", "macs", "effective_macs"),
    *("accuracy", "accuracy_low", "accuracy_high", "accuracy_samples"),
    *(
        "samples",
        "minimum_seconds",
        "median_seconds",
        "median_low_seconds",
        "median_high_seconds",
        "p90_seconds",
    ),
    *("p99_seconds", "theoretical_speedup", "measured_speedup", "measured_low", "measured_high", "realised"),
    *("instructions", "verdict"),
    *("predicted_seconds", "predicted_low_seconds", "predicted_high_seconds"),  # not measured; of one thread
)

#: The columns of predictions: none of it is measured but ``measured_seconds``. A bound is no prediction: several
#: threads are not faster than it.
PREDICTED_COLUMNS = (
    *("model", "board", "core", "runtime", "dtype", "threads", "statement", "theory_seconds"),
    *("predicted_seconds", "predicted_low_seconds", "predicted_high_seconds", "bound_seconds"),
    *("measured_seconds", "dram_share", "memory_decides"),
    *("compute_seconds", "l1_seconds", "l2_seconds", "dram_seconds", "branch_seconds", "dispatch_seconds"),
)


def summary(result: Report | Predictions) -> list[dict[str, Any]]:
    """A row for each model (on each board, where it is predicted) and number of threads.

    Its keys are :data:`COLUMNS`, or :data:`PREDICTED_COLUMNS`.
    """
    if isinstance(result, Predictions):
        return [row for one in result.models for row in _predicted_rows(one)]
    return _measured_rows(result)


def _predicted_rows(one: PredictedModel) -> list[dict[str, Any]]:
    told = one.prediction
    same = {
        **dict.fromkeys(PREDICTED_COLUMNS),
        "model": one.name,
        "board": one.board,
        "core": told.core,
        "runtime": f"{told.runtime} {told.runtime_version}",
        "dtype": told.dtype,
        "statement": PREDICTED,
    }
    alone = {
        **same,
        "threads": 1,
        "theory_seconds": one.theory_seconds,
        "predicted_seconds": one.predicted_seconds,
        "predicted_low_seconds": one.low_seconds,
        "predicted_high_seconds": one.high_seconds,
        "measured_seconds": one.measured_seconds,
        "dram_share": told.dram_share,
        "memory_decides": one.memory_decides,
        **{f"{name}_seconds": seconds for name, seconds in one.part_seconds().items()},
    }
    bounds = [{**same, "threads": b.threads, "bound_seconds": b.seconds} for b in one.bounds if b.threads > 1]
    return [alone, *bounds]


def _measured_rows(report: Report) -> list[dict[str, Any]]:
    return [
        _row(report, model, number) for model in report.models for number in range(len(model.measurements))
    ]


def _row(report: Report, model: ModelRecord, number: int) -> dict[str, Any]:
    timed = model.measurements[number]
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row.update(
        model=model.name,
        board=report.board,
        runtime=f"{timed.runtime} {timed.runtime_version}",
        threads=timed.threads,
        original_bytes=model.original_bytes,
        package_bytes=model.package_bytes,
        macs=model.macs,
        effective_macs=model.effective_macs,
        instructions=model.instructions,
        verdict="emulated" if report.emulated else "; ".join(timed.problems) or "trusted",
    )
    if (told := model.accuracy) is not None:
        low, high = wilson(told.reached, told.samples)
        row.update(
            accuracy=told.share(told.reached),
            accuracy_low=low,
            accuracy_high=high,
            accuracy_samples=told.samples,
        )
    if report.emulated:
        return row
    if (predicted := model.predicted) is not None and timed.threads == 1:
        row.update(
            predicted_seconds=predicted.seconds,
            predicted_low_seconds=predicted.low_seconds,
            predicted_high_seconds=predicted.high_seconds,
        )
    low, high = timed.median_interval()
    row.update(
        samples=len(timed.samples_seconds),
        minimum_seconds=timed.minimum,
        median_seconds=timed.median,
        median_low_seconds=low,
        median_high_seconds=high,
        p90_seconds=timed.p90,
        p99_seconds=timed.p99,
    )
    for found in report.comparisons:
        if found.candidate == model.name and found.threads == timed.threads:
            row.update(
                theoretical_speedup=found.theoretical_speedup,
                measured_speedup=found.measured_speedup,
                measured_low=found.measured_low,
                measured_high=found.measured_high,
                realised=found.share_realised,
            )
    return row


def as_csv(result: Report | Predictions) -> str:
    """The summary as CSV (RFC 4180) with a head, numbers at full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, PREDICTED_COLUMNS if isinstance(result, Predictions) else COLUMNS)
    writer.writeheader()
    writer.writerows(
        {name: _inert(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in summary(result)
    )
    return text.getvalue()


def as_markdown(result: Report | Predictions) -> str:
    """The summary as a table of GitHub's Markdown, in the units of the terminal's report."""
    if isinstance(result, Predictions):
        heads = [
            "model",
            "board",
            "threads",
            "theory",
            "predicted, not measured",
            "likely",
            "measured",
            "DRAM",
        ]
        return _table(heads, [cells for one in result.models for cells in _predicted_cells(one)])
    heads = ["model", "threads", "package", "accuracy", "median", "95 % interval", "p90", "speed-up"]
    return _table([*heads, "in theory"], [_measured_cells(row) for row in summary(result)])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|:---|" + "---:|" * (len(heads) - 1)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def _in_a_cell(text: str) -> str:
    return visible(text).replace("|", "\\|")


def _predicted_cells(one: PredictedModel) -> list[list[str]]:
    """A row, and one for each bound."""
    theory, measured = (
        "-" if seconds is None else seconds_text(seconds)
        for seconds in (one.theory_seconds, one.measured_seconds)
    )
    names = [_in_a_cell(one.name), _in_a_cell(one.board)]
    share = percent_text(one.prediction.dram_share, 0)
    times = [theory, seconds_text(one.predicted_seconds), likely_text(one), measured, share]
    bounds = [
        [*names, str(b.threads), "-", f"at least {seconds_text(b.seconds)}", "-", "-", "-"]
        for b in one.bounds
        if b.threads > 1
    ]
    return [[*names, "1", *times], *bounds]


def _measured_cells(row: dict[str, Any]) -> list[str]:
    low, high = row["median_low_seconds"], row["median_high_seconds"]
    ratios = [
        "-" if row[name] is None else ratio_text(row[name])
        for name in ("measured_speedup", "theoretical_speedup")
    ]
    return [
        _in_a_cell(row["model"]),
        str(row["threads"]),
        bytes_text(row["package_bytes"]),
        "-" if row["accuracy"] is None else percent_text(row["accuracy"], 2),
        "-" if low is None else seconds_text(row["median_seconds"]),
        "-" if low is None else seconds_range_text(low, high),
        "-" if low is None else seconds_text(row["p90_seconds"]),
        *ratios,
    ]


def _inert(text: str) -> str:
    """The text in a form that no spreadsheet takes for a formula."""
    shown = visible(text)
    return "'" + shown if shown[:1] in ("=", "+", "-", "@") else shown
