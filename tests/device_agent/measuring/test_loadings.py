"""How many loadings are measured, for how long each, and when it is enough."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.measuring.bench import LoadingPlan
from device_agent.measuring.loadings import (
    LEAST_LOADINGS,
    LEAST_TURNS,
    MOST_LOADINGS,
    BenchPlan,
    is_precise,
    measure_loadings,
    plan_loadings,
)
from device_agent.record.intervals import Turn
from tests.device_agent.record.test_measurement import record

DEFAULT = BenchPlan()


@pytest.mark.parametrize(
    ("models", "start_seconds", "loadings"),
    [(2, 0.3, MOST_LOADINGS), (1, 0.4, 12), (1, 1.0, 5), (1, 9.0, LEAST_LOADINGS), (1, 0.0, MOST_LOADINGS)],
)
def test_there_are_as_many_loadings_as_there_is_time_for(models, start_seconds, loadings):
    count, of_each = plan_loadings(DEFAULT, models, start_seconds)
    assert count == loadings
    assert count * of_each.rounds >= LEAST_TURNS
    assert count * of_each.samples >= DEFAULT.min_samples


@pytest.mark.parametrize(("models", "start_seconds"), [(1, 0.3), (1, 1.0), (2, 0.5), (7, 1.0)])
def test_a_run_of_default_length_takes_ten_seconds_per_model(models, start_seconds):
    count, of_each = plan_loadings(DEFAULT, models, start_seconds)
    whole = count * (start_seconds + models * (of_each.max_seconds + of_each.max_warmup_seconds))
    assert whole == pytest.approx(10.0 * models, rel=0.01)


def test_few_samples_are_few_turns():
    count, of_each = plan_loadings(BenchPlan(min_samples=3), 1, 0.3)
    assert (count, of_each.samples, of_each.rounds) == (3, 1, 1)
    count, of_each = plan_loadings(BenchPlan(min_samples=16, max_seconds=1.0), 1, 0.3)
    assert (count, of_each.samples, of_each.rounds) == (5, 4, 4)


class Board:
    """Loadings of two models that differ from loading to loading, two seconds each."""

    def __init__(self, size: float) -> None:
        self.now, self.taken, self.size = 0.0, 0, size
        self.rng = np.random.default_rng(0)

    def clock(self) -> float:
        return self.now

    def measure_one(self, plan: LoadingPlan):
        self.now += 2.0
        self.taken += 1
        levels = 1e-3 * np.exp(self.size * self.rng.standard_normal(2))
        return [
            record(samples_seconds=(float(level),) * plan.samples, turns=(Turn(0, 0, 0.0, plan.samples),))
            for level in levels
        ]


def measured(board: Board, plan: BenchPlan):
    return measure_loadings(board.measure_one, plan, 2, 1.0, clock=board.clock)


def test_without_a_precision_the_planned_loadings_are_measured():
    board = Board(0.05)
    first, second = measured(board, DEFAULT)
    assert first.loadings == second.loadings == board.taken == 10


def test_with_a_precision_it_goes_on_until_the_interval_is_that_narrow():
    board = Board(0.02)
    found = measured(board, BenchPlan(precision=0.01, max_seconds=600.0))
    assert 10 < board.taken < 100
    assert is_precise(found, 0.01)
    assert not is_precise(found, 0.005)


def test_with_a_precision_it_ends_when_the_time_is_over():
    board = Board(0.5)
    found = measured(board, BenchPlan(precision=0.001, max_seconds=30.0))
    assert 50.0 < board.now <= 60.0  # of two models
    assert not is_precise(found, 0.001)


def test_loadings_that_are_asked_for_are_measured():
    board = Board(0.01)
    assert measured(board, BenchPlan(loadings=3))[0].loadings == 3
