"""The plots of the HTML report, as inline SVG that takes its colours from the page, light or dark. Pure.

Every plot is drawn in its own units of 1 px on a canvas 720 wide and scales with the page. Shapes carry a ``<title>``,
which a browser shows as a tooltip and a screen reader reads.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from device_agent.record.measurement import Measurement
from device_agent.record.visible import visible
from sdk.explain.attribution import OperatorTime
from sdk.explain.breakdown import Peaks
from sdk.explain.gap import Gap
from sdk.explain.run import ModelRecord
from sdk.explain.theory import GROUPS
from sdk.report.units import (
    bytes_text,
    percent_text,
    ratio_text,
    seconds_range_text,
    seconds_text,
    threads_text,
)

WIDTH = 720
_BINS = 60


def _escaped(text: str) -> str:
    """Text between tags or in an attribute; what could turn a line around shows as its escape."""
    return html.escape(visible(text, lines=True))


def _svg(height: float, body: Iterable[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{_escaped(label)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{style}">{_escaped(text)}</text>'


def _bar(x: float, y: float, width: float, height: float, style: str, title: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" rx="2" '
        f'class="{style}"><title>{_escaped(title)}</title></rect>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str = "axis") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, ``most`` at the most: steps of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 1e-12)
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(f for f in (1, 2, 5, 10) if span / (step * f) <= most)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def distributions(models: Sequence[ModelRecord]) -> str:
    """A histogram for every model and number of threads, each over its own axis, with the median and its interval."""
    row = 112
    measured = [(number, m.name, t) for number, m in enumerate(models) for t in m.measurements]
    body: list[str] = []
    for place, (number, name, timed) in enumerate(measured):
        body += _histogram(
            f"{name}, {threads_text(timed.threads)}", timed, place * row, f"series-{number % 8}"
        )
    return _svg(len(measured) * row, body, "Distribution of the time of one inference, for each model")


def _histogram(name: str, t: Measurement, y: float, style: str) -> list[str]:
    left, right, top, base = 8, 8, y + 22, y + 82
    # A few outliers would squeeze everything else: they are cut off, and counted in words.
    p95 = t.percentile(95.0)
    last = max(t.median, min(p95 + 0.5 * (p95 - t.minimum), 2.0 * t.median))
    low = max(0.0, t.minimum - 0.05 * (last - t.minimum))
    high = max(last + 0.02 * (last - low), low * (1.0 + 1e-6))
    beyond = sum(s > high for s in t.samples_seconds)
    factor, unit = next(
        (f, u) for f, u in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")) if t.median >= f or u == "µs"
    )

    def x(seconds: float) -> float:
        return left + (WIDTH - left - right) * (seconds - low) / max(high - low, 1e-12)

    counts, edges = np.histogram(
        np.asarray(t.samples_seconds), bins=_BINS, range=(low, max(high, low + 1e-12))
    )
    tallest = max(int(counts.max()), 1)
    note = f"median {seconds_text(t.median)}, {len(t.samples_seconds):,} samples"
    body = [
        _text(left, top - 6, name, style="strong"),
        _text(WIDTH - right, top - 6, note + (f", {beyond} beyond" if beyond else ""), "end", "dim"),
    ]
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            height = (base - top) * count / tallest
            title = f"{count} inferences of {seconds_text(start)} to {seconds_text(end)}"
            body.append(_bar(x(start), base - height, x(end) - x(start) - 1, height, style, title))
    ends = t.median_interval()
    title = f"median between {seconds_range_text(*ends)} (95 %)"
    body.append(_bar(x(ends[0]), top, x(ends[1]) - x(ends[0]), base - top, "interval", title))
    body.append(_line(x(t.median), top, x(t.median), base, "median"))
    body.append(_line(left, base, WIDTH - right, base))
    for tick in nice_ticks(low / factor, high / factor, 8):
        place = x(tick * factor)
        body.append(_line(place, base, place, base + 4))
        if left + 16 < place < WIDTH - right - 46:
            body.append(_text(place, base + 16, f"{tick:.5g}", "middle", "dim"))
    body.append(_text(WIDTH - right, base + 16, unit, "end", "dim"))
    return body


def course(model: ModelRecord) -> str:
    """Clock and temperature while the models ran, run after run on the next number of threads; "" where unknown."""
    kinds = (("clock", "GHz", 1e-9, "frequency_hz"), ("temperature", "°C", 1.0, "temperature_celsius"))
    body: list[str] = []
    y = 0.0
    for number, (name, unit, factor, field) in enumerate(kinds):
        points, start = [], 0.0
        for timed in model.measurements:
            told = [(start + m.seconds, getattr(m, field)) for m in timed.during]
            points += [(at, factor * value) for at, value in told if value is not None]
            start += timed.during[-1].seconds if timed.during else 0.0
        if len(points) > 1:
            body += _curve(name, unit, points, y, number)
            y += 112
    return _svg(y, body, "Clock and temperature during the run") if body else ""


def _curve(name: str, unit: str, points: Sequence[tuple[float, float]], y: float, number: int) -> list[str]:
    left, right, top, base = 60, 8, y + 22, y + 82
    values = [value for _, value in points]
    margin = max(0.02 * max(abs(v) for v in values), 0.1 * (max(values) - min(values)), 1e-9)
    low, high, last = min(values) - margin, max(values) + margin, max(points[-1][0], 1e-9)
    line = " ".join(
        f"{left + (WIDTH - left - right) * at / last:.1f},{base - (base - top) * (value - low) / (high - low):.1f}"
        for at, value in points
    )
    body = [
        _text(8, top - 6, f"{name}, {unit}", style="strong"),
        _text(WIDTH - right, top - 6, f"{min(values):.3g} to {max(values):.3g} {unit}", "end", "dim"),
        f'<polyline points="{line}" class="curve series-{number}"/>',
        _line(left, base, WIDTH - right, base),
        _text(WIDTH - right, base + 16, "s", "end", "dim"),
    ]
    for tick in nice_ticks(low, high, 3):
        height = base - (base - top) * (tick - low) / (high - low)
        body += [
            _line(left, height, WIDTH - right, height, "grid"),
            _text(left - 8, height + 4, f"{tick:.4g}", "end", "dim"),
        ]
    for tick in nice_ticks(0.0, last, 8):
        place = left + (WIDTH - left - right) * tick / last
        if place < WIDTH - right - 20:
            body.append(_text(place, base + 16, f"{tick:.4g}", "middle", "dim"))
    return body


def waterfall(gap: Gap) -> str:
    """From the promised time to the measured one, a bar for every part of the gap."""
    left, right, row = 190, 92, 28
    total = gap.promised_seconds
    steps = [("promised by theory", 0.0, total, "promise")]
    for part in gap.parts:
        if abs(part.seconds) >= 0.0005 * gap.measured_seconds:
            start, total = total, total + part.seconds
            steps.append((part.name, start, total, "loss" if part.seconds > 0 else "gain"))
    steps.append(("measured", 0.0, gap.measured_seconds, "measured"))
    high = max(max(start, end) for _, start, end, _ in steps)
    low = min(0.0, min(min(start, end) for _, start, end, _ in steps))

    def x(seconds: float) -> float:
        return left + (WIDTH - left - right) * (seconds - low) / max(high - low, 1e-12)

    body = []
    for number, (name, start, end, style) in enumerate(steps):
        y = number * row + 4
        whole = style in ("promise", "measured")
        text = seconds_text(end) if whole else ("+" if end > start else "−") + seconds_text(abs(end - start))
        body.append(_text(left - 10, y + 15, name, "end", "strong" if whole else ""))
        body.append(
            _bar(
                x(min(start, end)),
                y,
                x(max(start, end)) - x(min(start, end)),
                row - 8,
                style,
                f"{name}: {text}",
            )
        )
        body.append(_text(x(max(start, end)) + 6, y + 15, text, style="strong" if whole else ""))
        if number < len(steps) - 1:
            body.append(_line(x(end), y + row - 8, x(end), y + row, "link"))
    label = (
        f"From {seconds_text(gap.promised_seconds)} promised to {seconds_text(gap.measured_seconds)} measured"
    )
    return _svg(len(steps) * row + 6, body, label)


def roofline(operators: Sequence[OperatorTime], peaks: Peaks) -> str:
    """Every operator that multiplies, as achieved GFLOP/s over arithmetic intensity, below the board's roof: one for
    each arithmetic (float32, int8) that occurs.
    """
    left, right, top, bottom = 54, 12, 14, 44
    height = 340
    points = [
        (t.cost.arithmetic_intensity, rate / 1e9, t)
        for t in operators
        if (rate := t.achieved_flop_per_second) and t.cost.arithmetic_intensity > 0
    ]
    if not points:
        return ""
    roofs = {dtype: peaks.of(dtype) / 1e9 for dtype in sorted({t.cost.dtype for _, _, t in points})}
    roof = max(roofs.values())
    x_low = 10 ** math.floor(math.log10(min(p[0] for p in points)))
    x_high = 10 ** math.ceil(math.log10(max(p[0] for p in points) * 1.01))
    y_low = 10 ** math.floor(math.log10(min(p[1] for p in points)))
    y_high = 2.5 * max([roof, *(p[1] for p in points)])

    def x(value: float) -> float:
        return left + (WIDTH - left - right) * math.log(value / x_low) / math.log(x_high / x_low)

    def y(value: float) -> float:
        return height - bottom - (height - top - bottom) * math.log(value / y_low) / math.log(y_high / y_low)

    body = []
    for exponent in range(round(math.log10(x_low)), round(math.log10(x_high)) + 1):
        body.append(_line(x(10.0**exponent), top, x(10.0**exponent), height - bottom, "grid"))
        body.append(_text(x(10.0**exponent), height - bottom + 16, f"{10.0**exponent:g}", "middle", "dim"))
    for exponent in range(round(math.log10(y_low)), math.floor(math.log10(y_high)) + 1):
        body.append(_line(left, y(10.0**exponent), WIDTH - right, y(10.0**exponent), "grid"))
        body.append(_text(left - 8, y(10.0**exponent) + 4, f"{10.0**exponent:g}", "end", "dim"))
    body.append(_text(WIDTH - right, height - 8, "FLOP a byte (log)", "end", "dim"))
    body.append(_text(left + 4, top + 10, "GFLOP/s (log)", "start", "dim"))

    def ridge_of(level: float) -> float:
        bandwidth = (peaks.memory_bytes_per_second or math.inf) / 1e9
        return min(max(level / bandwidth, x_low), x_high)

    if peaks.memory_bytes_per_second:
        slope = peaks.memory_bytes_per_second / 1e9
        ridge = ridge_of(roof)
        start = max(x_low, y_low / slope)
        body.append(
            _line(x(start), y(min(slope * start, roof)), x(ridge), y(min(slope * ridge, roof)), "roof")
        )
        body.append(_text(x(start) + 16, height - bottom - 5, f"{slope:.3g} GB/s", style="dim"))
    for dtype, level in roofs.items():
        named = f"{level:.3g} GFLOP/s" + (f" {dtype}" if len(roofs) > 1 or dtype != "float32" else "")
        body.append(_line(x(ridge_of(level)), y(level), WIDTH - right, y(level), "roof"))
        body.append(_text(WIDTH - right - 4, y(level) - 14, named, "end", "dim"))
    slowest = max(t.seconds for _, _, t in points)
    for intensity, rate, t in sorted(points, key=lambda p: -p[2].seconds):
        radius = 3 + 7 * math.sqrt(t.seconds / slowest)
        told = f"{rate:.3g} GFLOP/s at {intensity:.3g} FLOP a byte"
        body.append(_point(x(intensity), y(rate), radius, t, told))
    return _svg(height, body, "Roofline: what each operator reached, below what the board can do")


def _point(x: float, y: float, radius: float, operator: OperatorTime, told: str) -> str:
    cost = operator.cost
    title = f"{cost.index} {cost.kind} ({cost.group}): {told}, {seconds_text(operator.seconds)}"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" '
        f'class="{group_class(cost.group)} point"><title>{_escaped(title)}</title></circle>'
    )


def group_class(group: str) -> str:
    """The CSS class that gives a group of operators its colour."""
    return f"series-{GROUPS.index(group) % 8}" if group in GROUPS else "series-7"


def groups(models: Sequence[tuple[str, Sequence[OperatorTime], float]]) -> str:
    """One stacked bar a model: (name, operators, seconds outside of them) by group of operators."""
    left, right, row = 8, 8, 52
    longest = max(sum(t.seconds for t in operators) + max(outside, 0.0) for _, operators, outside in models)
    body = []
    for number, (name, operators, outside) in enumerate(models):
        y, x = number * row + 20.0, float(left)
        total = sum(t.seconds for t in operators) + max(outside, 0.0)
        body.append(_text(left, y - 6, name, style="strong"))
        body.append(_text(WIDTH - right, y - 6, f"{seconds_text(total)} when profiled", "end", "dim"))
        parts = [(group, sum(t.seconds for t in operators if t.cost.group == group)) for group in GROUPS]
        for group, seconds in [*parts, ("dispatch and overlap", max(outside, 0.0))]:
            width = (WIDTH - left - right) * seconds / longest
            if seconds > 0:
                title = f"{group}: {seconds_text(seconds)}, {percent_text(seconds / total)}"
                style = group_class(group) if group in GROUPS else "outside"
                body.append(_bar(x, y, width - 1, 22, style, title))
            x += width
    return _svg(len(models) * row, body, "Time by group of operators")


def sizes(models: Sequence[ModelRecord]) -> str:
    """Bytes after every stage, a bar each, for every model that was compressed."""
    left, right, row = 190, 110, 22
    body, y = [], 0.0
    largest = max(size for m in models for _, size in (m.stages or (("coded", m.package_bytes),)))
    for number, model in enumerate(models):
        body.append(_text(8, y + 16, model.name, style="strong"))
        y += 24
        for stage, size in model.stages or (
            ("original", model.original_bytes),
            ("coded", model.package_bytes),
        ):
            width = (WIDTH - left - right) * size / largest
            ratio = f"{bytes_text(size)}, {model.original_bytes / size:.3g}x" if size else bytes_text(size)
            body.append(_text(left - 10, y + 14, stage, "end"))
            body.append(_bar(left, y + 2, width, row - 7, f"series-{number % 8}", f"{stage}: {size} bytes"))
            body.append(_text(left + width + 6, y + 14, ratio, style="dim"))
            y += row
        y += 6
    return _svg(y + 4, body, "Size after every stage of compression")


def accuracy_against_size(models: Sequence[ModelRecord]) -> str:
    """Top-1 over package size, the original above it as a hollow point. "" when no accuracy was checked."""
    checked = [m for m in models if m.accuracy is not None]
    if not checked:
        return ""
    left, right, top, bottom, height = 60, 24, 12, 40, 240
    points = []
    for number, model in enumerate(models):
        if (a := model.accuracy) is not None:
            before, after = a.share(a.original_correct), a.share(a.compressed_correct)
            points.append((model.original_bytes, before, f"{model.name}, original", number, "hollow"))
            points.append((model.package_bytes, after, f"{model.name}, compressed", number, "point"))
    x_low, x_high = min(p[0] for p in points) * 0.7, max(p[0] for p in points) * 1.4
    spread = max(max(p[1] for p in points) - min(p[1] for p in points), 0.01)
    y_low, y_high = min(p[1] for p in points) - 0.3 * spread, max(p[1] for p in points) + 0.3 * spread

    def x(value: float) -> float:
        return left + (WIDTH - left - right) * math.log(value / x_low) / math.log(x_high / x_low)

    def y(value: float) -> float:
        return height - bottom - (height - top - bottom) * (value - y_low) / (y_high - y_low)

    body = []
    for tick in nice_ticks(100 * y_low, 100 * y_high, 5):
        body.append(_line(left, y(tick / 100), WIDTH - right, y(tick / 100), "grid"))
        body.append(_text(left - 8, y(tick / 100) + 4, f"{tick:.4g} %", "end", "dim"))
    body.append(_text(WIDTH - right, height - 8, "bytes (log)", "end", "dim"))
    for first, second in zip(points[::2], points[1::2], strict=True):
        body.append(_line(x(first[0]), y(first[1]), x(second[0]), y(second[1]), "link"))
    for size, share, name, number, style in points:
        title = f"{name}: {bytes_text(size)}, {percent_text(share, 2)}"
        body.append(
            f'<circle cx="{x(size):.1f}" cy="{y(share):.1f}" r="6" class="series-{number % 8} {style}">'
            f"<title>{_escaped(title)}</title></circle>"
        )
        if style == "point":
            beside = x(size) < 0.7 * WIDTH
            label = name.removesuffix(", compressed")
            body.append(
                _text(
                    x(size) + (10 if beside else -10),
                    y(share) + 4,
                    label,
                    "start" if beside else "end",
                    "dim",
                )
            )
    for exponent in range(math.ceil(math.log10(x_low)), math.floor(math.log10(x_high)) + 1):
        for factor in (1, 2, 5):
            if x_low <= (tick := factor * 10**exponent) <= x_high and x(tick) < WIDTH - right - 80:
                body.append(_text(x(tick), height - bottom + 16, bytes_text(tick), "middle", "dim"))
    return _svg(height, body, "Accuracy against size, before and after compression")


def promised_against_measured(rows: Sequence[Any]) -> str:
    """Measured over promised speed-up of a suite's networks, both log: filled points here, hollow ones the paper's."""
    left, right, top, bottom, height = 60, 24, 12, 44, 340
    names = list(dict.fromkeys(row.name for row in rows))
    measured = [row.measured_speedup for row in rows]
    measured += [row.paper_speedup for row in rows if row.paper_speedup is not None]
    low = 0.8 * min(min(row.theoretical_speedup for row in rows), *measured)
    high = 1.25 * max(max(row.theoretical_speedup for row in rows), *measured)

    def x(value: float) -> float:
        return left + (WIDTH - left - right) * math.log(value / low) / math.log(high / low)

    def y(value: float) -> float:
        return height - bottom - (height - top - bottom) * math.log(value / low) / math.log(high / low)

    body = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for factor in (1, 2, 5):
            if low <= (tick := factor * 10.0**exponent) <= high:
                body.append(_line(left, y(tick), WIDTH - right, y(tick), "grid"))
                body.append(_text(left - 8, y(tick) + 4, f"{tick:g}x", "end", "dim"))
                body.append(_line(x(tick), top, x(tick), height - bottom, "grid"))
                body.append(_text(x(tick), height - bottom + 16, f"{tick:g}x", "middle", "dim"))
    body.append(_line(x(low), y(low), x(high), y(high), "link"))
    body.append(_text(left + 6, top + 12, "measured (log)", style="dim"))
    body.append(_text(WIDTH - right, height - 8, "promised by theory (log)", "end", "dim"))
    for row in rows:
        style = f"series-{names.index(row.name) % 8}"
        for speedup, kind, where in (
            (row.paper_speedup, "hollow", "paper"),
            (row.measured_speedup, "point", "here"),
        ):
            if speedup is not None:
                title = f"{row.name} at {row.size}, {where}: {ratio_text(row.theoretical_speedup)} promised, "
                body.append(
                    f'<circle cx="{x(row.theoretical_speedup):.1f}" cy="{y(speedup):.1f}" r="6" '
                    f'class="{style} {kind}"><title>{_escaped(title + ratio_text(speedup))} measured</title></circle>'
                )
    return _svg(height, body, "Measured speed-up over the one that theory promises")
