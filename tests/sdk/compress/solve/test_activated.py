"""Solved behind an activation, a layer comes nearer than solved before it."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.solve.activated import Seen, cuts_of, met_behind
from sdk.graph.enums import NO_ACTIVATION, RELU, RELU6, TANH
from sdk.graph.records import Operator

GROUPS, POSITIONS, COLUMNS, ROWS = 2, 3000, 12, 5
SILENT = 3  # a column that went


def read_and_wanted(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What is read, one column of it gone, and what the whole layer makes of all."""
    rng = np.random.default_rng(seed)
    mixed = np.random.default_rng(0).normal(size=(COLUMNS, COLUMNS)) / 3
    weights = np.random.default_rng(1).normal(size=(GROUPS, ROWS, COLUMNS))
    columns = np.maximum(rng.normal(size=(GROUPS, POSITIONS, COLUMNS)) @ mixed, 0)
    wanted = columns @ np.swapaxes(weights, 1, 2)
    columns[..., SILENT] = 0
    return columns.astype(np.float32), wanted.astype(np.float32)


def solved_before(seen: Seen) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, biases and covariance of ordinary least squares."""
    read, wanted = (a.astype(np.float64) for a in (seen.read, seen.wanted))
    mean, middle = read.mean(1, keepdims=True), wanted.mean(1, keepdims=True)
    covariance = np.swapaxes(read - mean, 1, 2) @ (read - mean) / POSITIONS + 1e-6 * np.eye(COLUMNS)
    crossed = np.swapaxes(wanted - middle, 1, 2) @ (read - mean) / POSITIONS
    weights = np.swapaxes(np.linalg.solve(covariance, np.swapaxes(crossed, 1, 2)), 1, 2)
    return weights, (middle - mean @ np.swapaxes(weights, 1, 2))[:, 0], covariance


@pytest.mark.parametrize("activation", [RELU, RELU6])
def test_what_is_cut_off_need_not_be_met(activation: int) -> None:
    cuts = cuts_of(Operator("CONV_2D", (), (), {"fusedActivationFunction": activation}))
    assert cuts is not None
    seen, fresh = (Seen(wanted, read) for read, wanted in (read_and_wanted(5), read_and_wanted(6)))
    weights, biases, covariance = solved_before(seen)
    found = met_behind(weights, biases, seen, cuts, covariance, np.zeros(GROUPS))
    errors = [
        np.square(
            np.clip(fresh.read @ np.swapaxes(w, 1, 2) + b[:, None], *cuts) - np.clip(fresh.wanted, *cuts)
        ).mean()
        for w, b in ((weights, biases), found)
    ]
    assert errors[1] < 0.96 * errors[0]
    assert not found[0][..., SILENT].any()


def test_nothing_is_moved_where_it_does_not_help() -> None:
    read, wanted = read_and_wanted(5)
    seen = Seen(wanted + 100, read)  # all of it is above the cut
    weights, biases, covariance = solved_before(seen)
    found = met_behind(weights, biases, seen, (0.0, np.inf), covariance, np.zeros(GROUPS))
    assert np.allclose(found[0], weights, atol=1e-3)
    assert np.allclose(found[1], biases, atol=1e-2)


def test_only_what_cuts_off_is_worked_on() -> None:
    for activation in (NO_ACTIVATION, TANH):
        assert cuts_of(Operator("CONV_2D", (), (), {"fusedActivationFunction": activation})) is None
