"""Figures of soaks whose truth is known: a board that heats up, one that does not, one that says little."""

from __future__ import annotations

import json

import numpy as np
import pytest

from device_agent.record.soak import Soak, SoakTurn
from sdk.explain.soaking.figures import can_tell_throttling, figures, swaps, throttle
from sdk.explain.soaking.run import SoakReport
from sdk.report.soaking import minutes_text, soak_sentences
from tests.device_agent.measuring.test_soak import WarmingBoard, record


def made_up(level, *, seconds: int = 600, clock=None, noise: float = 0.01) -> Soak:
    """A soak of one model, whose turns take ``level(second)``, with noise."""
    rng = np.random.default_rng(3)
    turns = []
    for second in range(seconds):
        took = level(second) * float(rng.lognormal(0.0, noise))
        turns.append(
            SoakTurn(0, float(second), 10, took, took, frequency_hz=None if clock is None else clock(second))
        )
    return record(turns, names=("a",))


def test_a_board_that_heats_up_keeps_some_of_its_speed_and_says_when_it_lost_the_rest(tmp_path):
    board = WarmingBoard(tmp_path)
    computes, waits = board.model(0.24, 0.0, 5.0), board.model(0.06, 0.085, 2.5)
    found = board.soak(computes, waits, seconds=600.0)
    soak = record(found.turns, found.idle, ("computes", "waits"))
    computing, waiting = figures(soak)
    fell = throttle(soak)
    assert fell is not None
    assert fell.why == "throttled"
    assert 30.0 < fell.seconds < 400.0
    assert computing.first_seconds == pytest.approx(0.10, rel=0.01)
    assert 0.6 < computing.kept < 0.95
    assert waiting.kept > computing.kept
    # 5 W above idle at full clock for 100 ms is 0.5 J; a lower clock draws less for longer.
    assert computing.joules == pytest.approx(0.5, rel=0.25)
    assert computing.joules_with_idle > computing.joules


def test_two_models_may_change_places_as_the_clock_sinks(tmp_path):
    board = WarmingBoard(tmp_path, seconds=200.0)
    computes, waits = board.model(0.24, 0.0, 9.0), board.model(0.06, 0.085, 7.0)
    found = board.soak(computes, waits, seconds=600.0)
    turned = swaps(figures(record(found.turns, found.idle, ("computes", "waits"))))
    assert [(swap.first_faster, swap.steady_faster) for swap in turned] == [("computes", "waits")]


def test_speed_that_holds_is_called_steady_and_nothing_else():
    soak = made_up(lambda second: 0.01, clock=lambda second: 1.8e9)
    (one,) = figures(soak)
    assert one.is_steady
    assert one.kept == pytest.approx(1.0, abs=0.01)
    assert one.slower_after_seconds is None
    assert throttle(soak) is None
    assert can_tell_throttling(soak)


@pytest.mark.parametrize("when", [90, 300, 500])
def test_the_time_to_throttle_is_found_in_the_clock_alone(when):
    soak = made_up(
        lambda second: 0.01 if second < when else 0.013,
        clock=lambda second: 1.8e9 if second < when else 1.4e9,
    )
    fell = throttle(soak)
    assert fell is not None
    assert fell.seconds == pytest.approx(when, abs=1.0)
    assert fell.why == "the clock fell from 1.80 to 1.40 GHz"
    assert figures(soak)[0].slower_after_seconds == pytest.approx(when, abs=2.0)


def test_a_hiccup_is_no_throttling():
    soak = made_up(
        lambda second: 0.02 if 200 <= second < 230 else 0.01,
        clock=lambda second: 1.0e9 if 200 <= second < 230 else 1.8e9,
    )
    assert throttle(soak) is None
    assert figures(soak)[0].slower_after_seconds is None


def test_a_speed_that_still_sinks_at_the_end_is_not_called_steady():
    soak = made_up(lambda second: 0.01 * (1.0 + second / 1000.0))
    assert not figures(soak)[0].is_steady
    said = soak_sentences(SoakReport("rpi5", "Raspberry Pi 5", soak, (None,)))
    assert any(sentence.startswith("not steady yet: a still changed") for sentence in said)
    assert "whether it was throttled is not reported by this machine" in said
    assert "no energy: power is not reported by this board" in said


def test_energy_needs_more_than_the_idle_board_draws():
    turns = [SoakTurn(0, float(i), 10, 0.1, 0.1, watts=3.0) for i in range(100)]
    soak = record(turns, names=("a",))
    (one,) = figures(soak)
    assert one.joules is None  # nobody knows what it draws idle
    assert one.joules_with_idle == pytest.approx(0.3)


def test_a_report_is_read_as_it_was_written_and_tells_its_figures():
    report = SoakReport("rpi5", "Raspberry Pi 5", made_up(lambda second: 0.01), (None,), ("a note",))
    written = json.loads(json.dumps(report.to_json()))
    assert SoakReport.from_json(written) == report
    assert written["figures"]["models"][0]["kept"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (60, "1 min"), (384.2, "6 min 24 s"), (7200, "2 h"), (5400, "1 h 30 min")],
)
def test_minutes_are_said_as_people_say_them(seconds, text):
    assert minutes_text(seconds) == text
