"""Intervals hold on made-up traces whose truth is known: noise with memory, steps, spikes, drift."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.record import intervals
from device_agent.record.intervals import (
    Turn,
    difference_interval,
    levels,
    mean_interval,
    paired_interval,
    speedup_interval,
    spread,
    t_quantile,
    typical,
    typical_interval,
)

TRIALS = 300
ROUNDS, SAMPLES = 5, 8
#: What a run of default length has on a fast board, and on a slow one.
LOADINGS = [20, 5]


def turns_of(loadings: int, rounds: int = ROUNDS, samples: int = SAMPLES) -> tuple[Turn, ...]:
    return tuple(Turn(i, r, float(i), samples) for i in range(loadings) for r in range(rounds))


def with_memory(rng: np.random.Generator, count: int, share: float = 0.9) -> np.ndarray:
    """Noise in which each sample keeps a share of the one before it, standard deviation 1."""
    noise = rng.standard_normal(count).tolist()
    rest = float(np.sqrt(1 - share**2))
    for i in range(1, count):
        noise[i] = share * noise[i - 1] + rest * noise[i]
    return np.array(noise)


class Traces:
    """What changes a pair of models that take turns, as logarithms; (loadings, rounds, samples) each."""

    def __init__(self, seed: int, loadings: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = (loadings, ROUNDS, SAMPLES)

    def quiet(self) -> np.ndarray:
        return 0.003 * self.rng.standard_normal(self.shape)

    def of_loadings(self, size: float = 0.01) -> np.ndarray:
        """Where weights, threads and pages came to lie."""
        return size * self.rng.standard_normal((self.shape[0], 1, 1))

    def of_turns(self, size: float = 0.01) -> np.ndarray:
        return size * self.rng.standard_normal((*self.shape[:2], 1))

    def two_places(self) -> np.ndarray:
        """A loading in three comes to lie badly, and stays so."""
        return 0.03 * (self.rng.random((self.shape[0], 1, 1)) < 1 / 3)

    def spikes(self) -> np.ndarray:
        return (self.rng.random(self.shape) < 0.1) * self.rng.exponential(1.0, self.shape)

    def memory(self) -> np.ndarray:
        return 0.01 * with_memory(self.rng, int(np.prod(self.shape))).reshape(self.shape)

    def drift(self) -> np.ndarray:
        """The board grows warm: 20 % slower from beginning to end, for both models."""
        return np.linspace(0.0, 0.2, int(np.prod(self.shape))).reshape(self.shape)


#: Name -> what both models share, and what each has of its own.
KINDS = {
    "steps between loadings": (lambda t: 0.0, lambda t: t.quiet() + t.of_loadings()),
    "steps between turns": (lambda t: 0.0, lambda t: t.quiet() + t.of_turns()),
    "both": (lambda t: 0.0, lambda t: t.quiet() + t.of_loadings() + t.of_turns()),
    "two places": (lambda t: 0.0, lambda t: t.quiet() + t.two_places()),
    "noise with memory": (lambda t: 0.0, lambda t: t.memory() + t.of_loadings(0.005)),
    "spikes": (lambda t: 0.0, lambda t: t.quiet() + t.of_loadings() + t.spikes()),
    "drift": (lambda t: t.drift(), lambda t: t.quiet() + t.of_loadings()),
}


def pair(kind: str, seed: int, loadings: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of two models that are equally fast, (samples,) each."""
    traces = Traces(seed, loadings)
    shared, own = KINDS[kind]
    common = shared(traces)
    first, second = (1e-3 * np.exp(common + own(traces)).ravel() for _ in range(2))
    return first, second


@pytest.mark.parametrize("loadings", LOADINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_of_two_equal_models_the_interval_holds_1_as_often_as_it_says(kind, loadings):
    turns = turns_of(loadings)
    held = 0
    for seed in range(TRIALS):
        first, second = pair(kind, seed, loadings)
        found = speedup_interval((first, turns), (second, turns), together=True)
        held += found.low <= 1.0 <= found.high
    assert held >= 0.92 * TRIALS


@pytest.mark.parametrize("kind", KINDS)
def test_a_slowdown_of_5_percent_is_told(kind):
    turns = turns_of(LOADINGS[0])
    told = 0
    for seed in range(TRIALS):
        first, second = pair(kind, seed, LOADINGS[0])
        found = speedup_interval((first, turns), (1.05 * second, turns), together=True)
        told += found.high < 1.0
    assert told >= 0.9 * TRIALS


@pytest.mark.parametrize("loadings", LOADINGS)
def test_runs_that_were_not_taken_together_are_two_groups(loadings):
    turns = turns_of(loadings)
    held = 0
    for seed in range(TRIALS):
        first, second = pair("both", seed, loadings)
        found = speedup_interval((first, turns), (second, turns))
        held += found.low <= 1.0 <= found.high
    assert held >= 0.93 * TRIALS


def test_the_interval_of_one_model_holds_its_typical_time():
    held = 0
    for seed in range(TRIALS):
        first, _ = pair("both", seed, 5)
        found = typical_interval(first, turns_of(5))
        assert found.low < found.value < found.high
        held += found.low <= 1e-3 <= found.high
    assert held >= 0.92 * TRIALS


def test_a_percentile_bootstrap_of_few_loadings_would_promise_too_much():
    """Why the intervals are Student's: the usual bootstrap of five loadings is far from the 95 % that it says."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1000, 5))  # (runs, loadings)
    draws = rng.integers(0, 5, (400, 5))
    means = values[:, draws].mean(axis=2)  # (runs, draws)
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.9
    held = [(found := mean_interval(of_run)).low <= 0.0 <= found.high for of_run in values]
    assert 0.935 < np.mean(held) < 0.965


def test_one_loading_promises_no_more_than_another_would_bear_out():
    samples = 1e-3 * np.exp(0.003 * np.random.default_rng(0).standard_normal(1000))
    one = speedup_interval((samples, ()), (samples[::-1], ()), together=True)
    assert one.low < 0.95
    assert one.high > 1.05
    assert one.value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("confidence", "freedom", "expected"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.3027),
        (0.95, 4, 2.7764),
        (0.95, 9, 2.2622),
        (0.99, 4, 4.6041),
        (0.9, 29, 1.6991),
        (0.95, 10**6, 1.9623),
        (0.5, 3, 0.7649),
    ],
)
def test_students_quantiles_are_those_of_the_tables(confidence, freedom, expected):
    assert t_quantile(confidence, freedom) == pytest.approx(expected, abs=2e-4)


def test_two_groups_of_different_size_and_spread_are_compared_with_care():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(TRIALS):
        found = difference_interval(rng.normal(0, 1, 5), rng.normal(0, 4, 9))
        held += found.low <= 0.0 <= found.high
    assert held >= 0.93 * TRIALS


def test_groups_without_any_spread_have_an_interval_of_no_width():
    found = difference_interval(np.ones(5), np.zeros(5))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_a_level_is_the_median_of_the_medians_of_turns():
    turns = (Turn(0, 0, 0.0, 3), Turn(0, 1, 1.0, 3), Turn(1, 0, 2.0, 1))
    samples = [1.0, 2.0, 9.0, 4.0, 4.0, 4.0, 12.0]
    np.testing.assert_array_equal(levels(samples, turns), [3.0, 12.0])
    assert typical(samples, turns) == pytest.approx(6.0)  # the geometric mean
    np.testing.assert_array_equal(levels(samples, ()), [4.0])


def test_the_spread_is_told_apart_by_where_it_comes_from():
    rng = np.random.default_rng(5)
    loadings, rounds, samples = 40, 6, 40
    turns = turns_of(loadings, rounds, samples)
    trace = 1e-3 * np.exp(
        0.03 * rng.standard_normal((loadings, 1, 1))
        + 0.01 * rng.standard_normal((loadings, rounds, 1))
        + 0.005 * rng.standard_normal((loadings, rounds, samples))
    )
    found = spread(trace.ravel(), turns)
    assert found.within_turn == pytest.approx(0.005, rel=0.2)
    assert found.between_turns == pytest.approx(0.01, rel=0.2)
    assert found.between_loadings == pytest.approx(0.03, rel=0.4)
    assert spread(trace[0].ravel(), turns_of(1, rounds, samples)).between_loadings is None
    assert spread([0.1, 0.1], ()) == intervals.Spread(0.0, 0.0, None)


def test_the_interval_is_wider_for_less_certain_samples():
    rng = np.random.default_rng(1)
    few, many = (
        np.diff(intervals.bootstrap_median_interval(rng.normal(1, 0.1, n).tolist()))[0] for n in (50, 5000)
    )
    assert many < few / 3


def test_the_interval_of_one_loading_knows_that_neighbours_depend_on_each_other():
    # A clock that drifts: blocks of 20 equal samples carry a twentieth of the information of independent ones.
    rng = np.random.default_rng(2)
    blocks = np.repeat(rng.normal(1, 0.1, 100), 20)
    low, high = intervals.bootstrap_median_interval(blocks.tolist())
    ordinary_low, ordinary_high = intervals.bootstrap_median_interval(rng.permutation(blocks).tolist())
    assert high - low > 1.5 * (ordinary_high - ordinary_low)


def test_one_sample_has_an_interval_of_no_width():
    assert intervals.bootstrap_median_interval([0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("lost", "gained", "count"), [(0.05, 0.0, 60), (0.004, 0.002, 500), (0.03, 0.025, 3000)]
)
def test_a_paired_loss_lies_in_its_interval(lost: float, gained: float, count: int) -> None:
    rng = np.random.default_rng(0)
    above = below = 0
    for _ in range(1500):
        drawn = rng.random(count)
        found = paired_interval((drawn < lost).astype(float) - (drawn > 1 - gained))
        above += found.high < lost - gained
        below += found.low > lost - gained
    assert max(above, below) < 0.03 * 1500


def test_no_loss_on_few_images_is_no_promise_of_none() -> None:
    assert paired_interval(np.zeros(40)).high == pytest.approx(0.09, abs=0.005)
    assert 0.0003 < paired_interval(np.zeros(10_000)).high < 0.0004
    assert paired_interval(np.ones(5)).high == 1.0
    assert paired_interval(np.zeros(1)).value == 0.0
