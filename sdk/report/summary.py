"""A run as one row per model and number of threads, for other tools: records, Markdown, CSV. Pure."""

from __future__ import annotations

import csv
import io
from typing import Any

from device_agent.record.visible import visible
from sdk.data.meaning.shares import wilson
from sdk.explain.run import ModelRecord, Report
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


def summary(report: Report) -> list[dict[str, Any]]:
    """A row for each model and number of threads; its keys are :data:`COLUMNS`."""
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


def as_csv(report: Report) -> str:
    """The summary as CSV (RFC 4180) with a head, numbers at full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(
        {name: _inert(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in summary(report)
    )
    return text.getvalue()


def as_markdown(report: Report) -> str:
    """The summary as a table of GitHub's Markdown, in the units of the terminal's report."""
    heads = [
        "model",
        "threads",
        "package",
        "accuracy",
        "median",
        "95 % interval",
        "p90",
        "speed-up",
        "in theory",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|:---|" + "---:|" * (len(heads) - 1)]
    for row in summary(report):
        low, high = row["median_low_seconds"], row["median_high_seconds"]
        ratios = [
            "-" if row[name] is None else ratio_text(row[name])
            for name in ("measured_speedup", "theoretical_speedup")
        ]
        cells = [
            visible(row["model"]).replace("|", "\\|"),
            str(row["threads"]),
            bytes_text(row["package_bytes"]),
            "-" if row["accuracy"] is None else percent_text(row["accuracy"], 2),
            "-" if low is None else seconds_text(row["median_seconds"]),
            "-" if low is None else seconds_range_text(low, high),
            "-" if low is None else seconds_text(row["p90_seconds"]),
            *ratios,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _inert(text: str) -> str:
    """The text in a form that no spreadsheet takes for a formula."""
    shown = visible(text)
    return "'" + shown if shown[:1] in ("=", "+", "-", "@") else shown
