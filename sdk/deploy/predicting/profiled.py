"""Which part of a replay belongs to which operator: the runtime's profiler looks at the clock around each of them.

The plugin sees every reading of the clock, with the host's time and the cycles until then. The profiler's events have
names and durations of the same clock, but some readings belong to no event: a run of a delegate, or the whole
inference, reads the clock as well. So events are matched with the spans between two readings, in order, by their
durations.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from device_agent.record.visible import visible
from sdk.errors import BoardError
from sdk.explain.speed.prediction import PredictedOperator

#: More would take long to match, and no network has as many.
MOST_EVENTS, MOST_LOOKS = 2000, 6000


@dataclass(frozen=True)
class Look:
    """One look at the clock: the host's nanoseconds, and instructions and cycles (of each board) until then."""

    nanoseconds: int
    instructions: int
    cycles: tuple[int, ...]


@dataclass(frozen=True)
class Event:
    """An operator that the profiler names, and how long it took on the host, in seconds."""

    name: str
    seconds: float


def read_looks(written: str) -> tuple[Look, ...]:
    """The looks that the plugin wrote: lines ``c NANOSECONDS INSTRUCTIONS CYCLES...``."""
    rows = [
        [int(word) for word in line.split()[1:]] for line in written.splitlines() if line.startswith("c ")
    ]
    return tuple(Look(row[0], row[1], tuple(row[2:])) for row in rows)


def read_events(said: str) -> tuple[Event, ...]:
    """The events that guest_profile.py printed; none where the runtime has no profiler. Raises BoardError."""
    lines = [line for line in said.splitlines() if line.startswith("[")]
    if not lines:
        return ()
    try:
        return tuple(
            Event(visible(str(name), most=256), float(seconds)) for name, seconds in json.loads(lines[-1])
        )
    except (ValueError, TypeError):
        raise BoardError(
            "the emulated profiler's answer is damaged", found=visible(lines[-1][:100])
        ) from None


def operators_of(looks: Sequence[Look], events: Sequence[Event], board: int) -> tuple[PredictedOperator, ...]:
    """Cycles and instructions of every operator on the run's board of that number; none where looks are lacking."""
    places = matched(looks, events)
    return tuple(
        PredictedOperator(
            index,
            event.name,
            float(looks[place + 1].cycles[board] - looks[place].cycles[board]),
            looks[place + 1].instructions - looks[place].instructions,
        )
        for index, (event, place) in enumerate(zip(events, places, strict=False))
    )


def matched(looks: Sequence[Look], events: Sequence[Event]) -> list[int]:
    """For each event the number of the look that its span begins at, rising; empty where there are too few looks.

    Of all assignments it is the one with the smallest sum of differences between durations.
    """
    spans = [(b.nanoseconds - a.nanoseconds) / 1e9 for a, b in itertools.pairwise(looks)]
    if not events or len(events) > len(spans) or len(events) > MOST_EVENTS or len(spans) > MOST_LOOKS:
        return []
    spare = len(spans) - len(events)
    # best[k]: the least cost of the events so far with k spans passed over; came: whether by passing one over
    best = [0.0] * (spare + 1)
    came: list[list[int]] = []
    for number, event in enumerate(events):
        costs = [best[k] + abs(spans[number + k] - event.seconds) for k in range(spare + 1)]
        origin = list(range(spare + 1))
        for k in range(1, spare + 1):
            if costs[k - 1] < costs[k]:
                costs[k], origin[k] = costs[k - 1], origin[k - 1]
        best = costs
        came.append(origin)
    places = []
    k = spare
    for number in range(len(events) - 1, -1, -1):
        k = came[number][k]
        places.append(number + k)
    return places[::-1]


def kernels_of(operators: Sequence[PredictedOperator], cycles: float) -> tuple[tuple[str, float], ...]:
    """The runtime's names of the kernels that ran, each with its share of the cycles, the greatest first."""
    spent: dict[str, float] = {}
    for operator in operators:
        spent[operator.name] = spent.get(operator.name, 0.0) + operator.cycles
    return tuple(sorted(((name, own / cycles) for name, own in spent.items()), key=lambda pair: -pair[1]))
