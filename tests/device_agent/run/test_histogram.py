"""Percentiles that are right to a thirty-second, in memory that does not grow."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.run.histogram import LatencyHistogram


@given(st.lists(st.floats(0, 2000), min_size=1, max_size=200), st.floats(0, 100))
def test_a_percentile_is_right_to_a_bucket(samples, percent):
    histogram = LatencyHistogram()
    for sample in samples:
        histogram.record(sample)
    exact = float(np.percentile(samples, percent, method="inverted_cdf"))
    assert exact - 1e-9 <= histogram.percentile(percent) <= exact * (1 + 1 / 32) + 2e-6
    assert histogram.count == len(samples)
    assert histogram.min == min(samples)
    assert histogram.max == max(samples)
    assert histogram.mean == pytest.approx(np.mean(samples))


def test_an_empty_histogram_says_zero():
    histogram = LatencyHistogram()
    assert histogram.to_json() == dict.fromkeys(("count", "mean", "min", "p50", "p90", "p99", "max"), 0)


def test_what_is_out_of_range_is_counted_at_its_end():
    histogram = LatencyHistogram()
    histogram.record(-1)
    histogram.record(1e12)
    assert histogram.count == 2
    assert histogram.percentile(0) < 2e-6
    assert histogram.percentile(100) > 2000


def test_counts_up_to_a_bound_grow_to_all():
    histogram = LatencyHistogram()
    for sample in (0.001, 0.010, 0.100, 1.0):
        histogram.record(sample)
    assert histogram.cumulative([0.0005, 0.002, 0.02, 0.2, 2]) == [0, 1, 2, 3, 4]


def test_no_sample_of_several_threads_is_lost():
    histogram = LatencyHistogram()

    def record() -> None:
        for _ in range(2000):
            histogram.record(0.001)

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert histogram.count == histogram.cumulative([1.0])[0] == 8000


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_percentile_beyond_its_range_is_refused(percent):
    with pytest.raises(ValueError, match="0 to 100"):
        LatencyHistogram().percentile(percent)
