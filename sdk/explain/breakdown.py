"""The measured time of one model in parts that have a cause each and add up to it. Pure.

::

    arithmetic     2 x MACs / peak, of operators that multiply (zeros that a sparse kernel skips left out)
    clock          arithmetic x (nominal clock / actual clock - 1), where both are known
    memory         bytes / bandwidth beyond the arithmetic, of operators that multiply
    below peak     the rest of what those operators took
    zero-MAC       operators that theory says are free: shuffle, pad, concatenation, pooling
    element-wise   additions and activations that stand alone
    dispatch       an inference at the time of the profile minus its kernels, see :func:`dispatch_seconds`
    disturbance    the measured median minus kernels and dispatch: what the profile does not explain. Below 0 where the
                   profile was disturbed more than the measurement
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from device_agent.record.named_kinds import Rate, Sentence
from device_agent.record.profile import Profile
from device_agent.record.schema import record
from sdk.errors import DataError
from sdk.explain.attribution import OperatorTime, attribute
from sdk.explain.macs import Counted
from sdk.explain.theory import ELEMENT_WISE as ELEMENT_WISE_GROUP
from sdk.explain.theory import OperatorCost, roofline

ARITHMETIC = "arithmetic"
CLOCK = "clock"
MEMORY = "memory-bound operators"
BELOW_PEAK = "compute below peak"
ZERO_MAC = "operators without MACs"
ELEMENT_WISE = "element-wise operators"
DISPATCH = "dispatch and overlap"
DISTURBANCE = "disturbance"
THREADS = "threads"

#: In the order of the waterfall.
PARTS = (
    ARITHMETIC,
    BELOW_PEAK,
    MEMORY,
    ZERO_MAC,
    ELEMENT_WISE,
    DISPATCH,
    THREADS,
    CLOCK,
    DISTURBANCE,
)

#: An operator that took fewer steps of the profile's clock than this, or less than the seconds, says nothing about
#: the peak.
LEAST_STEPS_FOR_A_PEAK = 5
LEAST_SECONDS_FOR_A_PEAK = 2e-6


@record(what="peaks of a board", may_lack=True)
@dataclass(frozen=True)
class Peaks:
    """The peaks of a board on the profiled number of threads, and their ``source``.

    ``memory_bytes_per_second`` counts reads and writes together; None leaves the memory out. ``clock_hz`` is the clock
    at which the peaks hold; None where it is unknown.
    """

    flop_per_second: Rate
    source: Sentence
    int8_per_second: Rate | None = None
    memory_bytes_per_second: Rate | None = None
    clock_hz: Rate | None = None

    def of(self, dtype: str) -> float:
        """Operations per second of this arithmetic."""
        return self.int8_per_second or self.flop_per_second if dtype == "int8" else self.flop_per_second


class TimedRun(Protocol):
    """The part of a measurement that a gap needs; :class:`device_agent.record.measurement.Measurement` has it."""

    @property
    def median(self) -> float:
        """Seconds of an inference."""

    @property
    def threads(self) -> int:
        """Threads of the runtime."""

    @property
    def clock_hz(self) -> float | None:
        """The CPU's clock in Hz; None where it is not known."""


@dataclass(frozen=True)
class Subject:
    """A model: its theory, its profile, and its measurement on as many threads as the profile was taken with.

    ``parallel`` are its measurements on other numbers of threads. ``original`` is the digest of the file that it was
    made from, and ``network_macs`` the MACs of that network, which the form for its board may exceed.
    """

    name: str
    costs: Sequence[OperatorCost]
    profile: Profile
    measurement: TimedRun
    parallel: Sequence[TimedRun] = ()
    original: str = ""
    network_macs: int | None = None

    def counted(self) -> Counted:
        """Its work, as theory counts it."""
        macs = self.macs if self.network_macs is None else self.network_macs
        return Counted(macs, self.effective_macs, self.original)

    def operators(self) -> tuple[OperatorTime, ...]:
        """Every operator with its kernels."""
        return attribute(self.costs, self.profile)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(cost.macs for cost in self.costs)

    @property
    def effective_macs(self) -> int:
        """Multiply-accumulates of one inference, those with a zero weight left out."""
        return sum(cost.effective_macs for cost in self.costs)


def best_seen(subjects: Sequence[Subject]) -> Peaks:
    """The highest rate that any operator of these profiles reached: a stand-in for a peak that nobody measured.

    Raises DataError where no operator multiplies long enough to tell.
    """
    rates = [
        2.0 * (time.cost.effective_macs if time.ran_sparse else time.cost.macs) / time.seconds
        for subject in subjects
        for time in subject.operators()
        if time.cost.macs and time.seconds >= _least_seconds(subject.profile)
    ]
    if not rates:
        raise DataError(
            "the peak of this board is not known",
            expected="an operator that multiplies for longer than the clock is coarse",
            found="none",
            hint="Measure the board itself: sdk board calibrate",
        )
    return Peaks(max(rates), "the best rate of an operator in this run")


def dispatch_seconds(subject: Subject) -> float:
    """Seconds of an inference outside of its kernels; below 0 where operators timed alone add up to more.

    It is the smaller of two estimates that err upwards: the time that the profile saw outside of the kernels, which
    includes the profiler's own work, and the time of an inference without the profiler (in turn with the profiled ones)
    minus the kernels. Inside one inference kernels cannot take longer than the whole: where they seem to, profiling
    slowed them.
    """
    profile = subject.profile
    outside = min(profile.outside_seconds, profile.unprofiled_seconds - profile.kernel_seconds)
    return outside if profile.method == "isolated" else max(0.0, outside)


def roofline_seconds(subject: Subject, peaks: Peaks | None) -> dict[int, float]:
    """The least time of every operator by its index, where sparse kernels ran without its zeros; {} without peaks."""
    if peaks is None:
        return {}
    sparse = {time.cost.index for time in subject.operators() if time.ran_sparse}
    return {r.index: r.seconds for r in roofline(subject.costs, peaks, skips_zeros=sparse).operators}


def _least_seconds(profile: Profile) -> float:
    return max(LEAST_SECONDS_FOR_A_PEAK, LEAST_STEPS_FOR_A_PEAK * profile.resolution_seconds)


def breakdown(subject: Subject, peaks: Peaks) -> dict[str, float]:
    """The measured median of a subject in parts, seconds by name; they add up to it (THREADS is 0)."""
    parts = dict.fromkeys(PARTS, 0.0)
    slowed = _clock_ratio(subject.measurement, peaks) - 1.0
    operators = subject.operators()
    for time in operators:
        cost = time.cost
        if cost.macs:
            macs = cost.effective_macs if time.ran_sparse else cost.macs
            arithmetic = min(2.0 * macs / peaks.of(cost.dtype), time.seconds)
            clock = min(arithmetic * slowed, time.seconds - arithmetic)
            memory = 0.0
            if peaks.memory_bytes_per_second:
                needed = cost.bytes / peaks.memory_bytes_per_second
                memory = min(max(0.0, needed - arithmetic - clock), time.seconds - arithmetic - clock)
            parts[ARITHMETIC] += arithmetic
            parts[CLOCK] += clock
            parts[MEMORY] += memory
            parts[BELOW_PEAK] += time.seconds - arithmetic - clock - memory
        elif cost.group == ELEMENT_WISE_GROUP:
            parts[ELEMENT_WISE] += time.seconds
        else:
            parts[ZERO_MAC] += time.seconds
    parts[DISPATCH] = dispatch_seconds(subject)
    parts[DISTURBANCE] = subject.measurement.median - subject.profile.kernel_seconds - parts[DISPATCH]
    return parts


def _clock_ratio(measurement: TimedRun, peaks: Peaks) -> float:
    """Nominal clock over the clock during the run; 1 where either is unknown, or the run was faster."""
    if not measurement.clock_hz or not peaks.clock_hz:
        return 1.0
    return max(1.0, peaks.clock_hz / measurement.clock_hz)
