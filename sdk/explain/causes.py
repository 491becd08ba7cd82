"""The largest parts of a gap in words: what it is, the figures behind it, and what to try. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sdk.explain.attribution import OperatorTime
from sdk.explain.breakdown import (
    ARITHMETIC,
    BELOW_PEAK,
    CLOCK,
    DISPATCH,
    DISTURBANCE,
    ELEMENT_WISE,
    MEMORY,
    THREADS,
    ZERO_MAC,
    Peaks,
    Subject,
    dispatch_seconds,
    roofline_seconds,
)
from sdk.explain.theory import CONVOLUTION_1X1, DEPTHWISE, FULLY_CONNECTED, roofline
from sdk.explain.theory import ELEMENT_WISE as ELEMENT_WISE_GROUP

#: A cause smaller than this share of the candidate's time is not worth a sentence.
LEAST_SHARE_FOR_A_CAUSE = 0.02
MOST_CAUSES = 3
#: Zeros of a model that were multiplied explain its time where they are more than this share of its MACs.
MANY_ZEROS = 0.05
#: Where fully connected layers take more than this share of the kernels' time, the memory decides how threads scale.
WAITS_FOR_WEIGHTS = 1 / 3


@dataclass(frozen=True)
class Case:
    """The case to explain: two models on a board, where theory promises ``ratio``. ``scale`` makes a time of the
    profile one on as many threads as the gap is for.
    """

    baseline: Subject
    candidate: Subject
    peaks: Peaks
    ratio: float
    scale: float = 1.0


def causes(case: Case, parts: Mapping[str, float], measured_seconds: float) -> tuple[str, ...]:
    """At most MOST_CAUSES sentences about the largest ``parts`` (seconds by name) of a gap, largest first."""
    worth = [name for name, seconds in parts.items() if seconds >= LEAST_SHARE_FOR_A_CAUSE * measured_seconds]
    return tuple(
        f"{name}, {_ms(parts[name])} ({100 * parts[name] / measured_seconds:.0f} % of its time): "
        + _WORDS[name](case)
        for name in sorted(worth, key=lambda name: -parts[name])[:MOST_CAUSES]
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _rate(operators: Sequence[OperatorTime]) -> float:
    seconds = sum(time.seconds for time in operators)
    return 2.0 * sum(time.cost.macs for time in operators) / seconds / 1e9 if seconds else 0.0


def _largest_kinds(operators: Sequence[OperatorTime], scale: float) -> str:
    by_kind: dict[str, float] = {}
    for time in operators:
        by_kind[time.cost.kind] = by_kind.get(time.cost.kind, 0.0) + scale * time.seconds
    largest = sorted(by_kind.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{kind} {_ms(seconds)}" for kind, seconds in largest if seconds > 0)


#: Why operators of a group stay below the peak, and what helps.
_BELOW_PEAK_ADVICE = {
    CONVOLUTION_1X1: (
        "Small products leave the cores idle: try channel counts that are multiples of 8, or fewer, wider layers."
    ),
    DEPTHWISE: (
        "A depthwise kernel computes little for what it loads, on every board: try a stride of 2 earlier, or fewer "
        "channels where the maps are large."
    ),
    FULLY_CONNECTED: (
        "It uses each weight once, so it waits for memory: try fewer weights, int8, or a mean over space before it."
    ),
}
_GROUPED_ADVICE = (
    "Grouped 1x1 convolutions run as many small products: try fewer groups, or one block-sparse convolution."
)
_OTHER_ADVICE = "With few channels in or out no kernel is filled: try multiples of 8, or a smaller image."


def _below_peak(case: Case) -> str:
    theirs = [time for time in case.baseline.operators() if time.cost.macs]
    own = [time for time in case.candidate.operators() if time.cost.macs]
    lost_own, lost_theirs = (_lost(subject, case.peaks) for subject in (case.candidate, case.baseline))
    worst = max(lost_own, key=lambda group: lost_own[group] - lost_theirs.get(group, 0.0) / case.ratio)
    members = [time for time in own if time.cost.group == worst]
    there = _rate([time for time in theirs if time.cost.group == worst])
    grouped = worst == CONVOLUTION_1X1 and any("IGEMM" in k for time in members for k in time.kernels)
    advice = _GROUPED_ADVICE if grouped else _BELOW_PEAK_ADVICE.get(worst, _OTHER_ADVICE)
    return (
        f"what multiplies runs at {_rate(own):.3g} GFLOP/s, in the baseline at {_rate(theirs):.3g}; most is lost in "
        f"{worst}, at {_rate(members):.3g}"
        + (f" (baseline: {there:.3g})" if there else " (the baseline has none)")
        + f". {advice}"
    )


def _lost(subject: Subject, peaks: Peaks) -> dict[str, float]:
    """Seconds beyond the roofline's, by group, of operators that multiply."""
    least = roofline_seconds(subject, peaks)
    lost: dict[str, float] = {}
    for time in subject.operators():
        if time.cost.macs:
            beyond = max(0.0, time.seconds - least[time.cost.index])
            lost[time.cost.group] = lost.get(time.cost.group, 0.0) + beyond
    return lost


def _zero_mac(case: Case) -> str:
    moved = [t for t in case.candidate.operators() if not t.cost.macs and t.cost.group != ELEMENT_WISE_GROUP]
    kinds = {time.cost.kind for time in moved if time.seconds > 0}
    advice = []
    if "TRANSPOSE" in kinds:
        advice.append("a channel shuffle can be folded into the order of the next convolution's weights")
    if "CONCATENATION" in kinds:
        advice.append("a concatenation into the convolutions around it")
    if {"PAD", "PADV2"} & kinds:
        advice.append("padding into the convolution behind it")
    advised = f" Try: {', '.join(advice)}." if advice else " Try a network with fewer of them."
    return f"theory counts them as free; they are {_largest_kinds(moved, case.scale)}.{advised}"


def _element_wise(case: Case) -> str:
    own = [t for t in case.candidate.operators() if t.cost.group == ELEMENT_WISE_GROUP and not t.cost.macs]
    alone = any("Clamp" in kernel for time in own for kernel in time.kernels)
    advice = " An activation that runs alone can be fused into the operator before it." if alone else ""
    return f"each reads and writes whole tensors to do almost nothing: {_largest_kinds(own, case.scale)}.{advice}"


def _memory(case: Case) -> str:
    waits: dict[str, float] = {}
    costs = case.candidate.costs
    for cost, time in zip(costs, roofline(costs, case.peaks).operators, strict=True):
        if cost.macs and time.bound == "memory":
            waits[cost.group] = waits.get(cost.group, 0.0) + time.memory_seconds - time.compute_seconds
    named = ", ".join(sorted(waits, key=lambda group: -waits[group])[:2])
    return f"they wait for their weights and tensors ({named}). Fewer bytes help: int8, or fewer weights."


def _dispatch(case: Case) -> str:
    profile = case.candidate.profile
    count = len(profile.kernels)
    if profile.method == "isolated":
        return (
            f"its {count} operators, each alone, take {_ms(profile.kernel_seconds)}, the whole "
            f"{_ms(profile.unprofiled_seconds)}: alone each finds its weights and tensors in the caches, together they "
            "push them out. Fewer bytes help: int8, or fewer weights."
        )
    return f"{count} kernels, started one after the other. Fewer, larger operators help, or a larger input."


def _disturbance(case: Case) -> str:
    own = case.candidate
    if own.measurement.median < own.profile.kernel_seconds + dispatch_seconds(own):
        return (
            "the baseline's operators were timed in a busier moment than the baseline itself. Stop what else runs "
            "there, and repeat."
        )
    return (
        "the median is that much above what its operators took when they were timed. Stop what else runs there, and "
        "repeat."
    )


def _threads(case: Case) -> str:
    profile = case.candidate.profile
    dense = sum(t.seconds for t in case.candidate.operators() if t.cost.group == FULLY_CONNECTED)
    if dense > WAITS_FOR_WEIGHTS * profile.kernel_seconds:
        return (
            "its fully connected layers use each weight once, and the threads share one memory. Fewer weights help, "
            "or int8; more threads do not."
        )
    return (
        "small operators are not worth sharing: the threads wait for each other after every one of its "
        f"{len(profile.kernels)} kernels (baseline: {len(case.baseline.profile.kernels)}). Try fewer threads."
    )


def _clock(_: Case) -> str:
    return "the cores ran below the clock that the peak was stated for. Try the governor `performance`, and cooling."


def _arithmetic(case: Case) -> str:
    theirs, own = ([t for t in s.operators() if t.cost.macs] for s in (case.baseline, case.candidate))
    zeros = sum(t.cost.macs - t.cost.effective_macs for t in own if not t.ran_sparse)
    if zeros > MANY_ZEROS * case.candidate.macs:
        return (
            "its zeros were multiplied all the same. `sdk compress --for BOARD` puts a network into the form that "
            "sparse kernels take, on boards whose runtime has such."
        )
    if any(t.ran_sparse for t in theirs):
        return "the baseline's kernels skipped zeros, so it had less to compute than theory counts. Prune this one too."
    if any(t.cost.dtype == "int8" for t in theirs) and any(t.cost.dtype != "int8" for t in own):
        return "the baseline computes in int8, which is faster. Try int8 here too."
    return "the baseline's fastest operators beat the peak that is assumed: measure it with `sdk board calibrate`."


_WORDS: Mapping[str, Callable[[Case], str]] = {
    ARITHMETIC: _arithmetic,
    BELOW_PEAK: _below_peak,
    MEMORY: _memory,
    ZERO_MAC: _zero_mac,
    ELEMENT_WISE: _element_wise,
    DISPATCH: _dispatch,
    DISTURBANCE: _disturbance,
    THREADS: _threads,
    CLOCK: _clock,
}
