"""What was tried as points of size, work and loss, those marked that nothing else beats in all three. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sdk.report.page.shapes import WIDE, caption, escaped, logarithmic_ticks, nice_ticks, stroke, svg

_LEFT, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 44, 20, 30, 40, 230
#: From this ratio of the largest to the smallest on, figures stand on a logarithmic axis.
_LOGARITHMIC = 6.0


@dataclass(frozen=True)
class Shown:
    """A point: its name, its figures with their words, and whether it is on the front, or was chosen."""

    name: str
    size: float
    size_text: str
    work: float
    work_text: str
    lost: float
    on_front: bool
    chosen: bool = False

    @property
    def told(self) -> str:
        """All figures in words."""
        return f"{self.name}: {self.size_text}, {self.work_text}, {self.lost:.2f} points lost"


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool = False

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float) -> _Axis:
        """From a little below the least to a little above the largest."""
        least, most = min(values), max(values)
        if least > 0 and most / least > _LOGARITHMIC:
            return cls(0.8 * least, 1.25 * most, begin, end, True)
        margin = max(0.06 * (most - least), 0.03 * abs(most), 1e-9)
        return cls(least - margin, most + margin, begin, end)

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + (self.end - self.begin) * share

    def ticks(self, most: int) -> list[float]:
        return (logarithmic_ticks if self.logarithmic else nice_ticks)(self.low, self.high, most)


def trade_offs(points: Sequence[Shown], work: str, width: int) -> str:
    """Points lost over the size of the package, and below it over ``work``, such as "median time, ms"."""
    lost = [point.lost for point in points]
    body: list[str] = []
    kinds = [
        ("package, kB", [point.size / 1000 for point in points]),
        (work, [point.work for point in points]),
    ]
    for number, (name, values) in enumerate(kinds):
        body += _panel(name, points, values, lost, number * _HEIGHT, width)
    told = "; ".join(point.told for point in points if point.on_front)
    return svg(width, len(kinds) * _HEIGHT, body, f"Points lost over size and over work. Not beaten: {told}")


def _panel(
    name: str, points: Sequence[Shown], values: list[float], lost: list[float], y: float, width: int
) -> list[str]:
    base, end = y + _HEIGHT - _BOTTOM, width - _RIGHT
    across = _Axis.over(values, _LEFT, end)
    up = _Axis.over([*lost, 0.0], base, y + _TOP)
    body = [caption(8, y + 14, "points lost", style="dim")]
    for tick in nice_ticks(up.low, up.high, 5):
        body += [
            stroke(_LEFT, up.at(tick), end, up.at(tick), "grid"),
            caption(_LEFT - 8, up.at(tick) + 4, f"{tick:.3g}", "end", "dim"),
        ]
    for tick in across.ticks(7 if width == WIDE else 4):
        body.append(caption(across.at(tick), base + 16, f"{tick:.4g}", "middle", "dim"))
    log = " (log)" if across.logarithmic else ""
    body += [stroke(_LEFT, base, end, base), caption(end, base + 34, name + log, "end", "dim")]
    drawn = sorted(zip(points, values, strict=True), key=lambda one: (one[0].chosen, one[0].on_front))
    for point, value in drawn:
        radius = 8 if point.chosen else 6 if point.on_front else 4
        style = "series-2 point" if point.on_front or point.chosen else "series-0 hollow"
        body.append(
            f'<circle cx="{across.at(value):.1f}" cy="{up.at(point.lost):.1f}" r="{radius}" class="{style}">'
            f"<title>{escaped(point.told)}</title></circle>"
        )
    return body
