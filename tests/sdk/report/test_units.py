"""Numbers read the same everywhere, and rounding never shows a unit too small (1000 kB)."""

from __future__ import annotations

import pytest

from sdk.report.units import (
    bytes_text,
    count_text,
    percent_text,
    ratio_text,
    seconds_range_text,
    seconds_text,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (27_456, "27.5 kB"),
        (999_499, "999 kB"),
        (999_999, "1.00 MB"),
        (16_906_304, "16.9 MB"),
        (5_000_000_000_000, "5000 GB"),
    ],
)
def test_bytes(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(12, "12"), (999, "999"), (9_995, "10.0 k"), (568_740_352, "569 M"), (15_470_264_320, "15.5 G")],
)
def test_counts(count: int, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.00 µs"), (4.2e-6, "4.20 µs"), (0.000_999_9, "1.00 ms"), (0.0123, "12.3 ms"), (75.0, "75.0 s")],
)
def test_seconds(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (9.981e-4, 1.0012e-3, "998.1 - 1001.2 µs"),
        (0.0012345, 0.0013456, "1.234 - 1.346 ms"),
        (0.123456, 0.12399, "123.5 - 124.0 ms"),
        (2.0, 3.0, "2.000 - 3.000 s"),
        (0.0, 2e-7, "0.000 - 0.200 µs"),
    ],
)
def test_ranges_are_in_one_unit_and_fine_enough_to_tell_their_ends_apart(
    low: float, high: float, text: str
) -> None:
    assert seconds_range_text(low, high) == text


def test_ratios_and_shares() -> None:
    assert [ratio_text(r) for r in (0.5, 2.634, 9.996, 35.04)] == ["0.50x", "2.63x", "10.0x", "35.0x"]
    assert percent_text(0.9861) == "98.6 %"
    assert percent_text(0.7, 0) == "70 %"
