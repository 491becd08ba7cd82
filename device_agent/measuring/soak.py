"""Runs models in turns for minutes or hours, and reads the machine while they run.

A turn is so long that the machine can be read in it several times. Reading goes on beside the inferences, on a thread
of its own: between them the board would already draw less.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from array import array
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, Iterator, MutableSequence, Sequence

import numpy as np

from device_agent.errors import AgentError
from device_agent.measuring.bench import preemptions_so_far
from device_agent.record.measurement import MAX_REASONS
from device_agent.record.soak import MAX_TURNS, SoakTurn
from device_agent.run.conditions import Conditions

#: How long a turn takes, unless the soak is so short that models would have too few, or so long that they are too many.
TURN_SECONDS = 2.0
LEAST_TURNS_OF_A_MODEL = 8
#: Before the first turn nothing runs for this share of the time, and this long at most: what the idle board draws.
IDLE_SHARE, MOST_IDLE_SECONDS = 0.05, 20.0
#: The machine is read this often: a Raspberry Pi's is asked through a program, which must not cost the models much.
READ_SECONDS = 0.5


@dataclass(frozen=True)
class SoakPlan:
    """How long models take turns in all, and how long a turn and the idle time before are, in seconds."""

    seconds: float
    turn_seconds: float
    idle_seconds: float

    @classmethod
    def of(cls, seconds: float, models: int) -> SoakPlan:
        """The plan of a soak of this many seconds and models."""
        turn = min(TURN_SECONDS, seconds / (LEAST_TURNS_OF_A_MODEL * models))
        # Half of the turns that a record holds: a turn takes a little longer than planned, never much shorter.
        turn = max(turn, 2.0 * seconds / MAX_TURNS)
        return cls(seconds, turn, min(MOST_IDLE_SECONDS, IDLE_SHARE * seconds))


@dataclass(frozen=True)
class Reading:
    """The machine's readings at one moment; ``watts`` None where it reports none."""

    conditions: Conditions
    watts: float | None


#: Starts reading; what it gives returns the readings since it was last asked, and ends with the context.
Watch = Callable[[], "ContextManager[Callable[[], Sequence[Reading]]]"]


@contextlib.contextmanager
def watching(
    read: Callable[[], Reading], every: float = READ_SECONDS
) -> Iterator[Callable[[], Sequence[Reading]]]:
    """Reads the machine on a thread while models run; gives what returns the readings since it was last asked."""
    found: list[Reading] = []
    lock, ended = threading.Lock(), threading.Event()

    def go_on() -> None:
        while not ended.wait(every):
            reading = read()
            with lock:
                found.append(reading)

    def since() -> Sequence[Reading]:
        with lock:
            taken = list(found)
            found.clear()
        return taken

    thread = threading.Thread(target=go_on, name="soak-watch", daemon=True)
    thread.start()
    try:
        yield since
    finally:
        ended.set()
        thread.join(timeout=10.0)


@dataclass(frozen=True)
class Soaked:
    """The turns that were taken, and readings from before the first."""

    turns: tuple[SoakTurn, ...]
    idle: tuple[Reading, ...]


def soak(
    invokes: Sequence[Callable[[], None]],
    plan: SoakPlan,
    watch: Watch,
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
    shuffle: Callable[[MutableSequence[Any]], None] = random.shuffle,
    abandoned: Callable[[], bool] = lambda: False,
) -> Soaked:
    """Lets every function of ``invokes`` have a turn in each round, in a new random order, for the time of the plan.

    ``clock`` counts nanoseconds. Raises AgentError where ``abandoned`` says that nobody waits for the result any more.
    """
    turns: list[SoakTurn] = []
    with watch() as readings:
        sleep(plan.idle_seconds)
        idle = tuple(readings())
        begun = clock()
        order = list(range(len(invokes)))
        while not turns or clock() - begun < plan.seconds * 1e9:
            shuffle(order)
            for number in order:
                if abandoned():
                    raise AgentError(
                        "the host that asked for this soak is gone", hint="It was ended, and nothing is kept."
                    )
                if len(turns) >= MAX_TURNS:
                    break
                turns.append(_turn(number, invokes[number], plan.turn_seconds, readings, clock, begun))
    return Soaked(tuple(turns), idle)


def _turn(
    number: int,
    invoke: Callable[[], None],
    seconds: float,
    readings: Callable[[], Sequence[Reading]],
    clock: Callable[[], int],
    begun: int,
) -> SoakTurn:
    invoke()  # refills the caches; what was read until here is of the turn before, or of neither
    readings()
    times = array("q")
    taken_away = preemptions_so_far()
    start = before = clock()
    while True:
        invoke()
        now = clock()
        times.append(now - before)
        before = now
        if now - start >= seconds * 1e9:
            break
    taken_away = preemptions_so_far() - taken_away
    found = readings()
    spent = np.asarray(times, np.float64) / 1e9
    least = 1e-9  # of a clock that did not move
    return SoakTurn(
        model=number,
        seconds=(start - begun) / 1e9,
        samples=len(times),
        median_seconds=max(least, float(np.median(spent))),
        mean_seconds=max(least, float(spent.mean())),
        frequency_hz=_mean(r.conditions.frequency_hz for r in found),
        temperature_celsius=_mean(r.conditions.temperature_celsius for r in found),
        watts=_mean(r.watts for r in found),
        throttled=tuple(dict.fromkeys(why for r in found for why in r.conditions.throttled or ()))[
            :MAX_REASONS
        ],
        preemptions=taken_away,
    )


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
