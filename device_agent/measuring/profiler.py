"""Takes profiles: the runtime's own profiler or Armlet's inside whole inferences, and plain times of models that the
host sends."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from typing import Any, Callable, Sequence

import numpy as np

from device_agent.errors import AgentError
from device_agent.measuring import litert_profiler
from device_agent.measuring.bench import STABLE_WINDOW, LoadingPlan, is_stable, set_inputs, take_turns
from device_agent.record.profile import (
    ARMLET_DENSE,
    ARMLET_SPARSE,
    KernelTime,
    Profile,
    midmean,
    typical,
)
from device_agent.record.visible import visible

#: The interpreter's event for one whole inference.
_INVOKE = "Invoke"
#: The step of the clock by which the delegate of Armlet times its operators, in seconds.
_ARMLET_RESOLUTION = 1e-9
#: A block of inferences takes about this long.
BLOCK_SECONDS = 0.1
#: Inferences of a block that count, at least and at most: many blocks, so that both kinds see the same moments.
_LEAST_IN_A_BLOCK, _MOST_IN_A_BLOCK = 3, 25
#: What :class:`Beside` takes altogether, whichever is reached first.
BESIDE_SECONDS = 5.0
BESIDE_SAMPLES = 10_000
#: Inferences that do not count after another model was loaded, timed and let go.
_COLD = 2


@dataclass(frozen=True)
class ProfilePlan:
    """At most ``max_inferences`` profiled ones, or ``max_seconds`` altogether, whichever is first; at least three."""

    max_inferences: int = 2000
    max_seconds: float = 5.0
    max_warmup_seconds: float = 1.0


def uncut(seconds: float, resolution: float = litert_profiler.RESOLUTION_SECONDS) -> float:
    """The time that the profiler cut off to whole steps of its clock: half a step is added back, on average what it
    took away. A kernel that never took a whole step stays at 0.
    """
    return seconds + resolution / 2.0 if seconds > 0.0 else 0.0


def outside_of_kernels(
    events: Sequence[litert_profiler.ProfilerEvent],
    kernels: Sequence[litert_profiler.ProfilerEvent],
    seconds: float,
    resolution: float = litert_profiler.RESOLUTION_SECONDS,
) -> float:
    """Seconds of one inference outside of its kernels.

    The profiler's own ``Invoke`` is the whole where it has one: the copies that a compiled model makes around it are
    not part of what an interpreter does. Otherwise it is ``seconds``, which a clock outside took.
    """
    invoke = [
        event.seconds for event in events if event.name == _INVOKE and event.type == litert_profiler.DEFAULT
    ]
    return (invoke[0] if len(invoke) == 1 else seconds) - sum(
        uncut(event.seconds, resolution) for event in kernels
    )


@dataclass(frozen=True)
class ProfileTaken:
    """The results of :class:`Turns`; times in seconds."""

    kernels: tuple[KernelTime, ...]
    outside_seconds: float
    profiled: tuple[float, ...]  # (inferences,)
    unprofiled: tuple[float, ...]  # (inferences,)


class Turns:
    """Profiled inferences of one model and plain ones, in turn.

    ``model`` is a :class:`litert_profiler.ProfiledModel`, ``plain`` runs the same network without a profiler. They
    take turns in blocks, as models that are measured do (:func:`device_agent.measuring.bench.take_turns`), and
    for the same reason the first inference of a block does not count.
    """

    def __init__(
        self,
        model: Any,
        plain: Callable[[], None],
        plan: ProfilePlan,
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
        resolution: float = litert_profiler.RESOLUTION_SECONDS,
    ) -> None:
        self._model, self._plain, self._plan, self._clock = model, plain, plan, clock
        self._resolution = resolution
        warm: list[float] = []
        while not warm or not (is_stable(warm) or sum(warm) >= plan.max_warmup_seconds):
            warm.append(_timed(model.run, clock))
        self._block = _in_a_block(float(np.median(warm[-STABLE_WINDOW:])))
        self._profiled: list[float] = []
        self._unprofiled: list[float] = []
        self._outside: list[float] = []
        self._seen: list[list[litert_profiler.ProfilerEvent]] = []
        self._spent = 0.0

    @property
    def is_done(self) -> bool:
        """True when as much as planned was taken, and three profiled inferences at least."""
        plan = self._plan
        return len(self._seen) >= _LEAST_IN_A_BLOCK and (
            len(self._seen) >= plan.max_inferences or self._spent >= plan.max_seconds
        )

    def take(self) -> None:
        """A block of plain inferences, then one of profiled ones."""
        begun = self._clock()
        self._unprofiled += [_timed(self._plain, self._clock) for _ in range(1 + self._block)][1:]
        for number in range(1 + self._block):
            self._model.start()
            seconds = _timed(self._model.run, self._clock)
            events = self._model.stop()
            if number:
                self._profiled.append(seconds)
                self._seen.append(litert_profiler.kernel_events(events))
                self._outside.append(outside_of_kernels(events, self._seen[-1], seconds, self._resolution))
        self._spent += (self._clock() - begun) / 1e9

    def taken(self) -> ProfileTaken:
        """The profile. Raises AgentError when inferences differ in their kernels."""
        seen = self._seen
        steps = [[(e.name, e.node) for e in events] for events in seen]
        if any(step != steps[0] for step in steps):
            raise AgentError(
                "the inferences of one model differ in their kernels",
                expected=f"{len(steps[0])} kernels each time",
                found=", ".join(str(n) for n in sorted({len(step) for step in steps})),
            )
        times = np.array(
            [[uncut(event.seconds, self._resolution) for event in events] for events in seen]
        )  # (inferences, kernels)
        outside = np.array(self._outside)
        chosen = typical(times.sum(axis=1) + outside)
        kernels = tuple(
            KernelTime(
                visible(event.name, most=256),
                event.node,
                bool(event.type & litert_profiler.DELEGATE_OPERATOR),
                float(np.mean(times[chosen, number])),
                min(events[number].seconds for events in seen),
            )
            for number, event in enumerate(seen[0])
        )
        return ProfileTaken(
            kernels, float(np.mean(outside[chosen])), tuple(self._profiled), tuple(self._unprofiled)
        )


def _in_a_block(seconds: float) -> int:
    wanted = round(BLOCK_SECONDS / seconds) if seconds > 0.0 else _MOST_IN_A_BLOCK
    return max(_LEAST_IN_A_BLOCK, min(wanted, _MOST_IN_A_BLOCK))


def profile(
    agents: Sequence[Any], plan: ProfilePlan, *, cpus: Sequence[int], emulated: bool
) -> list[Profile]:
    """Profiles of loaded models (:class:`device_agent.run.loaded.LoadedModel`) by their runtime's own profiler.

    The models take turns too, so that each is seen over the whole time. Where one runs from packed weights that were
    kept in a file, the profiled one maps the same file: the memory of a copy of its own can be slower, and layers that
    wait for their weights would seem to take longer than they do.

    Raises RuntimeUnavailable where the runtime has none.
    """
    with contextlib.ExitStack() as stack:
        turns = []
        for agent in agents:
            set_inputs(agent)
            model = stack.enter_context(
                litert_profiler.ProfiledModel(
                    agent.model.tflite, threads=agent.model.threads, weight_cache=agent.model.weight_cache
                )
            )
            turns.append(Turns(model, agent.model.invoke, plan))
        while unfinished := [turn for turn in turns if not turn.is_done]:
            for turn in unfinished:
                turn.take()
        return [
            _profile(agent, turn.taken(), cpus=cpus, emulated=emulated) for agent, turn in zip(agents, turns)
        ]


class _OperatorsOfArmlet:
    """A loaded model as :class:`Turns` profiles one: the delegate times each of its operators."""

    def __init__(self, model: Any) -> None:
        self.run = model.invoke
        self._model = model

    def start(self) -> None:
        """Begins to time, from zero."""
        self._model.time_armlet_operators()

    def stop(self) -> list[litert_profiler.ProfilerEvent]:
        """What each operator took since."""
        operators = self._model.armlet_operators()
        self._model.time_armlet_operators(False)
        return [
            litert_profiler.ProfilerEvent(
                _name(op), litert_profiler.DELEGATE_OPERATOR, op.node, op.seconds or 0.0
            )
            for op in operators
            if op.node >= 0 and (op.seconds or op.weights)  # what WHILE runs is a part of its time: outside
        ]


def _name(operator: Any) -> str:
    """The kernel of one OperatorReport (device_agent.run.kernels.delegate)."""
    if operator.kept < operator.weights:
        return f"{ARMLET_SPARSE}: blocks of {operator.block}"
    return ARMLET_DENSE


def profile_armlet(agent: Any, plan: ProfilePlan, *, cpus: Sequence[int], emulated: bool) -> Profile:
    """The profile of a loaded model that runs in kernels of Armlet, by their delegate's own clock."""
    set_inputs(agent)
    turns = Turns(_OperatorsOfArmlet(agent.model), agent.model.invoke, plan, resolution=_ARMLET_RESOLUTION)
    while not turns.is_done:
        turns.take()
    taken = turns.taken()
    record = _profile(agent, taken, cpus=cpus, emulated=emulated)
    return replace(record, method="armlet", resolution_seconds=_ARMLET_RESOLUTION)


def _profile(agent: Any, taken: ProfileTaken, *, cpus: Sequence[int], emulated: bool) -> Profile:
    return Profile(
        model=agent.name,
        tflite_sha256=agent.tflite_sha256,
        method="runtime",
        kernels=taken.kernels,
        inferences=len(taken.profiled),
        outside_seconds=taken.outside_seconds,
        profiled_seconds=midmean(taken.profiled),
        unprofiled_seconds=midmean(taken.unprofiled),
        call_seconds=0.0,
        resolution_seconds=litert_profiler.RESOLUTION_SECONDS,
        threads=agent.model.threads,
        cpus=tuple(cpus),
        runtime=agent.model.identity.name,
        runtime_version=agent.model.identity.version,
        machine=os.uname().machine,
        emulated=emulated,
    )


def time_model(tflite: bytes, plan: LoadingPlan, *, threads: int) -> dict[str, Any]:
    """How long one inference of a model takes: ``seconds`` (midmean), ``minimum_seconds`` and ``samples``."""
    from device_agent.run.loaded import LoadedModel

    with LoadedModel(tflite, threads=threads) as agent:
        set_inputs(agent)
        (taken,) = take_turns([agent.model.invoke], plan)
        return _times(taken.samples_seconds)


class Beside:
    """A loaded model that is timed between others, so that what they are compared with is of the same moments."""

    def __init__(
        self, agent: Any, *, seconds: float = BESIDE_SECONDS, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        """``seconds``: what the others take; no more than that, and than :data:`BESIDE_SECONDS`."""
        set_inputs(agent)
        self._invoke, self._clock = agent.model.invoke, clock
        self._seconds = min(seconds, BESIDE_SECONDS)
        self._block = _LEAST_IN_A_BLOCK
        self._samples: list[float] = []
        self._spent = 0.0

    def catch_up(self, share: float) -> None:
        """Takes blocks until so much of its seconds, or of the samples, was taken."""
        while not self._samples or (
            self._spent < share * self._seconds and len(self._samples) < share * BESIDE_SAMPLES
        ):
            times = [_timed(self._invoke, self._clock) for _ in range(_COLD + self._block)]
            self._samples += times[_COLD:]
            self._spent += sum(times)
            self._block = max(_LEAST_IN_A_BLOCK, round(BLOCK_SECONDS / max(midmean(times), 1e-6)))

    def times(self) -> dict[str, Any]:
        """As :func:`time_model`."""
        return _times(self._samples)


def _times(samples: Sequence[float]) -> dict[str, Any]:
    return {"seconds": midmean(samples), "minimum_seconds": min(samples), "samples": len(samples)}


def _timed(run: Callable[[], None], clock: Callable[[], int]) -> float:
    start = clock()
    run()
    return (clock() - start) / 1e9
