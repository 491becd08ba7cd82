"""Measures models in several loadings, each in a process of its own, until there are enough or they tell enough.

One loading tells how a model runs with its weights, threads and pages in the places that they got that one time.
Another loading may be a few per cent faster or slower, and stays so: more samples of one loading do not show it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Callable, Sequence

from device_agent.measuring.bench import MAX_WARMUP_SECONDS, LoadingPlan
from device_agent.record.intervals import speedup_interval
from device_agent.record.measurement import MAX_SAMPLES, Measurement, joined

#: Loadings of each model, as many as there is time for.
LEAST_LOADINGS, MOST_LOADINGS = 5, 20
#: Turns of a model over all loadings, and rounds of a loading, at least.
LEAST_TURNS, LEAST_ROUNDS = 30, 5
#: The start of processes takes this share of the time at most, where that leaves enough loadings.
START_SHARE = 0.5
#: Where starting takes more, as much of the time as this is measured all the same.
LEAST_MEASURED_SHARE = 0.25
#: Of what a loading is measured, this share at most is warming up.
WARMUP_SHARE = 0.25
#: A run that goes on until it is precise ends with this many loadings.
END_LOADINGS = 400


@dataclass(frozen=True)
class BenchPlan:
    """How much to measure: ``min_samples`` per model or ``max_seconds`` per model, whichever is first.

    ``loadings`` of None are as many as there is time for. With a ``precision`` (a share to each side) loadings go on
    until every interval is that narrow, or the time is over.
    """

    min_samples: int = 4096
    max_seconds: float = 10.0
    max_warmup_seconds: float = MAX_WARMUP_SECONDS
    loadings: int | None = None
    precision: float | None = None


def plan_loadings(plan: BenchPlan, models: int, start_seconds: float) -> tuple[int, LoadingPlan]:
    """How many loadings, and what each is measured for; ``start_seconds`` takes a process with all models to start."""
    # With a precision there may be much more time than is needed: then it goes into more loadings, not longer ones.
    usual = plan.max_seconds if plan.precision is None else min(plan.max_seconds, BenchPlan.max_seconds)
    seconds = usual * models
    count = plan.loadings
    if count is None:
        fit = int(START_SHARE * seconds / start_seconds) if start_seconds > 0.0 else MOST_LOADINGS
        count = max(LEAST_LOADINGS, min(MOST_LOADINGS, fit))
    count = max(1, min(count, plan.min_samples))
    wanted = min(plan.min_samples, MAX_SAMPLES // 2)
    samples = -(-wanted // count)
    rounds = max(1, min(samples, max(LEAST_ROUNDS, -(-LEAST_TURNS // count))))
    measured = max(seconds - count * start_seconds, LEAST_MEASURED_SHARE * seconds) / count / models
    warmup = min(plan.max_warmup_seconds, WARMUP_SHARE * measured)
    return count, LoadingPlan(samples, rounds, measured - warmup, warmup)


def measure_loadings(
    measure_one: Callable[[LoadingPlan], Sequence[Measurement]],
    plan: BenchPlan,
    models: int,
    start_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Measurement, ...]:
    """One record of each model, of all its loadings; ``measure_one`` measures one loading of all models."""
    begun = clock()
    count, of_each = plan_loadings(plan, models, start_seconds)
    runs: list[Sequence[Measurement]] = []
    while len(runs) < count or _goes_on(runs, plan, clock() - begun):
        runs.append(measure_one(of_each))
    return tuple(joined(of_model) for of_model in zip(*runs))


def _goes_on(runs: Sequence[Sequence[Measurement]], plan: BenchPlan, spent: float) -> bool:
    """True while intervals are wider than asked for and there is time for another loading."""
    if plan.precision is None or len(runs) >= END_LOADINGS:
        return False
    if spent * (len(runs) + 1) / len(runs) > plan.max_seconds * len(runs[0]):
        return False
    held = sum(len(m.samples_seconds) for m in (run[0] for run in runs))
    if held * (len(runs) + 1) / len(runs) > MAX_SAMPLES:
        return False
    return not is_precise([joined(of_model) for of_model in zip(*runs)], plan.precision)


def is_precise(measured: Sequence[Measurement], precision: float) -> bool:
    """True where every model's speed-up against the first, or the one model's time, is known within ``precision``."""
    first = measured[0]
    if len(measured) == 1:
        low, high = first.median_interval()
        return math.sqrt(high / low) <= 1.0 + precision
    for other in measured[1:]:
        found = speedup_interval(
            (first.samples_seconds, first.turns), (other.samples_seconds, other.turns), together=True
        )
        if math.sqrt(found.high / found.low) > 1.0 + precision:
            return False
    return True
