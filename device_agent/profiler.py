"""Takes profiles: the runtime's own profiler inside whole inferences, and plain times of models sent by the host."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Callable, Sequence

from device_agent import litert_profiler
from device_agent.bench import Plan, is_stable, set_inputs, take_samples
from device_agent.errors import AgentError
from device_agent.profile import KernelTime, Profile, quiet_mean

#: The interpreter lists what it handed to a delegate as one operator of its own; its parts are listed beside it.
_DELEGATE_NODES = ("DELEGATE", "TfLiteXNNPackDelegate")
#: The interpreter's event for one whole inference.
_INVOKE = "Invoke"


@dataclass(frozen=True)
class ProfilePlan:
    """At most ``max_inferences`` profiled ones, or ``max_seconds`` altogether, whichever is first; at least three."""

    max_inferences: int = 200
    max_seconds: float = 5.0
    max_warmup_seconds: float = 1.0


def kernel_events(events: Sequence[litert_profiler.Event]) -> list[litert_profiler.Event]:
    """The events that are operators, without the nodes that only stand for a delegate."""
    return [
        event
        for event in events
        if event.type & litert_profiler.WORK
        and not any(event.name.startswith(name) for name in _DELEGATE_NODES)
    ]


def uncut(seconds: float) -> float:
    """The time that the profiler cut off to whole steps of its clock: half a step is added back, on average what it
    took away. A kernel that never took a whole step stays at 0.
    """
    return seconds + litert_profiler.RESOLUTION_SECONDS / 2.0 if seconds > 0.0 else 0.0


def outside_of_kernels(
    events: Sequence[litert_profiler.Event], kernels: Sequence[litert_profiler.Event], seconds: float
) -> float:
    """Seconds of one inference outside of its kernels.

    The profiler's own ``Invoke`` is the whole where it has one: the copies that a compiled model makes around it are
    not part of what an interpreter does. Else ``seconds``, taken by the clock outside.
    """
    invoke = [
        event.seconds for event in events if event.name == _INVOKE and event.type == litert_profiler.DEFAULT
    ]
    return (invoke[0] if len(invoke) == 1 else seconds) - sum(uncut(event.seconds) for event in kernels)


@dataclass(frozen=True)
class Taken:
    """What :func:`profile_inferences` found; times in seconds."""

    kernels: tuple[KernelTime, ...]
    outside: tuple[float, ...]  # (inferences,)
    profiled: tuple[float, ...]  # (inferences,)
    unprofiled: tuple[float, ...]  # (inferences,)


def profile_inferences(
    model: Any, plan: ProfilePlan, *, clock: Callable[[], int] = time.perf_counter_ns
) -> Taken:
    """Inferences with the profiler and without it, in turn. ``model`` is a :class:`litert_profiler.ProfiledModel`.

    Raises AgentError when inferences differ in their kernels.
    """
    warm: list[float] = []
    while not warm or not (is_stable(warm) or sum(warm) >= plan.max_warmup_seconds):
        warm.append(_timed(model.run, clock))
    profiled: list[float] = []
    unprofiled: list[float] = []
    outside: list[float] = []
    seen: list[list[litert_profiler.Event]] = []
    while len(seen) < 3 or (
        len(seen) < plan.max_inferences and sum(profiled) + sum(unprofiled) < plan.max_seconds
    ):
        unprofiled.append(_timed(model.run, clock))
        model.start()
        profiled.append(_timed(model.run, clock))
        events = model.stop()
        seen.append(kernel_events(events))
        outside.append(outside_of_kernels(events, seen[-1], profiled[-1]))
    steps = [[(e.name, e.node) for e in events] for events in seen]
    if any(step != steps[0] for step in steps):
        raise AgentError(
            "the inferences of one model differ in their kernels",
            expected=f"{len(steps[0])} kernels each time",
            found=", ".join(str(n) for n in sorted({len(step) for step in steps})),
        )
    kernels = []
    for number, first in enumerate(seen[0]):
        times = [events[number].seconds for events in seen]
        delegated = bool(first.type & litert_profiler.DELEGATE_OPERATOR)
        kernels.append(
            KernelTime(_printable(first.name), first.node, delegated, uncut(quiet_mean(times)), min(times))
        )
    return Taken(tuple(kernels), tuple(outside), tuple(profiled), tuple(unprofiled))


def profile(agent: Any, plan: ProfilePlan, *, cpus: Sequence[int], emulated: bool) -> Profile:
    """The profile of a loaded :class:`device_agent.loaded.LoadedModel` by its runtime's own profiler.

    Raises RuntimeUnavailable where the runtime has none.
    """
    threads = agent.model.threads
    with litert_profiler.ProfiledModel(agent.model.tflite, threads=threads) as model:
        taken = profile_inferences(model, plan)
    return Profile(
        model=agent.name,
        tflite_sha256=agent.tflite_sha256,
        method="runtime",
        kernels=taken.kernels,
        inferences=len(taken.profiled),
        outside_seconds=quiet_mean(taken.outside),
        profiled_seconds=min(taken.profiled),
        unprofiled_seconds=min(taken.unprofiled),
        call_seconds=0.0,
        resolution_seconds=litert_profiler.RESOLUTION_SECONDS,
        threads=threads,
        cpus=tuple(cpus),
        runtime=agent.model.identity.name,
        runtime_version=agent.model.identity.version,
        machine=os.uname().machine,
        emulated=emulated,
    )


def time_model(tflite: bytes, plan: Plan, *, threads: int) -> dict[str, Any]:
    """How long one inference of a model takes: ``seconds`` (quiet mean), ``minimum_seconds`` and ``samples``."""
    from device_agent.loaded import LoadedModel

    with LoadedModel(tflite, threads=threads) as agent:
        set_inputs(agent)
        (taken,) = take_samples([agent.model.invoke], plan)
        samples = taken.samples_seconds
        return {
            "seconds": quiet_mean(samples),
            "minimum_seconds": min(samples),
            "samples": len(samples),
            "delegate": agent.model.delegate,
        }


def _timed(run: Callable[[], None], clock: Callable[[], int]) -> float:
    start = clock()
    run()
    return (clock() - start) / 1e9


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else " " for c in name)[:256]
