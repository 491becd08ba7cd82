"""The record of a measurement, and what may be said from it. Pure: no clock, no files, no runtime.

One record is made on the board (``device_agent.measuring.bench``) and read by many: comparison, reports, files of
old runs. It keeps the raw samples, so that any statistic can be computed later, and the conditions they were taken
under. Times are seconds, clocks hertz, temperatures degrees Celsius, memory bytes; every field's name says so.

A board's answer is not trusted: ``Measurement.from_json`` checks types, ranges and sizes of everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Iterator, Sequence

import numpy as np

from device_agent.errors import AgentError
from device_agent.record import intervals
from device_agent.record.intervals import Spread, Turn
from device_agent.record.kinds import ValueRefused
from device_agent.record.named_kinds import Celsius, Count, Cpu, Hertz, Seconds, Sha256, Threads, UnixSeconds
from device_agent.record.schema import limits, read, record, write

SCHEMA = "armlet.measurement/6"
#: What records of earlier schemas lack; they are still read.
_SINCE_6: dict[str, Any] = {
    "armlet_packed_bytes": 0,
    "armlet_float_bytes": 0,
    "runtime_start_seconds": None,
    "runtime_peak_memory_bytes": None,
}
_SINCE_5: dict[str, Any] = {"armlet_operators": 0, **_SINCE_6}
_SINCE_4: dict[str, Any] = {"turns": [], **_SINCE_5}
_SINCE_3: dict[str, Any] = {"start": "cold", "start_seconds": None, "cold_start_seconds": None, **_SINCE_4}
_SINCE_2: dict[str, Any] = {"during": [], "preemptions": None, **_SINCE_3}
EARLIER: dict[str, dict[str, Any]] = {
    "armlet.measurement/1": _SINCE_2,
    "armlet.measurement/2": _SINCE_3,
    "armlet.measurement/3": _SINCE_4,
    "armlet.measurement/4": _SINCE_5,
    "armlet.measurement/5": _SINCE_6,
}

#: More samples than this are refused: ten hours at 30 a second, and 20 MB of JSON.
MAX_SAMPLES = 1_000_000
#: Who runs what the runtime hands over: :class:`device_agent.run.runtime.Model`.
DELEGATES = ("xnnpack", "armlet", "none", "unknown")
MAX_CPUS = 4096
MAX_TURNS = 65_536
MAX_REASONS = 16
#: Moments that a record keeps of a run; of more, evenly many are left out.
MAX_MOMENTS = 64

#: A run is called noisy when its 90th percentile is more than this far above its median.
NOISY_P90_OVER_MEDIAN = 0.15
#: A clock that fell by more than this between before and after is called throttling.
CLOCK_FALL = 0.10
#: A run is disturbed by other processes when they took its core away more often than once in this many samples.
SAMPLES_A_PREEMPTION = 20
#: Fewer samples than this say little about a 99th percentile.
FEW_SAMPLES = 100


class MeasurementError(AgentError):
    """A record of a measurement is not acceptable: a field is missing, of a wrong type or out of range."""


@dataclass(frozen=True)
class Moment:
    """The machine's readings while models ran: ``seconds`` after the first sample; None where it reports nothing."""

    seconds: Seconds
    frequency_hz: Hertz | None
    temperature_celsius: Celsius | None


@record(SCHEMA, "a measurement", MeasurementError, earlier=EARLIER)
@dataclass(frozen=True)
class Measurement:
    """One model, measured once. None means: not reported by this machine."""

    model: str
    tflite_sha256: Sha256
    #: None for a model that was not packed.
    package_sha256: Sha256 | None
    #: One inference each, in the order they were taken: the graph alone, input and output copies not counted.
    samples_seconds: tuple[Seconds, ...] = field(metadata=limits(least=1, most=MAX_SAMPLES))
    #: Inferences before the samples, until the time was stable.
    warmup_seconds: tuple[Seconds, ...] = field(metadata=limits(most=MAX_SAMPLES))
    #: In a fresh process: from .tflite bytes to a ready interpreter, delegates included.
    init_seconds: Seconds
    #: In a fresh process: the first inference.
    first_seconds: Seconds
    #: In a fresh process: from package bytes to .tflite bytes; 0 for a model that was not packed.
    decode_seconds: Seconds
    #: "c" or "numpy"; "none" for a model that was not packed.
    decode_kernel: str = field(metadata=limits(choices=("c", "numpy", "none")))
    threads: Threads
    #: The CPUs the process was allowed to use.
    cpus: tuple[Cpu, ...] = field(metadata=limits(most=MAX_CPUS))
    runtime: str
    runtime_version: str
    delegate: str = field(metadata=limits(choices=DELEGATES))
    numpy_version: str
    python_version: str
    #: ``uname -m``.
    machine: str
    #: True where the machine code was translated (qemu): then no time here is a latency.
    emulated: bool
    #: Unix time of the first sample.
    started_unix_seconds: UnixSeconds
    temperature_before_celsius: Celsius | None = None
    temperature_after_celsius: Celsius | None = None
    temperature_max_celsius: Celsius | None = None
    frequency_before_hz: Hertz | None = None
    frequency_after_hz: Hertz | None = None
    frequency_min_hz: Hertz | None = None
    governor: str | None = None
    #: True when the machine reported throttling before, during or after; None when it cannot report it.
    throttled: bool | None = None
    throttle_reasons: tuple[str, ...] = field(default=(), metadata=limits(most=MAX_REASONS))
    #: Peak resident memory of a fresh process that decodes, loads and runs this model alone, Python included.
    peak_memory_bytes: Count | None = None
    #: Between the rounds of the run, in order of time, shared by the models that were measured together.
    during: tuple[Moment, ...] = field(default=(), metadata=limits(most=MAX_MOMENTS))
    #: How often the kernel gave this model's core to another process while samples were taken.
    preemptions: Count | None = None
    #: "warm": init_seconds are those of a start from what the agent kept (device_agent.store.quick_starts),
    #: nothing decoded or packed; "cold": of one without.
    start: str = field(default="cold", metadata=limits(choices=("cold", "warm")))
    #: In a fresh process: from the release's files to a ready interpreter; None in old records.
    start_seconds: Seconds | None = None
    #: The same without what the agent kept; None where the start was cold.
    cold_start_seconds: Seconds | None = None
    #: The turns that the samples were taken in, in order; () where a record lacks them: then all are one.
    turns: tuple[Turn, ...] = field(default=(), metadata=limits(most=MAX_TURNS))

    #: Operators that ran in kernels of Armlet (device_agent.run.kernels).
    armlet_operators: Count = 0
    #: The weights of these operators as the kernels hold them, and as floats.
    armlet_packed_bytes: Count = 0
    armlet_float_bytes: Count = 0
    #: Without these kernels, in a fresh process: from the package to a ready interpreter, and its peak memory. None
    #: where none ran, in old records, and on emulated boards.
    runtime_start_seconds: Seconds | None = None
    runtime_peak_memory_bytes: Count | None = None

    def check_record(self) -> None:
        """Raises ValueRefused where the turns do not hold all samples."""
        held = sum(turn.samples for turn in self.turns)
        if self.turns and held != len(self.samples_seconds):
            raise ValueRefused(f"{len(self.samples_seconds)} samples in all", str(held)).at("turns")

    # -- statistics ---------------------------------------------------------------------------------------------

    @property
    def minimum(self) -> float:
        """Seconds."""
        return min(self.samples_seconds)

    @property
    def median(self) -> float:
        """Seconds of a typical inference: see :func:`device_agent.record.intervals.typical`."""
        return intervals.typical(self.samples_seconds, self.turns)

    @property
    def p90(self) -> float:
        """Seconds."""
        return self.percentile(90.0)

    @property
    def p99(self) -> float:
        """Seconds."""
        return self.percentile(99.0)

    def percentile(self, percent: float) -> float:
        """Seconds below which ``percent`` of the samples lie, interpolated linearly."""
        return float(np.percentile(np.asarray(self.samples_seconds, np.float64), percent))

    def median_interval(self) -> tuple[float, float]:
        """Seconds, low and high: see :func:`device_agent.record.intervals.typical_interval`."""
        interval = intervals.typical_interval(self.samples_seconds, self.turns)
        return interval.low, interval.high

    @property
    def noise(self) -> float:
        """How far the 90th percentile lies above the median, as a share of it."""
        return max(0.0, self.p90 / self.median - 1.0) if self.median > 0.0 else 0.0

    @property
    def loadings(self) -> int:
        """How often the model was loaded to be measured."""
        return len({turn.loading for turn in self.turns}) or 1

    def spread(self) -> Spread:
        """By how much samples, turns and loadings differ."""
        return intervals.spread(self.samples_seconds, self.turns)

    @property
    def clock_hz(self) -> float | None:
        """The median clock while models ran; where no moment tells it, the mean of before and after."""
        during = [m.frequency_hz for m in self.during if m.frequency_hz]
        if during:
            return float(np.median(during))
        around = [hz for hz in (self.frequency_before_hz, self.frequency_after_hz) if hz]
        return sum(around) / len(around) if around else None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why these numbers should not be taken at face value, worst first; () for a run to be trusted."""
        return find_problems(self)

    # -- JSON ---------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, with the schema's name and version under ``schema``."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> Measurement:
        """Checks ``record`` (a parsed JSON value from anywhere) and makes the record of it.

        Raises MeasurementError that names the first field that is wrong. Unknown fields are refused too: a newer writer
        must say so with a new schema. Records of the earlier schema lack the fields that it did not have.
        """
        return read(cls, record)


def joined(runs: Sequence[Measurement]) -> Measurement:
    """Measurements of one model, one after the other, as one: samples and turns of all, loadings numbered through.

    The facts about the start, which only a fresh process can tell, are those of the first. Times of turns and moments
    stay as they are: all count from the same beginning.
    """
    turns: list[Turn] = []
    for run in runs:
        before = 1 + max((turn.loading for turn in turns), default=-1)
        of_run = run.turns or (Turn(0, 0, 0.0, len(run.samples_seconds)),)
        turns += [replace(turn, loading=before + turn.loading) for turn in of_run]
    throttled = {run.throttled for run in runs}
    preemptions = [run.preemptions for run in runs if run.preemptions is not None]
    first, last = runs[0], runs[-1]
    return replace(
        first,
        samples_seconds=tuple(s for run in runs for s in run.samples_seconds),
        warmup_seconds=tuple(s for run in runs for s in run.warmup_seconds),
        turns=tuple(turns),
        temperature_after_celsius=last.temperature_after_celsius,
        temperature_max_celsius=max(_known(run.temperature_max_celsius for run in runs), default=None),
        frequency_after_hz=last.frequency_after_hz,
        frequency_min_hz=min(_known(run.frequency_min_hz for run in runs), default=None),
        governor=", then ".join(dict.fromkeys(run.governor for run in runs if run.governor)) or None,
        throttled=True if True in throttled else False if False in throttled else None,
        throttle_reasons=tuple(dict.fromkeys(r for run in runs for r in run.throttle_reasons))[:MAX_REASONS],
        during=evenly([moment for run in runs for moment in run.during], MAX_MOMENTS),
        preemptions=sum(preemptions) if len(preemptions) == len(runs) else None,
    )


def _known(values: Iterator[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def evenly(moments: Sequence[Moment], most: int) -> tuple[Moment, ...]:
    """At most this many of the moments, evenly over the run, the first and the last among them."""
    kept = np.linspace(0, len(moments) - 1, min(len(moments), most)).round().astype(int)
    return tuple(moments[i] for i in kept)


def find_disturbances(measurement: Measurement) -> tuple[str, ...]:
    """What slowed the model, or may have, while it was measured."""
    m = measurement
    found = []
    if m.emulated:
        found.append("emulated: these times are not latencies of a board")
    if m.throttled:
        found.append("throttled: " + (", ".join(m.throttle_reasons) or "the clock was lowered"))
    else:
        fall = _clock_fall(m)
        if fall > CLOCK_FALL:
            found.append(
                f"the clock fell by {100 * fall:.0f} % during the run: let the board cool down, and repeat"
            )
    return tuple(found)


def find_problems(measurement: Measurement) -> tuple[str, ...]:
    """See :attr:`Measurement.problems`. Each one names a cause that the record itself shows."""
    m = measurement
    found = list(find_disturbances(m))
    if m.noise > NOISY_P90_OVER_MEDIAN:
        above = f"{100 * m.noise:.0f} % above" if m.noise < 1.0 else f"{1.0 + m.noise:.3g} times"
        found.append(f"noisy: the 90th percentile is {above} the median; {_why_noisy(m)}")
    if len(m.samples_seconds) < FEW_SAMPLES:
        found.append(f"few samples ({len(m.samples_seconds)}): the 99th percentile means little")
    if m.delegate == "none":
        found.append("the runtime did not use XNNPACK: expect several times these speeds where it does")
    return tuple(found)


def _clock_fall(m: Measurement) -> float:
    """The share by which the clock sank from the beginning of the run to its end; 0 where it is not known.

    Between rounds the core is warm from work; before the first it may idle at a lower clock.
    """
    during = [moment.frequency_hz for moment in m.during if moment.frequency_hz]
    first = during[0] if during else m.frequency_before_hz
    last = during[-1] if during else m.frequency_after_hz
    return 1.0 - last / first if first and last else 0.0


def _why_noisy(m: Measurement) -> str:
    """The likeliest cause that the record shows, and what to do about it."""
    if m.preemptions is not None and m.preemptions * SAMPLES_A_PREEMPTION > len(m.samples_seconds):
        return (
            f"other processes took the core {m.preemptions} times in {len(m.samples_seconds)} samples: stop what "
            "else runs there"
        )
    clocks = [moment.frequency_hz for moment in m.during if moment.frequency_hz]
    if clocks and min(clocks) < (1.0 - CLOCK_FALL) * max(clocks):
        return (
            f"the clock moved between {min(clocks) / 1e9:.2f} and {max(clocks) / 1e9:.2f} GHz: choose the governor "
            '"performance"'
        )
    if m.preemptions is None:
        return "stop what else runs there"
    return "no process of this machine took the core, so look at its host, its interrupts, its memory"
