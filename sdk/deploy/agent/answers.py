"""The answers of an agent, as records: a board's bytes are hostile until every field has its type and its limits.

Agents of other versions answer more or less than this: unknown fields are passed over. Texts of a board are cut, and
their control characters are made visible.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from device_agent.errors import AgentError
from device_agent.record.kinds import Number, Text
from device_agent.record.kinds import Words as PrintableWords
from device_agent.record.measurement import Measurement
from device_agent.record.named_kinds import Count, Seconds, Sha256, Size, Threads
from device_agent.record.profile import Profile
from device_agent.record.release import MAX_KEEP, KernelStarts, ReleaseName, ThreadChoice
from device_agent.record.schema import limits, read, record, write
from device_agent.tensors.rows import read_row
from sdk.errors import RemoteError

T = TypeVar("T")

#: Raw samples of many models, or the outputs of one batch.
MAX_LONG_ANSWER_BYTES = 128 << 20
MAX_TEXT = 300

if TYPE_CHECKING:
    Words = str
    NotNegative = float
    Clock = float
    Base64 = str
else:
    Words = PrintableWords(MAX_TEXT)
    NotNegative = Number(0.0, 1e12)
    #: What a board's clock says, right or wrong; one that was never set must not hide what happened.
    Clock = Number(-1e15, 1e15)
    Base64 = Text(MAX_LONG_ANSWER_BYTES, any_characters=True, words="an .npy array in base64")


def read_answer(cls: type[T], answer: Any, verb: str) -> T:
    """The record that an agent's answer to ``verb`` holds. Raises RemoteError that names what is wrong with it."""
    return read(cls, answer, what=f"the agent's answer to `{verb}`", error=RemoteError)


# -- deploying ------------------------------------------------------------------------------------------------------


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class MissingAnswer:
    """Which blobs the board lacks, how much of them it has, and whether the release runs already.

    ``current``: there is nothing to do. ``recheck``: it was confirmed in another environment than this agent's.
    """

    missing: tuple[str, ...]
    partial: Mapping[str, Any] = field(default_factory=dict)
    current: bool = False
    recheck: bool = False


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class _Start:
    bytes: Count | None = None
    warm_seconds: Seconds | None = None
    cold_seconds: Seconds | None = None
    reason: Words | None = None


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class _Threads:
    threads: Threads
    reason: Words = ""


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class KernelsAnswer:
    """The kernels that a release runs with (:class:`device_agent.record.release.KernelChoice`)."""

    kernels: str = field(default="runtime", metadata=limits(choices=("runtime", "armlet")))
    operators: Count = 0
    runtime_seconds: Seconds | None = None
    armlet_seconds: Seconds | None = None
    reason: Words = ""
    predicted_for: Words = ""
    undecided: Count = 0
    starts: KernelStarts | None = None


@record(takes_unknown=True, may_lack=("kernels",))
@dataclass(frozen=True)
class PreparedAnswer:
    """The part ``prepared`` of a health check's answer."""

    threads: _Threads
    start: _Start
    kernels: KernelsAnswer = field(default_factory=KernelsAnswer)

    def prepared(self) -> Prepared:
        """The same, flat: bytes and seconds of the start, and on how many threads the model runs."""
        return Prepared(
            threads=self.threads.threads,
            threads_reason=self.threads.reason,
            start_bytes=self.start.bytes,
            start_seconds=self.start.warm_seconds,
            cold_start_seconds=self.start.cold_seconds,
            start_reason=self.start.reason or "",
        ).with_kernels(self.kernels)


@dataclass(frozen=True)
class Prepared:
    """The board's preparations for a release beyond its health check.

    ``threads`` that it runs with, and why so many; ``start_bytes`` of disk, with which it starts in ``start_seconds``
    instead of ``cold_start_seconds`` (from the release's files to a ready interpreter), or why there are none.
    ``kernels``: "runtime", or "armlet" where layers with zeros run in kernels of Armlet, and why; the seconds of an
    inference with either, which are predicted for the board ``kernels_predicted_for`` where that has a name;
    ``kernels_undecided``: operators that those of Armlet would run, where the board could not tell which are faster;
    ``kernels_starts``: what the release takes with them and without, where they were chosen.
    """

    threads: int
    threads_reason: str
    start_bytes: int | None
    start_seconds: float | None
    cold_start_seconds: float | None
    start_reason: str
    kernels: str = "runtime"
    kernels_reason: str = ""
    runtime_seconds: float | None = None
    armlet_seconds: float | None = None
    kernels_predicted_for: str = ""
    kernels_undecided: int = 0
    kernels_starts: KernelStarts | None = None

    def with_kernels(self, chosen: KernelsAnswer) -> Prepared:
        """The same with these kernels."""
        return replace(
            self,
            kernels=chosen.kernels,
            kernels_reason=chosen.reason,
            runtime_seconds=chosen.runtime_seconds,
            armlet_seconds=chosen.armlet_seconds,
            kernels_predicted_for=chosen.predicted_for,
            kernels_undecided=chosen.undecided,
            kernels_starts=chosen.starts,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return write(self)


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class CheckAnswer:
    """The findings of a health check; None where there was none."""

    largest_difference: NotNegative | None = None
    seconds: NotNegative | None = None
    prepared: PreparedAnswer | None = None


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class InstallAnswer:
    """How a deploy ended. ``was_current``: the release that did not pass its check is the one that ran already."""

    state: str = field(metadata=limits(choices=("confirmed", "unchanged", "trial", "reverted")))
    release: Sha256 | None = None
    reason: Words | None = None
    was_current: bool = False
    check: CheckAnswer | None = None


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class RolledBackAnswer:
    """Whether a deploy was undone: not where another release runs."""

    rolled_back: bool


# -- what is there --------------------------------------------------------------------------------------------------


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class EventAnswer:
    """Something that happened to a name."""

    unix_seconds: Clock
    event: Words = ""
    release: Sha256 | None = None
    reason: Words = ""


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class SlotAnswer:
    """The releases of a name; ``package_bytes`` and ``package_sha256`` are those of the current release."""

    name: ReleaseName
    history: tuple[EventAnswer, ...]
    current: Sha256 | None = None
    previous: Sha256 | None = None
    trial: Sha256 | None = None
    older: tuple[Sha256, ...] = field(default=(), metadata=limits(most=MAX_KEEP))
    package_sha256: Sha256 | None = None
    package_bytes: Count | None = None
    threads: Mapping[Sha256, ThreadChoice] | None = None
    title: Words | None = None

    @property
    def chosen_threads(self) -> int | None:
        """The threads that were chosen for the current release; None where nothing was chosen."""
        choice = None if self.current is None else (self.threads or {}).get(self.current)
        return None if choice is None else choice.threads


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class StatusAnswer:
    """Versions of what is installed, None where it does not say; and every name."""

    releases: tuple[SlotAnswer, ...]
    agent_version: Words | None = None
    python_version: Words | None = None
    machine: Words | None = None
    runtime: Words | None = None
    runtime_version: Words | None = None
    numpy_version: Words | None = None
    requires_signatures: bool = False


# -- running and measuring ------------------------------------------------------------------------------------------


@record(may_lack=True, takes_unknown=True)
@dataclass(frozen=True)
class RunAnswer:
    """Predictions made on the board, and what made them."""

    outputs_npy_base64: Base64
    seconds: NotNegative
    tflite_sha256: Sha256
    decode_seconds: NotNegative
    decode_kernel: str = field(metadata=limits(choices=("c", "numpy", "none")))
    runtime: Words | None = None
    runtime_version: Words | None = None


@record(takes_unknown=True)
@dataclass(frozen=True)
class FindingAnswer:
    """Something that is wrong on a board. ``mended``: what the board did about it; "" where that is for others."""

    what: Words
    mended: Words


@record(takes_unknown=True)
@dataclass(frozen=True)
class DoctorAnswer:
    """How many things of each kind a board looked at, and what it found."""

    checked: Mapping[Words, Count]
    found: tuple[FindingAnswer, ...]


@record(takes_unknown=True)
@dataclass(frozen=True)
class BenchAnswer:
    """A measurement for each model that was asked for."""

    measurements: tuple[Measurement, ...]


@record(takes_unknown=True)
@dataclass(frozen=True)
class ProfileAnswer:
    """A profile for each model that was asked for."""

    profiles: tuple[Profile, ...]


@record(takes_unknown=True)
@dataclass(frozen=True)
class TimedModel:
    """One inference of a model that was timed: mean of the middle half of the samples, and the least."""

    seconds: Seconds
    minimum_seconds: Seconds
    samples: Size


def arrived_bytes(blob: bytes, said: Any) -> int:
    """How much of a blob the board has: [bytes, sha256], where these are the very bytes that the blob begins with."""
    if (
        not isinstance(said, list)
        or len(said) != 2
        or type(said[0]) is not int
        or not 0 < said[0] <= len(blob)
    ):
        return 0
    return said[0] if hashlib.sha256(blob[: said[0]]).hexdigest() == said[1] else 0


def rows_of(answer: RunAnswer) -> list[np.ndarray]:
    """The outputs, each of shape (n, ...), of its own type. Raises RemoteError."""
    try:
        return read_row(base64.b64decode(answer.outputs_npy_base64, validate=True), "the agent's answer")
    except (TypeError, ValueError, AgentError) as error:
        raise RemoteError("the agent's outputs cannot be read", found=str(error)[:100]) from None


def outputs_of(answer: RunAnswer, count: int) -> np.ndarray:
    """The outputs for ``count`` inputs, float32 of shape (count, ...). Raises RemoteError."""
    outputs = rows_of(answer)[0]
    if outputs.dtype != np.float32 or outputs.shape[:1] != (count,):
        raise RemoteError(
            "the agent's outputs are something else",
            expected=f"{count} float32 rows",
            found=f"{outputs.dtype} {outputs.shape}"[:80],
        )
    return outputs
