"""The record of a profile: what each operator of one model took, on one board. Pure, like
device_agent.record.measurement.

Two ways lead to it. ``runtime``: the runtime's own profiler, inside whole inferences (device_agent.measuring.profiler).
``isolated``: every operator as a model of its own, timed alone and warm (the host makes them, the verb ``time`` times
them); for runtimes without a profiler. Times are seconds.

What a board answers is not trusted: ``Profile.from_json`` checks types, ranges and sizes of everything.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from device_agent.errors import AgentError
from device_agent.record import fields
from device_agent.record.measurement import MAX_CPUS, MAX_THREADS

SCHEMA = "armlet.profile/2"
#: Still read: the same fields, but the fastest inference where there is a typical one now.
EARLIER = ("armlet.profile/1",)

#: More kernels than this are refused; the largest network of the zoo has 250.
MAX_KERNELS = 16_384
#: What XNNPACK calls its sparse kernels: sparse matrix times dense matrix (``ukernel-type.h``).
SPARSE_KERNEL = "SPMM"


class ProfileError(AgentError):
    """A record of a profile is not acceptable: a field is missing, of a wrong type or out of range."""


@dataclass(frozen=True)
class KernelTime:
    """One step of an inference, as the runtime runs it: several operators of the graph may be one, or one be several.

    ``name`` is the runtime's ("Fully Connected (NC, F32) GEMM"), or the operator's kind in an isolated profile.
    ``node`` is its number there: of the step in the delegate or interpreter, or of the operator in the graph.
    """

    name: str
    node: int
    #: True where the delegate (XNNPACK) ran it, False where the runtime's own kernel did.
    delegated: bool
    #: The mean over the typical inferences (:func:`typical`), with half a step of the profiler's clock added back; of
    #: an operator timed alone its :func:`midmean`.
    seconds: float
    #: The least, as the profiler's clock told it.
    minimum_seconds: float

    @property
    def is_sparse(self) -> bool:
        """True for a kernel that skips zero weights."""
        return SPARSE_KERNEL in self.name

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict of the fields."""
        return dict(vars(self))


@dataclass(frozen=True)
class Profile:
    """One model's kernels in the order of execution."""

    model: str
    tflite_sha256: str
    #: "runtime" or "isolated".
    method: str
    kernels: tuple[KernelTime, ...]
    #: Inferences that were profiled; of an isolated profile, the fewest that any operator got.
    inferences: int
    #: What a typical profiled inference takes outside of its kernels; the profiler's own work is in it.
    #: Below 0 where isolated operators add up to more than the whole.
    outside_seconds: float
    #: A typical inference while the profiler ran, by the clock outside; of an isolated profile as the next field.
    profiled_seconds: float
    #: A typical inference of the model as it is measured, without a profiler, taken in turn with the profiled ones
    #: (isolated: with the operators).
    unprofiled_seconds: float
    #: Already taken off every isolated time: what a call costs that computes nothing. 0 for "runtime".
    call_seconds: float
    #: The step of the clock behind the kernels' times: they are cut off to multiples of it.
    resolution_seconds: float
    threads: int
    cpus: tuple[int, ...]
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
        record: dict[str, Any] = {"schema": SCHEMA}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            record[field.name] = list(value) if isinstance(value, tuple) else value
        record["kernels"] = [kernel.to_json() for kernel in self.kernels]
        return record

    @classmethod
    def from_json(cls, record: Any) -> Profile:
        """Checks ``record`` (a parsed JSON value from anywhere) and makes the record of it.

        Raises ProfileError that names the first field that is wrong.
        """
        if isinstance(record, Mapping) and record.get("schema") in EARLIER:
            record = {**record, "schema": SCHEMA}
        return cls(
            **fields.check_record(record, what="a profile", schema=SCHEMA, checks=_CHECKS, error=ProfileError)
        )


def typical(seconds: Sequence[float]) -> np.ndarray:
    """Which samples are typical, as positions: the middle half of them, ordered by how long they took.

    So a quarter may be disturbed without a trace, as with a median; and since whole inferences are chosen, the means of
    their parts over them add up to the mean of the whole, which medians or least values of parts do not.
    """
    count = len(seconds)
    return np.argsort(np.asarray(seconds, np.float64), kind="stable")[count // 4 : count - count // 4]


def midmean(seconds: Sequence[float]) -> float:
    """The mean of the middle half: as deaf to outliers as a median, and finer than a coarse clock's steps."""
    return float(np.mean(np.asarray(seconds, np.float64)[typical(seconds)]))


def _kernel(value: Any) -> KernelTime:
    if not isinstance(value, Mapping) or set(value) != set(_KERNEL_CHECKS):
        raise fields.Refused("kernels of " + ", ".join(_KERNEL_CHECKS))
    return KernelTime(**{name: check(value[name]) for name, check in _KERNEL_CHECKS.items()})


_KERNEL_CHECKS: dict[str, Any] = {
    "name": fields.text,
    "node": lambda value: fields.integer(value, 0, 1 << 31),
    "delegated": fields.boolean,
    "seconds": fields.seconds,
    "minimum_seconds": fields.seconds,
}

_CHECKS: dict[str, Any] = {
    "model": fields.text,
    "tflite_sha256": fields.sha256,
    "method": fields.one_of("runtime", "isolated"),
    "kernels": fields.list_of(_kernel, MAX_KERNELS),
    "inferences": lambda value: fields.integer(value, 1, 1_000_000),
    "outside_seconds": lambda value: fields.number(value, -fields.MAX_SECONDS, fields.MAX_SECONDS),
    "profiled_seconds": fields.seconds,
    "unprofiled_seconds": fields.seconds,
    "call_seconds": fields.seconds,
    "resolution_seconds": fields.seconds,
    "threads": lambda value: fields.integer(value, 1, MAX_THREADS),
    "cpus": fields.list_of(lambda value: fields.integer(value, 0, MAX_CPUS), MAX_CPUS),
    "runtime": fields.text,
    "runtime_version": fields.text,
    "machine": fields.text,
    "emulated": fields.boolean,
}
