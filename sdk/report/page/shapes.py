"""The shapes of plots: text, lines, rectangles and ticks, for desk and phone. Pure."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable

from device_agent.record.visible import visible

WIDE, NARROW = 720, 320


def responsive(draw: Callable[[int], str]) -> str:
    """The drawing by ``draw`` for desk and phone; "" where it draws nothing."""
    wide = draw(WIDE)
    return f'<div class="wide">{wide}</div><div class="narrow">{draw(NARROW)}</div>' if wide else ""


def escaped(text: str) -> str:
    """Text between tags or in an attribute; what could turn a line around shows as its escape."""
    return html.escape(visible(text, lines=True))


def svg(width: int, height: float, body: Iterable[str], name: str) -> str:
    """A drawing with a name for a screen reader."""
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escaped(name)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def caption(x: float, y: float, text: str, anchor: str = "start", style: str = "") -> str:
    """Text at a place; ``anchor`` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{style}">{escaped(text)}</text>'


def box(x: float, y: float, width: float, height: float, style: str, title: str) -> str:
    """A rectangle with a tooltip."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" rx="2" '
        f'class="{style}"><title>{escaped(title)}</title></rect>'
    )


def stroke(x1: float, y1: float, x2: float, y2: float, style: str = "axis") -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, ``most`` at the most: steps of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 1e-12)
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(f for f in (1, 2, 5, 10) if span / (step * f) <= most)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def logarithmic_ticks(low: float, high: float, most: int) -> list[float]:
    """1, 2 and 5 times powers of ten from ``low`` to ``high``, both above 0; every second, third, ... if too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    found = [tick for tick in found if low <= tick <= high]
    return found[:: max(1, math.ceil(len(found) / most))]
