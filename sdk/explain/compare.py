"""Theory against measurement: how much of a promised speed-up arrived. Pure.

Theoretical speed-up is the ratio of the work (:mod:`sdk.explain.macs`); the measured one is the ratio of median
latencies, with an interval; their quotient is the share of the promise that arrived. ShuffleNet's authors saw
about 2.6x on a phone where theory says 4x (arXiv 1707.01083, section 4.5), a share of 0.65.

Both ratios say how much faster the candidate is than the baseline, so the baseline should be the heavier model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from device_agent.record.intervals import CONFIDENCE, Turn, speedup_interval
from device_agent.record.named_kinds import Positive, Sentence, Threads
from device_agent.record.schema import limits, read, record, write
from sdk.errors import DataError
from sdk.explain.macs import ALL, NOT_BY_ZERO, YARDSTICKS, Counted, ratio, yardstick

SCHEMA = "armlet.comparison/2"
#: What records of earlier schemas lack; they are still read.
EARLIER: dict[str, dict[str, Any]] = {"armlet.comparison/1": {"smallest_told": 0.0, "work": ALL}}


class Work(Protocol):
    """The part of a model's theory that a comparison needs; :class:`sdk.explain.theory.Totals` has it."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""

    @property
    def effective_macs(self) -> int:
        """Multiply-accumulates of one inference, those with a zero weight left out."""


class Timed(Protocol):
    """The part of a measurement for a comparison; :class:`device_agent.record.measurement.Measurement` has it."""

    @property
    def samples_seconds(self) -> tuple[float, ...]:
        """Seconds of each inference, in the order measured."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns that the samples were taken in; () where that is not known."""

    @property
    def started_unix_seconds(self) -> float:
        """When the run began; the same for models that took turns."""

    @property
    def median(self) -> float:
        """Seconds of a typical inference."""

    @property
    def threads(self) -> int:
        """Threads of the runtime."""

    @property
    def machine(self) -> str:
        """The processor's architecture, as ``uname -m`` says it."""

    @property
    def emulated(self) -> bool:
        """Whether the board is emulated, so that its times mean nothing."""

    @property
    def runtime(self) -> str:
        """The runtime's name."""

    @property
    def runtime_version(self) -> str:
        """The runtime's version."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Doubts about the samples, one sentence each."""


@dataclass(frozen=True)
class Contender:
    """A model with its theory and its measurement."""

    name: str
    theory: Work
    measurement: Timed
    original: str = ""  # digest of the file that it was made of

    def counted(self) -> Counted:
        """Its work."""
        return Counted(self.theory.macs, self.theory.effective_macs, self.original)


@record(
    SCHEMA,
    "a comparison",
    DataError,
    earlier=EARLIER,
    derived=(
        "theoretical_speedup",
        "macs_speedup",
        "effective_speedup",
        "measured_speedup",
        "share_realised",
        "effective_share_realised",
    ),
)
@dataclass(frozen=True)
class Comparison:
    """A candidate against a baseline.

    Speed-ups are baseline over candidate: above 1 the candidate is the lighter, or the faster. A theoretical one is
    None where a model has no multiply-accumulates at all. ``measured_low`` and ``measured_high`` hold the measured
    speed-up with the given ``confidence``. ``smallest_told`` is the smallest difference that this measurement could
    show, as a share: the baseline and the baseline itself may have differed by as much; 0 where that was not tested.
    ``work`` is what theory counts (:mod:`sdk.explain.macs`). ``warnings`` say why the figures should not be taken at
    face value.
    """

    baseline: str
    candidate: str
    threads: Threads
    baseline_macs: int
    candidate_macs: int
    baseline_effective_macs: int
    candidate_effective_macs: int
    baseline_median_seconds: Positive
    candidate_median_seconds: Positive
    measured_low: Positive
    measured_high: Positive
    confidence: float = field(metadata=limits(low=0.0, low_excluded=True, high=1.0, high_excluded=True))
    warnings: tuple[Sentence, ...] = ()
    smallest_told: float = field(default=0.0, metadata=limits(low=0.0))
    work: str = field(default=ALL, metadata=limits(choices=YARDSTICKS))

    @property
    def theoretical_speedup(self) -> float | None:
        """Ratio of the work, which is counted in ``work``."""
        return self.effective_speedup if self.work == NOT_BY_ZERO else self.macs_speedup

    @property
    def macs_speedup(self) -> float | None:
        """Ratio of multiply-accumulates, zeros included."""
        return ratio(self.baseline_macs, self.candidate_macs)

    @property
    def effective_speedup(self) -> float | None:
        """Ratio of multiply-accumulates with a weight other than zero: what kernels that skip zeros could reach."""
        return ratio(self.baseline_effective_macs, self.candidate_effective_macs)

    @property
    def measured_speedup(self) -> float:
        """Ratio of medians."""
        return self.baseline_median_seconds / self.candidate_median_seconds

    @property
    def share_realised(self) -> float | None:
        """Measured over theoretical speed-up; 1 means that all of the promise arrived."""
        return _share(self.measured_speedup, self.theoretical_speedup)

    @property
    def effective_share_realised(self) -> float | None:
        """Measured over effective speed-up."""
        return _share(self.measured_speedup, self.effective_speedup)

    @property
    def is_conclusive(self) -> bool:
        """True when a difference can be told: the interval leaves no doubt which of the two is faster, and the
        baseline differs from itself by less."""
        apart = max(self.measured_speedup, 1.0 / self.measured_speedup) - 1.0
        return not self.measured_low <= 1.0 <= self.measured_high and apart > self.smallest_told

    def is_slower_by(self, fraction: float) -> bool:
        """True when the candidate needs more than ``1 + fraction`` times the baseline's time, doubt excluded."""
        return self.measured_high < 1.0 / (1.0 + fraction)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict: the schema, the fields, and for readers that are not this class the ratios."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> Comparison:
        """The comparison that :meth:`to_json` wrote. Raises DataError that names the first field that is wrong.

        The ratios are computed afresh and must be those of the record.
        """
        return read(cls, record)


def compare(
    baseline: Contender,
    candidates: Iterable[Contender],
    *,
    confidence: float = CONFIDENCE,
    smallest_told: float = 0.0,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Every candidate against ``baseline``, in their order.

    Models that were measured together are compared loading by loading, others as two groups
    (:func:`device_agent.record.intervals.speedup_interval`, which ``resamples`` and ``seed`` are for).
    Raises DataError for a measurement without samples or with a sample of 0.
    """
    base = _measured(baseline)
    comparisons = []
    for number, candidate in enumerate(candidates):
        interval = speedup_interval(
            base,
            _measured(candidate),
            confidence,
            together=_together(baseline.measurement, candidate.measurement),
            resamples=resamples,
            seed=seed + 2 * number,
        )
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
                measured_low=interval.low,
                measured_high=interval.high,
                confidence=confidence,
                warnings=_warnings(baseline, candidate),
                smallest_told=smallest_told,
                work=yardstick(baseline.counted(), candidate.counted()),
            )
        )
    return tuple(comparisons)


def smallest_told(first: Timed, again: Timed, confidence: float = CONFIDENCE) -> float:
    """The smallest difference that can be told, as a share, where one model was measured twice, interleaved.

    It is the farther end of the interval of their ratio.
    """
    found = speedup_interval(
        (first.samples_seconds, first.turns),
        (again.samples_seconds, again.turns),
        confidence,
        together=_together(first, again),
    )
    return max(found.high, 1.0 / found.low) - 1.0


def _measured(contender: Contender) -> tuple[tuple[float, ...], tuple[Turn, ...]]:
    samples = contender.measurement.samples_seconds
    if not samples or min(samples) <= 0.0:
        raise DataError(
            f"the measurement of {contender.name} cannot be compared",
            expected="samples above 0 seconds",
            found=f"{len(samples)} samples" + (f", the shortest {min(samples)} s" if samples else ""),
        )
    return samples, contender.measurement.turns


def _together(first: Timed, second: Timed) -> bool:
    """True for models of one run: each of their loadings shared a process, and their turns were interleaved."""
    loadings = [{turn.loading for turn in timed.turns} for timed in (first, second)]
    return loadings[0] == loadings[1] and first.started_unix_seconds == second.started_unix_seconds


def differences(baseline: Contender, candidate: Contender) -> list[str]:
    """Conditions in which the two runs differ, a sentence each."""
    found = []
    for name in ("threads", "machine", "emulated", "runtime", "runtime_version"):
        first, second = getattr(baseline.measurement, name), getattr(candidate.measurement, name)
        if first != second:
            found.append(
                f"measured under different conditions: {name.replace('_', ' ')} {first} and {second}"
            )
    return found


def _warnings(baseline: Contender, candidate: Contender) -> tuple[str, ...]:
    """Conditions in which the two runs differ, then what is wrong with either."""
    found = differences(baseline, candidate)
    for contender in (baseline, candidate):
        found += [f"{contender.name}: {problem}" for problem in contender.measurement.problems]
    return tuple(found)


def _share(measured: float, theoretical: float | None) -> float | None:
    return None if theoretical is None else measured / theoretical
