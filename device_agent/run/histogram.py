"""A running histogram of durations in little memory: logarithmic buckets, each 1/32 of an octave's start wide.

As HdrHistogram (Gil Tene, hdrhistogram.org) keeps them: within an octave the buckets are equally wide, so that a
percentile is right to 1/32 of its value, whatever its size, and no sample is kept. Durations go from 1 microsecond to
2,147 seconds; longer ones count as the longest.
"""

from __future__ import annotations

import math
import threading
from typing import Any, Iterable

_SUB_BITS = 5  # buckets in an octave: 32
_SUB = 1 << _SUB_BITS
_OCTAVES = 26  # above the first 32 microseconds
_BUCKETS = _SUB * (_OCTAVES + 1)


class LatencyHistogram:
    """Counts durations in seconds. Several threads may record and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._counts: list[int] = [0] * _BUCKETS
            self._count = 0
            self._sum = 0.0
            self._smallest, self._largest = math.inf, 0.0

    def record(self, seconds: float) -> None:
        """Counts one duration; a negative one counts as 0."""
        seconds = max(0.0, seconds)
        bucket = _bucket_of(seconds)
        with self._lock:
            self._counts[bucket] += 1
            self._count += 1
            self._sum += seconds
            self._smallest = min(self._smallest, seconds)
            self._largest = max(self._largest, seconds)

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return self._count

    @property
    def sum(self) -> float:
        """The sum of all durations, in seconds."""
        return self._sum

    @property
    def mean(self) -> float:
        """In seconds; 0 where nothing was counted."""
        with self._lock:
            return self._sum / self._count if self._count else 0.0

    @property
    def min(self) -> float:
        """In seconds; 0 where nothing was counted."""
        return self._smallest if self._count else 0.0

    @property
    def max(self) -> float:
        """The longest duration, in seconds; 0 where nothing was counted."""
        return self._largest

    def percentile(self, percent: float) -> float:
        """The duration in seconds that ``percent`` of the samples do not exceed, to 1/32; 0 where there are none."""
        if not 0.0 <= percent <= 100.0:
            raise ValueError(f"a percentile is from 0 to 100, not {percent}")
        with self._lock:
            if not self._count:
                return 0.0
            wanted = max(1, math.ceil(percent / 100.0 * self._count))
            seen = bucket = 0
            while seen + self._counts[bucket] < wanted:
                seen += self._counts[bucket]
                bucket += 1
            return min(max(_end_of(bucket), self._smallest), self._largest)

    def cumulative(self, bounds: Iterable[float]) -> list[int]:
        """How many durations were at most so long, for each bound in seconds, to the bucket's width."""
        with self._lock:
            counts = list(self._counts)
        result = []
        for bound in bounds:
            result.append(sum(counts[: _bucket_of(bound) + 1]))
        return result

    def to_json(self) -> dict[str, Any]:
        """Count, mean, extremes and the usual percentiles, in seconds."""
        return {
            "count": self.count,
            "mean": self.mean,
            "min": self.min,
            "p50": self.percentile(50),
            "p90": self.percentile(90),
            "p99": self.percentile(99),
            "max": self.max,
        }


def _bucket_of(seconds: float) -> int:
    micros = int(min(seconds, 1e9) * 1e6)
    if micros < _SUB:
        return micros
    octave = micros.bit_length() - 1 - _SUB_BITS
    return min((octave << _SUB_BITS) + (micros >> octave), _BUCKETS - 1)


def _end_of(bucket: int) -> float:
    """Where a bucket ends, in seconds."""
    if bucket < _SUB:
        return (bucket + 1) * 1e-6
    octave = (bucket >> _SUB_BITS) - 1
    return ((bucket - (octave << _SUB_BITS) + 1) << octave) * 1e-6
