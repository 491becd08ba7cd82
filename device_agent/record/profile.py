"""The record of a profile: what each operator of one model took, on one board. Pure, like
device_agent.record.measurement.

It is made in three ways. ``runtime``: by the runtime's own profiler, inside whole inferences
(device_agent.measuring.profiler). ``isolated``: every operator as a model of its own, timed alone and warm (the host
makes them, the verb ``time`` times them); for runtimes without a profiler. ``armlet``: only the operators that run in
kernels of Armlet, timed by their delegate inside whole inferences of either runtime; what the runtime does itself is
not among them.

Times are seconds.

A board's answer is not trusted: ``Profile.from_json`` checks types, ranges and sizes of everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Sequence

import numpy as np

from device_agent.errors import AgentError
from device_agent.record.measurement import MAX_CPUS
from device_agent.record.named_kinds import Cpu, Seconds, Sha256, SignedSeconds, Threads
from device_agent.record.schema import limits, read, record, write

SCHEMA = "armlet.profile/2"
#: Still read: the same fields, but the fastest inference where there is a typical one now.
EARLIER: dict[str, dict[str, Any]] = {"armlet.profile/1": {}}

#: More kernels than this are refused; the largest network of the zoo has 250.
MAX_KERNELS = 16_384
#: What XNNPACK calls its sparse kernels: sparse matrix times dense matrix (``ukernel-type.h``).
SPARSE_KERNEL = "SPMM"
#: How the times came about.
METHODS = ("runtime", "isolated", "armlet")
#: What names of the kernels of Armlet begin with where they skip zeros; of the others there.
ARMLET_SPARSE, ARMLET_DENSE = "Armlet, zeros skipped", "Armlet"


class ProfileError(AgentError):
    """A record of a profile is not acceptable: a field is missing, of a wrong type or out of range."""


@dataclass(frozen=True)
class KernelTime:
    """One step of an inference, as the runtime runs it: several operators of the graph may be one, or one be several.

    ``name`` is the runtime's ("Fully Connected (NC, F32) GEMM"), or the operator's kind in an isolated profile.
    ``node`` is its number there: of the step in the delegate or interpreter, or (isolated, armlet) of the operator in
    the graph.
    """

    name: str
    node: int = field(metadata=limits(high=1 << 31))
    #: True where the delegate (XNNPACK) ran it, False where the runtime's own kernel did.
    delegated: bool
    #: The mean over the typical inferences (:func:`typical`), with half a step of the profiler's clock added back; of
    #: an operator timed alone its :func:`midmean`.
    seconds: Seconds
    #: The least, as the profiler's clock told it.
    minimum_seconds: Seconds

    @property
    def is_sparse(self) -> bool:
        """True for a kernel that skips zero weights."""
        return SPARSE_KERNEL in self.name or self.name.startswith(ARMLET_SPARSE)


@record(SCHEMA, "a profile", ProfileError, earlier=EARLIER)
@dataclass(frozen=True)
class Profile:
    """One model's kernels in the order of execution."""

    model: str
    tflite_sha256: Sha256
    #: One of :data:`METHODS`.
    method: str = field(metadata=limits(choices=METHODS))
    kernels: tuple[KernelTime, ...] = field(metadata=limits(most=MAX_KERNELS))
    #: Inferences that were profiled; of an isolated profile, the fewest that any operator got.
    inferences: int = field(metadata=limits(low=1, high=1_000_000))
    #: What a typical profiled inference takes outside of its kernels; the profiler's own work is in it.
    #: Below 0 where isolated operators add up to more than the whole.
    outside_seconds: SignedSeconds
    #: A typical inference while the profiler ran, by the clock outside; of an isolated profile as the next field.
    profiled_seconds: Seconds
    #: A typical inference of the model as it is measured, without a profiler, taken in turn with the profiled ones
    #: (isolated: with the operators).
    unprofiled_seconds: Seconds
    #: Already taken off every isolated time: what a call costs that computes nothing. 0 for "runtime".
    call_seconds: Seconds
    #: The step of the clock behind the kernels' times: they are cut off to multiples of it.
    resolution_seconds: Seconds
    threads: Threads
    cpus: tuple[Cpu, ...] = field(metadata=limits(most=MAX_CPUS))
    runtime: str
    runtime_version: str
    #: ``uname -m``.
    machine: str
    emulated: bool

    @property
    def kernel_seconds(self) -> float:
        """All kernels together."""
        return sum(kernel.seconds for kernel in self.kernels)

    @property
    def ran_sparse(self) -> bool:
        """True when at least one kernel skipped zero weights."""
        return any(kernel.is_sparse for kernel in self.kernels)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, with the schema's name and version under ``schema``."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> Profile:
        """Checks ``record`` (a parsed JSON value from anywhere) and makes the record of it.

        Raises ProfileError that names the first field that is wrong.
        """
        return read(cls, record)


def typical(seconds: Sequence[float]) -> np.ndarray:
    """The positions of the typical samples, (n,) whole numbers: the middle half of them, ordered by ``seconds``.

    So a quarter of the samples may be disturbed without a trace, as with a median. Since whole inferences are chosen,
    the means of their parts add up to the mean of the whole, which medians or minima of parts do not.
    """
    count = len(seconds)
    return np.argsort(np.asarray(seconds, np.float64), kind="stable")[count // 4 : count - count // 4]


def midmean(seconds: Sequence[float]) -> float:
    """The mean of the middle half: as deaf to outliers as a median, and finer than a coarse clock's steps."""
    return float(np.mean(np.asarray(seconds, np.float64)[typical(seconds)]))
