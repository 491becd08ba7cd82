"""The plots of the HTML report, as inline SVG that takes its colours from the page, light or dark. Pure.

Every plot is drawn twice, in units of 1 px: in the width of a desk's screen and in that of a phone's; the page shows
one of them. Shapes carry a ``<title>``, which a browser shows as a tooltip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.record.measurement import Measurement
from sdk.explain.attribution import OperatorTime
from sdk.explain.breakdown import Peaks
from sdk.explain.layers import LayerNoise
from sdk.explain.run import ModelRecord
from sdk.report.page.shapes import WIDE, box, caption, escaped, logarithmic_ticks, nice_ticks, stroke, svg
from sdk.report.units import (
    bytes_text,
    percent_text,
    ratio_text,
    seconds_range_text,
    seconds_text,
    threads_text,
)

_BINS = 120
#: From this ratio of the slowest to the fastest on, times stand on a logarithmic axis.
_LOGARITHMIC = 6.0


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
        body.append(stroke(axis.x(tick), 0, axis.x(tick), base, "grid"))
        body.append(caption(axis.x(tick), base + 14, seconds_text(tick), "middle", "dim"))
    return svg(width, base + 22, body, "Distribution of the time of one inference, for each model")


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
        """The place on the axis, from 0 to 1; of arrays of any shape as well."""
        if self.logarithmic:
            return np.log(np.maximum(seconds, 1e-12) / self.low) / math.log(self.high / self.low)
        return (np.asarray(seconds) - self.low) / (self.high - self.low)

    def x(self, seconds: float) -> float:
        return 24 + (self.width - 48) * float(self.share(seconds))

    def ticks(self) -> list[float]:
        most = 8 if self.width == WIDE else 3
        return (logarithmic_ticks if self.logarithmic else nice_ticks)(self.low, self.high, most)


def _histogram(name: str, t: Measurement, base: float, style: str, axis: _Axis) -> list[str]:
    top, right = base - 48, axis.width - 8
    beyond = sum(s > axis.high for s in t.samples_seconds)
    counts, edges = np.histogram(axis.share(np.asarray(t.samples_seconds)), bins=_BINS, range=(0.0, 1.0))
    tallest = max(int(counts.max()), 1)
    note = f"median {seconds_text(t.median)}" + (f", {beyond:,} beyond" if beyond else "")
    body = [
        caption(8, top - (7 if axis.width == WIDE else 21), name, style="strong"),
        caption(right, top - 7, note, "end", "dim"),
    ]
    step = (axis.width - 48) / _BINS
    for count, start in zip(counts, edges[:-1], strict=True):
        if count:
            height = (base - top) * count / tallest
            title = f"{count:,} of {len(t.samples_seconds):,} inferences"
            body.append(box(24 + start * (axis.width - 48), base - height, step, height, style, title))
    ends = t.median_interval()
    title = f"median between {seconds_range_text(*ends)} (95 %)"
    body.append(box(axis.x(ends[0]), top, axis.x(ends[1]) - axis.x(ends[0]), base - top, "interval", title))
    body.append(stroke(axis.x(t.median), top, axis.x(t.median), base, "median"))
    body.append(stroke(8, base, right, base))
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
            f'class="series-{number % 8} point"><title>{escaped(title)}</title></circle>'
        )
    return svg(width, field.height, body, "Roofline: what each operator reached, below what the board can do")


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
            body.append(stroke(place, self.top, place, low, "grid"))
            body.append(caption(place, low + 16, f"{10.0**exponent:g}", "middle", "dim"))
        for exponent in range(round(math.log10(self.y_low)), math.floor(math.log10(self.y_high)) + 1):
            place = self.y(10.0**exponent)
            body.append(stroke(self.left, place, end, place, "grid"))
            body.append(caption(self.left - 8, place + 4, f"{10.0**exponent:g}", "end", "dim"))
        body.append(caption(end, self.height - 8, "FLOP per byte (log)", "end", "dim"))
        body.append(caption(self.left + 4, self.top + 10, "GFLOP/s (log)", "start", "dim"))
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
        body.append(stroke(field.x(start), low, field.x(ridge), high, "roof"))
        at = field.height - field.bottom - 5
        body.append(caption(field.x(start) + 16, at, f"{slope:.3g} GB/s", style="dim"))
    for dtype, level in roofs.items():
        named = f"{level:.3g} GFLOP/s" + (f" {dtype}" if len(roofs) > 1 or dtype != "float32" else "")
        body.append(stroke(field.x(ridge_of(level)), field.y(level), end, field.y(level), "roof"))
        body.append(caption(end - 4, field.y(level) - 14, named, "end", "dim"))
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
        body.append(stroke(left, y(tick / 100), width - right, y(tick / 100), "grid"))
        body.append(caption(left - 8, y(tick / 100) + 4, f"{tick:.4g} %", "end", "dim"))
    body.append(caption(width - right, height - 8, "bytes (log)", "end", "dim"))
    for first, second in zip(points[::2], points[1::2], strict=True):
        body.append(stroke(x(first[0]), y(first[1]), x(second[0]), y(second[1]), "link"))
    for size, share, name, number, style in points:
        title = f"{name}: {bytes_text(size)}, {percent_text(share, 2)}"
        body.append(
            f'<circle cx="{x(size):.1f}" cy="{y(share):.1f}" r="6" class="series-{number % 8} {style}">'
            f"<title>{escaped(title)}</title></circle>"
        )
        if style == "point":
            beside = x(size) < 0.7 * width
            label = name.removesuffix(", compressed")
            body.append(
                caption(
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
                body.append(caption(x(tick), height - bottom + 16, bytes_text(tick), "middle", "dim"))
    return svg(width, height, body, "Accuracy against size, before and after compression")


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
                body.append(stroke(left, y(tick), width - right, y(tick), "grid"))
                body.append(caption(left - 8, y(tick) + 4, f"{tick:g}x", "end", "dim"))
                body.append(stroke(x(tick), top, x(tick), height - bottom, "grid"))
                body.append(caption(x(tick), height - bottom + 16, f"{tick:g}x", "middle", "dim"))
    body.append(stroke(x(low), y(low), x(high), y(high), "link"))
    body.append(caption(left + 6, top + 12, "measured (log)", style="dim"))
    body.append(caption(width - right, height - 8, "promised by theory (log)", "end", "dim"))
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
                    f'class="{style} {kind}"><title>{escaped(title + ratio_text(speedup))} measured</title></circle>'
                )
    return svg(width, height, body, "Measured speed-up over the one that theory promises")


def decibels(layers: Sequence[LayerNoise], width: int) -> str:
    """A bar for each operator in the order of execution: its signal to noise; a second one for that on the board."""
    left, bottom, height = 48.0, 230.0, 210.0
    top = max((v for one in layers for v in (one.decibel, one.board_decibel) if v is not None), default=0.0)
    top = min(max(top, 10.0), 100.0)  # what is equal reaches the edge
    wide = (width - left - 4) / max(len(layers), 1)
    body: list[str] = []
    for tick in nice_ticks(0.0, top):
        y = bottom - height * tick / top
        body += [stroke(left, y, width, y, "grid"), caption(left - 6, y + 4, f"{tick:g} dB", "end", "dim")]
    for place, one in enumerate(layers):
        found = [v for v in (one.decibel, one.board_decibel) if v is not None]
        for number, value in enumerate(found):
            share = min(max(value, 0.0), top) / top * height
            thick = 0.8 * wide / len(found)
            x = left + place * wide + number * thick
            told = f"{one.kind} {one.name}: {value:.1f} dB" + (" between board and host" if number else "")
            body.append(box(x, bottom - share, thick, share, f"series-{number}", told))
    body.append(stroke(left, bottom, width, bottom))
    return svg(width, bottom + 10, body, "signal to noise of every operator")
