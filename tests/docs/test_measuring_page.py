"""docs/measuring.md says what the code does: its numbers are the constants, its parts the parts."""

from __future__ import annotations

import re
from pathlib import Path

from device_agent.measuring import bench, loadings
from device_agent.measuring.profiler import ProfilePlan
from device_agent.record import intervals
from device_agent.record import measurement as measure
from device_agent.record.profile import SPARSE_KERNEL
from device_agent.run import conditions
from sdk.api.boards.counting import BATCH_BYTES
from sdk.api.measuring.runs import MAX_RUN_BYTES
from sdk.cli import build_parser
from sdk.commands.runs import EXIT_OF_ANSWER
from sdk.explain import breakdown, causes
from sdk.explain.gap import ADDS_UP, PRUNED_SHARE
from sdk.explain.speed import calibration
from sdk.report.page import template as page
from sdk.report.page.run import HEADS

PAGE = re.sub(r"\s+", " ", (Path(__file__).parents[2] / "docs" / "measuring.md").read_text())


def says(sentence: str) -> None:
    assert sentence in PAGE, sentence


def test_it_states_how_samples_are_taken() -> None:
    plan = loadings.BenchPlan()
    says(f"loaded {loadings.LEAST_LOADINGS} to {loadings.MOST_LOADINGS} times")
    says(f"last two windows of {bench.STABLE_WINDOW} inferences")
    says(f"differ by less than {bench.STABLE_CHANGE:.0%}".replace("%", " %"))
    says(f"at least {bench.LEAST_WARMUP_SECONDS:g} s or {bench.LEAST_WARMUP_INFERENCES} inferences")
    says(f"at least {loadings.LEAST_ROUNDS} rounds")
    says(f"at least {loadings.LEAST_TURNS} turns")
    says(f"time for fewer than {bench.FEW_IN_A_TURN}")
    says(f"ends at {plan.min_samples:,} samples or {plan.max_seconds:g} s per model")
    assert (loadings.START_SHARE, loadings.WARMUP_SHARE) == (0.5, 0.25)  # "half" and "a quarter" of the time


def test_it_states_how_sure_a_number_is() -> None:
    says(f"{100 * intervals.ASSUMED_BETWEEN_LOADINGS:g} % between loadings, which is assumed")
    for answer, status in EXIT_OF_ANSWER.items():
        says(f"| {answer} | {status} |")


def test_it_states_which_cores_and_how_many_threads() -> None:
    says(f"is within {100 * conditions.ONE_KIND:g} % of the highest")
    threads = build_parser().parse_args(["bench"]).threads
    says(f"The default is `{','.join(map(str, threads))}`")
    says(f"at most {measure.MAX_MOMENTS} moments")


def test_it_states_when_a_run_is_not_trusted() -> None:
    says(f"| the clock fell | by more than {100 * measure.CLOCK_FALL:g} %")
    says(f"more often than once in {measure.SAMPLES_A_PREEMPTION} samples")
    says(f"p90 more than {100 * measure.NOISY_P90_OVER_MEDIAN:g} % above the median")
    says(f"fewer than {measure.FEW_SAMPLES} samples")


def test_it_has_a_formula_for_every_part_of_the_gap() -> None:
    for part in breakdown.PARTS:
        says(f"| {part} |")
    says(f"three largest parts above {100 * causes.LEAST_SHARE_FOR_A_CAUSE:g} %")
    says(f"When {100 * PRUNED_SHARE:g} % of the MACs or more are by zero")
    says(f"(`{SPARSE_KERNEL}`)")
    says(f"off by more than {100 * ADDS_UP:g} %")
    plan = ProfilePlan()
    says(f"at most {plan.max_inferences} or {plan.max_seconds:g} s")


def test_it_states_what_a_calibration_is_made_of() -> None:
    assert len(calibration.CONVOLUTIONS) == 7
    macs = [
        size * size * channels * channels * kernel**2 for size, channels, kernel in calibration.CONVOLUTIONS
    ]
    says(f"seven convolutions ({min(macs) / 1e6:.0f} to {max(macs) / 1e6:.0f} M MACs)")
    says(f"two tensors of {calibration.ADDED_ELEMENTS * 4 >> 20} MB")


def test_it_states_the_sizes_of_batches_and_suites() -> None:
    says(f"in batches of {BATCH_BYTES >> 20} MB")
    says(f"a run of more than {MAX_RUN_BYTES >> 20} MB")


#: Heads of columns that hold names, not numbers.
NAMES = {"model", "part", "against", "decoder"}


def test_every_column_of_the_html_page_is_explained() -> None:
    tables = " ".join(re.findall(r"table\(\[(.*?)\]", page.TEMPLATE, re.DOTALL))
    heads = set(re.findall(r'"([^"]+)"', tables)) | set(HEADS[4:])
    assert {"threads", "median", "ratio", "roofline"} <= heads
    for head in sorted(heads - NAMES):
        assert head in PAGE, head
