"""Counters and gauges in Prometheus' text format, version 0.0.4 (prometheus.io, "Exposition formats")."""

from __future__ import annotations

import math
import threading
from typing import Any, Iterable, Mapping, Sequence

from device_agent.run.histogram import LatencyHistogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Upper bounds of the buckets in seconds: 1 ms, which no board is below, to the longest deadline.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

Labels = Mapping[str, str]


class Counter:
    """Counts, by labels. Several threads may add and read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[tuple[str, str], ...], int] = {}

    def add(self, **labels: str) -> None:
        """Adds one under these labels."""
        key = tuple(labels.items())
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1

    def samples(self) -> list[tuple[Labels, float]]:
        """Labels and count of each, ordered by labels."""
        with self._lock:
            return [(dict(key), count) for key, count in sorted(self._counts.items())]

    def total(self) -> int:
        """The counts of all labels together."""
        with self._lock:
            return sum(self._counts.values())


def family(name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]) -> list[str]:
    """The lines of one metric; ``kind`` is "counter" or "gauge"."""
    return [
        f"# HELP {name} {_escaped(text, '')}",
        f"# TYPE {name} {kind}",
        *(f"{name}{_braces(labels)} {_number(value)}" for labels, value in samples),
    ]


def histogram_family(
    name: str,
    text: str,
    samples: Iterable[tuple[Labels, LatencyHistogram]],
) -> list[str]:
    """The lines of histograms of durations; a bucket's bound is right to 1/32."""
    lines = [f"# HELP {name} {_escaped(text, '')}", f"# TYPE {name} histogram"]
    for labels, histogram in samples:
        bounds = [*BUCKETS, math.inf]
        total = histogram.sum
        # One look at all buckets, so that they agree with each other while others record.
        counts = histogram.cumulative(bounds)
        for bound, count in zip(bounds, counts):
            lines.append(f"{name}_bucket{_braces({**labels, 'le': _number(bound)})} {count}")
        lines.append(f"{name}_sum{_braces(labels)} {_number(total)}")
        lines.append(f"{name}_count{_braces(labels)} {counts[-1]}")
    return lines


def page(families: Iterable[Sequence[str]]) -> bytes:
    """The whole answer."""
    return "".join(line + "\n" for lines in families for line in lines).encode()


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value, chr(34))}"' for name, value in labels.items()) + "}"


def _escaped(text: str, quote: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace(quote, "\\" + quote) if quote else escaped


def _number(value: Any) -> str:
    if value == math.inf:
        return "+Inf"
    return str(value) if isinstance(value, int) else repr(float(value))
