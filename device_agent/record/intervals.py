"""How sure a figure of a measurement is: intervals from its loadings, their turns, and the samples of each. Pure.

Samples differ within a turn, turns differ within a loading, and loadings differ, since each puts weights, threads and
pages elsewhere. Only what changes between loadings tells what the next one will be, so loadings are the units
(Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013). The level of a loading is the median of the
medians of its turns. Levels are averaged as logarithms, and the interval is Student's.

Why not a bootstrap: there are five to ten loadings, and their percentile bootstrap holds the truth in 86 to 91 of 100
cases where it promises 95. ``tests/device_agent/record/test_intervals.py`` shows both on traces of known truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Sequence

import numpy as np

from device_agent.record.named_kinds import Count, Seconds, Size

CONFIDENCE = 0.95
#: Standard deviation of the logarithm of a loading's level, assumed where a record has one loading and cannot tell: six
#: copies of one package, loaded once each, came out up to 5 % apart on an idle machine.
ASSUMED_BETWEEN_LOADINGS = 0.03


@dataclass(frozen=True)
class Turn:
    """One turn of a model: consecutive samples, while no other model ran."""

    #: The loading of the model that ran: each has its own interpreter, in its own process.
    loading: Count
    #: Of this loading: models that were loaded together had their turns of one round one after the other.
    round: Count
    #: After the beginning of the run.
    seconds: Seconds
    #: How many there are; the samples of a measurement are those of its turns, in order.
    samples: Size


@dataclass(frozen=True)
class Interval:
    """A figure, and where it lies with a given confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Spread:
    """By how much samples, turns and loadings differ: standard deviations as shares of the level."""

    within_turn: float
    between_turns: float
    #: What turns do not explain; None for one loading.
    between_loadings: float | None


def levels(samples: Sequence[float], turns: Sequence[Turn]) -> np.ndarray:
    """The level of every loading in seconds, shape (n,): the median of the medians of its turns.

    Without ``turns`` all ``samples`` are one loading.
    """
    if not turns:
        return np.array([np.median(np.asarray(samples, np.float64))])
    medians = _turn_medians(samples, turns)
    return _medians(np.concatenate(medians), [len(of_loading) for of_loading in medians])


def _turn_medians(samples: Sequence[float], turns: Sequence[Turn]) -> list[np.ndarray]:
    """For every loading the medians of its turns, (turns of the loading,) in seconds."""
    medians = _medians(np.asarray(samples, np.float64), [turn.samples for turn in turns])
    found: dict[int, list[float]] = {}
    for turn, median in zip(turns, medians.tolist()):
        found.setdefault(turn.loading, []).append(median)
    return [np.array(of_loading) for _, of_loading in sorted(found.items())]


def _medians(values: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The median of each group of ``values``, (groups,). Groups follow one another; ``counts`` says how long each is.

    Neighbours of one length are looked at together: a call of numpy for each of a thousand turns took most of the time.
    """
    found, start = [], 0
    for count, alike in groupby(counts):
        groups = len(list(alike))
        end = start + groups * count
        found.append(np.median(values[start:end].reshape(groups, count), axis=1))
        start = end
    return np.concatenate(found)


def typical(samples: Sequence[float], turns: Sequence[Turn]) -> float:
    """Seconds of a typical inference: the geometric mean of the levels; of one loading, its level."""
    found = levels(samples, turns)
    if len(found) == 1 or float(found.min()) <= 0.0:
        return float(np.median(found))
    return math.exp(float(np.mean(np.log(found))))


def typical_interval(
    samples: Sequence[float], turns: Sequence[Turn], confidence: float = CONFIDENCE
) -> Interval:
    """The interval of :func:`typical`. One loading says nothing of the next; its interval is that of its own median."""
    found = levels(samples, turns)
    if len(found) > 1 and float(found.min()) > 0.0:
        return _exponential(mean_interval(np.log(found), confidence))
    low, high = bootstrap_median_interval(samples, confidence)
    value = typical(samples, turns)
    return Interval(value, min(low, value), max(high, value))


def speedup_interval(
    baseline: tuple[Sequence[float], Sequence[Turn]],
    candidate: tuple[Sequence[float], Sequence[Turn]],
    confidence: float = CONFIDENCE,
    *,
    together: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Typical time of the baseline / that of the candidate; each is (samples, turns). All samples must be above 0.

    Models that were loaded ``together``, and took turns, are compared loading by loading: what slowed a loading of
    both cancels. Others are compared as two groups (Welch). Where either has one loading, it may have been an unlucky
    one: :data:`ASSUMED_BETWEEN_LOADINGS` is added to what the samples say (``resamples`` and ``seed`` are of those).
    """
    base, own = (np.log(levels(*run)) for run in (baseline, candidate))
    if min(len(base), len(own)) > 1:
        paired = together and len(base) == len(own)
        return _exponential(
            mean_interval(base - own, confidence) if paired else difference_interval(base, own, confidence)
        )
    # Another seed for each: equal draws in both runs would cancel and make the interval too narrow.
    first, second = (
        np.log(bootstrap_medians(run[0], resamples=resamples, seed=seed + number))
        for number, run in enumerate((baseline, candidate))
    )
    value = float(base.mean() - own.mean())
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(first - second, [tail, 100.0 - tail])
    more = t_quantile(confidence, MOST_FREEDOM) * ASSUMED_BETWEEN_LOADINGS * math.sqrt(2.0)
    return _exponential(
        Interval(
            value,
            value - math.hypot(max(0.0, value - low), more),
            value + math.hypot(max(0.0, high - value), more),
        )
    )


def _exponential(logarithms: Interval) -> Interval:
    return Interval(math.exp(logarithms.value), math.exp(logarithms.low), math.exp(logarithms.high))


def mean_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """The mean of two or more independent ``values``, (n,), and Student's interval for it."""
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = t_quantile(confidence, len(values) - 1) * error
    return Interval(mean, mean - half, mean + half)


def difference_interval(first: np.ndarray, second: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """The mean of ``first``, (n,), minus that of ``second``, (m,), and Welch's interval for it; n and m from 2."""
    parts = [float(np.var(group, ddof=1)) / len(group) for group in (first, second)]
    freedom = MOST_FREEDOM
    below = sum(part**2 / (len(group) - 1) for part, group in zip(parts, (first, second)))
    if below > 0.0:
        freedom = max(1, int(sum(parts) ** 2 / below))  # rounded down: rather too wide
    value = float(np.mean(first) - np.mean(second))
    half = t_quantile(confidence, freedom) * math.sqrt(sum(parts))
    return Interval(value, value - half, value + half)


#: Beside what was counted, this many more of the worst kind: where nothing was lost on n images, a loss of 3.7 / n
#: is not seen in one case of forty, as Poisson's distribution has it.
_UNSEEN = 1.4


def paired_interval(losses: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """The mean of what each of n samples lost, (n,) of -1 to 1, n from 1, and an interval for it.

    A loss is what a sample counted before minus what it counts after, so that what is equal in both cancels. Student's
    interval is too narrow where losses are rare, and has no width where there are none: each end is therefore computed
    with a few more losses, or gains.
    """
    values = np.asarray(losses, np.float64)
    count, total, squares = len(values), float(np.sum(values)), float(np.sum(np.square(values)))
    t = t_quantile(confidence, max(1, count - 1))

    def end(sign: float) -> float:
        mean = (sign * total + _UNSEEN) / (count + _UNSEEN)
        spread_ = max(0.0, squares + _UNSEEN - (count + _UNSEEN) * mean**2)
        return sign * min(1.0, mean + t * math.sqrt(spread_) / (count + _UNSEEN))

    return Interval(total / count, end(-1.0), end(1.0))


#: Degrees of freedom beyond which Student's distribution is as good as normal.
MOST_FREEDOM = 1000


@lru_cache(maxsize=256)
def t_quantile(confidence: float, freedom: int) -> float:
    """How many standard errors to each side hold ``confidence`` of Student's distribution.

    Boards have no scipy. The probability is a finite sum for whole degrees of freedom (Abramowitz and Stegun, 26.7.3
    and 26.7.4); its inverse is found by halving.
    """
    low, high = 0.0, 1.0
    freedom = min(freedom, MOST_FREEDOM)
    while _within(high, freedom) < confidence:
        high *= 2.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """The share of Student's distribution between -t and t."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine = math.cos(angle)
    term = 1.0 if freedom % 2 == 0 else cosine
    total = term if freedom > 1 else 0.0
    for k in range(2 if freedom % 2 == 0 else 3, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if freedom % 2 == 0:
        return math.sin(angle) * total
    return 2.0 / math.pi * (angle + math.sin(angle) * total)


def spread(samples: Sequence[float], turns: Sequence[Turn]) -> Spread:
    """By how much samples, turns and loadings differ. Spikes do not count within a turn: its quartiles are taken."""
    values = np.log(np.maximum(np.asarray(samples, np.float64), 1e-12))
    ends = np.cumsum([turn.samples for turn in turns]) if turns else np.array([len(values)])
    parts = np.split(values, ends[:-1])
    quartiles = [np.subtract(*np.percentile(part, [75.0, 25.0])) for part in parts]
    within = float(np.median(quartiles)) / _QUARTILES_OF_NORMAL
    loadings = [np.log(np.maximum(m, 1e-12)) for m in (_turn_medians(samples, turns) if turns else [])]
    freedom = sum(len(loading) - 1 for loading in loadings)
    between_turns = (
        math.sqrt(sum(float(np.sum((m - m.mean()) ** 2)) for m in loadings) / freedom) if freedom else 0.0
    )
    if len(loadings) < 2:
        return Spread(within, between_turns, None)
    of_means = float(np.var([m.mean() for m in loadings], ddof=1))
    by_turns = float(np.mean([between_turns**2 / len(m) for m in loadings]))
    return Spread(within, between_turns, math.sqrt(max(0.0, of_means - by_turns)))


#: Between its quartiles a normal distribution is this many standard deviations wide.
_QUARTILES_OF_NORMAL = 1.349


def bootstrap_medians(samples: Sequence[float], *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Medians of ``resamples`` resampled runs, (resamples,), by the moving-block bootstrap (Kuensch 1989), seeded.

    Neighbouring inferences are not independent (caches, clocks, other processes), so whole blocks of about the cube
    root of the number of samples are drawn rather than single samples; an ordinary bootstrap would be too narrow.
    """
    values = np.asarray(samples, np.float64)  # (samples,)
    count = len(values)
    length = max(1, round(count ** (1.0 / 3.0)))
    blocks = -(-count // length)
    rng = np.random.default_rng(seed)
    medians = np.empty(resamples)
    offsets = np.arange(length)
    for i in range(resamples):
        starts = rng.integers(0, count - length + 1, blocks)  # (blocks,)
        medians[i] = np.median(values[(starts[:, None] + offsets).ravel()[:count]])
    return medians


def bootstrap_median_interval(
    samples: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """An interval for the median: the middle ``confidence`` of :func:`bootstrap_medians`."""
    tail = 50.0 * (1.0 - confidence)
    medians = bootstrap_medians(samples)
    low, high = np.percentile(medians, [tail, 100.0 - tail])
    return float(low), float(high)
