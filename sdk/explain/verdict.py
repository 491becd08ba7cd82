"""Did a model become slower than it was? Three answers: slower, not slower, can't tell and what would settle it. Pure.

The old and the new run were not measured together. Where one of them was slowed as a whole, by its own record, that is
not a property of the model: then, and where the interval reaches over the limit, the answer is "can't tell".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from device_agent.record.measurement import NOISY_P90_OVER_MEDIAN, Measurement, find_disturbances
from sdk.explain.compare import Comparison

Answer = Literal["slower", "not slower", "can't tell"]
SLOWER: Answer = "slower"
NOT_SLOWER: Answer = "not slower"
CANNOT_TELL: Answer = "can't tell"

#: A slowdown this near to the limit, as a share, takes more measuring than anybody has time for.
AT_THE_LIMIT = 0.003


@dataclass(frozen=True)
class Verdict:
    """The answer for one model on a number of threads; ``settle`` is what would settle it where nobody can tell."""

    answer: Answer
    settle: str = ""


def judge(old: Measurement, new: Measurement, comparison: Comparison, limit: float) -> Verdict:
    """Whether the new run is slower than the old one by more than ``limit``, a share."""
    if old == new:
        return Verdict(NOT_SLOWER)  # one run, compared with itself
    slow = 1.0 / comparison.measured_speedup
    low, high = 1.0 / comparison.measured_high, 1.0 / comparison.measured_low
    # A noisy run may as a whole be slower by as much as its slow samples are.
    old_noise, new_noise = (m.noise if m.noise > NOISY_P90_OVER_MEDIAN else 0.0 for m in (old, new))
    most = 1.0 + limit
    disturbed = [
        f"{name} run: {problem}"
        for name, timed in (("old", old), ("new", new))
        for problem in find_disturbances(timed)
    ]
    if low > most:
        if not disturbed and low > most * (1.0 + new_noise) and slow > 1.0 + comparison.smallest_told:
            return Verdict(SLOWER)
    elif high <= most and not disturbed and high * (1.0 + old_noise) <= most:
        return Verdict(NOT_SLOWER)
    if disturbed:
        return Verdict(CANNOT_TELL, f"measure again ({disturbed[0]})")
    noisy = [name for name, noise in (("old", old_noise), ("new", new_noise)) if noise]
    if noisy and not low <= most < high:
        return Verdict(
            CANNOT_TELL, f"{_runs(noisy, 'is', 'are')} noisy: measure again, with nothing else running"
        )
    single = [name for name, timed in (("old", old), ("new", new)) if timed.loadings == 1]
    if single:
        return Verdict(
            CANNOT_TELL, f"{_runs(single, 'has', 'have')} one loading of each model: measure again"
        )
    return Verdict(CANNOT_TELL, _precision_that_settles(slow, most, comparison))


def _runs(names: list[str], one: str, several: str) -> str:
    """ "the old run is", "the old and the new run are"."""
    return f"the {' and the '.join(names)} run {one if len(names) == 1 else several}"


def _precision_that_settles(slow: float, most: float, comparison: Comparison) -> str:
    """How precise both runs would have to be, if the ratio stays what it is."""
    if slow > most and comparison.smallest_told >= slow - 1.0:
        told = 100.0 * comparison.smallest_told
        return f"differences below {told:.1f} % cannot be told there: stop what else runs, or raise the limit"
    apart = abs(math.log(slow / most))
    if apart < AT_THE_LIMIT:
        return "the difference is as large as the limit: choose another limit"
    # The interval of a ratio of two runs is wider than that of either by the square root of 2.
    precision = math.expm1(apart / math.sqrt(2.0))
    return f"measure both with --precision {100 * precision:.1g}% and more --seconds"


def overall(verdicts: Iterable[Verdict]) -> Answer:
    """The answer for all: slower if one is, else can't tell if it is so for one."""
    answers = {verdict.answer for verdict in verdicts}
    return next(answer for answer in (SLOWER, CANNOT_TELL, NOT_SLOWER) if answer in answers)
