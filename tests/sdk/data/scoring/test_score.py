"""Intervals and paired tests: what is told of a change, and what cannot be told."""

import math

import numpy as np
import pytest

from sdk.data.scoring.score import Score, change, mcnemar, share, too_few, weighted_mean


def _error(values: np.ndarray) -> Score:
    return Score("error", len(values), weighted_mean(values), higher_is_better=False, percent=False)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (5, 0), (6, 0), (12, 3), (40, 41)])
def test_mcnemar_is_the_exact_binomial_test(before, after):
    count = before + after
    tail = sum(math.comb(count, k) for k in range(min(before, after) + 1)) / 2**count
    expected = min(1.0, 2 * tail)
    assert mcnemar(before, after) == pytest.approx(expected, rel=1e-9)


def test_a_share_that_fell_on_the_same_images_is_worse():
    before = share("top-1", np.arange(200) < 180)
    after = share("top-1", np.arange(200) < 160)
    found = change(before, after)
    assert found.verdict == "worse"
    assert found.points_lost == pytest.approx(10.0)
    assert found.points_interval[0] < 10.0 < found.points_interval[1]
    assert (found.only_before, found.only_after) == (20, 0)


def test_equal_answers_on_few_images_prove_nothing():
    right = np.ones(40, bool)
    found = change(share("top-1", right), share("top-1", right))
    assert found.verdict == "no difference seen"
    assert found.points_interval[1] > 2.0  # certainty about 40 images is none


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        low, high = _error(random.exponential(2.0, 80)).interval()
        held += low <= 2.0 <= high
    assert 86 <= held <= 100


def test_errors_that_differ_by_little_in_each_pair_are_told_apart():
    random = np.random.default_rng(1)
    errors = random.exponential(1.0, 100)
    worse = change(_error(errors), _error(errors + random.uniform(0.01, 0.02, 100)))
    assert (worse.verdict, worse.test) == ("worse", "paired bootstrap")
    assert worse.interval[0] > 0
    other = change(_error(errors), _error(random.permutation(errors)))
    assert other.verdict == "no difference seen"


def test_a_loss_that_the_images_cannot_show_is_said():
    assert "takes 59 images" in too_few(40, 5.0)
    assert too_few(59, 5.0) == ""
    assert "299 images" in too_few(298, 1.0)
    assert too_few(10, 0.0) == ""


@pytest.mark.parametrize("dust", [0.0, 1e-15])
def test_nothing_lost_is_not_told_with_a_sign(dust: float):
    values = np.linspace(0.1, 0.9, 40)
    found = change(_error(values), _error(values + dust))
    told = [f"{points:.2f}" for points in (found.points_lost, *found.points_interval)]
    assert told == ["0.00", "0.00", "0.00"]
    share_of_it = share("top-1", values > 0.5)
    found = change(share_of_it, share_of_it)
    assert f"{found.points_lost:.2f}" == "0.00"
