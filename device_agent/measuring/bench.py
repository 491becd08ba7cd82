"""Measures one loading of each model: warm-up until stable, then rounds of turns, with the conditions around them."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import random
import resource
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Iterator, Mapping, MutableSequence, Sequence

import numpy as np

from device_agent.record.intervals import Turn
from device_agent.record.measurement import MAX_MOMENTS, Measurement, Moment, evenly
from device_agent.run.conditions import Conditions, read_conditions
from device_agent.run.loaded import LoadedModel

#: Warming up ends when the medians of the last two windows of this many differ by less than this, ...
STABLE_WINDOW = 5
STABLE_CHANGE = 0.02
#: ... not before this many seconds or inferences, while a clock may still be rising, ...
LEAST_WARMUP_SECONDS = 0.02
LEAST_WARMUP_INFERENCES = 200
#: ... or after this many seconds, whatever comes first.
MAX_WARMUP_SECONDS = 3.0
#: A turn that has time for fewer inferences than this counts its first one too.
FEW_IN_A_TURN = 4


@dataclass(frozen=True)
class LoadingPlan:
    """How much to measure of one loading of a model: ``samples`` in this many rounds, or ``max_seconds`` of turns.

    Whichever is first, and one sample at least.
    """

    samples: int
    rounds: int = 5
    max_seconds: float = 10.0
    max_warmup_seconds: float = MAX_WARMUP_SECONDS

    @property
    def turn_samples(self) -> int:
        """How many samples a turn takes."""
        return -(-self.samples // self.rounds)

    @property
    def turn_seconds(self) -> float:
        """How long a turn may take."""
        return self.max_seconds / self.rounds


@dataclass(frozen=True)
class ColdStart:
    """Times that need a fresh process; see the verb ``load`` of the agent."""

    decode_seconds: float
    decode_kernel: str
    init_seconds: float
    first_seconds: float
    peak_memory_bytes: int | None
    #: "warm" or "cold"; from the release's files to a ready interpreter; the same cold, where it was warm.
    start: str = "cold"
    start_seconds: float | None = None
    cold_start_seconds: float | None = None
    #: The start, cold, and the memory without the kernels of Armlet, where it has operators in them.
    runtime_start_seconds: float | None = None
    runtime_peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class TurnTaken:
    """Samples of one turn in seconds, its round, and what the clock said when it began, in seconds."""

    round: int
    begun: float
    samples_seconds: tuple[float, ...]


class _Taker:
    """Takes the turns of one model."""

    def __init__(self, invoke: Callable[[], None], plan: LoadingPlan, clock: Callable[[], int]) -> None:
        self._invoke, self._plan, self._clock = invoke, plan, clock
        self.turns: list[TurnTaken] = []
        self.warmup_seconds = self._warm_up()
        self.preemptions = 0
        self._left = plan.samples
        self._spent = 0.0
        typical = float(np.median(self.warmup_seconds[-STABLE_WINDOW:]))
        self._skips_first = plan.turn_seconds >= FEW_IN_A_TURN * typical

    def _warm_up(self) -> list[float]:
        seconds: list[float] = []
        spent = 0.0
        while not seconds or spent < self._plan.max_warmup_seconds:
            seconds.append(self._time_one())
            spent += seconds[-1]
            long_enough = spent >= LEAST_WARMUP_SECONDS or len(seconds) >= LEAST_WARMUP_INFERENCES
            if long_enough and is_stable(seconds):
                break
        return seconds

    def _time_one(self) -> float:
        start = self._clock()
        self._invoke()
        return (self._clock() - start) / 1e9

    @property
    def is_done(self) -> bool:
        """True when as much as planned was taken."""
        return self._left <= 0 or (bool(self.turns) and self._spent >= self._plan.max_seconds)

    def take(self, number: int) -> None:
        """Takes the turn of a round."""
        taken_away = preemptions_so_far()
        begun = self._clock() / 1e9
        spent = self._time_one() if self._skips_first else 0.0
        samples: list[float] = []
        while len(samples) < min(self._plan.turn_samples, self._left):
            samples.append(self._time_one())
            spent += samples[-1]
            if spent >= self._plan.turn_seconds:
                break
        self.turns.append(TurnTaken(number, begun, tuple(samples)))
        self._left -= len(samples)
        self._spent += spent
        self.preemptions += preemptions_so_far() - taken_away


@dataclass(frozen=True)
class TurnsTaken:
    """The times of one loading in seconds: warm-ups and turns; how often its core was taken away meanwhile."""

    warmup_seconds: tuple[float, ...]
    turns: tuple[TurnTaken, ...]
    preemptions: int = 0

    @property
    def samples_seconds(self) -> tuple[float, ...]:
        """The samples of all turns, in seconds."""
        return tuple(s for turn in self.turns for s in turn.samples_seconds)


def is_stable(seconds: Sequence[float]) -> bool:
    """Whether the last two windows of inferences took the same time."""
    if len(seconds) < 2 * STABLE_WINDOW:
        return False
    before = float(np.median(seconds[-2 * STABLE_WINDOW : -STABLE_WINDOW]))
    after = float(np.median(seconds[-STABLE_WINDOW:]))
    return abs(after - before) <= STABLE_CHANGE * before


def take_turns(
    invokes: Sequence[Callable[[], None]],
    plan: LoadingPlan,
    *,
    between: Callable[[], None] = lambda: None,
    clock: Callable[[], int] = time.monotonic_ns,
    shuffle: Callable[[MutableSequence[Any]], None] = random.shuffle,
) -> tuple[TurnsTaken, ...]:
    """Times every function of ``invokes``: in each round all have a turn, in a new random order.

    ``between`` runs after each round. Turns, not single inferences: what a model left in the caches is part of its
    steady state, and the other models' weights (and ``between``) would wash it out. The first inference of a turn
    refills them. It is a sample only where a turn has time for few. ``clock`` counts nanoseconds.
    """
    takers = [_Taker(invoke, plan, clock) for invoke in invokes]
    with _no_garbage_collection():
        for number in range(plan.rounds):
            unfinished = [taker for taker in takers if not taker.is_done]
            if not unfinished:
                break
            shuffle(unfinished)
            for taker in unfinished:
                taker.take(number)
            between()
    return tuple(TurnsTaken(tuple(t.warmup_seconds), tuple(t.turns), t.preemptions) for t in takers)


def preemptions_so_far() -> int:
    """Involuntary context switches of this process so far, its threads included (``getrusage(2)``)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def set_inputs(agent: LoadedModel, array: np.ndarray | None = None) -> None:
    """Puts the inputs of a model in place: ``array`` as the first, else golden ones, else seeded noise in [0, 1).

    Noise does not suit a model that looks words up in a table; golden inputs were made for the model. ``array`` is one
    input (1, ...), the first of a batch (n, ...), or an input without its leading 1. Raises AgentError for another
    shape.
    """
    model = agent.model
    golden = agent.example_inputs() if array is None else None
    if golden is not None:
        for position, value in enumerate(golden):
            model.set_input(value, position)
        return
    rng = np.random.default_rng(0)
    for position, info in enumerate(model.inputs):
        if array is not None and position == 0:
            value = array[:1] if array.ndim == len(info.shape) else array[None]
        elif info.dtype.kind in "iu" and not info.is_quantized:
            value = np.zeros(info.shape, info.dtype)
        else:
            value = rng.random(info.shape, dtype=np.float32)
        model.set_input(value, position)


def measure_loading(
    agents: Sequence[LoadedModel],
    plan: LoadingPlan,
    *,
    cpus: Sequence[int],
    emulated: bool,
    since: float | None = None,
    conditions: Callable[[Sequence[int]], Conditions] = read_conditions,
) -> tuple[Measurement, ...]:
    """Measures agents whose inputs are set, in turns: a record of each, without what only a fresh process tells.

    Times of turns count from ``since`` (``time.monotonic()``, the same in all processes), else from now. The records
    share the facts about the machine.
    """
    during: list[tuple[float, Conditions]] = []
    started, clock = time.time(), time.monotonic()
    since = clock if since is None else since
    before = conditions(cpus)
    taken = take_turns(
        [agent.model.invoke for agent in agents],
        plan,
        between=lambda: during.append((time.monotonic() - since, conditions(cpus))),
    )
    after = conditions(cpus)
    shared = {
        "cpus": tuple(cpus),
        "emulated": emulated,
        "started_unix_seconds": max(0.0, started - (clock - since)),
        "during": thin_out(during),
        **_conditions_of_run([before, *(found for _, found in during), after]),
    }
    return tuple(_measurement(agent, times, since, shared) for agent, times in zip(agents, taken))


def _conditions_of_run(seen: Sequence[Conditions]) -> dict[str, Any]:
    """The fields of a measurement that say how the machine was, from what it said before, during and after."""
    throttled, reasons = judge_throttling(seen)
    return {
        "temperature_before_celsius": seen[0].temperature_celsius,
        "temperature_after_celsius": seen[-1].temperature_celsius,
        "temperature_max_celsius": max(_known(c.temperature_celsius for c in seen), default=None),
        "frequency_before_hz": seen[0].frequency_hz,
        "frequency_after_hz": seen[-1].frequency_hz,
        "frequency_min_hz": min(_known(c.frequency_hz for c in seen), default=None),
        "governor": ", then ".join(dict.fromkeys(c.governor for c in seen if c.governor)) or None,
        "throttled": throttled,
        "throttle_reasons": reasons,
    }


def _measurement(
    agent: LoadedModel, times: TurnsTaken, since: float, shared: Mapping[str, Any]
) -> Measurement:
    """The record of one model; ``shared`` are the fields that all models of the run have in common."""
    model = agent.model
    armlet = model.armlet_operators()
    return Measurement(
        model=agent.name,
        tflite_sha256=agent.tflite_sha256,
        package_sha256=agent.package_sha256,
        samples_seconds=times.samples_seconds,
        turns=tuple(
            Turn(0, turn.round, max(0.0, turn.begun - since), len(turn.samples_seconds))
            for turn in times.turns
        ),
        warmup_seconds=times.warmup_seconds,
        init_seconds=model.init_seconds,
        first_seconds=times.warmup_seconds[0],
        decode_seconds=agent.decode_seconds,
        decode_kernel=agent.kernel,
        threads=model.threads,
        runtime=model.identity.name,
        runtime_version=model.identity.version,
        delegate=model.delegate,
        numpy_version=model.identity.numpy_version,
        python_version=platform.python_version(),
        machine=os.uname().machine,
        preemptions=times.preemptions,
        start=agent.start,
        armlet_operators=len(armlet),
        armlet_packed_bytes=sum(operator.packed_bytes for operator in armlet),
        armlet_float_bytes=sum(operator.float_bytes for operator in armlet),
        **shared,
    )


def with_start(measurement: Measurement, cold: ColdStart) -> Measurement:
    """The measurement with what only a fresh process can tell."""
    return replace(
        measurement,
        init_seconds=cold.init_seconds,
        first_seconds=cold.first_seconds,
        decode_seconds=cold.decode_seconds,
        decode_kernel=cold.decode_kernel,
        peak_memory_bytes=cold.peak_memory_bytes,
        start=cold.start,
        start_seconds=cold.start_seconds,
        cold_start_seconds=cold.cold_start_seconds,
        runtime_start_seconds=cold.runtime_start_seconds,
        runtime_peak_memory_bytes=cold.runtime_peak_memory_bytes,
    )


def thin_out(during: Sequence[tuple[float, Conditions]], most: int = MAX_MOMENTS) -> tuple[Moment, ...]:
    """At most this many moments, evenly over the run, with the first and the last; () where none tells anything."""
    return evenly(
        [
            Moment(seconds, found.frequency_hz, found.temperature_celsius)
            for seconds, found in during
            if found.frequency_hz is not None or found.temperature_celsius is not None
        ],
        most,
    )


def _known(values: Iterator[float | None] | Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def judge_throttling(seen: Sequence[Conditions]) -> tuple[bool | None, tuple[str, ...]]:
    """From the conditions in order of time: whether the clock was lowered, and the machine's reasons."""
    reasons = tuple(sorted({reason for c in seen for reason in c.throttled or ()}))
    # What held only between two readings leaves its mark among the reasons since boot.
    known = {*reasons, *(seen[0].throttled_since_boot or ())}
    later = sorted({reason for c in seen[1:] for reason in c.throttled_since_boot or ()} - known)
    reasons += tuple(f"{reason} for a moment" for reason in later)
    first, last = seen[0].throttle_count, seen[-1].throttle_count
    if first is not None and last is not None and last > first:
        reasons = (*reasons, "thermal throttling was counted by the kernel")
    told = any(c.throttled is not None for c in seen) or (first is not None and last is not None)
    return (bool(reasons) if told else None), reasons
