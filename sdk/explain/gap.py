"""Where a promised speed-up went: from theory to measurement, in seconds. Pure.

Theory promises the candidate ``measured time of the baseline / ratio of the work``. The time beyond that is the gap.
Both measured times are cut into the same parts (:mod:`sdk.explain.breakdown`), and a part of the gap is the candidate's
part minus the baseline's over the ratio. So a baseline that wastes as much as the candidate explains nothing, and the
parts add up to the gap. On ``n`` threads the gap is that of the profiled run divided among them, plus what did not
scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from device_agent.record.kinds import ValueRefused
from device_agent.record.named_kinds import Positive, Sentence, SignedSeconds, Threads
from device_agent.record.profile import METHODS
from device_agent.record.schema import limits, read, record, write
from sdk.errors import DataError
from sdk.explain.breakdown import DISTURBANCE, PARTS, THREADS, Peaks, Subject, breakdown, dispatch_seconds
from sdk.explain.causes import Case, causes
from sdk.explain.macs import promised, yardstick

SCHEMA = "armlet.gap/2"
#: What records of earlier schemas lack; they are still read.
EARLIER: Mapping[str, dict[str, Any]] = {"armlet.gap/1": {"doubts": []}}

#: A model is called pruned when this share of its MACs or more is by zero.
PRUNED_SHARE = 0.05

#: What is measured apart from the median (operators, dispatch, threads) should add up to it within this.
ADDS_UP = 0.05


@dataclass(frozen=True)
class Part:
    """One part of the gap. ``seconds`` = ``candidate_seconds - baseline_seconds``, below 0 where it made up for some.

    ``baseline_seconds`` is the baseline's part divided by the theoretical speed-up: what the candidate should have
    taken.
    """

    name: str
    seconds: SignedSeconds
    baseline_seconds: SignedSeconds
    candidate_seconds: SignedSeconds


@record(SCHEMA, "a gap", DataError, earlier=EARLIER, derived=("share_realised",))
@dataclass(frozen=True)
class Gap:
    """A candidate against a baseline: from what theory promised to what was measured.

    ``parts`` stand in the order of :data:`sdk.explain.breakdown.PARTS` and add up to ``measured_seconds -
    promised_seconds``. ``causes`` are the largest of them in words, with what to try. ``sparsity`` says whether
    zero weights made it faster, "" where there are none. ``doubts`` say why the parts do not add up, see
    :func:`doubts`. ``work`` is what theory counted, see :mod:`sdk.explain.macs`.
    """

    baseline: str
    candidate: str
    threads: Threads
    work: str
    theoretical_speedup: Positive
    measured_speedup: Positive
    promised_seconds: Positive
    measured_seconds: Positive
    peak_flop_per_second: Positive
    peak_source: Sentence
    method: str = field(metadata=limits(choices=METHODS))
    parts: tuple[Part, ...]
    causes: tuple[Sentence, ...] = field(metadata=limits(most=16))
    sparsity: Sentence = ""
    doubts: tuple[Sentence, ...] = field(default=(), metadata=limits(most=16))

    @property
    def share_realised(self) -> float:
        """Measured over theoretical speed-up."""
        return self.measured_speedup / self.theoretical_speedup

    @property
    def seconds(self) -> float:
        """The whole gap; below 0 where the candidate is faster than promised."""
        return self.measured_seconds - self.promised_seconds

    @property
    def accounted(self) -> float:
        """Time of operators, dispatch and threads as a share of the candidate's median: about 1 on a quiet board."""
        return 1.0 - self._disturbance.candidate_seconds / self.measured_seconds

    @property
    def baseline_accounted(self) -> float:
        """The same of the baseline."""
        return 1.0 - self._disturbance.baseline_seconds / self.promised_seconds

    @property
    def adds_up(self) -> bool:
        """True when both models' parts add up to what was measured, as near as :data:`ADDS_UP`."""
        return max(abs(1.0 - self.accounted), abs(1.0 - self.baseline_accounted)) <= ADDS_UP

    @property
    def _disturbance(self) -> Part:
        return next(part for part in self.parts if part.name == DISTURBANCE)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, with the share that arrived beside the fields."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> Gap:
        """The gap that :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, record)

    def check_record(self) -> None:
        """Raises Refused where the parts are not those that a gap has."""
        names = tuple(part.name for part in self.parts)
        if names != PARTS:
            raise ValueRefused("the parts " + ", ".join(PARTS), ", ".join(names)[:80]).at("parts")


def are_comparable(baseline: Subject, candidate: Subject) -> bool:
    """Whether two profiles were taken on the same threads, both inside whole inferences or both one by one."""
    one, other = baseline.profile, candidate.profile
    return one.threads == other.threads and (one.method == "isolated") == (other.method == "isolated")


def explain(baseline: Subject, candidate: Subject, peaks: Peaks) -> tuple[Gap, ...]:
    """The gap on the profiled number of threads, then on every other one that both were measured with.

    Raises DataError where a model has no MACs, or the profiles were taken differently.
    """
    work, ratio = _theory(baseline, candidate)
    if not are_comparable(baseline, candidate):
        raise DataError("these profiles cannot be compared", expected="the same threads and method")
    of_baseline, of_candidate = breakdown(baseline, peaks), breakdown(candidate, peaks)
    alone = [_part(name, of_baseline[name] / ratio, of_candidate[name]) for name in PARTS]
    pairs = [(baseline.measurement, candidate.measurement)]
    others = {timed.threads: timed for timed in baseline.parallel}
    pairs += [(others[timed.threads], timed) for timed in candidate.parallel if timed.threads in others]
    gaps = []
    for base, own in pairs:
        scale = candidate.profile.threads / own.threads
        parts = [
            Part(p.name, p.seconds * scale, p.baseline_seconds * scale, p.candidate_seconds * scale)
            for p in alone
        ]
        lost_here = own.median - candidate.measurement.median * scale
        lost_there = (base.median - baseline.measurement.median * scale) / ratio
        parts = [
            Part(THREADS, lost_here - lost_there, lost_there, lost_here) if p.name == THREADS else p
            for p in parts
        ]
        gaps.append(
            Gap(
                baseline=baseline.name,
                candidate=candidate.name,
                threads=own.threads,
                work=work,
                theoretical_speedup=ratio,
                measured_speedup=base.median / own.median,
                promised_seconds=base.median / ratio,
                measured_seconds=own.median,
                peak_flop_per_second=peaks.flop_per_second,
                peak_source=peaks.source,
                method=candidate.profile.method,
                parts=tuple(parts),
                causes=causes(
                    Case(baseline, candidate, peaks, ratio, scale),
                    {p.name: p.seconds for p in parts},
                    own.median,
                ),
                sparsity=sparsity_verdict(candidate),
                doubts=(*doubts(baseline), *doubts(candidate)),
            )
        )
    return tuple(gaps)


def _part(name: str, baseline_seconds: float, candidate_seconds: float) -> Part:
    return Part(name, candidate_seconds - baseline_seconds, baseline_seconds, candidate_seconds)


def doubts(subject: Subject) -> tuple[str, ...]:
    """Why a model's operators and dispatch do not add up to its median as near as :data:`ADDS_UP`; () where they do.

    Either profiling slowed the model down (compared with inferences without the profiler, in turn), or the model itself
    took longer or shorter then than when it was measured.
    """
    profile, median = subject.profile, subject.measurement.median
    accounted = profile.kernel_seconds + dispatch_seconds(subject)
    if abs(accounted / median - 1.0) <= ADDS_UP:
        return ()
    found = []
    plain = profile.unprofiled_seconds
    if plain > 0.0 and accounted > (1.0 + ADDS_UP) * plain:
        found.append(
            f"the operators of {subject.name} took {100 * accounted / plain:.0f} % of an inference "
            "without the profiler, in turn with them: profiling slows it down"
        )
    if abs(plain / median - 1.0) > ADDS_UP:
        found.append(
            f"{subject.name} took {100 * plain / median:.0f} % of its median while its operators were timed: something "
            "else ran, or the clock moved"
        )
    return tuple(found)


def _theory(baseline: Subject, candidate: Subject) -> tuple[str, float]:
    for subject in (baseline, candidate):
        if not subject.effective_macs:
            raise DataError(f"{subject.name} promises nothing", expected="multiply-accumulates", found="none")
    work = yardstick(baseline.counted(), candidate.counted())
    return work, cast(float, promised(work, baseline.counted(), candidate.counted()))


def sparsity_verdict(subject: Subject) -> str:
    """Whether zero weights made this model faster, or only smaller; "" for one that is not pruned."""
    zeros = 1.0 - subject.effective_macs / subject.macs if subject.macs else 0.0
    if zeros < PRUNED_SHARE:
        return ""
    if subject.profile.method == "isolated":
        return (
            f"{100 * zeros:.0f} % of the multiply-accumulates are by zero; whether the runtime skips them cannot be "
            "seen in operators timed one by one"
        )
    operators = [time for time in subject.operators() if time.cost.macs]
    sparse = [time for time in operators if time.ran_sparse]
    if sparse:
        share = sum(time.cost.macs for time in sparse) / subject.macs
        kernels = "Armlet's" if subject.profile.method == "armlet" else "SPMM"
        return (
            f"pruning took effect: {len(sparse)} of {len(operators)} operators that multiply, with "
            f"{100 * share:.0f} % of the multiply-accumulates, ran sparse kernels ({kernels})"
        )
    return (
        f"smaller, not faster: {100 * zeros:.0f} % of the multiply-accumulates are by zero, but no sparse kernel "
        "(SPMM) ran, so the zeros were multiplied all the same"
    )
