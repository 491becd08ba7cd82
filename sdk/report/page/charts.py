"""The plots of the HTML report, as inline SVG that takes its colours from the page, light or dark. Pure.

Every plot is drawn twice, in units of 1 px: as wide as a desk shows it, and as wide as a phone does; the page shows one
of them. Shapes carry a ``<title>``, which a browser shows as a tooltip.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.record.measurement import Measurement
from device_agent.record.visible import visible
from sdk.explain.attribution import OperatorTime
from sdk.explain.breakdown import Peaks
from sdk.explain.layers import LayerNoise
from sdk.explain.run import ModelRecord
from sdk.report.units import (
    bytes_text,
    percent_text,
    ratio_text,
    seconds_range_text,
    seconds_text,
    threads_text,
)

WIDE, NARROW = 720, 320
_BINS = 120
#: From this ratio of the slowest to the fastest on, times stand on a logarithmic axis.
_LOGARITHMIC = 6.0


def responsive(draw: Callable[[int], str]) -> str:
    """What ``draw`` makes of a width, for desk and phone; "" where it draws nothing."""
    wide = draw(WIDE)
    return f'<div class="wide">{wide}</div><div class="narrow">{draw(NARROW)}</div>' if wide else ""


def _escaped(text: str) -> str:
    """Text between tags or in an attribute; what could turn a line around shows as its escape."""
    return html.escape(visible(text, lines=True))


def _svg(width: int, height: float, body: Iterable[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{_escaped(label)}" '
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


def distributions(models: Sequence[ModelRecord], width: int) -> str:
    """A histogram for every model and number of threads, all over one axis, with the median and its interval."""
    row = 78 if width == WIDE else 92  # a phone has no room for two texts on a line
    measured = [(number, m.name, t) for number, m in enumerate(models) for t in m.measurements]
    axis = _Axis.over([t for _, _, t in measured], width)
    body: list[str] = []
    for place, (number, name, timed) in enumerate(measured):
        label = f"{name}, {threads_text(timed.threads)}"
        body += _histogram(label, timed, (place + 1) * row - 8, f"series-{number % 8}", axis)
    base = len(measured) * row + 8
    for tick in axis.ticks():
        body.append(_line(axis.x(tick), 0, axis.x(tick), base, "grid"))
        body.append(_text(axis.x(tick), base + 14, seconds_text(tick), "middle", "dim"))
    return _svg(width, base + 22, body, "Distribution of the time of one inference, for each model")


@dataclass(frozen=True)
class _Axis:
    """From seconds to pixels, the same for all histograms of a page."""

    low: float
    high: float
    width: int

    @classmethod
    def over(cls, measured: Sequence[Measurement], width: int) -> _Axis:
        lows, highs = [], []
        for t in measured:
            # A few outliers would squeeze everything else: they are cut off, and counted in words.
            p95 = t.percentile(95.0)
            highs.append(max(t.median, min(p95 + 0.5 * (p95 - t.minimum), 2.0 * t.median)))
            lows.append(t.minimum)
        low, high = 0.98 * min(lows), 1.02 * max(highs)
        return cls(max(low, 1e-9), max(high, low * 1.01, 2e-9), width)

    @property
    def logarithmic(self) -> bool:
        return self.high / self.low > _LOGARITHMIC

    def share(self, seconds: Any) -> Any:
        """Where on the axis, from 0 to 1; of arrays of any shape as well."""
        if self.logarithmic:
            return np.log(np.maximum(seconds, 1e-12) / self.low) / math.log(self.high / self.low)
        return (np.asarray(seconds) - self.low) / (self.high - self.low)

    def x(self, seconds: float) -> float:
        return 24 + (self.width - 48) * float(self.share(seconds))

    def ticks(self) -> list[float]:
        most = 8 if self.width == WIDE else 3
        if not self.logarithmic:
            return nice_ticks(self.low, self.high, most)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        found = [tick for tick in found if self.low <= tick <= self.high]
        return found[:: max(1, math.ceil(len(found) / most))]


def _histogram(name: str, t: Measurement, base: float, style: str, axis: _Axis) -> list[str]:
    top, right = base - 48, axis.width - 8
    beyond = sum(s > axis.high for s in t.samples_seconds)
    counts, edges = np.histogram(axis.share(np.asarray(t.samples_seconds)), bins=_BINS, range=(0.0, 1.0))
    tallest = max(int(counts.max()), 1)
    note = f"median {seconds_text(t.median)}" + (f", {beyond:,} beyond" if beyond else "")
    body = [
        _text(8, top - (7 if axis.width == WIDE else 21), name, style="strong"),
        _text(right, top - 7, note, "end", "dim"),
    ]
    step = (axis.width - 48) / _BINS
    for count, start in zip(counts, edges[:-1], strict=True):
        if count:
            height = (base - top) * count / tallest
            title = f"{count:,} of {len(t.samples_seconds):,} inferences"
            body.append(_bar(24 + start * (axis.width - 48), base - height, step, height, style, title))
    ends = t.median_interval()
    title = f"median between {seconds_range_text(*ends)} (95 %)"
    body.append(_bar(axis.x(ends[0]), top, axis.x(ends[1]) - axis.x(ends[0]), base - top, "interval", title))
    body.append(_line(axis.x(t.median), top, axis.x(t.median), base, "median"))
    body.append(_line(8, base, right, base))
    return body


def course(model: ModelRecord, width: int) -> str:
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
            body += _curve(name, unit, points, y, number, width)
            y += 112
    return _svg(width, y, body, "Clock and temperature during the run") if body else ""


def _curve(
    name: str, unit: str, points: Sequence[tuple[float, float]], y: float, number: int, width: int
) -> list[str]:
    left, right, top, base = 60, 8, y + 22, y + 82
    values = [value for _, value in points]
    margin = max(0.02 * max(abs(v) for v in values), 0.1 * (max(values) - min(values)), 1e-9)
    low, high, last = min(values) - margin, max(values) + margin, max(points[-1][0], 1e-9)
    line = " ".join(
        f"{left + (width - left - right) * at / last:.1f},{base - (base - top) * (value - low) / (high - low):.1f}"
        for at, value in points
    )
    body = [
        _text(8, top - 6, f"{name}, {unit}", style="strong"),
        _text(width - right, top - 6, f"{min(values):.3g} to {max(values):.3g} {unit}", "end", "dim"),
        f'<polyline points="{line}" class="curve series-{number}"/>',
        _line(left, base, width - right, base),
        _text(width - right, base + 16, "s", "end", "dim"),
    ]
    for tick in nice_ticks(low, high, 3):
        height = base - (base - top) * (tick - low) / (high - low)
        body += [
            _line(left, height, width - right, height, "grid"),
            _text(left - 8, height + 4, f"{tick:.4g}", "end", "dim"),
        ]
    for tick in nice_ticks(0.0, last, 8):
        place = left + (width - left - right) * tick / last
        if place < width - right - 20:
            body.append(_text(place, base + 16, f"{tick:.4g}", "middle", "dim"))
    return body


def roofline(models: Sequence[tuple[str, Sequence[OperatorTime]]], peaks: Peaks, width: int) -> str:
    """Every operator of all models that multiplies, as achieved GFLOP/s over arithmetic intensity, below the board's
    roof: one for each arithmetic (float32, int8) that occurs. "" where nothing multiplies.
    """
    points = [
        (t.cost.arithmetic_intensity, rate / 1e9, t, number, name)
        for number, (name, operators) in enumerate(models)
        for t in operators
        if (rate := t.achieved_flop_per_second) and t.cost.arithmetic_intensity > 0
    ]
    if not points:
        return ""
    roofs = {dtype: peaks.of(dtype) / 1e9 for dtype in sorted({t.cost.dtype for _, _, t, _, _ in points})}
    field = _Field.around([p[0] for p in points], [p[1] for p in points], max(roofs.values()), width)
    body = [*field.grid(), *_roofs(field, roofs, peaks.memory_bytes_per_second)]
    slowest = max(t.seconds for _, _, t, _, _ in points)
    for intensity, rate, t, number, name in sorted(points, key=lambda p: -p[2].seconds):
        radius = (3 + 7 * math.sqrt(t.seconds / slowest)) * (1.0 if width == WIDE else 0.7)
        title = (
            f"{name}, {t.cost.index} {t.cost.kind} ({t.cost.group}): {rate:.3g} GFLOP/s at {intensity:.3g} FLOP "
            f"per byte, {seconds_text(t.seconds)}"
        )
        body.append(
            f'<circle cx="{field.x(intensity):.1f}" cy="{field.y(rate):.1f}" r="{radius:.1f}" '
            f'class="series-{number % 8} point"><title>{_escaped(title)}</title></circle>'
        )
    return _svg(
        width, field.height, body, "Roofline: what each operator reached, below what the board can do"
    )


@dataclass(frozen=True)
class _Field:
    """Two logarithmic axes: FLOP per byte to the right, GFLOP/s upwards."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    width: int
    height: int = 340
    left, right, top, bottom = 54, 12, 14, 44

    @classmethod
    def around(cls, xs: Sequence[float], ys: Sequence[float], roof: float, width: int) -> _Field:
        return cls(
            10 ** math.floor(math.log10(min(xs))),
            10 ** math.ceil(math.log10(max(xs) * 1.01)),
            10 ** math.floor(math.log10(min(ys))),
            2.5 * max(roof, *ys),
            width,
        )

    def x(self, value: float) -> float:
        share = math.log(value / self.x_low) / math.log(self.x_high / self.x_low)
        return self.left + (self.width - self.left - self.right) * share

    def y(self, value: float) -> float:
        share = math.log(value / self.y_low) / math.log(self.y_high / self.y_low)
        return self.height - self.bottom - (self.height - self.top - self.bottom) * share

    def grid(self) -> list[str]:
        body, low, end = [], self.height - self.bottom, self.width - self.right
        for exponent in range(round(math.log10(self.x_low)), round(math.log10(self.x_high)) + 1):
            place = self.x(10.0**exponent)
            body.append(_line(place, self.top, place, low, "grid"))
            body.append(_text(place, low + 16, f"{10.0**exponent:g}", "middle", "dim"))
        for exponent in range(round(math.log10(self.y_low)), math.floor(math.log10(self.y_high)) + 1):
            place = self.y(10.0**exponent)
            body.append(_line(self.left, place, end, place, "grid"))
            body.append(_text(self.left - 8, place + 4, f"{10.0**exponent:g}", "end", "dim"))
        body.append(_text(end, self.height - 8, "FLOP per byte (log)", "end", "dim"))
        body.append(_text(self.left + 4, self.top + 10, "GFLOP/s (log)", "start", "dim"))
        return body


def _roofs(field: _Field, roofs: dict[str, float], bytes_per_second: float | None) -> list[str]:
    """The lines above which no operator can be: memory, and arithmetic of each type."""
    slope = (bytes_per_second or math.inf) / 1e9
    end, highest = field.width - field.right, max(roofs.values())
    body = []

    def ridge_of(level: float) -> float:
        return min(max(level / slope, field.x_low), field.x_high)

    if bytes_per_second:
        start, ridge = max(field.x_low, field.y_low / slope), ridge_of(highest)
        low, high = (field.y(min(slope * at, highest)) for at in (start, ridge))
        body.append(_line(field.x(start), low, field.x(ridge), high, "roof"))
        at = field.height - field.bottom - 5
        body.append(_text(field.x(start) + 16, at, f"{slope:.3g} GB/s", style="dim"))
    for dtype, level in roofs.items():
        named = f"{level:.3g} GFLOP/s" + (f" {dtype}" if len(roofs) > 1 or dtype != "float32" else "")
        body.append(_line(field.x(ridge_of(level)), field.y(level), end, field.y(level), "roof"))
        body.append(_text(end - 4, field.y(level) - 14, named, "end", "dim"))
    return body


def accuracy_against_size(models: Sequence[ModelRecord], width: int) -> str:
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
        return left + (width - left - right) * math.log(value / x_low) / math.log(x_high / x_low)

    def y(value: float) -> float:
        return height - bottom - (height - top - bottom) * (value - y_low) / (y_high - y_low)

    body = []
    for tick in nice_ticks(100 * y_low, 100 * y_high, 5):
        body.append(_line(left, y(tick / 100), width - right, y(tick / 100), "grid"))
        body.append(_text(left - 8, y(tick / 100) + 4, f"{tick:.4g} %", "end", "dim"))
    body.append(_text(width - right, height - 8, "bytes (log)", "end", "dim"))
    for first, second in zip(points[::2], points[1::2], strict=True):
        body.append(_line(x(first[0]), y(first[1]), x(second[0]), y(second[1]), "link"))
    for size, share, name, number, style in points:
        title = f"{name}: {bytes_text(size)}, {percent_text(share, 2)}"
        body.append(
            f'<circle cx="{x(size):.1f}" cy="{y(share):.1f}" r="6" class="series-{number % 8} {style}">'
            f"<title>{_escaped(title)}</title></circle>"
        )
        if style == "point":
            beside = x(size) < 0.7 * width
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
            if x_low <= (tick := factor * 10**exponent) <= x_high and x(tick) < width - right - 80:
                body.append(_text(x(tick), height - bottom + 16, bytes_text(tick), "middle", "dim"))
    return _svg(width, height, body, "Accuracy against size, before and after compression")


def promised_against_measured(rows: Sequence[Any], width: int) -> str:
    """Measured over promised speed-up of a suite's networks, both log: filled points here, hollow ones the paper's."""
    left, right, top, bottom, height = 60, 24, 12, 44, 340
    names = list(dict.fromkeys(row.name for row in rows))
    measured = [row.measured_speedup for row in rows]
    measured += [row.paper_speedup for row in rows if row.paper_speedup is not None]
    low = 0.8 * min(min(row.theoretical_speedup for row in rows), *measured)
    high = 1.25 * max(max(row.theoretical_speedup for row in rows), *measured)

    def x(value: float) -> float:
        return left + (width - left - right) * math.log(value / low) / math.log(high / low)

    def y(value: float) -> float:
        return height - bottom - (height - top - bottom) * math.log(value / low) / math.log(high / low)

    body = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for factor in (1, 2, 5):
            if low <= (tick := factor * 10.0**exponent) <= high:
                body.append(_line(left, y(tick), width - right, y(tick), "grid"))
                body.append(_text(left - 8, y(tick) + 4, f"{tick:g}x", "end", "dim"))
                body.append(_line(x(tick), top, x(tick), height - bottom, "grid"))
                body.append(_text(x(tick), height - bottom + 16, f"{tick:g}x", "middle", "dim"))
    body.append(_line(x(low), y(low), x(high), y(high), "link"))
    body.append(_text(left + 6, top + 12, "measured (log)", style="dim"))
    body.append(_text(width - right, height - 8, "promised by theory (log)", "end", "dim"))
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
    return _svg(width, height, body, "Measured speed-up over the one that theory promises")


def decibels(layers: Sequence[LayerNoise], width: int) -> str:
    """A bar for each operator in the order of execution: its signal to noise; a second one for that on the board."""
    left, bottom, height = 48.0, 230.0, 210.0
    top = max((v for one in layers for v in (one.decibel, one.board_decibel) if v is not None), default=0.0)
    top = min(max(top, 10.0), 100.0)  # what is equal reaches the edge
    wide = (width - left - 4) / max(len(layers), 1)
    body: list[str] = []
    for tick in nice_ticks(0.0, top):
        y = bottom - height * tick / top
        body += [_line(left, y, width, y, "grid"), _text(left - 6, y + 4, f"{tick:g} dB", "end", "dim")]
    for place, one in enumerate(layers):
        found = [v for v in (one.decibel, one.board_decibel) if v is not None]
        for number, value in enumerate(found):
            share = min(max(value, 0.0), top) / top * height
            thick = 0.8 * wide / len(found)
            x = left + place * wide + number * thick
            told = f"{one.kind} {one.name}: {value:.1f} dB" + (" between board and host" if number else "")
            body.append(_bar(x, bottom - share, thick, share, f"series-{number}", told))
    body.append(_line(left, bottom, width, bottom))
    return _svg(width, bottom + 10, body, "signal to noise of every operator")
