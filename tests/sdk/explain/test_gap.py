"""The gap between theory and measurement: its parts add up, and its words name what is in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from device_agent.record.profile import KernelTime, Profile
from sdk.errors import DataError
from sdk.explain.attribution import attribute
from sdk.explain.breakdown import (
    ARITHMETIC,
    BELOW_PEAK,
    CLOCK,
    DISPATCH,
    DISTURBANCE,
    ELEMENT_WISE,
    MEMORY,
    PARTS,
    THREADS,
    ZERO_MAC,
    Peaks,
    Subject,
    best_seen,
    breakdown,
)
from sdk.explain.gap import Gap, explain, sparsity_verdict
from sdk.explain.theory import OperatorCost
from sdk.report.conditions import accounted_text

CONV, ADD, TRANSPOSE = "CONV_2D", "ADD", "TRANSPOSE"
GROUPS = {CONV: "convolution 1x1", ADD: "element-wise", TRANSPOSE: "shuffle and data movement"}
NAMES = {CONV: "Fully Connected (NC, F32) GEMM", ADD: "Add (ND)", TRANSPOSE: "Transpose (ND, X32) Transpose"}


@dataclass(frozen=True)
class Run:
    median: float
    threads: int = 1
    clock_hz: float | None = None


def cost(
    index: int,
    kind: str,
    macs: int = 0,
    effective: int | None = None,
    size: int = 1000,
    group: str | None = None,
) -> OperatorCost:
    effective = macs if effective is None else effective
    return OperatorCost(
        index, kind, f"t{index}", group or GROUPS[kind], (1, 8, 8, 8), "float32", macs, effective, 0, size
    )


def profile(kernels, outside=10e-6, method="runtime", plain=None) -> Profile:
    """``plain``: what an inference takes without the profiler; by default as much as with it."""
    whole = sum(seconds for _, seconds in kernels) + outside
    return Profile(
        model="net",
        tflite_sha256="0" * 64,
        method=method,
        kernels=tuple(KernelTime(name, i, True, s, s) for i, (name, s) in enumerate(kernels)),
        inferences=10,
        outside_seconds=outside,
        profiled_seconds=whole,
        unprofiled_seconds=whole if plain is None else plain,
        call_seconds=0.0,
        resolution_seconds=1e-6,
        threads=1,
        cpus=(0,),
        runtime="ai-edge-litert",
        runtime_version="2.3.0",
        machine="aarch64",
        emulated=False,
    )


# At 1 GFLOP/s: 4 M MACs are 8 ms, 1 M are 2 ms.
BIG = Subject("big", [cost(0, CONV, 4_000_000)], profile([(NAMES[CONV], 10e-3)]), Run(10.01e-3))
SMALL = Subject(
    "small",
    [cost(0, CONV, 1_000_000), cost(1, TRANSPOSE), cost(2, ADD)],
    profile([(NAMES[CONV], 4e-3), (NAMES[TRANSPOSE], 1e-3), (NAMES[ADD], 0.5e-3)], outside=0.1e-3),
    Run(6e-3),
)
PEAKS = Peaks(1e9, "a test")


def test_the_parts_of_a_model_add_up_to_its_median():
    for subject in (BIG, SMALL):
        parts = breakdown(subject, PEAKS)
        assert tuple(parts) == PARTS
        assert sum(parts.values()) == pytest.approx(subject.measurement.median)


def test_each_part_holds_what_its_name_says():
    parts = breakdown(SMALL, PEAKS)
    assert parts[ARITHMETIC] == pytest.approx(2e-3)
    assert parts[BELOW_PEAK] == pytest.approx(2e-3)
    assert parts[ZERO_MAC] == pytest.approx(1e-3)
    assert parts[ELEMENT_WISE] == pytest.approx(0.5e-3)
    assert parts[DISPATCH] == pytest.approx(0.1e-3)
    assert parts[DISTURBANCE] == pytest.approx(0.4e-3)
    assert parts[MEMORY] == parts[CLOCK] == 0.0


def test_the_profilers_own_work_is_no_dispatch() -> None:
    # The kernels take 5.5 ms, and an inference without the profiler 5.52 ms: of the profile's 0.1 ms outside, 0.08 ms
    # are its own.
    fast = replace(SMALL, profile=replace(SMALL.profile, unprofiled_seconds=5.52e-3))
    assert breakdown(fast, PEAKS)[DISPATCH] == pytest.approx(0.02e-3)
    assert sum(breakdown(fast, PEAKS).values()) == pytest.approx(6e-3)


def test_a_profile_that_was_disturbed_is_no_overlap_of_kernels_but_operators_alone_may_add_up_to_more() -> (
    None
):
    slow = replace(SMALL.profile, unprofiled_seconds=5e-3)  # kernels: 5.5 ms
    busy = replace(SMALL, measurement=Run(5e-3), profile=slow)
    assert breakdown(busy, PEAKS)[DISPATCH] == 0.0
    assert breakdown(busy, PEAKS)[DISTURBANCE] == pytest.approx(-0.5e-3)
    alone = replace(busy, profile=replace(busy.profile, method="isolated", outside_seconds=-0.5e-3))
    assert breakdown(alone, PEAKS)[DISPATCH] == pytest.approx(-0.5e-3)
    assert breakdown(alone, PEAKS)[DISTURBANCE] == pytest.approx(0.0)


def test_memory_and_clock_take_from_what_was_below_peak():
    slow_memory = replace(PEAKS, memory_bytes_per_second=1e6, clock_hz=2e9)  # 1000 bytes take 1 ms
    memory = replace(SMALL, costs=[cost(0, CONV, 1_000_000, size=3000), *SMALL.costs[1:]])
    assert breakdown(memory, slow_memory)[MEMORY] == pytest.approx(1e-3)
    slowed = replace(SMALL, measurement=Run(6e-3, clock_hz=1.6e9))
    parts = breakdown(slowed, slow_memory)
    assert parts[CLOCK] == pytest.approx(0.5e-3)
    assert sum(parts.values()) == pytest.approx(6e-3)


def test_the_parts_of_a_gap_add_up_to_it_and_promise_plus_gap_is_the_measurement():
    (gap,) = explain(BIG, SMALL, PEAKS)
    assert gap.theoretical_speedup == 4.0
    assert gap.measured_speedup == pytest.approx(10.01 / 6)
    assert gap.share_realised == pytest.approx(10.01 / 24)
    assert gap.promised_seconds + sum(p.seconds for p in gap.parts) == pytest.approx(gap.measured_seconds)
    parts = {p.name: p.seconds for p in gap.parts}
    assert parts[ARITHMETIC] == pytest.approx(0.0)
    assert parts[BELOW_PEAK] == pytest.approx(2e-3 - 0.5e-3)


def test_what_more_arithmetic_than_promised_means_depends_on_who_did_less():
    multiplied = explain(BIG, PRUNED, PEAKS)[0].causes[0]
    assert multiplied.startswith(ARITHMETIC)
    assert "its zeros were multiplied all the same" in multiplied
    skipped = profile([("Fully Connected (NCHW, F32) SPMM", 2.6e-3)])
    thin = Subject("thin", [cost(0, CONV, 4_000_000, 1_000_000)], skipped, Run(2.6e-3))
    (after_pruned,) = explain(thin, SMALL, PEAKS)
    assert any("the baseline's kernels skipped zeros" in cause for cause in after_pruned.causes)
    eight_bits = replace(BIG, costs=[replace(BIG.costs[0], dtype="int8")])
    (after_int8,) = explain(eight_bits, SMALL, replace(PEAKS, int8_per_second=4e9))
    assert any("the baseline computes in int8" in cause for cause in after_int8.causes)


def test_what_was_disturbed_by_more_than_5_percent_is_said_not_to_add_up():
    (gap,) = explain(BIG, SMALL, PEAKS)  # the candidate's median is 0.4 ms above its operators and dispatch
    assert gap.accounted == pytest.approx(5.6 / 6)
    assert gap.baseline_accounted == pytest.approx(1.0)
    assert not gap.adds_up
    assert "disturbed by more than 5 %" in accounted_text(gap)
    assert "small took 93 % of its median while its operators were timed" in accounted_text(gap)
    assert "93 % of its median, in the baseline to 100 %" in accounted_text(gap)
    (quiet,) = explain(BIG, replace(SMALL, measurement=Run(5.7e-3)), PEAKS)
    assert quiet.adds_up
    assert "disturbed" not in accounted_text(quiet)
    (busy,) = explain(replace(BIG, measurement=Run(11e-3)), replace(SMALL, measurement=Run(5.7e-3)), PEAKS)
    assert not busy.adds_up


def test_a_profile_that_ran_slower_than_the_plain_inferences_in_turn_with_it_is_recognised_and_said():
    slowed = profile([(NAMES[CONV], 5e-3), (NAMES[TRANSPOSE], 1e-3), (NAMES[ADD], 0.5e-3)], plain=5e-3)
    (gap,) = explain(BIG, replace(SMALL, profile=slowed, measurement=Run(5.1e-3)), PEAKS)
    assert gap.accounted == pytest.approx(6.5 / 5.1)
    (doubt,) = gap.doubts
    assert "the operators of small took 130 % of an inference without the profiler" in doubt
    assert doubt in accounted_text(gap)
    # What profiling adds to less than 5 % is not worth a word, and nothing is scaled to hide it.
    slightly = replace(slowed, unprofiled_seconds=6.4e-3)
    (small,) = explain(BIG, replace(SMALL, profile=slightly, measurement=Run(6.4e-3)), PEAKS)
    assert small.adds_up
    assert small.doubts == ()
    assert small.accounted == pytest.approx(6.5 / 6.4)


def test_a_model_that_was_slower_when_it_was_profiled_than_when_it_was_measured_is_said_to_be():
    (gap,) = explain(BIG, replace(SMALL, measurement=Run(4.5e-3)), PEAKS)
    assert gap.accounted == pytest.approx(5.6 / 4.5)
    assert gap.doubts == (
        "small took 124 % of its median while its operators were timed: something else ran, or the clock moved",
    )


def test_operators_timed_alone_are_reconciled_with_the_whole_that_was_timed_between_them():
    times = [(NAMES[CONV], 4e-3), (NAMES[TRANSPOSE], 0.1e-3), (NAMES[ADD], 0.05e-3)]
    alone = profile(times, outside=1.8e-3, method="isolated")
    whole = profile([(NAMES[CONV], 10e-3)], method="isolated")
    (gap,) = explain(replace(BIG, profile=whole), replace(SMALL, profile=alone), PEAKS)
    assert {p.name: p.candidate_seconds for p in gap.parts}[DISPATCH] == pytest.approx(1.8e-3)
    assert gap.accounted == pytest.approx(5.95 / 6)
    assert any(c.startswith(DISPATCH) and "they push them out" in c for c in gap.causes)


def test_compute_below_peak_names_the_group_that_lost_most_not_the_one_that_takes_longest():
    depthwise = "DEPTHWISE_CONV_2D"
    baseline = Subject(
        "big",
        [cost(0, CONV, 4_000_000), cost(1, depthwise, 40_000, group="depthwise")],
        profile([(NAMES[CONV], 8e-3), ("Convolution (NHWC, F32) DWConv", 0.1e-3)]),
        Run(8.1e-3),
    )
    candidate = Subject(
        "small",
        [cost(0, CONV, 1_000_000), cost(1, depthwise, 10_000, group="depthwise")],
        profile([(NAMES[CONV], 2.1e-3), ("Convolution (NHWC, F32) DWConv", 1e-3)]),
        Run(3.1e-3),
    )
    (gap,) = explain(baseline, candidate, PEAKS)
    assert gap.causes[0].startswith(BELOW_PEAK)
    assert "most is lost in depthwise, at 0.02 (baseline: 0.8)" in gap.causes[0]


def test_on_two_threads_a_cause_names_times_of_two_threads():
    big = replace(BIG, parallel=[Run(5.005e-3, threads=2)])
    (_, two) = explain(big, replace(SMALL, parallel=[Run(3e-3, threads=2)]), PEAKS)
    (moved,) = [cause for cause in two.causes if cause.startswith(ZERO_MAC)]
    assert moved.startswith(f"{ZERO_MAC}, 500 µs")
    assert "TRANSPOSE 500 µs" in moved


def test_fully_connected_layers_share_one_memory_whatever_the_threads():
    layer = cost(0, "FULLY_CONNECTED", 1_000_000, group="fully connected")
    name = "Fully Connected (NC, F32) GEMM"
    candidate = Subject("fc", [layer], profile([(name, 4e-3)]), Run(4e-3), [Run(3.9e-3, threads=2)])
    (_, two) = explain(replace(BIG, parallel=[Run(5.005e-3, threads=2)]), candidate, PEAKS)
    (shared,) = [cause for cause in two.causes if cause.startswith(THREADS)]
    assert "one memory" in shared


def test_the_largest_causes_come_first_and_say_what_to_try():
    (gap,) = explain(BIG, SMALL, PEAKS)
    assert len(gap.causes) == 3
    assert gap.causes[0].startswith(f"{BELOW_PEAK}, 1.5 ms (25 % of its time)")
    assert gap.causes[1].startswith(f"{ZERO_MAC}, 1 ms")
    assert "TRANSPOSE 1 ms" in gap.causes[1]
    assert "folded" in gap.causes[1]
    assert gap.causes[2].startswith(ELEMENT_WISE)


def test_on_more_threads_what_does_not_scale_is_a_part_of_its_own():
    big = replace(BIG, parallel=[Run(5.005e-3, threads=2)])
    small = replace(SMALL, parallel=[Run(4e-3, threads=2), Run(3.9e-3, threads=4)])
    alone, two = explain(big, small, PEAKS)
    assert (alone.threads, two.threads) == (1, 2)
    assert two.promised_seconds + sum(p.seconds for p in two.parts) == pytest.approx(4e-3)
    assert {p.name: p.seconds for p in two.parts}[THREADS] == pytest.approx(1e-3)
    assert any(cause.startswith(THREADS) for cause in two.causes)


def test_without_peaks_the_best_rate_seen_stands_in():
    peaks = best_seen([BIG, SMALL])
    assert peaks.flop_per_second == pytest.approx(8e6 / 10e-3)
    assert all(breakdown(subject, peaks)[BELOW_PEAK] >= 0 for subject in (BIG, SMALL))
    tiny = replace(SMALL, profile=profile([(NAMES[CONV], 1e-6), (NAMES[TRANSPOSE], 0), (NAMES[ADD], 0)]))
    with pytest.raises(DataError, match="calibrate"):
        best_seen([tiny])


PRUNED = Subject("pruned", [cost(0, CONV, 4_000_000, 1_000_000)], BIG.profile, Run(9.9e-3))


def test_zeros_that_were_multiplied_make_a_model_smaller_not_faster():
    assert sparsity_verdict(BIG) == ""
    assert sparsity_verdict(PRUNED).startswith("smaller, not faster: 75 %")
    isolated = replace(PRUNED, profile=replace(PRUNED.profile, method="isolated"))
    assert "cannot be seen" in sparsity_verdict(isolated)


def test_sparse_kernels_are_seen_and_two_versions_of_one_network_promise_what_their_zeros_do():
    sparse = replace(
        PRUNED, profile=profile([("Convolution (NCHW, F32) SPMM", 4e-3)]), measurement=Run(4.1e-3)
    )
    assert sparsity_verdict(sparse).startswith("pruning took effect: 1 of 1")
    (gap,) = explain(BIG, sparse, PEAKS)
    assert (gap.work, gap.theoretical_speedup) == ("effective MACs", 4.0)
    assert gap.promised_seconds + sum(p.seconds for p in gap.parts) == pytest.approx(gap.measured_seconds)


def test_a_gap_survives_json_and_a_broken_one_is_named():
    (gap,) = explain(BIG, SMALL, PEAKS)
    record = json.loads(json.dumps(gap.to_json()))
    assert Gap.from_json(record) == gap
    assert gap.doubts
    before = {name: value for name, value in record.items() if name != "doubts"}
    assert Gap.from_json({**before, "schema": "armlet.gap/1"}) == replace(gap, doubts=())
    for change in ({"parts": [{"name": "luck"}]}, {"threads": 0}, {"causes": ["\x1b[2J"]}, {"extra": 1}):
        with pytest.raises(DataError, match=next(iter(change)) if "extra" not in change else "unknown"):
            Gap.from_json({**record, **change})


def test_models_without_work_and_profiles_of_two_kinds_are_refused():
    with pytest.raises(DataError, match="promises nothing"):
        explain(BIG, replace(SMALL, costs=[cost(1, ADD)]), PEAKS)
    with pytest.raises(DataError, match="cannot be compared"):
        explain(BIG, replace(SMALL, profile=replace(SMALL.profile, method="isolated")), PEAKS)


def test_every_kernel_goes_to_the_operator_it_runs():
    costs = [cost(0, TRANSPOSE), cost(1, CONV, 10), cost(2, ADD), cost(3, CONV, 10)]
    fused_and_split = profile(
        [
            (NAMES[CONV], 1e-3),
            (NAMES[ADD], 2e-3),
            ("Clamp (NC)", 3e-3),
            ("Convolution (NHWC, F32) IGEMM", 4e-3),
        ]
    )
    times = attribute(costs, fused_and_split)
    assert [time.seconds for time in times] == pytest.approx([0.0, 1e-3, 5e-3, 4e-3])
    assert times[0].kernels == ()  # fused away
    assert times[2].kernels == ("Add (ND)", "Clamp (NC)")  # its activation stands alone
    assert sum(time.seconds for time in times) == pytest.approx(fused_and_split.kernel_seconds)


def test_a_kernel_that_no_delegate_takes_may_run_after_the_operators_that_follow_it():
    # XNNPACK takes all but the softmax, so that runs last, and its time is not the last convolution's.
    costs = [cost(0, CONV, 100), cost(1, "SOFTMAX", group="other"), cost(2, CONV, 100), cost(3, ADD)]
    ran = profile([(NAMES[CONV], 1e-3), (NAMES[CONV], 2e-3), (NAMES[ADD], 3e-3), ("SOFTMAX", 4e-3)])
    last = replace(ran.kernels[3], delegated=False)
    times = attribute(costs, replace(ran, kernels=(*ran.kernels[:3], last)))
    assert [time.seconds for time in times] == [1e-3, 4e-3, 2e-3, 3e-3]
    # Two of a kind stay in their order, and what has no operator of its kind goes to the one before it.
    again = replace(last, node=4, seconds=5e-3)
    twice = (*ran.kernels[:3], last, again, replace(last, node=5, name="CUSTOM"))
    both = attribute([*costs, cost(4, "SOFTMAX", group="other")], replace(ran, kernels=twice))
    assert [time.seconds for time in both] == pytest.approx([1e-3, 4e-3, 2e-3, 3e-3, 5e-3 + 4e-3])
    assert sum(time.seconds for time in both) == pytest.approx(sum(kernel.seconds for kernel in twice))


def test_kernels_of_an_isolated_profile_go_by_their_number():
    costs = [cost(0, TRANSPOSE), cost(1, CONV, 10)]
    kernels = (KernelTime(CONV, 1, True, 2e-3, 2e-3),)
    times = attribute(costs, replace(profile([], method="isolated"), kernels=kernels))
    assert [time.seconds for time in times] == [0.0, 2e-3]
