"""Bar charts of the HTML report as text and boxes, which a phone lays out as well as a desk does. Pure.

For a screen reader a chart is one picture, whose name says every figure in it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from device_agent.record.visible import visible
from sdk.explain.attribution import OperatorTime
from sdk.explain.gap import Gap
from sdk.explain.run import ModelRecord
from sdk.explain.theory import GROUPS
from sdk.report.units import bytes_text, percent_text, seconds_text, threads_text

#: Of its row, the longest bar takes so much; its figure stands behind it.
_LONGEST = 72.0


@dataclass(frozen=True)
class Bar:
    """A row: what it is, and its parts from left to right as (share of the longest row, CSS class)."""

    label: str
    figure: str
    parts: Sequence[tuple[float, str]]
    start: float = 0.0  # where the first part begins, as a share of the longest row
    strong: bool = False


def bars(rows: Iterable[Bar], name: str) -> str:
    """The chart as HTML; ``name``, which is its caption, says what is shown."""
    rows = list(rows)
    said = "; ".join(f"{row.label} {row.figure}" for row in rows)
    body = "".join(_row(row) for row in rows)
    return (
        f"<figure><figcaption>{_escaped(name)}</figcaption>"
        f'<div class="bars" role="img" aria-label="{_escaped(said)}">{body}</div></figure>'
    )


def _row(row: Bar) -> str:
    strong = " strong" if row.strong else ""
    parts = "".join(
        f'<i class="{style}" style="width:{max(_LONGEST * share, 0.2):.2f}%"></i>'
        for share, style in row.parts
    )
    gap = f'<i style="width:{_LONGEST * row.start:.2f}%"></i>' if row.start > 0 else ""
    return (
        f'<span class="label{strong}">{_escaped(row.label)}</span>'
        f'<span class="track">{gap}{parts}<span class="figure{strong}">{_escaped(row.figure)}</span></span>'
    )


def _escaped(text: str) -> str:
    return html.escape(visible(text, lines=True)).replace(" %", "\N{NO-BREAK SPACE}%")


def medians(models: Sequence[ModelRecord]) -> str:
    """The median of one inference, a bar for each model and number of threads."""
    measured = [(number, m.name, t) for number, m in enumerate(models) for t in m.measurements]
    longest = max((t.median for _, _, t in measured), default=0.0) or 1.0
    several = len({t.threads for _, _, t in measured}) > 1
    return bars(
        (
            Bar(
                f"{name}, {threads_text(t.threads)}" if several else name,
                seconds_text(t.median),
                [(t.median / longest, f"series-{number % 8}")],
            )
            for number, name, t in measured
        ),
        "Median time of one inference",
    )


def waterfall(gap: Gap) -> str:
    """From the promised time to the measured one, a bar for every part of the gap."""
    steps = [("promised by theory", 0.0, gap.promised_seconds, "promise")]
    total = gap.promised_seconds
    for part in gap.parts:
        if abs(part.seconds) >= 0.0005 * gap.measured_seconds:
            start, total = total, total + part.seconds
            steps.append((part.name, start, total, "loss" if part.seconds > 0 else "gain"))
    steps.append(("measured", 0.0, gap.measured_seconds, "measured"))
    low = min(0.0, *(min(start, end) for _, start, end, _ in steps))
    longest = max(max(start, end) for _, start, end, _ in steps) - low or 1.0
    rows = []
    for name, start, end, style in steps:
        whole = style in ("promise", "measured")
        change = ("+" if end > start else "−") + seconds_text(abs(end - start))
        rows.append(
            Bar(
                name,
                seconds_text(end) if whole else change,
                [(abs(end - start) / longest, style)],
                (min(start, end) - low) / longest,
                strong=whole,
            )
        )
    return bars(rows, f"From theory to measurement, {gap.candidate} against {gap.baseline}")


def group_class(group: str) -> str:
    """The CSS class that gives a group of operators its colour."""
    return f"series-{GROUPS.index(group) % 8}" if group in GROUPS else "series-7"


def groups(models: Sequence[tuple[str, Sequence[OperatorTime], float]]) -> str:
    """One stacked bar per model: (name, operators, seconds outside of them) by group of operators."""
    totals = [sum(t.seconds for t in times) + max(outside, 0.0) for _, times, outside in models]
    longest = max(totals, default=0.0) or 1.0
    rows = []
    for (name, times, outside), total in zip(models, totals, strict=True):
        by_group = [(group, sum(t.seconds for t in times if t.cost.group == group)) for group in GROUPS]
        present = [(group, seconds) for group, seconds in by_group if seconds > 0]
        parts = [(seconds / longest, group_class(group)) for group, seconds in present]
        if outside > 0:
            parts.append((outside / longest, "outside"))
        most = max(present, key=lambda one: one[1], default=("", 0.0))
        told = f", most of it {most[0]} ({percent_text(most[1] / total, 0)})" if present and total else ""
        rows.append(Bar(name, f"{seconds_text(total)}{told}", parts))
    return bars(rows, "Time when profiled, by group of operators")


def sizes(models: Sequence[ModelRecord]) -> str:
    """Bytes after every stage, a bar each, for every model that was compressed."""
    staged = [(m, m.stages or (("original", m.original_bytes), ("coded", m.package_bytes))) for m in models]
    largest = max((size for _, stages in staged for _, size in stages), default=0) or 1
    rows = []
    for number, (model, stages) in enumerate(staged):
        for stage, size in stages:
            ratio = f", {model.original_bytes / size:.3g}x" if size else ""
            rows.append(
                Bar(
                    f"{model.name}, {stage}",
                    bytes_text(size) + ratio,
                    [(size / largest, f"series-{number % 8}")],
                )
            )
    return bars(rows, "Bytes after every stage of compression")
