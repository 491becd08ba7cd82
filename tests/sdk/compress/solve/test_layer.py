"""The solver finds cheap roundings: better than the nearest values at the same bits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.compress.solve.layer import Problem, Solution, code_lengths, entropy_bits, solve
from sdk.compress.weights.grid import bfloat16


def correlated_problem(seed: int = 0, groups: int = 1, rows: int = 48, columns: int = 64) -> Problem:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(groups, columns, columns)) / np.sqrt(columns)
    covariance = mixing @ np.swapaxes(mixing, 1, 2) + 0.05 * np.eye(columns)
    weights = rng.normal(size=(groups, rows, columns)) * rng.lognormal(size=(groups, rows, 1))
    return Problem(weights, covariance, rng.lognormal(size=(groups, rows)))


def loss(problem: Problem, weights: np.ndarray) -> float:
    error = weights - problem.weights
    squared = ((error @ problem.covariance) * error).sum(axis=2)
    return float(0.5 * (problem.sensitivity * squared).sum())


def total(problem: Problem, solution: Solution, price: float) -> float:
    return loss(problem, solution.weights.astype(np.float64)) + price * solution.bits


def rounded_to_nearest(problem: Problem, solution: Solution) -> Solution:
    symbols = np.clip(np.rint(problem.weights / solution.scales[..., None]), -127, 127).astype(np.int16)
    return Solution(symbols, solution.scales, entropy_bits(symbols), 0.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([1, 3]), st.sampled_from([1e-3, 1e-2, 1e-1]))
def test_the_solution_beats_rounding_to_nearest_with_the_same_scales(
    seed: int, groups: int, price: float
) -> None:
    problem = correlated_problem(seed, groups)
    solution = solve(problem, price)
    assert total(problem, solution, price) < total(problem, rounded_to_nearest(problem, solution), price)


def test_the_loss_that_is_reported_is_the_quadratic_loss_of_the_weights() -> None:
    problem = correlated_problem()
    solution = solve(problem, 1e-2)
    assert solution.loss == pytest.approx(loss(problem, solution.weights.astype(np.float64)), rel=0.02)
    assert solution.bits == pytest.approx(entropy_bits(solution.symbols))


def test_a_higher_price_saves_bits_and_costs_loss() -> None:
    problem = correlated_problem()
    solutions = [solve(problem, price) for price in (1e-4, 1e-3, 1e-2, 1e-1)]
    assert all(a.bits > b.bits and a.loss < b.loss for a, b in pairwise(solutions))


def test_half_a_bit_a_weight_is_saved_by_twice_the_price_where_all_weights_are_kept() -> None:
    spread = correlated_problem(rows=256)
    alike = np.random.default_rng(0).normal(size=spread.weights.shape)
    problem = Problem(alike, spread.covariance, np.ones((1, 256)))
    cheap, dear = solve(problem, 2e-4), solve(problem, 4e-4)
    assert (cheap.bits - dear.bits) / cheap.symbols.size == pytest.approx(0.5, abs=0.1)


def test_what_nothing_depends_on_becomes_zero() -> None:
    problem = correlated_problem()
    blind = problem.sensitivity.copy()
    blind[0, :5] = 0
    solution = solve(Problem(problem.weights, problem.covariance, blind), 1e-3)
    assert not solution.symbols[0, :5].any()
    assert solution.symbols[0, 5:].any()


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_the_share_of_zeros_is_reached_and_hardly_exceeded(sparsity: float) -> None:
    problem = correlated_problem()
    share = (solve(problem, 1e-3, sparsity=sparsity).symbols == 0).mean()
    assert sparsity <= share < sparsity + 0.03


@pytest.mark.parametrize("block", [2, 4])
def test_rows_of_a_block_share_their_zeros_and_rows_left_over_do_not(block: int) -> None:
    problem = correlated_problem(rows=4 * block + 1)
    solution = solve(problem, 1e-2, sparsity=0.6, block=block)
    blocks = solution.symbols[0, : 4 * block].reshape(4, block, -1) != 0
    assert (blocks.any(axis=1) == blocks.all(axis=1)).all()
    assert (solution.symbols == 0).mean() >= 0.6
    free = solve(problem, 1e-2, sparsity=0.6)
    assert loss(problem, free.weights.astype(np.float64)) < loss(problem, solution.weights.astype(np.float64))


def test_solved_blocks_beat_blocks_pruned_by_magnitude() -> None:
    problem = correlated_problem(rows=32)
    solution = solve(problem, 1e-4, sparsity=0.5, block=2)
    energy = (problem.weights**2).reshape(1, 16, 2, 64).sum(axis=2)
    kept = np.repeat(energy > np.median(energy), 2, axis=1)
    assert loss(problem, solution.weights.astype(np.float64)) < 0.7 * loss(problem, problem.weights * kept)


def test_pruning_by_second_order_beats_pruning_by_magnitude() -> None:
    problem = correlated_problem()
    solution = solve(problem, 1e-4, sparsity=0.7)
    threshold = np.quantile(np.abs(problem.weights), 0.7)
    magnitude = np.where(np.abs(problem.weights) > threshold, problem.weights, 0)
    assert loss(problem, solution.weights.astype(np.float64)) < 0.7 * loss(problem, magnitude)


def test_symbols_stay_within_the_levels() -> None:
    solution = solve(correlated_problem(), 1e-4, levels=7)
    assert np.abs(solution.symbols).max() <= 7


def test_weights_are_products_of_whole_numbers_and_scales_of_half_width() -> None:
    solution = solve(correlated_problem(), 1e-2)
    np.testing.assert_array_equal(solution.scales, bfloat16(solution.scales))
    assert solution.weights.dtype == np.float32
    np.testing.assert_array_equal(
        np.rint(solution.weights / solution.scales[..., None]), solution.symbols.astype(np.float32)
    )


def test_a_row_of_zeros_stays_zero() -> None:
    problem = correlated_problem()
    weights = problem.weights.copy()
    weights[0, 3] = 0
    solution = solve(Problem(weights, problem.covariance, problem.sensitivity), 1e-3)
    assert not solution.symbols[0, 3].any()
    assert np.isfinite(solution.weights).all()


def test_the_same_problem_has_the_same_solution() -> None:
    first, second = (solve(correlated_problem(7), 1e-2) for _ in range(2))
    np.testing.assert_array_equal(first.symbols, second.symbols)
    np.testing.assert_array_equal(first.scales, second.scales)


def test_code_lengths_are_those_of_an_ideal_code() -> None:
    lengths = code_lengths(np.array([0] * 8 + [1] * 4 + [-1] * 4), levels=1)
    np.testing.assert_allclose(lengths, [2, 1, 2])
    assert entropy_bits(np.array([0, 0, 1, 1])) == 4


@given(st.floats(-(2.0**90), 2.0**90, width=32))
def test_bfloat16_is_within_a_256th_and_has_no_low_bits(value: float) -> None:
    (rounded,) = bfloat16(np.array([value], np.float32))
    assert rounded.view(np.uint32) & 0xFFFF == 0
    assert abs(rounded - value) <= max(abs(value) / 256, 1e-38)
