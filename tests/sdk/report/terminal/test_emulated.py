"""No time of an emulator is shown where a reader would take it for a latency."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from sdk.api.boards.deploying import without_emulated_times
from sdk.deploy.agent.answers import Prepared
from sdk.report.terminal.evaluated import evaluation


def shown(**changes: object) -> str:
    told = {
        "name": "m",
        "board": "virtual-arm64",
        "samples": 8,
        "data": "d",
        "task": "",
        "reached": (),
        "changes": (),
        "agree": 8,
        "board_seconds": None,
        "by_truth": True,
        "counted": "classes",
        "mistaken": (),
        "notes": (),
    }
    file = io.StringIO()
    Console(file=file, width=100).print(evaluation(SimpleNamespace(**{**told, **changes})))
    return file.getvalue()


def test_an_evaluation_on_an_emulated_board_tells_no_time():
    assert "per inference" not in shown()
    assert "1.00 ms per inference" in shown(board_seconds=0.008)


@pytest.mark.parametrize("emulated", [True, False])
def test_a_deploy_to_an_emulated_board_tells_no_start(emulated: bool):
    prepared = Prepared(1, "why", 1000, 0.018, 1.26, "")
    told = without_emulated_times(prepared, emulated)
    assert told is not None
    assert (told.start_seconds is None) == emulated
    assert told.start_bytes == 1000
