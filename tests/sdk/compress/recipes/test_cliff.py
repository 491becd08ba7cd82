"""A size below which the metric falls off is named from the curve of attempts."""

from __future__ import annotations

from device_agent.record.intervals import Interval
from sdk.compress.recipes.attempts import Point
from sdk.compress.recipes.cliff import cliff
from sdk.compress.recipes.recipe import Recipe


def point(size: int, lost: float, effort: str = "calibrate", half: float = 1.0) -> Point:
    return Point(Recipe(effort=effort), size, lost=Interval(lost, lost - half, lost + half))


def test_the_last_size_before_the_fall_is_named_whatever_the_order() -> None:
    curve = [point(16_000, 32.0), point(29_000, 0.5), point(22_000, 11.0), point(60_000, 0.1)]
    assert cliff(curve) == (
        "the metric falls off below 29,000 bytes: 0.5 points are lost there, 11.0 at 22,000"
    )


def test_a_slope_a_chance_and_another_effort_are_no_cliff() -> None:
    assert cliff([point(40_000, 1.0), point(20_000, 5.0), point(10_000, 10.0)]) == ""
    assert cliff([point(29_000, 0.5, half=8.0), point(22_000, 11.0, half=8.0)]) == ""
    assert cliff([point(29_000, 0.5), point(22_000, 11.0, effort="train")]) == ""
    assert cliff([Point(Recipe(), 100), Point(Recipe(), 50)]) == ""
