"""One metric of one model on some images, with a 95 % interval, and its change in another model. Pure.

A score knows its value for any weights of its images, so that one bootstrap serves every metric: shares, means, mAP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from device_agent.record.intervals import paired_interval
from sdk.data.meaning.shares import wilson

#: Of bootstraps; the same each time, so that the same images give the same interval.
_DRAWS = 1000
_SEED = 20
#: Weights of images that are held at once, so that memory stays small.
_WEIGHTS_AT_ONCE = 1 << 22
#: A loss that is there goes unseen as often at most.
_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Score:
    """A metric. ``value_of``: weights of the images (b, n) -> the metric for each row (b,); ``right`` (n,) bool: which
    images are right, of a share of images; None for others.

    ``higher_is_better``: False for errors and distances. ``points_per_unit``: points of loss per unit: 100 for shares;
    for an error, 100 divided by the spread of the right answers. ``percent``: people read it in percent.
    """

    name: str
    samples: int
    value_of: Callable[[np.ndarray], np.ndarray]
    right: np.ndarray | None = None
    higher_is_better: bool = True
    points_per_unit: float = 100.0
    percent: bool = True

    @property
    def value(self) -> float:
        """On all images, each once."""
        return float(self.value_of(np.ones((1, self.samples)))[0])

    def interval(self) -> tuple[float, float]:
        """Where the value lies, 95 %: by Wilson's score for shares of images, else by a bootstrap over images."""
        if self.right is not None:
            return wilson(int(self.right.sum()), self.samples)
        return _ends(_drawn(self.samples, self.value_of))

    def points_lost(self, after: Score) -> float:
        """Points that ``after`` is worse by on the same images; negative where it is better."""
        sign = 1.0 if self.higher_is_better else -1.0
        return _without_dust(sign * self.points_per_unit * (self.value - after.value))

    def text(self, value: float) -> str:
        """A value of this metric for people."""
        return f"{100 * value:.2f} %" if self.percent else f"{value:.4g}"


def share(name: str, right: np.ndarray) -> Score:
    """The share of images that are right, from (n,) bool."""
    kept = np.asarray(right, bool)
    return Score(name, len(kept), weighted_mean(kept.astype(np.float64)), kept)


def weighted_mean(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Weights (b, n) -> the mean of ``values`` (n,) under each row of them (b,)."""

    def value_of(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ values / np.maximum(weights.sum(axis=1), 1e-300))

    return value_of


@dataclass(frozen=True)
class Change:
    """A metric before and after, on the same images. ``interval``: 95 % of the change, after minus before.

    ``p_value``: how often a change as large happens by chance: by McNemar's exact test for shares of images, else by
    the paired bootstrap. ``only_before`` and ``only_after``: images that only one of the two has right; None for other
    metrics. ``points_lost`` and ``points_interval``: the same as points of loss.
    """

    name: str
    samples: int
    before: float
    after: float
    interval: tuple[float, float]
    p_value: float
    test: str
    points_lost: float
    points_interval: tuple[float, float]
    only_before: int | None = None
    only_after: int | None = None
    higher_is_better: bool = True
    percent: bool = True
    before_text: str = ""
    after_text: str = ""

    @property
    def verdict(self) -> str:
        """ "worse", "better", or "no difference seen"."""
        if self.p_value >= _LEVEL:
            return "no difference seen"
        return "worse" if (self.after < self.before) == self.higher_is_better else "better"


def change(before: Score, after: Score) -> Change:
    """The change of a metric. Both are of the same images in the same order."""
    if before.right is not None and after.right is not None:
        only_before = int(np.sum(before.right & ~after.right))
        only_after = int(np.sum(~before.right & after.right))
        paired = paired_interval(after.right.astype(np.float64) - before.right)
        low, high = paired.low, paired.high
        p_value, test = mcnemar(only_before, only_after), "McNemar's exact test"
        counts: tuple[int | None, int | None] = (only_before, only_after)
    else:
        drawn = _drawn(before.samples, lambda weights: after.value_of(weights) - before.value_of(weights))
        (low, high), counts = _ends(drawn), (None, None)
        beyond = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
        p_value, test = min(1.0, 2 * (float(beyond) + 1) / (len(drawn) + 1)), "paired bootstrap"
    sign = -before.points_per_unit if before.higher_is_better else before.points_per_unit
    ends = sorted((_without_dust(sign * low), _without_dust(sign * high)))
    return Change(
        before.name,
        before.samples,
        before.value,
        after.value,
        (low, high),
        p_value,
        test,
        before.points_lost(after),
        (ends[0], ends[1]),
        *counts,
        higher_is_better=before.higher_is_better,
        percent=before.percent,
        before_text=before.text(before.value),
        after_text=before.text(after.value),
    )


def _without_dust(points: float) -> float:
    """Points without what rounding left of them: nothing lost is 0.00, and not -0.00."""
    return round(points, 9) + 0.0


def mcnemar(only_before: int, only_after: int) -> float:
    """The exact two-sided p of so many images that are right in one alone, were both equally likely."""
    count, few = only_before + only_after, min(only_before, only_after)
    if count == 0:
        return 1.0
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2)
        for k in range(few + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def too_few(samples: int, points: float) -> str:
    """Why a loss of this many points cannot be seen on this many images, with how many it takes; "" where it can.

    Where not one of n images changes, a loss of 1 - 0.05^(1/n) still goes unseen in one case of twenty.
    """
    unseen = 100.0 * (1.0 - _LEVEL ** (1.0 / max(samples, 1)))
    if points <= 0 or unseen <= points:
        return ""
    needed = math.ceil(math.log(_LEVEL) / math.log1p(-min(points, 99.0) / 100.0))
    return (
        f"a loss of {points:g} points cannot be told on {samples} images: even if not one answer changes, "
        f"it may be {unseen:.1f} points; it takes {needed} images at least"
    )


def _drawn(samples: int, value_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The value for a thousand draws of as many images, with replacement: (draws,), without those that have none."""
    random = np.random.default_rng(_SEED)
    step = max(1, _WEIGHTS_AT_ONCE // max(samples, 1))
    even = np.full(samples, 1.0 / max(samples, 1))
    values = [
        value_of(random.multinomial(samples, even, size=min(step, _DRAWS - start)).astype(np.float64))
        for start in range(0, _DRAWS, step)
    ]
    found = np.concatenate(values)
    kept = found[np.isfinite(found)]
    return kept if len(kept) else np.zeros(1)


def _ends(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(drawn, [_LEVEL / 2, 1 - _LEVEL / 2])
    return float(low), float(high)
