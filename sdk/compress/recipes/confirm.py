"""Chooses an attempt and confirms it on images that no attempt saw.

Composes like :mod:`sdk.compress.recipes.recipe`. A limit of the loss holds for the upper end of a paired 95 % interval.
Several attempts may be confirmed on the same images, and their number does not raise the chance of a false pass: from
the one that is surest to keep the limit toward smaller ones, in an order that other images decided, until one fails
(fixed-sequence testing; Angelopoulos et al., "Learn then test", arXiv 2110.01052).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from device_agent.record.intervals import Interval
from sdk.compress.recipes.attempts import Attempts, Point
from sdk.compress.recipes.check import Checked, Checker
from sdk.compress.recipes.parts import least_limit
from sdk.graph.records import Graph

#: A curve falls off where half of the bytes, and one attempt from the next, cost this many points.
STEEP, DEEP = 15.0, 3.0


@dataclass(frozen=True)
class Verdict:
    """The attempt that is taken, whether it keeps what was asked, and in words what it was checked on.

    ``lost`` are the points lost in the check, None where nothing was checked, ``images`` those that it counts on.
    """

    graph: Graph
    point: Point
    met: bool
    statement: str
    lost: Interval | None = None
    images: int = 0


def decided(attempts: Attempts) -> Verdict:
    """The verdict on all attempts."""
    found = _verdict(attempts)
    told = [*attempts.notes, _against_calibration(attempts, found.point), cliff(attempts.curve)]
    return replace(found, statement=". ".join(filter(None, [found.statement, *told])))


def cliff(curve: Sequence[Point]) -> str:
    """A sentence about the largest package after which the metric falls off, of attempts by one effort; "" if none."""
    for effort in dict.fromkeys(point.recipe.effort for point in curve):
        of_effort = [p for p in curve if p.recipe.effort == effort and p.lost is not None]
        points = sorted(of_effort, key=lambda p: -p.package_bytes)
        for above, below in pairwise(points):
            if above.lost is None or below.lost is None or below.package_bytes == above.package_bytes:
                continue
            fall = below.lost.value - above.lost.value
            halvings = math.log2(above.package_bytes / below.package_bytes)
            # What is worse for certain, not by the luck of few images.
            if fall >= DEEP and fall >= STEEP * halvings and below.lost.low > above.lost.high:
                return (
                    f"the metric falls off below {above.package_bytes:,} bytes: {above.lost.value:.1f} points are lost "
                    f"there, {below.lost.value:.1f} at {below.package_bytes:,}"
                )
    return ""


def _against_calibration(attempts: Attempts, taken: Point) -> str:
    """Whether training did better than calibration, where both were tried."""
    trained = [p for p in attempts.curve if p.recipe.effort == "train"]
    if not trained or len(trained) == len(attempts.curve):
        return ""
    if taken.recipe.effort == "calibrate":
        return "no training did better than calibration, which is kept"
    return "the training did better than calibration, with which it was compared"


def _verdict(attempts: Attempts) -> Verdict:
    assert attempts.best is not None
    graph, point = attempts.best
    met = attempts.misses(point) == 0
    if attempts.checker is None:
        why = "no data were given"
        if attempts.effort != "none":
            why = "there were too few images to keep some back for it"
        return Verdict(graph, point, met, f"accuracy was not checked: {why}")
    confirming = attempts.parts.confirming
    if confirming is None:
        return _of_one_part(attempts, graph, point)
    checker = attempts.checker_on(confirming, attempts.checker.held_out)
    limit = attempts.wanted.max_loss
    if limit is None:
        checked, failed = checker(graph), None
    else:
        (graph, point), checked, failed = _sequence(attempts, checker, limit)
    words = checker.statement(checked, "confirmed" if failed is None else "checked")
    words += f"; chosen on {len(attempts.checker.dataset):,} others, of {_attempts(len(attempts.curve))}"
    if failed is not None and limit is not None:
        words += f". {_carried(failed, limit, len(confirming))}"
    return Verdict(graph, point, met and failed is None, words, checked.lost, len(confirming))


def _sequence(
    attempts: Attempts, checker: Checker, limit: float
) -> tuple[tuple[Graph, Point], Checked, Checked | None]:
    """The smallest attempt that is confirmed, its check, and None; else what loses least, and its check twice."""

    def upper(one: tuple[Graph, Point]) -> float:
        return attempts.upper(one[1]) or 0.0

    passing = [one for one in attempts.kept if attempts.misses(one[1]) == 0]
    taken: tuple[tuple[Graph, Point], Checked] | None = None
    for one in sorted(passing, key=upper):
        if taken is not None and one[1].package_bytes >= taken[0][1].package_bytes:
            continue
        checked = checker(one[0])
        if checked.lost.high > limit:
            if taken is None:
                return one, checked, checked
            break
        taken = one, checked
    if taken is not None:
        return (*taken, None)
    nearest = min(attempts.kept, key=upper)
    checked = checker(nearest[0])
    return nearest, checked, checked


def _of_one_part(attempts: Attempts, graph: Graph, point: Point) -> Verdict:
    """The verdict where the images to choose on are all that there are."""
    checker, limit = attempts.checker, attempts.wanted.max_loss
    assert checker is not None
    checked = checked_of(point)
    met, count = attempts.misses(point) == 0, len(checker.dataset)
    words = checker.statement(checked)
    if len(attempts.curve) > 1:
        words += f", and chosen on them, of {_attempts(len(attempts.curve))}: too few to confirm it on others"
    if limit is not None and checked.lost.high > limit:
        words += f". {_carried(checked, limit, count)}"
    return Verdict(graph, point, met, words, checked.lost, count)


def checked_of(point: Point) -> Checked:
    """The check of an attempt, if there was one."""
    assert point.agreement_percent is not None
    assert point.divergence_nats is not None
    assert point.lost is not None
    return Checked(
        point.accuracy_percent, point.agreement_percent, point.divergence_nats, point.lost, point.reached
    )


def _carried(checked: Checked, limit: float, images: int) -> str:
    """Which limit this many images carry, and how many it would take, in words."""
    lost = checked.lost
    words = f"{images:,} images carry no limit below {max(lost.high, least_limit(images)):.2f} points here"
    if lost.value >= limit:
        return words
    # Intervals shrink with the root of the number, those of counts that are near none with the number itself.
    wanted = images * ((lost.high - lost.value) / (limit - lost.value)) ** 2
    return f"{words}; {limit:g} would take about {_round(wanted):,}"


def _round(number: float) -> int:
    """Up to two digits."""
    unit = 10 ** max(int(math.log10(max(number, 1))) - 1, 0)
    return int(math.ceil(number / unit) * unit)


def _attempts(count: int) -> str:
    return "1 attempt" if count == 1 else f"{count} attempts"
