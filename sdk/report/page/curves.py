"""Curves over the time of a run: clock and temperature, and what a soak says of speed, clock, heat and power. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from device_agent.record.soak import Soak, SoakTurn
from sdk.explain.run import ModelRecord
from sdk.explain.soaking.figures import throttle
from sdk.report.page.shapes import WIDE, caption, escaped, nice_ticks, stroke, svg
from sdk.report.units import seconds_text

_LEFT, _RIGHT, _HEIGHT = 60, 8, 112
#: Points of one curve; of more, as many medians of neighbours.
MOST_POINTS = 240


@dataclass(frozen=True)
class Curve:
    """Points (time, value) in the order of time, drawn in the colour of a series; ``name`` is its tooltip."""

    points: Sequence[tuple[float, float]]
    series: int
    name: str = ""


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
            body += panel(name, unit, [Curve(points, number)], y, width)
            y += _HEIGHT
    return svg(width, y, body, "Clock and temperature during the run") if body else ""


def soak_curves(soak: Soak, width: int) -> str:
    """Time of an inference of every model, clock, temperature and power over the minutes of a soak."""
    fell = throttle(soak)
    mark = None if fell is None else (fell.seconds / 60.0, f"{fell.why}, after {seconds_text(fell.seconds)}")
    body: list[str] = []
    y = 0.0
    latencies = [
        _thinned(soak.of_model(number), lambda turn: 1e3 * turn.median_seconds, number, model.name)
        for number, model in enumerate(soak.models)
    ]
    kinds: list[tuple[str, str, list[Curve]]] = [("time of an inference", "ms", latencies)]
    for name, unit, factor, field in (
        ("clock", "GHz", 1e-9, "frequency_hz"),
        ("temperature", "°C", 1.0, "temperature_celsius"),
        ("power", "W", 1.0, "watts"),
    ):
        kinds.append((name, unit, [_thinned(soak.turns, _field(field, factor), 7)]))
    for name, unit, curves in kinds:
        told = [curve for curve in curves if len(curve.points) > 1]
        if told:
            body += panel(name, unit, told, y, width, time="min", mark=mark)
            y += _HEIGHT
    return svg(width, y, body, "Speed, clock, temperature and power over time") if body else ""


def _field(name: str, factor: float) -> Callable[[SoakTurn], float | None]:
    def value(turn: SoakTurn) -> float | None:
        found = getattr(turn, name)
        return None if found is None else factor * found

    return value


def _thinned(
    turns: Sequence[SoakTurn], value: Callable[[SoakTurn], float | None], series: int, name: str = ""
) -> Curve:
    """A curve over minutes; of many turns as many medians of neighbours as can be seen."""
    told = [(turn.seconds / 60.0, found) for turn in turns if (found := value(turn)) is not None]
    parts = np.array_split(np.arange(len(told)), min(len(told), MOST_POINTS)) if told else []
    points = [
        (float(np.mean([told[i][0] for i in part])), float(np.median([told[i][1] for i in part])))
        for part in parts
    ]
    return Curve(points, series, name)


def panel(
    name: str,
    unit: str,
    curves: Sequence[Curve],
    y: float,
    width: int,
    *,
    time: str = "s",
    mark: tuple[float, str] | None = None,
) -> list[str]:
    """Curves over one axis of time, from ``y`` down; ``mark`` is a time that is drawn through, with its tooltip."""
    top, base = y + 22, y + 82
    values = [value for curve in curves for _, value in curve.points]
    margin = max(0.02 * max(abs(v) for v in values), 0.1 * (max(values) - min(values)), 1e-9)
    low, high = min(values) - margin, max(values) + margin
    last = max(1e-9, *(curve.points[-1][0] for curve in curves))

    def across(at: float) -> float:
        return _LEFT + (width - _LEFT - _RIGHT) * at / last

    def up(value: float) -> float:
        return base - (base - top) * (value - low) / (high - low)

    body = [
        caption(8, top - 6, f"{name}, {unit}", style="strong"),
        caption(width - _RIGHT, top - 6, f"{min(values):.3g} to {max(values):.3g} {unit}", "end", "dim"),
    ]
    for curve in curves:
        line = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in curve.points)
        told = f"<title>{escaped(curve.name)}</title>" if curve.name else ""
        body.append(f'<polyline points="{line}" class="curve series-{curve.series % 8}">{told}</polyline>')
    if mark is not None and mark[0] <= last:
        place = across(mark[0])
        body.append(
            f'<line x1="{place:.1f}" y1="{top}" x2="{place:.1f}" y2="{base}" class="link">'
            f"<title>{escaped(mark[1])}</title></line>"
        )
    body += [
        stroke(_LEFT, base, width - _RIGHT, base),
        caption(width - _RIGHT, base + 16, time, "end", "dim"),
    ]
    for tick in nice_ticks(low, high, 3):
        body += [
            stroke(_LEFT, up(tick), width - _RIGHT, up(tick), "grid"),
            caption(_LEFT - 8, up(tick) + 4, f"{tick:.4g}", "end", "dim"),
        ]
    for tick in nice_ticks(0.0, last, 8 if width == WIDE else 4):
        if across(tick) < width - _RIGHT - 20:
            body.append(caption(across(tick), base + 16, f"{tick:.4g}", "middle", "dim"))
    return body
