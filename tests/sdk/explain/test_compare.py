"""Measured against theoretical: the ratios, their uncertainty, and the record that keeps them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from device_agent.record.intervals import Turn
from device_agent.record.measurement import Measurement
from sdk.errors import DataError
from sdk.explain.compare import Comparison, Contender, Timed, Work, compare, smallest_told
from sdk.explain.theory import Totals


@dataclass(frozen=True)
class Macs:
    macs: int
    effective_macs: int


def in_turns(samples: int, loadings: int = 10) -> tuple[Turn, ...]:
    """One turn in each loading; () where there are too few samples."""
    return tuple(Turn(i, 0, float(i), samples // loadings) for i in range(loadings) if samples >= loadings)


def measurement(samples: Any, **changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "model": "m",
        "tflite_sha256": "0" * 64,
        "package_sha256": None,
        "samples_seconds": tuple(samples),
        "warmup_seconds": (),
        "init_seconds": 0.1,
        "first_seconds": 0.1,
        "decode_seconds": 0.0,
        "decode_kernel": "none",
        "threads": 1,
        "cpus": (0,),
        "runtime": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "delegate": "xnnpack",
        "numpy_version": "2.1.0",
        "python_version": "3.11.2",
        "machine": "aarch64",
        "emulated": False,
        "started_unix_seconds": 0.0,
        "turns": in_turns(len(samples)),
    }
    return Measurement(**{**fields, **changes})


def runs(median_seconds: float, spread: float = 0.01, count: int = 400, seed: int = 0) -> np.ndarray:
    return median_seconds * (1 + spread * np.random.default_rng(seed).standard_normal(count))


def shufflenets() -> tuple[Contender, Contender]:
    """Four times the work for 2.6 times the latency, as the authors of ShuffleNet found it."""
    return (
        Contender("2x", Macs(560_000_000, 560_000_000), measurement(runs(0.104, seed=1))),
        Contender("1x", Macs(140_000_000, 70_000_000), measurement(runs(0.040, seed=2))),
    )


def test_the_papers_sentence_comes_out_4x_in_theory_and_2_6x_measured():
    baseline, candidate = shufflenets()
    [result] = compare(baseline, [candidate])
    assert (result.baseline, result.candidate) == ("2x", "1x")
    assert result.theoretical_speedup == 4.0
    assert result.measured_speedup == pytest.approx(2.6, rel=0.01)
    assert result.share_realised == pytest.approx(0.65, rel=0.01)
    assert result.warnings == ()


def test_zeros_count_in_the_effective_ratio_only():
    [result] = compare(*_listed(shufflenets()))
    assert result.effective_speedup == 8.0
    assert result.effective_share_realised == pytest.approx(2.6 / 8, rel=0.01)


def _listed(pair: tuple[Contender, Contender]) -> tuple[Contender, list[Contender]]:
    return pair[0], [pair[1]]


def test_the_medians_are_those_of_the_measurements():
    baseline, candidate = shufflenets()
    [result] = compare(baseline, [candidate])
    assert result.baseline_median_seconds == baseline.measurement.median
    assert result.candidate_median_seconds == candidate.measurement.median
    assert result.measured_speedup == baseline.measurement.median / candidate.measurement.median


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    baseline, candidate = (
        dataclasses.replace(c, measurement=dataclasses.replace(c.measurement, turns=()))
        for c in shufflenets()
    )
    first, again, other = (compare(baseline, [candidate], seed=seed)[0] for seed in (0, 0, 7))
    assert first == again
    assert first.measured_low != other.measured_low
    assert first.measured_low == pytest.approx(other.measured_low, rel=0.005)


def test_the_interval_holds_the_ratio_and_shrinks_with_samples_and_confidence():
    def width(count: int, confidence: float) -> float:
        baseline = Contender("a", Macs(1, 1), measurement(runs(0.1, 0.05, count, 1)))
        candidate = Contender("b", Macs(1, 1), measurement(runs(0.1, 0.05, count, 2)))
        [result] = compare(baseline, [candidate], confidence=confidence)
        assert result.measured_low < result.measured_speedup < result.measured_high
        return result.measured_high - result.measured_low

    assert width(1600, 0.95) < 0.75 * width(200, 0.95)
    assert width(400, 0.5) < width(400, 0.95)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for trial in range(60):
        baseline = Contender("a", Macs(2, 2), measurement(runs(0.2, 0.1, 200, 2 * trial)))
        candidate = Contender("b", Macs(1, 1), measurement(runs(0.1, 0.1, 200, 2 * trial + 1)))
        [result] = compare(baseline, [candidate], resamples=200, seed=trial)
        hits += result.measured_low <= 2.0 <= result.measured_high
    assert hits >= 51  # 95 % of 60 is 57; fewer than 51 has a probability below 0.5 %


def test_two_runs_of_the_same_thing_are_not_conclusive_and_a_real_difference_is():
    same = [Contender(n, Macs(1, 1), measurement(runs(0.1, 0.05, 300, s))) for n, s in (("a", 1), ("b", 2))]
    assert not compare(same[0], [same[1]])[0].is_conclusive
    assert compare(*_listed(shufflenets()))[0].is_conclusive


def test_a_difference_below_what_the_baseline_differs_from_itself_cannot_be_told():
    baseline, candidate = shufflenets()
    faster = measurement(runs(0.1, 0.001, 400, 1), started_unix_seconds=5.0)
    slower = measurement(runs(0.101, 0.001, 400, 2), started_unix_seconds=5.0)
    pair = Contender("a", Macs(1, 1), slower), [Contender("b", Macs(1, 1), faster)]
    assert compare(*pair)[0].is_conclusive
    assert not compare(*pair, smallest_told=0.02)[0].is_conclusive
    assert compare(baseline, [candidate], smallest_told=0.02)[0].is_conclusive


def test_a_self_test_tells_by_how_much_equal_things_may_differ():
    first, again = (measurement(runs(0.1, 0.01, 400, seed)) for seed in (1, 2))
    assert 0.0 < smallest_told(first, again) < 0.01
    # What slowed both in the same loading tells nothing of a difference, where they were measured together.
    steps = np.repeat(np.random.default_rng(0).uniform(1.0, 1.5, 10), 40)
    apart = [
        measurement(m.samples_seconds * steps, started_unix_seconds=n) for n, m in enumerate((first, again))
    ]
    together = [dataclasses.replace(m, started_unix_seconds=0.0) for m in apart]
    assert smallest_told(*together) < 0.01
    assert smallest_told(*apart) > 0.1
    again_as_one = dataclasses.replace(again, turns=())
    assert smallest_told(first, again_as_one) > 0.05


@pytest.mark.parametrize(
    ("seconds", "limit", "slower"),
    [(0.1, 0.05, False), (0.103, 0.05, False), (0.11, 0.05, True), (0.11, 0.2, False), (0.05, 0.05, False)],
)
def test_slower_by_a_fraction_takes_the_uncertainty_into_account(seconds: float, limit: float, slower: bool):
    old = Contender("old", Macs(1, 1), measurement(runs(0.1, 0.01, 400, 1)))
    new = Contender("new", Macs(1, 1), measurement(runs(seconds, 0.01, 400, 2)))
    [result] = compare(old, [new])
    assert result.is_slower_by(limit) is slower


def test_a_noisy_run_is_not_called_slower_when_it_may_not_be():
    old = Contender("old", Macs(1, 1), measurement(runs(0.1, 0.01, 20, 1)))
    new = Contender("new", Macs(1, 1), measurement(runs(0.109, 0.5, 20, 2).clip(0.01)))
    [result] = compare(old, [new])
    assert not result.is_slower_by(0.05)


def test_every_candidate_is_compared_in_order():
    baseline, candidate = shufflenets()
    others = [dataclasses.replace(candidate, name=name) for name in "abc"]
    assert [result.candidate for result in compare(baseline, others)] == ["a", "b", "c"]
    assert compare(baseline, []) == ()


def test_a_model_without_macs_has_no_theoretical_speedup():
    baseline, candidate = shufflenets()
    [result] = compare(baseline, [dataclasses.replace(candidate, theory=Macs(0, 0))])
    assert result.theoretical_speedup is None
    assert result.share_realised is None
    assert Comparison.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"threads": 4}, "threads 1 and 4"),
        ({"machine": "x86_64"}, "machine aarch64 and x86_64"),
        ({"runtime_version": "2.1.6"}, "runtime version 2.3.0 and 2.1.6"),
        ({"emulated": True}, "emulated False and True"),
    ],
)
def test_runs_under_different_conditions_are_compared_with_a_warning(change: dict[str, Any], text: str):
    baseline, candidate = shufflenets()
    changed = dataclasses.replace(candidate.measurement, **change)  # type: ignore[type-var]
    [result] = compare(baseline, [dataclasses.replace(candidate, measurement=changed)])
    assert any(text in warning for warning in result.warnings)


def test_what_is_wrong_with_a_measurement_is_said_of_the_comparison_too():
    baseline, candidate = shufflenets()
    throttled = measurement(runs(0.04), throttled=True, throttle_reasons=("under-voltage",))
    [result] = compare(baseline, [dataclasses.replace(candidate, measurement=throttled)])
    assert result.warnings == ("1x: throttled: under-voltage",)


@pytest.mark.parametrize("samples", [(), (0.0, 0.1), (-1.0,)])
def test_a_measurement_without_times_is_refused_by_name(samples: tuple[float, ...]):
    baseline, candidate = shufflenets()
    broken = dataclasses.replace(candidate, measurement=measurement(samples))
    with pytest.raises(DataError, match="measurement of 1x cannot be compared"):
        compare(baseline, [broken])


def test_totals_and_measurements_are_what_comparing_asks_for():
    work: Work = Totals(1, 0, 10, 5, 0, 0, ())
    timed: Timed = measurement([0.1, 0.1])
    [result] = compare(Contender("a", work, timed), [Contender("b", work, timed)])
    assert (result.theoretical_speedup, result.measured_speedup) == (1.0, 1.0)


def test_a_comparison_of_the_schema_before_is_still_read():
    old = {k: v for k, v in record().items() if k != "smallest_told"}
    read = Comparison.from_json({**old, "schema": "armlet.comparison/1"})
    assert read == Comparison.from_json(record())


# --- JSON ---------------------------------------------------------------------------------------------------------


def record() -> dict[str, Any]:
    [result] = compare(*_listed(shufflenets()))
    return json.loads(json.dumps(result.to_json()))


def test_a_comparison_survives_json_exactly():
    [result] = compare(*_listed(shufflenets()))
    assert Comparison.from_json(record()) == result
    assert record()["share_realised"] == result.share_realised


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"schema": "armlet.comparison/9"}, "schema"),
        ({"baseline": 3}, "baseline"),
        ({"baseline": "a\x1b[31m"}, "printable"),
        ({"threads": 0}, "threads"),
        ({"threads": True}, "threads"),
        ({"baseline_macs": -1}, "baseline_macs"),
        ({"baseline_macs": 1.5}, "baseline_macs"),
        ({"candidate_median_seconds": 0}, "candidate_median_seconds"),
        ({"measured_low": float("nan")}, "measured_low"),
        ({"measured_high": float("inf")}, "measured_high"),
        ({"measured_high": 10**400}, "measured_high"),
        ({"confidence": 1}, "confidence"),
        ({"warnings": "none"}, "warnings"),
        ({"warnings": [1]}, "warnings"),
        ({"colour": "red"}, "unknown fields"),
        ({"measured_speedup": 4.0}, "does not follow"),
    ],
)
def test_a_broken_record_is_refused_with_the_field_that_is_wrong(change: dict[str, Any], text: str):
    with pytest.raises(DataError, match=text):
        Comparison.from_json({**record(), **change})


def test_a_record_that_lacks_a_field_or_is_no_object_is_refused():
    broken = record()
    del broken["candidate"]
    with pytest.raises(DataError, match="lacks a field; expected candidate"):
        Comparison.from_json(broken)
    for value in (None, [], "text", 3):
        with pytest.raises(DataError, match="not an object"):
            Comparison.from_json(value)
