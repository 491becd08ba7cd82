"""Theory against measurement: how much of a promised speed-up arrived. Pure.

Theoretical speed-up is the ratio of multiply-accumulates, as in the papers; the measured one is the ratio of median
latencies, with a bootstrap interval; their quotient is the share of the promise that arrived. ShuffleNet's authors saw
about 2.6x on a phone where theory says 4x (arXiv 1707.01083, section 4.5), a share of 0.65.

Both ratios say how much faster the candidate is than the baseline, so the baseline is best the heavier model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from device_agent.record.measurement import bootstrap_medians
from sdk.errors import DataError

SCHEMA = "armlet.comparison/1"


class Work(Protocol):
    """What comparing needs to know of a model's theory; :class:`sdk.explain.theory.Totals` has it."""

    @property
    def macs(self) -> int: ...
    @property
    def effective_macs(self) -> int: ...


class Timed(Protocol):
    """What comparing needs to know of a measurement; :class:`device_agent.record.measurement.Measurement` has it."""

    @property
    def samples_seconds(self) -> tuple[float, ...]: ...
    @property
    def median(self) -> float: ...
    @property
    def threads(self) -> int: ...
    @property
    def machine(self) -> str: ...
    @property
    def emulated(self) -> bool: ...
    @property
    def runtime(self) -> str: ...
    @property
    def runtime_version(self) -> str: ...
    @property
    def problems(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Contender:
    """A model with its theory and its measurement."""

    name: str
    theory: Work
    measurement: Timed


@dataclass(frozen=True)
class Comparison:
    """A candidate against a baseline.

    Speed-ups are baseline over candidate: above 1 the candidate is the lighter, or the faster. A theoretical one is
    None where a model has no multiply-accumulates at all. ``measured_low`` and ``measured_high`` hold the measured
    speed-up with the given ``confidence``. ``warnings`` say why the figures should not be taken at face value.
    """

    baseline: str
    candidate: str
    threads: int
    baseline_macs: int
    candidate_macs: int
    baseline_effective_macs: int
    candidate_effective_macs: int
    baseline_median_seconds: float
    candidate_median_seconds: float
    measured_low: float
    measured_high: float
    confidence: float
    warnings: tuple[str, ...] = ()

    @property
    def theoretical_speedup(self) -> float | None:
        """Ratio of multiply-accumulates, zeros included."""
        return _ratio(self.baseline_macs, self.candidate_macs)

    @property
    def effective_speedup(self) -> float | None:
        """Ratio of multiply-accumulates with a weight other than zero: what kernels that skip zeros could reach."""
        return _ratio(self.baseline_effective_macs, self.candidate_effective_macs)

    @property
    def measured_speedup(self) -> float:
        """Ratio of medians."""
        return self.baseline_median_seconds / self.candidate_median_seconds

    @property
    def share_realised(self) -> float | None:
        """Measured over theoretical speed-up; 1 means that all of the promise arrived."""
        return _share(self.measured_speedup, self.theoretical_speedup)

    @property
    def share_realised_interval(self) -> tuple[float, float] | None:
        """The interval of the measured speed-up, as shares of the theoretical one."""
        low = _share(self.measured_low, self.theoretical_speedup)
        high = _share(self.measured_high, self.theoretical_speedup)
        return None if low is None or high is None else (low, high)

    @property
    def effective_share_realised(self) -> float | None:
        """Measured over effective speed-up."""
        return _share(self.measured_speedup, self.effective_speedup)

    @property
    def is_conclusive(self) -> bool:
        """True when the interval leaves no doubt which of the two is faster."""
        return not self.measured_low <= 1.0 <= self.measured_high

    def is_slower_by(self, fraction: float) -> bool:
        """True when the candidate needs more than ``1 + fraction`` times the baseline's time, doubt excluded."""
        return self.measured_high < 1.0 / (1.0 + fraction)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict: the schema, the fields, and for readers that are not this class the ratios."""
        record = {"schema": SCHEMA, **dataclasses.asdict(self)}
        record["warnings"] = list(self.warnings)
        return {**record, **{name: getattr(self, name) for name in _RATIOS}}

    @classmethod
    def from_json(cls, record: Any) -> Comparison:
        """The comparison that :meth:`to_json` wrote. Raises DataError that names the first field that is wrong.

        The ratios are computed afresh and must be those of the record.
        """
        if not isinstance(record, Mapping):
            raise DataError("a comparison is not an object", expected="a JSON object", found=_show(record))
        if record.get("schema") != SCHEMA:
            raise DataError(
                "a comparison has a schema that is not read here",
                expected=SCHEMA,
                found=_show(record.get("schema")),
            )
        unknown = sorted(map(str, set(record) - set(_CHECKS) - set(_RATIOS) - {"schema"}))
        if unknown:
            raise DataError("a comparison has unknown fields", expected=SCHEMA, found=_show(unknown))
        for name, (expected, check) in _CHECKS.items():
            if name not in record:
                raise DataError("a comparison lacks a field", expected=name, found="nothing")
            if not check(record[name]):
                raise DataError(
                    f"the field {name} of a comparison is not acceptable",
                    expected=expected,
                    found=_show(record[name]),
                )
        values = {name: record[name] for name in _CHECKS}
        comparison = cls(**{**values, "warnings": tuple(values["warnings"])})
        for name in _RATIOS:
            if name in record and record[name] != getattr(comparison, name):
                raise DataError(
                    f"the field {name} of a comparison does not follow from the others",
                    expected=_show(getattr(comparison, name)),
                    found=_show(record[name]),
                )
        return comparison


def compare(
    baseline: Contender,
    candidates: Iterable[Contender],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Every candidate against ``baseline``, in their order.

    The interval resamples both runs on their own, with ``resamples`` draws each; the same ``seed`` gives the same
    interval. Raises DataError for a measurement without samples or with a median of 0.
    """
    base = _medians(baseline, resamples, seed)
    comparisons = []
    for number, candidate in enumerate(candidates, start=1):
        # Another seed than the baseline's: equal draws in both runs would cancel and make the interval too narrow.
        ratios = base / _medians(candidate, resamples, seed + number)  # (resamples,)
        tail = 50.0 * (1.0 - confidence)
        low, high = np.percentile(ratios, [tail, 100.0 - tail])
        comparisons.append(
            Comparison(
                baseline=baseline.name,
                candidate=candidate.name,
                threads=candidate.measurement.threads,
                baseline_macs=baseline.theory.macs,
                candidate_macs=candidate.theory.macs,
                baseline_effective_macs=baseline.theory.effective_macs,
                candidate_effective_macs=candidate.theory.effective_macs,
                baseline_median_seconds=baseline.measurement.median,
                candidate_median_seconds=candidate.measurement.median,
                measured_low=float(low),
                measured_high=float(high),
                confidence=confidence,
                warnings=_warnings(baseline, candidate),
            )
        )
    return tuple(comparisons)


def _medians(contender: Contender, resamples: int, seed: int) -> np.ndarray:
    samples = contender.measurement.samples_seconds
    if not samples or min(samples) <= 0.0:
        raise DataError(
            f"the measurement of {contender.name} cannot be compared",
            expected="samples above 0 seconds",
            found=f"{len(samples)} samples" + (f", the shortest {min(samples)} s" if samples else ""),
        )
    return bootstrap_medians(samples, resamples=resamples, seed=seed)


def differences(baseline: Contender, candidate: Contender) -> list[str]:
    """Conditions in which the two runs differ, a sentence each."""
    found = []
    for field in ("threads", "machine", "emulated", "runtime", "runtime_version"):
        first, second = getattr(baseline.measurement, field), getattr(candidate.measurement, field)
        if first != second:
            found.append(
                f"measured under different conditions: {field.replace('_', ' ')} {first} and {second}"
            )
    return found


def _warnings(baseline: Contender, candidate: Contender) -> tuple[str, ...]:
    """Conditions in which the two runs differ, then what is wrong with either."""
    found = differences(baseline, candidate)
    for contender in (baseline, candidate):
        found += [f"{contender.name}: {problem}" for problem in contender.measurement.problems]
    return tuple(found)


def _ratio(baseline: int, candidate: int) -> float | None:
    return baseline / candidate if baseline and candidate else None


def _share(measured: float, theoretical: float | None) -> float | None:
    return None if theoretical is None else measured / theoretical


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_positive(value: Any) -> bool:
    # 1e300, not infinity: an int above every float must not reach float arithmetic. Not true of nan.
    return type(value) in (int, float) and 0 < value < 1e300


_TEXT = ("printable text", _is_text)
_COUNT = ("a whole number from 0", _is_count)
_POSITIVE = ("a number above 0", _is_positive)

_CHECKS: dict[str, Any] = {
    "baseline": _TEXT,
    "candidate": _TEXT,
    "threads": ("a whole number from 1", lambda value: _is_count(value) and value > 0),
    "baseline_macs": _COUNT,
    "candidate_macs": _COUNT,
    "baseline_effective_macs": _COUNT,
    "candidate_effective_macs": _COUNT,
    "baseline_median_seconds": _POSITIVE,
    "candidate_median_seconds": _POSITIVE,
    "measured_low": _POSITIVE,
    "measured_high": _POSITIVE,
    "confidence": ("a number between 0 and 1", lambda value: _is_positive(value) and value < 1),
    "warnings": (
        "a list of printable texts",
        lambda value: isinstance(value, list) and all(map(_is_text, value)),
    ),
}

# Properties that go into the JSON beside the fields.
_RATIOS = (
    "theoretical_speedup",
    "effective_speedup",
    "measured_speedup",
    "share_realised",
    "effective_share_realised",
)
