"""Takes the samples: warm-up until stable, then models interleaved in blocks, with the conditions around them."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import resource
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np

from device_agent.record.measurement import MAX_MOMENTS, Measurement, Moment
from device_agent.run.conditions import Conditions, read_conditions
from device_agent.run.loaded import LoadedModel

#: A block is one model's turn: about this long, and at least this many samples.
BLOCK_SECONDS = 0.1
BLOCK_SAMPLES = 4
#: Warming up ends when the medians of the last two windows of this many differ by less than this, ...
STABLE_WINDOW = 5
STABLE_CHANGE = 0.02
#: ... or after this many seconds, whatever comes first.
MAX_WARMUP_SECONDS = 3.0


@dataclass(frozen=True)
class BenchPlan:
    """How much to measure: ``min_samples`` per model or ``max_seconds`` per model, whichever is reached first."""

    min_samples: int = 1024
    max_seconds: float = 10.0
    max_warmup_seconds: float = MAX_WARMUP_SECONDS


@dataclass(frozen=True)
class ColdStart:
    """What only a fresh process can tell; see the verb ``load`` of the agent."""

    decode_seconds: float
    decode_kernel: str
    init_seconds: float
    first_seconds: float
    peak_memory_bytes: int | None
    #: "warm" or "cold"; from the release's files to a ready interpreter; the same cold, where it was warm.
    start: str = "cold"
    start_seconds: float | None = None
    cold_start_seconds: float | None = None


@dataclass(frozen=True)
class SamplesTaken:
    """The times of one model in seconds: warm-ups and samples; how often its core was taken away meanwhile."""

    warmup_seconds: tuple[float, ...]
    samples_seconds: tuple[float, ...]
    preemptions: int = 0


def is_stable(seconds: Sequence[float]) -> bool:
    """Whether the last two windows of inferences took the same time."""
    if len(seconds) < 2 * STABLE_WINDOW:
        return False
    before = float(np.median(seconds[-2 * STABLE_WINDOW : -STABLE_WINDOW]))
    after = float(np.median(seconds[-STABLE_WINDOW:]))
    return abs(after - before) <= STABLE_CHANGE * before


def take_samples(
    invokes: Sequence[Callable[[], None]],
    plan: BenchPlan,
    *,
    between: Callable[[], None] = lambda: None,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[SamplesTaken, ...]:
    """Times every function of ``invokes``, interleaved A B A B in blocks; ``between`` runs after each round.

    Blocks, not single inferences: what a model left in the caches is part of its steady state, and the
    other models' weights (and ``between``) would wash it out. The first inference of a block refills them and is
    not a sample.
    ``clock`` counts nanoseconds.
    """
    warmups = [_warm_up(invoke, plan, clock) for invoke in invokes]
    samples: list[list[float]] = [[] for _ in invokes]
    spent = [0.0] * len(invokes)
    preemptions = [0] * len(invokes)
    wanted = []
    for warmup in warmups:
        typical = float(np.median(warmup[-STABLE_WINDOW:]))
        wanted.append(max(BLOCK_SAMPLES, round(BLOCK_SECONDS / typical) if typical > 0.0 else BLOCK_SAMPLES))
    with _no_garbage_collection():
        unfinished = set(range(len(invokes)))
        while unfinished:
            for i in sorted(unfinished):
                invoke = invokes[i]
                taken_away = _preemptions()
                spent[i] += _time_one(invoke, clock)
                for _ in range(min(wanted[i], plan.min_samples - len(samples[i]))):
                    seconds = _time_one(invoke, clock)
                    samples[i].append(seconds)
                    spent[i] += seconds
                    if spent[i] >= plan.max_seconds:
                        break
                preemptions[i] += _preemptions() - taken_away
                if len(samples[i]) >= plan.min_samples or spent[i] >= plan.max_seconds:
                    unfinished.discard(i)
            between()
    return tuple(SamplesTaken(tuple(w), tuple(s), p) for w, s, p in zip(warmups, samples, preemptions))


def _preemptions() -> int:
    """Involuntary context switches of this process so far, its threads included (``getrusage(2)``)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _time_one(invoke: Callable[[], None], clock: Callable[[], int]) -> float:
    start = clock()
    invoke()
    return (clock() - start) / 1e9


def _warm_up(invoke: Callable[[], None], plan: BenchPlan, clock: Callable[[], int]) -> list[float]:
    seconds: list[float] = []
    while not seconds or not (is_stable(seconds) or sum(seconds) >= plan.max_warmup_seconds):
        seconds.append(_time_one(invoke, clock))
    return seconds


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

    Noise is no input for what looks words up in a table; golden inputs were made for the model. ``array`` is one input
    (1, ...), the first of a batch (n, ...), or an input without its leading 1. Raises AgentError for another shape.
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


def measure(
    agents: Sequence[LoadedModel],
    cold_starts: Sequence[ColdStart],
    plan: BenchPlan,
    *,
    cpus: Sequence[int],
    emulated: bool,
    conditions: Callable[[Sequence[int]], Conditions] = read_conditions,
) -> tuple[Measurement, ...]:
    """Measures agents whose inputs are set, interleaved; one record each, with the shared conditions of the run."""
    during: list[tuple[float, Conditions]] = []
    before = conditions(cpus)
    started, clock = time.time(), time.monotonic()
    taken = take_samples(
        [agent.model.invoke for agent in agents],
        plan,
        between=lambda: during.append((time.monotonic() - clock, conditions(cpus))),
    )
    after = conditions(cpus)
    shared = {
        "cpus": tuple(cpus),
        "emulated": emulated,
        "started_unix_seconds": started,
        "during": thin_out(during),
        **_conditions_of_run([before, *(found for _, found in during), after]),
    }
    return tuple(
        _measurement(agent, cold, times, shared) for agent, cold, times in zip(agents, cold_starts, taken)
    )


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
    agent: LoadedModel, cold: ColdStart, times: SamplesTaken, shared: Mapping[str, Any]
) -> Measurement:
    """The record of one model; ``shared`` are the fields that all models of the run have in common."""
    model = agent.model
    return Measurement(
        model=agent.name,
        tflite_sha256=agent.tflite_sha256,
        package_sha256=agent.package_sha256,
        samples_seconds=times.samples_seconds,
        warmup_seconds=times.warmup_seconds,
        init_seconds=cold.init_seconds,
        first_seconds=cold.first_seconds,
        decode_seconds=cold.decode_seconds,
        decode_kernel=cold.decode_kernel,
        threads=model.threads,
        runtime=model.identity.name,
        runtime_version=model.identity.version,
        delegate=model.delegate,
        numpy_version=model.identity.numpy_version,
        python_version=platform.python_version(),
        machine=os.uname().machine,
        peak_memory_bytes=cold.peak_memory_bytes,
        preemptions=times.preemptions,
        start=cold.start,
        start_seconds=cold.start_seconds,
        cold_start_seconds=cold.cold_start_seconds,
        **shared,
    )


def thin_out(during: Sequence[tuple[float, Conditions]], most: int = MAX_MOMENTS) -> tuple[Moment, ...]:
    """At most so many moments, evenly over the run, the first and the last among them; () where none tells anything."""
    told = [(s, c) for s, c in during if c.frequency_hz is not None or c.temperature_celsius is not None]
    kept = np.linspace(0, len(told) - 1, min(len(told), most)).round().astype(int)
    return tuple(Moment(told[i][0], told[i][1].frequency_hz, told[i][1].temperature_celsius) for i in kept)


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
