"""Rounds a layer's weights to a codebook, second order and rate aware: the heart of the calibration level.

For one layer with input covariance ``H`` the output error of a changed row of weights ``w + dw`` is ``dw H dw``. As in
Optimal Brain Surgeon and GPTQ (arXiv 2208.11580, 2210.17323) columns are rounded one after another, and the columns
still to come compensate for the error of each, through the Cholesky factor of ``inv(H)``. Error plus price decides
which value a weight takes: its share of the output error, in nats of the network's loss, plus ``price`` nats for every
bit of its code (the idea of CERWU, arXiv 2505.18758). So pruning is not a separate step: zero is the cheapest symbol,
and a weight whose error does not pay for its bits becomes zero.

A row's values are ``scale * k`` with whole numbers ``k``; the scale follows from the row's sensitivity, not
from its range, because with an entropy code the step sets the error and the code takes care of the range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sdk.compress.weights.grid import bfloat16

LEVELS = 127  # whole numbers -127 ... 127: at most 255 centroids, zero among them
BLOCK = 64  # columns between two updates of all later columns
# Of a uniform quantiser whose price is met by its step: error a^2 step^2 / 12 falls by price / ln 2 a bit.
STEP_FACTOR = 12 / np.log(2)
PASSES = 3  # each with the code lengths that the one before led to
SPARSITY_STEPS = 6  # of bisection
UNSEEN_COUNT = 0.25  # what a symbol that does not occur counts in the code-length estimate


@dataclass(frozen=True)
class Problem:
    """One layer: weights that would be best without rounding, the input covariance, and the cost of errors.

    ``weights`` (groups, rows, columns), ``covariance`` (groups, columns, columns),
    ``sensitivity`` (groups, rows): nats of loss for a mean squared output error of one.
    """

    weights: np.ndarray
    covariance: np.ndarray
    sensitivity: np.ndarray


@dataclass(frozen=True)
class Solution:
    """``symbols`` (groups, rows, columns) int16 times ``scales`` (groups, rows) float32 are the weights."""

    symbols: np.ndarray
    scales: np.ndarray
    bits: float  # entropy of the symbols, all together
    loss: float  # nats, by the quadratic model

    @property
    def weights(self) -> np.ndarray:
        """float32(symbol * scale), (groups, rows, columns), as the package decodes them."""
        return self.symbols.astype(np.float32) * self.scales[..., None]


def solve(
    problem: Problem,
    price: float,
    *,
    levels: int = LEVELS,
    sparsity: float = 0.0,
    block: int = 1,
    one_scale: bool = False,
) -> Solution:
    """The rounding with the least loss plus ``price`` nats per bit, and at least this share of zeros.

    ``problem.covariance`` must be positive definite. ``levels`` bounds the whole numbers that are used. ``block``
    neighbouring rows of a group share their zeros, since sparse kernels take such a block at once
    (:mod:`sdk.compress.weights.blocks`); rows that are left over at the end have zeros of their own. With ``one_scale``
    all rows have the same scale.
    """
    factor, diagonal, order = _factor(problem.covariance)
    weights = np.take_along_axis(problem.weights.astype(np.float64), order[:, None, :], axis=2)
    scales = _scales(weights, diagonal, problem.sensitivity, price, levels, one_scale)
    weights /= scales[..., None]
    # Nats of rounding a row's column by one unit of its scale.
    unit = 0.5 * problem.sensitivity * scales.astype(np.float64) ** 2

    def sweeps(bonus: float) -> tuple[np.ndarray, float]:
        lengths = code_lengths(np.rint(weights), levels)
        for _ in range(PASSES):
            prices = price * lengths
            prices[levels] -= bonus
            symbols, loss = _sweep(weights, factor, diagonal, unit, prices, levels, block)
            lengths = code_lengths(symbols, levels)
        return symbols, loss

    symbols, loss = sweeps(0.0)
    if (symbols == 0).mean() < sparsity:
        symbols, loss = _sparser(sweeps, sparsity, 4 * price)
    back = np.empty_like(symbols)
    np.put_along_axis(back, np.broadcast_to(order[:, None, :], symbols.shape), symbols, axis=2)
    return Solution(back, scales, entropy_bits(back), loss)


def solve_on_grid(problem: Problem, scales: np.ndarray, zeros: np.ndarray) -> Solution:
    """The rounding with the least loss to whole numbers of -127 to 127 times ``scales`` (groups, rows).

    Where ``zeros`` (groups, rows, columns) is true the weight is zero.
    """
    factor, diagonal, order = _factor(problem.covariance)
    back = np.broadcast_to(order[:, None, :], zeros.shape)
    weights = np.take_along_axis(problem.weights.astype(np.float64), order[:, None, :], axis=2)
    weights /= scales[..., None]
    unit = 0.5 * problem.sensitivity * scales.astype(np.float64) ** 2
    free = np.zeros(2 * LEVELS + 1)
    held = np.take_along_axis(zeros, back, axis=2)
    rounded, loss = _sweep(weights, factor, diagonal, unit, free, LEVELS, 1, held)
    symbols = np.empty_like(rounded)
    np.put_along_axis(symbols, back, rounded, axis=2)
    return Solution(symbols, scales.astype(np.float32), entropy_bits(symbols), loss)


def _sparser(
    sweeps: Callable[[float], tuple[np.ndarray, float]], sparsity: float, first: float
) -> tuple[np.ndarray, float]:
    """Raises what a zero is worth until the share of zeros is reached, then bisects for the least that does."""
    low, high = 0.0, first
    while (result := sweeps(high)) and (result[0] == 0).mean() < sparsity:
        low, high = high, 2 * high
    for _ in range(SPARSITY_STEPS):
        middle = (low + high) / 2
        attempt = sweeps(middle)
        if (attempt[0] == 0).mean() >= sparsity:
            high, result = middle, attempt
        else:
            low = middle
    return result


def _factor(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row-normalised upper Cholesky factor of the inverse, the loss a column's rounding costs, and the column order.

    Columns with the most energy go first, while many are left to compensate for them.
    """
    order = np.argsort(-np.diagonal(covariance, axis1=1, axis2=2), axis=1, kind="stable")
    sorted_ = np.take_along_axis(np.take_along_axis(covariance, order[:, :, None], 1), order[:, None, :], 2)
    upper = np.swapaxes(np.linalg.cholesky(np.linalg.inv(sorted_)), 1, 2)
    pivots = np.diagonal(upper, axis1=1, axis2=2)
    return upper / pivots[..., None], 1.0 / pivots**2, order


def _scales(
    weights: np.ndarray,
    diagonal: np.ndarray,
    sensitivity: np.ndarray,
    price: float,
    levels: int,
    one_scale: bool,
) -> np.ndarray:
    typical = np.exp(np.log(diagonal).mean(axis=1))[:, None]  # (groups, 1)
    costs = sensitivity * typical
    largest = np.abs(weights).max(axis=2)
    if one_scale:
        costs, largest = (
            np.full_like(part, found) for part, found in ((costs, costs.mean()), (largest, largest.max()))
        )
    wanted = np.sqrt(STEP_FACTOR * price / np.maximum(costs, 1e-30))
    low, high = largest / levels, np.maximum(largest, 1e-30) * 2
    scales = np.clip(wanted, np.maximum(low, 1e-30), high)
    return bfloat16(np.where(largest > 0, scales, 1.0))


def code_lengths(symbols: np.ndarray, levels: int) -> np.ndarray:
    """Bits of an ideal code for each symbol -levels ... levels, (2 * levels + 1,) float64.

    They follow from how often each occurs among ``symbols``, whole numbers in any shape.
    """
    clipped = np.clip(symbols, -levels, levels).astype(np.int64).ravel() + levels
    counts = np.maximum(np.bincount(clipped, minlength=2 * levels + 1), UNSEEN_COUNT)
    return np.log2(counts.sum()) - np.log2(counts)


def entropy_bits(symbols: np.ndarray) -> float:
    """Zeroth-order entropy, in bits, of all ``symbols`` together; any shape."""
    _, counts = np.unique(symbols, return_counts=True)
    return float((counts * (np.log2(counts.sum()) - np.log2(counts))).sum())


def _sweep(
    weights: np.ndarray,
    factor: np.ndarray,
    diagonal: np.ndarray,
    unit: np.ndarray,
    prices: np.ndarray,
    levels: int,
    block: int,
    held: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """One pass over all columns; weights are in units of their row's scale, and those that are ``held`` become zero."""
    work = weights.copy()
    groups, rows, columns = work.shape
    symbols = np.zeros(work.shape, np.int16)
    loss = 0.0
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        errors = np.empty((groups, rows, stop - start))
        for column in range(start, stop):
            value = work[:, :, column]
            cost = unit * diagonal[:, column : column + 1]
            chosen, paid = _choose(value, cost, prices, levels, block)
            if held is not None:
                chosen = np.where(held[:, :, column], 0.0, chosen)
            error = value - chosen
            symbols[:, :, column] = chosen
            errors[:, :, column - start] = error
            loss += paid
            work[:, :, column:stop] -= error[..., None] * factor[:, None, column, column:stop]
        if stop < columns:
            work[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return symbols, loss


def _choose(
    value: np.ndarray, cost: np.ndarray, prices: np.ndarray, levels: int, block: int
) -> tuple[np.ndarray, float]:
    """For each value the whole number of least ``cost * error^2 + price``, and the error part, summed.

    ``value`` and ``cost`` are (groups, rows); a block of rows takes zero together or not at all.
    """
    nearest = np.minimum(np.maximum(np.rint(value), -levels), levels)  # several times as fast as np.clip
    toward_zero = np.sign(nearest)
    zero_total = cost * value**2 + prices[levels]
    best, best_total = np.zeros_like(nearest), np.full_like(value, np.inf)
    smallest = np.where(value < 0, -1.0, 1.0)  # where the nearest is zero and the block is kept
    for candidate in (
        nearest,
        nearest - toward_zero,
        nearest - 2 * toward_zero,
        nearest + toward_zero,
        smallest,
    ):
        candidate = np.minimum(np.maximum(candidate, -levels), levels)
        total = cost * (value - candidate) ** 2 + prices[candidate.astype(np.int64) + levels]
        better = (total < best_total) & (candidate != 0)
        best = np.where(better, candidate, best)
        best_total = np.where(better, total, best_total)
    gain = zero_total - best_total  # of keeping a weight
    rows = gain.shape[1] // block * block if block > 1 else 0
    together = gain[:, :rows].reshape(len(gain), -1, block).sum(axis=2)
    # By itself a value nearest to zero takes zero.
    gain = np.where(nearest == 0, -1.0, gain)
    gain[:, :rows] = np.repeat(together, block, axis=1)
    best = np.where(gain > 0, best, 0.0)
    return best, float((cost * (value - best) ** 2).sum())
