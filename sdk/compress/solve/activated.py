"""Least squares through an activation: where it cuts the original's output off, any output beyond the cut is right.

Half of what a layer with a ReLU makes is zero afterwards, so half of its outputs need only be "below zero". Each pass
replaces the target there by the present output, where that is beyond the cut, and solves again (Zhang et al. 2015,
arXiv 1505.06798, by majorisation): the error behind the activation falls with every pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sdk.compress.solve.calibrate import made_up_for
from sdk.graph.enums import RELU, RELU6, RELU_N1_TO_1
from sdk.graph.records import Operator

PASSES = 6
KEPT_BACK = 4  # one position in so many tells when to stop
CUTS = {RELU: (0.0, np.inf), RELU6: (0.0, 6.0), RELU_N1_TO_1: (-1.0, 1.0)}


@dataclass(frozen=True, eq=False)
class Seen:
    """Positions of a layer: what the original's activation gets, ``wanted`` (groups, positions, rows), and what the
    smaller network's layer ``read`` (groups, positions, columns), both float32."""

    wanted: np.ndarray
    read: np.ndarray


def cuts_of(operator: Operator) -> tuple[float, float] | None:
    """Below and above which numbers a layer's activation cuts off; None where it does not."""
    return CUTS.get(operator.options.get("fusedActivationFunction", 0))


def met_behind(
    weights: np.ndarray,
    biases: np.ndarray,
    seen: Seen,
    cuts: tuple[float, float],
    regular: np.ndarray,
    noise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (groups, rows, columns) and biases (groups, rows) whose outputs are nearer behind the activation.

    ``regular`` (groups, columns, columns) is the covariance of the input, safe to invert, and ``noise`` (groups,) the
    share of it that is chance. Where columns of ``seen.read`` are zero their weights stay zero.
    """
    apart = np.arange(seen.read.shape[1]) % KEPT_BACK == 0
    learn, check = (Seen(seen.wanted[:, one], seen.read[:, one]) for one in (~apart, apart))
    mean = learn.read.mean(axis=1, dtype=np.float64)
    live = np.asarray(seen.read.any(axis=1))[:, None, :]
    best, least = (weights, biases), _error(weights, biases, check, cuts)
    for _ in range(PASSES):
        made = _made(weights, biases, learn)
        low = np.where(learn.wanted <= cuts[0], np.minimum(made, cuts[0]), learn.wanted)
        missing = np.where(low >= cuts[1], np.maximum(made, cuts[1]), low) - made
        missed = missing.mean(axis=1, dtype=np.float64)
        crossed = np.swapaxes(missing, 1, 2) @ learn.read / missing.shape[1]
        crossed = (crossed - missed[:, :, None] * mean[:, None, :]) * (1 - noise)[:, None, None]
        moved = made_up_for(crossed, regular) * live
        weights = weights + moved
        biases = biases + missed - (moved @ mean[..., None])[..., 0]
        error = _error(weights, biases, check, cuts)
        if error >= least:
            break
        best, least = (weights, biases), error
    return best


def _made(weights: np.ndarray, biases: np.ndarray, seen: Seen) -> np.ndarray:
    """What the layer makes before its activation, (groups, positions, rows)."""
    transposed = np.swapaxes(weights, 1, 2).astype(np.float32)
    return seen.read @ transposed + biases[:, None, :].astype(np.float32)


def _error(weights: np.ndarray, biases: np.ndarray, seen: Seen, cuts: tuple[float, float]) -> float:
    """The squared error behind the activation, summed."""
    apart = np.clip(_made(weights, biases, seen), *cuts) - np.clip(seen.wanted, *cuts)
    return float(np.square(apart).sum(dtype=np.float64))
