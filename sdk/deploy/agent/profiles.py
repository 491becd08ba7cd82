"""Profiles and times of models on a board, asked of its agent; what it answers is checked before it is believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from device_agent.record import fields
from device_agent.record.profile import Profile, ProfileError
from sdk.deploy.agent.remote_agent import MAX_LONG_ANSWER_BYTES, RUN_SECONDS, RemoteAgent
from sdk.errors import RemoteError

#: Runtimes whose own profiler can be reached; the operators of others are timed one by one.
RUNTIMES_WITH_PROFILER = frozenset({"ai-edge-litert"})


@dataclass(frozen=True)
class TimedModel:
    """One inference of a model that was timed: mean of the middle half of the samples, and the least."""

    seconds: float
    minimum_seconds: float
    samples: int


@dataclass(frozen=True)
class TimedModels:
    """Times in the order of the models, and what they were taken with; the highest clock, None where it is not told."""

    times: tuple[TimedModel, ...]
    threads: int
    cpus: tuple[int, ...]
    runtime: str
    runtime_version: str
    machine: str
    frequency_hz: float | None = None
    #: The deployed model that was timed between them; None where none was asked for.
    beside: TimedModel | None = None


def profile_models(
    agent: RemoteAgent,
    models: Sequence[str],
    *,
    threads: int = 1,
    kernel: str = "auto",
    max_seconds: float = 5.0,
    emulated: bool = False,
) -> tuple[Profile, ...]:
    """Profiles of deployed models by the runtime's own profiler, in their order.

    Raises RemoteError, also when the board's runtime has no profiler (:data:`RUNTIMES_WITH_PROFILER`).
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
    records = answer.get("profiles")
    if not isinstance(records, list) or len(records) != len(models):
        raise RemoteError("the agent profiled something else", expected=f"{len(models)} profiles")
    try:
        profiles = tuple(Profile.from_json(record) for record in records)
    except ProfileError as error:
        raise RemoteError(error.what, expected=error.expected, found=error.found) from None
    for profile, model in zip(profiles, models, strict=True):
        if profile.model != model or profile.threads != threads or profile.method != "runtime":
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
    sent: Callable[[int], None] | None = None,
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
        sent=sent,
    )
    try:
        times = tuple(_timed(item) for item in fields.list_of(_object, len(models))(answer.get("times")))
        if len(times) != len(models):
            raise fields.Refused(f"{len(models)} times")
        return TimedModels(
            times,
            threads=fields.integer(answer.get("threads"), threads, threads),
            cpus=fields.list_of(lambda cpu: fields.integer(cpu, 0, 4096), 4096)(answer.get("cpus")),
            runtime=fields.text(answer.get("runtime")),
            runtime_version=fields.text(answer.get("runtime_version")),
            machine=fields.text(answer.get("machine")),
            frequency_hz=fields.optional(lambda value: fields.number(value, 1.0, 1e12))(
                answer.get("frequency_hz")
            ),
            beside=None if beside is None else _timed(_object(answer.get("beside"))),
        )
    except fields.Refused as refused:
        raise RemoteError("the agent's answer to `time` is not acceptable", expected=str(refused)) from None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise fields.Refused("an object a model")
    return value


def _timed(item: dict[str, Any]) -> TimedModel:
    return TimedModel(
        fields.seconds(item.get("seconds")),
        fields.seconds(item.get("minimum_seconds")),
        fields.integer(item.get("samples"), 1, 1 << 30),
    )
