"""Intervals and mistakes have the values of their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.data.meaning.shares import confusion, wilson, worst_pairs


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_wilsons(right: int, count: int, low: float, high: float) -> None:
    assert wilson(right, count) == pytest.approx((low, high), abs=1e-4)  # Newcombe 1998, and by hand


def test_mistakes_are_counted_by_label_and_answer() -> None:
    counts = confusion(np.array([0, 1, 1, 2, 0]), np.array([0, 0, 0, 2, 2]), 3)
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 1]]
    assert worst_pairs(counts) == [(0, 1, 2), (2, 0, 1)]
    assert worst_pairs(counts, most=1) == [(0, 1, 2)]
