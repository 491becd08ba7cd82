"""The record of a measurement, and what may be said from it. Pure: no clock, no files, no runtime.

One record is made on the board (``device_agent.bench``) and read by many: comparison, reports, files of old runs. It
keeps the raw samples, so that any statistic can be computed later, and the conditions they were taken under.
Times are seconds, clocks hertz, temperatures degrees Celsius, memory bytes; every field's name says so.

What a board answers is not trusted: ``Measurement.from_json`` checks types, ranges and sizes of everything.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from device_agent.errors import AgentError

SCHEMA = "armlet.measurement/1"

#: More samples than this are refused: ten hours at 30 a second, and 20 MB of JSON.
MAX_SAMPLES = 1_000_000
#: No single time may be longer than this many seconds (a day).
MAX_SECONDS = 86_400.0
#: No text field may be longer than this many characters.
MAX_TEXT = 256
MAX_THREADS = 1024
MAX_CPUS = 4096

#: A run is called noisy when its 90th percentile is more than this far above its median.
NOISY_P90_OVER_MEDIAN = 0.15
#: A clock that fell by more than this between before and after is called throttling.
CLOCK_FALL = 0.10
#: Fewer samples than this say little about a 99th percentile.
FEW_SAMPLES = 100


class MeasurementError(AgentError):
    """A record of a measurement is not acceptable: a field is missing, of a wrong type or out of range."""


@dataclass(frozen=True)
class Measurement:
    """One model, measured once. None means that the machine does not tell."""

    model: str
    tflite_sha256: str
    #: None for a model that was not packed.
    package_sha256: str | None
    #: One inference each, in the order they were taken: the graph alone, input and output copies not counted.
    samples_seconds: tuple[float, ...]
    #: Inferences before the samples, until the time was stable.
    warmup_seconds: tuple[float, ...]
    #: In a fresh process: from .tflite bytes to a ready interpreter, delegates included.
    init_seconds: float
    #: In a fresh process: the first inference.
    first_seconds: float
    #: In a fresh process: from package bytes to .tflite bytes; 0 for a model that was not packed.
    decode_seconds: float
    #: "c" or "numpy"; "none" for a model that was not packed.
    decode_kernel: str
    threads: int
    #: The CPUs the process was allowed to use.
    cpus: tuple[int, ...]
    runtime: str
    runtime_version: str
    #: "xnnpack", "none" or "unknown".
    delegate: str
    numpy_version: str
    python_version: str
    #: ``uname -m``.
    machine: str
    #: True where the machine code was translated (qemu): then no time here is a latency.
    emulated: bool
    #: Unix time of the first sample.
    started_unix_seconds: float
    temperature_before_celsius: float | None = None
    temperature_after_celsius: float | None = None
    temperature_max_celsius: float | None = None
    frequency_before_hz: float | None = None
    frequency_after_hz: float | None = None
    frequency_min_hz: float | None = None
    governor: str | None = None
    #: True when the machine reported throttling before, during or after; None when it cannot report it.
    throttled: bool | None = None
    throttle_reasons: tuple[str, ...] = ()
    #: Peak resident memory of a fresh process that decodes, loads and runs this model alone, Python included.
    peak_memory_bytes: int | None = None

    # -- statistics ---------------------------------------------------------------------------------------------

    @property
    def minimum(self) -> float:
        """Seconds."""
        return min(self.samples_seconds)

    @property
    def median(self) -> float:
        """Seconds."""
        return self.percentile(50.0)

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

    def median_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Seconds, low and high: see :func:`bootstrap_median_interval`."""
        return bootstrap_median_interval(self.samples_seconds, confidence)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why these numbers should not be taken at face value, worst first; () for a run to be trusted."""
        return find_problems(self)

    # -- JSON ---------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, with the schema's name and version under ``schema``."""
        record: dict[str, Any] = {"schema": SCHEMA}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            record[field.name] = list(value) if isinstance(value, tuple) else value
        return record

    @classmethod
    def from_json(cls, record: Any) -> Measurement:
        """Checks ``record`` (a parsed JSON value from anywhere) and makes the record of it.

        Raises MeasurementError that names the first field that is wrong. Unknown fields are refused too: a newer
        writer must say so with a new schema.
        """
        if not isinstance(record, Mapping):
            raise MeasurementError(
                "a measurement is not an object", expected="a JSON object", found=_kind(record)
            )
        if record.get("schema") != SCHEMA:
            raise MeasurementError(
                "a measurement has a schema that is not read here",
                expected=SCHEMA,
                found=repr(record.get("schema"))[:80],
            )
        unknown = sorted(str(name)[:40] for name in set(record) - set(_CHECKS) - {"schema"})
        if unknown:
            raise MeasurementError(
                "a measurement has unknown fields", expected=SCHEMA, found=", ".join(unknown[:5])
            )
        values = {}
        for name, check in _CHECKS.items():
            if name not in record:
                raise MeasurementError("a measurement lacks a field", expected=name, found="nothing")
            try:
                values[name] = check(record[name])
            except _Refused as refused:
                raise MeasurementError(
                    f"the field {name} of a measurement is not acceptable",
                    expected=str(refused),
                    found=_kind(record[name]),
                ) from None
        return cls(**values)


def bootstrap_medians(samples: Sequence[float], *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Medians of ``resamples`` resampled runs, (resamples,), by the moving-block bootstrap (Kuensch 1989), seeded.

    Neighbouring inferences are not independent (caches, clocks, other processes), so whole blocks of about the cube
    root of the number of samples are drawn rather than single samples; an ordinary bootstrap would be too narrow.
    """
    values = np.asarray(samples, np.float64)  # (samples,)
    count = len(values)
    length = max(1, round(count ** (1.0 / 3.0)))
    blocks = -(-count // length)
    rng = np.random.default_rng(seed)
    medians = np.empty(resamples)
    offsets = np.arange(length)
    for i in range(resamples):
        starts = rng.integers(0, count - length + 1, blocks)  # (blocks,)
        medians[i] = np.median(values[(starts[:, None] + offsets).ravel()[:count]])
    return medians


def bootstrap_median_interval(
    samples: Sequence[float], confidence: float = 0.95, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """An interval for the median: the middle ``confidence`` of :func:`bootstrap_medians`."""
    tail = 50.0 * (1.0 - confidence)
    medians = bootstrap_medians(samples, resamples=resamples, seed=seed)
    low, high = np.percentile(medians, [tail, 100.0 - tail])
    return float(low), float(high)


def find_problems(measurement: Measurement) -> tuple[str, ...]:
    """See :attr:`Measurement.problems`. Each one names a cause that the record itself shows."""
    m = measurement
    found = []
    if m.emulated:
        found.append("emulated: these times are not latencies of a board")
    if m.throttled:
        found.append("throttled: " + (", ".join(m.throttle_reasons) or "the clock was lowered"))
    elif m.frequency_before_hz and m.frequency_after_hz:
        fall = 1.0 - m.frequency_after_hz / m.frequency_before_hz
        if fall > CLOCK_FALL:
            found.append(f"the clock fell by {fall:.0%} during the run: let the board cool down, and repeat")
    spread = m.p90 / m.median - 1.0 if m.median > 0.0 else 0.0
    if spread > NOISY_P90_OVER_MEDIAN:
        found.append(
            f"noisy: the 90th percentile is {spread:.0%} above the median; stop what else runs there"
        )
    if len(m.samples_seconds) < FEW_SAMPLES:
        found.append(f"few samples ({len(m.samples_seconds)}): the 99th percentile means little")
    if m.delegate == "none":
        found.append("the runtime did not use XNNPACK: expect several times these speeds where it does")
    return tuple(found)


# -- checks of single fields: each returns the value in its type, or raises _Refused(what was expected) ----------


class _Refused(Exception):
    pass


def _kind(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Refused("a number")
    # int() of a huge literal stays exact, so compare before float() could overflow.
    if not low <= value <= high or not math.isfinite(value):
        raise _Refused(f"a number from {low:g} to {high:g}")
    return float(value)


def _seconds(value: Any) -> float:
    return _number(value, 0.0, MAX_SECONDS)


def _many_seconds(value: Any, least: int) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)) or not least <= len(value) <= MAX_SAMPLES:
        raise _Refused(f"a list of {least} to {MAX_SAMPLES} numbers")
    return tuple(_seconds(item) for item in value)


def _integer(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _Refused(f"a whole number from {low} to {high}")
    return value


def _text(value: Any) -> str:
    # Printable, so that a terminal which shows it cannot be driven by escape sequences.
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise _Refused(f"printable text of at most {MAX_TEXT} characters")
    return value


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise _Refused("64 lower-case hexadecimal digits")
    return value


def _one_of(*allowed: str) -> Any:
    def check(value: Any) -> str:
        if value not in allowed:
            raise _Refused("one of " + ", ".join(allowed))
        return str(value)

    return check


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Refused("true or false")
    return value


def _optional(check: Any) -> Any:
    return lambda value: None if value is None else check(value)


def _list_of(check: Any, most: int) -> Any:
    def check_all(value: Any) -> tuple:
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise _Refused(f"a list of at most {most}")
        return tuple(check(item) for item in value)

    return check_all


_celsius = _optional(lambda value: _number(value, -100.0, 300.0))
_hertz = _optional(lambda value: _number(value, 0.0, 1e12))

_CHECKS: dict[str, Any] = {
    "model": _text,
    "tflite_sha256": _sha256,
    "package_sha256": _optional(_sha256),
    "samples_seconds": lambda value: _many_seconds(value, 1),
    "warmup_seconds": lambda value: _many_seconds(value, 0),
    "init_seconds": _seconds,
    "first_seconds": _seconds,
    "decode_seconds": _seconds,
    "decode_kernel": _one_of("c", "numpy", "none"),
    "threads": lambda value: _integer(value, 1, MAX_THREADS),
    "cpus": _list_of(lambda value: _integer(value, 0, MAX_CPUS), MAX_CPUS),
    "runtime": _text,
    "runtime_version": _text,
    "delegate": _one_of("xnnpack", "none", "unknown"),
    "numpy_version": _text,
    "python_version": _text,
    "machine": _text,
    "emulated": _boolean,
    "started_unix_seconds": lambda value: _number(value, 0.0, 1e11),
    "temperature_before_celsius": _celsius,
    "temperature_after_celsius": _celsius,
    "temperature_max_celsius": _celsius,
    "frequency_before_hz": _hertz,
    "frequency_after_hz": _hertz,
    "frequency_min_hz": _hertz,
    "governor": _optional(_text),
    "throttled": _optional(_boolean),
    "throttle_reasons": _list_of(_text, 16),
    "peak_memory_bytes": _optional(lambda value: _integer(value, 0, 1 << 50)),
}
