"""Profiles, times and soaks of models on a board, asked of its agent; what it answers is checked first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from device_agent.record.measurement import MAX_CPUS
from device_agent.record.named_kinds import Cpu, Threads
from device_agent.record.profile import Profile
from device_agent.record.schema import limits, record
from device_agent.record.soak import Soak
from sdk.deploy.agent.answers import MAX_LONG_ANSWER_BYTES, ProfileAnswer, TimedModel, read_answer
from sdk.deploy.agent.remote_agent import ALL_THREADS, RUN_SECONDS, RemoteAgent
from sdk.errors import RemoteError

#: Runtimes whose own profiler can be reached; the operators of others are timed one by one.
RUNTIMES_WITH_PROFILER = frozenset({"ai-edge-litert"})


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class TimedModels:
    """Times in the order of the models, and what they were taken with; the highest clock, None where it is not told."""

    times: tuple[TimedModel, ...]
    threads: Threads
    cpus: tuple[Cpu, ...] = field(metadata=limits(most=MAX_CPUS))
    runtime: str
    runtime_version: str
    machine: str
    frequency_hz: float | None = field(default=None, metadata=limits(low=1.0, high=1e12))
    #: The deployed model that was timed between them; None where none was asked for.
    beside: TimedModel | None = None


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class _SoakAnswer:
    soak: Soak


def soak_models(
    agent: RemoteAgent, models: Sequence[str], *, seconds: float, threads: int, kernel: str = "auto"
) -> Soak:
    """Lets deployed models have turns for this many seconds in all; ``threads`` as for :meth:`RemoteAgent.bench`.

    Raises RemoteError, also when the agent soaked something else.
    """
    answer = agent.call(
        [
            *("soak", *models, "--threads", str(threads), "--kernel", kernel),
            *("--seconds", repr(float(seconds))),
        ],
        timeout_seconds=RUN_SECONDS + seconds,
        max_output_bytes=MAX_LONG_ANSWER_BYTES,
    )
    soak = read_answer(_SoakAnswer, answer, "soak").soak
    if [model.name for model in soak.models] != list(models) or threads not in (soak.threads, ALL_THREADS):
        raise RemoteError(
            "the agent soaked something else",
            expected=f"{', '.join(models)} on {threads or 'all'} threads",
            found=f"{', '.join(model.name for model in soak.models)} on {soak.threads}",
        )
    return soak


def profile_models(
    agent: RemoteAgent,
    models: Sequence[str],
    *,
    threads: int = 1,
    kernel: str = "auto",
    max_seconds: float = 5.0,
    emulated: bool = False,
) -> tuple[Profile, ...]:
    """Profiles of deployed models by the runtime's own profiler, or by the delegate of those that run in kernels of
    Armlet, in their order.

    Raises RemoteError, also when the board's runtime has no profiler (:data:`RUNTIMES_WITH_PROFILER`) and one of the
    models needs it.
    """
    answer = agent.call(
        [
            *("profile", *models, "--threads", str(threads), "--kernel", kernel),
            *("--max-seconds", repr(float(max_seconds))),
            *(["--emulated"] if emulated else []),
        ],
        timeout_seconds=RUN_SECONDS,
        max_output_bytes=MAX_LONG_ANSWER_BYTES,
    )
    profiles = read_answer(ProfileAnswer, answer, "profile").profiles
    if len(profiles) != len(models):
        raise RemoteError(
            "the agent profiled something else",
            expected=f"{len(models)} profiles",
            found=str(len(profiles)),
        )
    for profile, model in zip(profiles, models, strict=True):
        if profile.model != model or profile.threads != threads or profile.method == "isolated":
            raise RemoteError(
                "the agent profiled something else",
                expected=f"{model} on {threads} threads",
                found=f"{profile.model} on {profile.threads} ({profile.method})",
            )
    return profiles


def time_models(
    agent: RemoteAgent,
    models: Sequence[bytes],
    *,
    threads: int = 1,
    min_samples: int = 64,
    max_seconds: float = 0.5,
    beside: str | None = None,
) -> TimedModels:
    """Sends ``.tflite`` models to be timed, one after the other, each up to ``max_seconds``; nothing is kept there.

    Between them the deployed model ``beside`` is timed, so that it can be compared with them.
    """
    header = json.dumps([len(model) for model in models]).encode() + b"\n"
    answer = agent.call(
        [
            *("time", "--threads", str(threads), "--min-samples", str(min_samples)),
            *("--max-seconds", repr(float(max_seconds))),
            *([] if beside is None else ["--beside", beside]),
        ],
        stdin=header + b"".join(models),
        timeout_seconds=RUN_SECONDS,
    )
    timed = read_answer(TimedModels, answer, "time")
    if len(timed.times) != len(models) or timed.threads != threads:
        raise RemoteError(
            "the agent timed something else",
            expected=f"{len(models)} models on {threads} threads",
            found=f"{len(timed.times)} on {timed.threads}",
        )
    if beside is not None and timed.beside is None:
        raise RemoteError("the agent's answer to `time` lacks a field", expected="beside", found="nothing")
    return timed
