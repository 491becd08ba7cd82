"""Figures of a soak: steady state, the share of speed that is kept, time to throttle, energy per inference. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from device_agent.record.measurement import CLOCK_FALL
from device_agent.record.soak import Soak, SoakTurn

#: Called the first minute: that, or this share of a soak that is shorter than five.
FIRST_SECONDS, FIRST_SHARE = 60.0, 0.2
#: The last quarter is the steady state, where its two halves differ by less than this.
STEADY_SHARE, STEADY_CHANGE = 0.25, 0.02
#: A model is called slower from where it takes this much longer than in its first minute, and mostly keeps doing so.
SLOWER, MOSTLY = 0.05, 0.8
#: Two models that are closer than this are not told apart: a soak loads each of them once.
TOLD_APART = 0.03
_SMOOTH = 5


@dataclass(frozen=True)
class SoakFigures:
    """Of one model, times in seconds; None where it is not known."""

    model: str
    first_seconds: float
    steady_seconds: float
    #: False where the last quarter still moves: then a longer soak would find another steady state.
    is_steady: bool
    slower_after_seconds: float | None
    watts: float | None
    #: Of an inference in steady state: without what the idle board draws, and with it.
    joules: float | None
    joules_with_idle: float | None

    @property
    def kept(self) -> float:
        """The share of the first minute's speed that is left."""
        return self.first_seconds / self.steady_seconds


@dataclass(frozen=True)
class Throttle:
    """When the machine first gave up clock for good, and how that is known."""

    seconds: float
    why: str


@dataclass(frozen=True)
class Swap:
    """Two models whose order turned around: how much faster each was, as a share of its own time."""

    first_faster: str
    first_by: float
    steady_faster: str
    steady_by: float


def figures(soak: Soak) -> tuple[SoakFigures, ...]:
    """The figures of every model of a soak, in their order."""
    return tuple(_of_model(soak, number) for number in range(len(soak.models)))


def first_until(soak: Soak) -> float:
    """Where the first minute ends, in seconds."""
    return min(FIRST_SECONDS, FIRST_SHARE * soak.seconds)


def _of_model(soak: Soak, number: int) -> SoakFigures:
    turns = soak.of_model(number)
    begun, end = first_until(soak), soak.seconds
    first = [t for t in turns if t.seconds < begun] or [turns[0]]
    last = [t for t in turns if t.seconds >= (1.0 - STEADY_SHARE) * end] or [turns[-1]]
    level = _level(first)
    halves = [_level(half) for half in (last[: len(last) // 2], last[len(last) // 2 :]) if half]
    return SoakFigures(
        model=soak.models[number].name,
        first_seconds=level,
        steady_seconds=_level(last),
        is_steady=abs(halves[0] / halves[-1] - 1.0) < STEADY_CHANGE,
        slower_after_seconds=_for_good(
            [(t.seconds, t.median_seconds > (1.0 + SLOWER) * level) for t in turns]
        ),
        **_energy(last, soak.idle_watts),
    )


def _level(turns: Sequence[SoakTurn]) -> float:
    return float(np.median([turn.median_seconds for turn in turns]))


def _energy(turns: Sequence[SoakTurn], idle_watts: float | None) -> dict[str, float | None]:
    told = [(t.watts, t.samples * t.mean_seconds, t.samples) for t in turns if t.watts is not None]
    if not told:
        return {"watts": None, "joules": None, "joules_with_idle": None}
    seconds = sum(spent for _, spent, _ in told)
    watts = sum(drawn * spent for drawn, spent, _ in told) / seconds
    one = seconds / sum(samples for _, _, samples in told)
    without = None if idle_watts is None or watts <= idle_watts else (watts - idle_watts) * one
    return {"watts": watts, "joules": without, "joules_with_idle": watts * one}


def _for_good(seen: Sequence[tuple[float, bool]]) -> float | None:
    """When something became so and mostly stayed so; None where it did not, or only in the very last turns."""
    so = np.array([value for _, value in seen], np.float64)
    from_here = np.cumsum(so[::-1])[::-1]
    mostly = from_here >= MOSTLY * np.arange(len(so), 0, -1)
    for start in range(len(so) - _SMOOTH + 1):
        if so[start] and mostly[start] and so[start : start + _SMOOTH].sum() > _SMOOTH / 2:
            return seen[start][0]
    return None


def throttle(soak: Soak) -> Throttle | None:
    """When the clock went down for good, by the machine's own word or by its clock; None where it did not."""
    found = []
    for turn in soak.turns:
        if turn.throttled:
            found.append(Throttle(turn.seconds, ", ".join(turn.throttled)))
            break
    clocks = [(t.seconds, t.frequency_hz) for t in soak.turns if t.frequency_hz]
    early = [hertz for seconds, hertz in clocks if seconds < first_until(soak)]
    if early:
        before = float(np.median(early))
        fell = _for_good([(seconds, hertz < (1.0 - CLOCK_FALL) * before) for seconds, hertz in clocks])
        if fell is not None:
            after = float(np.median([hertz for seconds, hertz in clocks if seconds >= fell]))
            found.append(Throttle(fell, f"the clock fell from {before / 1e9:.2f} to {after / 1e9:.2f} GHz"))
    return min(found, key=lambda t: t.seconds, default=None)


def can_tell_throttling(soak: Soak) -> bool:
    """Whether the machine says when it is throttled, or tells its clock."""
    return soak.tells_throttling or any(turn.frequency_hz for turn in soak.turns)


def swaps(found: Sequence[SoakFigures]) -> tuple[Swap, ...]:
    """Pairs of models whose order in the first minute is not that of the steady state."""
    return tuple(_swapped(found))


def _swapped(found: Sequence[SoakFigures]) -> Iterable[Swap]:
    for position, one in enumerate(found):
        for other in found[position + 1 :]:
            fast, slow = (one, other) if one.first_seconds <= other.first_seconds else (other, one)
            early = slow.first_seconds / fast.first_seconds - 1.0
            late = fast.steady_seconds / slow.steady_seconds - 1.0
            if early > TOLD_APART and late > TOLD_APART:
                yield Swap(fast.model, early, slow.model, late)
