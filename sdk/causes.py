"""The largest parts of a gap in words: what it is, the figures behind it, and what to try. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sdk.attribution import OperatorTime
from sdk.breakdown import (
    ARITHMETIC,
    BELOW_PEAK,
    CLOCK,
    DISPATCH,
    DISTURBANCE,
    ELEMENT_WISE,
    MEMORY,
    THREADS,
    ZERO_MAC,
    Subject,
)
from sdk.theory import CONVOLUTION_1X1
from sdk.theory import ELEMENT_WISE as ELEMENT_WISE_GROUP

#: A cause smaller than this share of the candidate's time is not worth a sentence.
LEAST_SHARE_FOR_A_CAUSE = 0.02


def causes(
    baseline: Subject, candidate: Subject, parts: Mapping[str, float], measured_seconds: float, most: int = 3
) -> tuple[str, ...]:
    """At most ``most`` sentences about the largest ``parts`` (seconds by name) of a gap, largest first."""
    worth = [name for name, seconds in parts.items() if seconds >= LEAST_SHARE_FOR_A_CAUSE * measured_seconds]
    return tuple(
        f"{name}, {_ms(parts[name])} ({parts[name] / measured_seconds:.0%} of its time): "
        + _WORDS[name](baseline, candidate)
        for name in sorted(worth, key=lambda name: -parts[name])[:most]
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _rate(operators: Sequence[OperatorTime]) -> float:
    seconds = sum(time.seconds for time in operators)
    return 2.0 * sum(time.cost.macs for time in operators) / seconds / 1e9 if seconds else 0.0


def _largest_kinds(operators: Sequence[OperatorTime]) -> str:
    by_kind: dict[str, float] = {}
    for time in operators:
        by_kind[time.cost.kind] = by_kind.get(time.cost.kind, 0.0) + time.seconds
    largest = sorted(by_kind.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{kind} {_ms(seconds)}" for kind, seconds in largest if seconds > 0)


def _below_peak(baseline: Subject, candidate: Subject) -> str:
    theirs = [time for time in baseline.operators() if time.cost.macs]
    own = [time for time in candidate.operators() if time.cost.macs]
    groups = {time.cost.group for time in own}
    worst = max(groups, key=lambda group: sum(t.seconds for t in own if t.cost.group == group))
    members = [time for time in own if time.cost.group == worst]
    grouped = (
        any("IGEMM" in kernel for time in members for kernel in time.kernels) and worst == CONVOLUTION_1X1
    )
    advice = (
        "Grouped 1x1 convolutions run as many small products: try fewer groups, or one block-sparse convolution."
        if grouped
        else "Small products leave the cores idle: try channel counts that are multiples of 8, or fewer, wider layers."
    )
    return (
        f"what multiplies runs at {_rate(own):.3g} GFLOP/s, in the baseline at {_rate(theirs):.3g}; most of it is "
        f"{worst} at {_rate(members):.3g}. {advice}"
    )


def _zero_mac(_: Subject, candidate: Subject) -> str:
    moved = [t for t in candidate.operators() if not t.cost.macs and t.cost.group != ELEMENT_WISE_GROUP]
    kinds = {time.cost.kind for time in moved if time.seconds > 0}
    advice = []
    if "TRANSPOSE" in kinds:
        advice.append("a channel shuffle can be folded into the order of the next convolution's weights")
    if "CONCATENATION" in kinds:
        advice.append("a concatenation into the convolutions around it")
    if {"PAD", "PADV2"} & kinds:
        advice.append("padding into the convolution behind it")
    advised = f" Try: {', '.join(advice)}." if advice else " Try a network with fewer of them."
    return f"theory counts them as free; they are {_largest_kinds(moved)}.{advised}"


def _element_wise(_: Subject, candidate: Subject) -> str:
    own = [t for t in candidate.operators() if t.cost.group == ELEMENT_WISE_GROUP and not t.cost.macs]
    alone = any("Clamp" in kernel for time in own for kernel in time.kernels)
    advice = " An activation that runs alone can be fused into the operator before it." if alone else ""
    return f"each reads and writes whole tensors to do almost nothing: {_largest_kinds(own)}.{advice}"


def _memory(_: Subject, candidate: Subject) -> str:
    slow = sorted(
        (t for t in candidate.operators() if t.cost.macs), key=lambda t: t.cost.arithmetic_intensity
    )
    named = ", ".join(dict.fromkeys(time.cost.group for time in slow[:5]))
    return f"they wait for their weights and tensors ({named}). Fewer bytes help: int8, or fewer weights."


def _dispatch(_: Subject, candidate: Subject) -> str:
    profile = candidate.profile
    count = len(profile.kernels)
    if profile.method == "isolated":
        return (
            f"its {count} operators, each alone, take {_ms(profile.kernel_seconds)}, the whole "
            f"{_ms(profile.unprofiled_seconds)}: together they leave the caches to each other, and start one after the "
            "other. Fewer, larger operators help."
        )
    return f"{count} kernels, started one after the other. Fewer, larger operators help, or a larger input."


def _disturbance(_: Subject, __: Subject) -> str:
    return (
        "the median is that much above an undisturbed inference. Stop what else runs there, and repeat; on a quiet "
        "board it is what leaving the caches to other models costs."
    )


def _threads(baseline: Subject, candidate: Subject) -> str:
    return (
        "small operators are not worth sharing: the threads wait for each other after every one of its "
        f"{len(candidate.profile.kernels)} kernels (baseline: {len(baseline.profile.kernels)}). Try fewer threads."
    )


def _clock(_: Subject, __: Subject) -> str:
    return "the cores ran below the clock that the peak was stated for. Try the governor `performance`, and cooling."


def _arithmetic(_: Subject, __: Subject) -> str:
    return (
        "the baseline had less to compute than theory counts: its kernels skipped zeros, used int8, or were faster "
        "than the peak that is assumed."
    )


_WORDS: Mapping[str, Callable[[Subject, Subject], str]] = {
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
