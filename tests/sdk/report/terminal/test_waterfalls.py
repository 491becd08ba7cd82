"""Waterfalls on a terminal: every bar is whole, however narrow the terminal is."""

from __future__ import annotations

import pytest

from sdk.api.board_requests import PredictTime
from sdk.api.measuring.measure import open_model
from sdk.api.measuring.predictions import predict_one
from sdk.board.catalogue import load_board
from sdk.explain.speed.predictions import Predictions
from sdk.graph.writer import write_graph
from sdk.report.terminal import drawing
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.report.made_up_engine import engine
from tests.sdk.report.terminal.test_tables import drawn


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_bar_is_cut_and_the_whole_is_the_longest(width: int) -> None:
    model = open_model("net", write_graph(small_network(size=64)))
    (one,) = predict_one([load_board("rpi4")], model, PredictTime(), engine=engine())
    text = drawn(drawing.predictions(Predictions((one,), "a table", 45, 0.1, 0.05)), width)
    waterfall = text.split("From theory")[1].split("Operators of")[0].splitlines()
    bars = [line for line in waterfall if "█" in line]
    assert len(bars) == 2 + sum(abs(s.seconds) >= 0.0005 * one.predicted_seconds for s in one.steps()[1:])
    assert not any("…" in line or len(line.rstrip()) > width for line in waterfall)
    assert bars[-1].startswith("predicted")
    lengths = [line.count("█") for line in bars]
    assert lengths[-1] == max(lengths) >= 6
    if width >= 80:
        assert lengths[-1] == 30
