"""Operators of a replay: events are matched with the spans between two looks at the clock by their durations."""

from __future__ import annotations

import pytest

from sdk.deploy.predicting.profiled import (
    Event,
    Look,
    kernels_of,
    matched,
    operators_of,
    read_events,
    read_looks,
)
from sdk.errors import BoardError


def looks_of(seconds: list[float]) -> tuple[Look, ...]:
    """Looks with these spans between them; a thousand cycles per second on board 0, two thousand on board 1."""
    times = [sum(seconds[:n]) for n in range(len(seconds) + 1)]
    return tuple(Look(round(1e9 * t), round(500 * t), (round(1e3 * t), round(2e3 * t))) for t in times)


def test_events_find_their_spans_between_those_of_the_delegate_and_the_whole():
    looks = looks_of([0.01, 0.02, 0.5, 0.3, 0.05, 0.4, 0.001, 0.5, 0.02])
    events = [Event("a", 0.5), Event("b", 0.3), Event("c", 0.4), Event("d", 0.5)]
    assert matched(looks, events) == [2, 3, 5, 7]
    found = operators_of(looks, events, 1)
    assert [(o.index, o.name) for o in found] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert [o.cycles for o in found] == pytest.approx([1000, 600, 800, 1000], abs=1)
    assert kernels_of([found[1], found[1], found[0]], 2200.0) == (("b", 1200 / 2200), ("a", 1000 / 2200))
    assert [o.instructions for o in found] == pytest.approx([250, 150, 200, 250], abs=1)


def test_every_span_is_an_event_where_there_are_as_many():
    assert matched(looks_of([1.0, 2.0, 1.0]), [Event("x", 9.0)] * 3) == [0, 1, 2]


def test_without_looks_or_names_there_are_no_operators():
    assert operators_of(looks_of([1.0]), [Event("a", 1.0), Event("b", 1.0)], 0) == ()
    assert operators_of((), (), 0) == ()
    assert read_events("INFO: nothing\n") == ()


def test_lines_of_the_plugin_and_of_the_profiler_are_read():
    assert read_looks('c 5 6 7 8\nb 1 2 3\no 1 2\n{"x": 1}\nc 9 10 11 12\nend\n')[1] == Look(9, 10, (11, 12))
    assert read_events('[["a\\u001b[31m", 0.5]]')[0].name.isprintable()
    with pytest.raises(BoardError, match="damaged"):
        read_events("[[1]]")
