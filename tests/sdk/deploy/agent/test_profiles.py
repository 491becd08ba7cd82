"""Answers of boards about profiles and times: taken when they are sound, refused by name when they are not."""

from __future__ import annotations

from typing import Any

import pytest

from sdk.deploy.agent.profiles import profile_models, time_models
from sdk.errors import RemoteError
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.report.made_up_runs import profile


class FakeAgent:
    """Gives one answer to everything, and remembers what it was asked."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer, self.asked, self.stdin = answer, (), b""

    def call(self, arguments, *, stdin=b"", **_):
        self.asked, self.stdin = tuple(arguments), stdin
        return self.answer


SOUND = profile("net", small_network(), 1e-3)
TIMES = {
    "times": [{"seconds": 2e-3, "minimum_seconds": 1e-3, "samples": 64, "delegate": "xnnpack"}],
    "threads": 1,
    "cpus": [0],
    "runtime": "tflite-runtime",
    "runtime_version": "2.14.0",
    "machine": "aarch64",
}


def test_a_sound_profile_is_taken() -> None:
    agent = FakeAgent({"profiles": [SOUND.to_json()]})
    assert profile_models(agent, ["net"]) == (SOUND,)  # type: ignore[arg-type]
    assert agent.asked[:2] == ("profile", "net")


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({}, "lacks a field; expected profiles"),
        ({"profiles": []}, "something else"),
        ({"profiles": [{**SOUND.to_json(), "model": "other"}]}, "something else"),
        ({"profiles": [{**SOUND.to_json(), "threads": 4}]}, "something else"),
        ({"profiles": [{**SOUND.to_json(), "method": "isolated"}]}, "something else"),
        ({"profiles": [{**SOUND.to_json(), "kernels": "many"}]}, "kernels"),
        ({"profiles": ["no"]}, "not an object"),
    ],
)
def test_a_lying_board_is_caught(answer: dict[str, Any], named: str) -> None:
    with pytest.raises(RemoteError, match=named):
        profile_models(FakeAgent(answer), ["net"])  # type: ignore[arg-type]


def test_models_travel_behind_the_line_of_their_sizes() -> None:
    agent = FakeAgent(TIMES)
    timed = time_models(agent, [b"model"])  # type: ignore[arg-type]
    assert agent.stdin == b"[5]\nmodel"
    assert (timed.times[0].seconds, timed.times[0].samples, timed.cpus) == (2e-3, 64, (0,))
    assert timed.frequency_hz is None
    clocked = FakeAgent({**TIMES, "frequency_hz": 1.8e9})
    assert time_models(clocked, [b"model"]).frequency_hz == 1.8e9  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"times": []}, "something else"),
        ({"times": [{}]}, r"expected times\[0\].seconds"),
        ({"times": "soon"}, "field times"),
        ({"times": [{"seconds": -1.0, "minimum_seconds": 0.0, "samples": 1}]}, r"times\[0\].seconds"),
        ({"times": [{"seconds": 1e99, "minimum_seconds": 0.0, "samples": 1}]}, r"times\[0\].seconds"),
        ({"threads": 2}, "something else"),
        ({"cpus": [-1]}, r"cpus\[0\]"),
        ({"runtime": "\x1b[31m"}, "field runtime"),
        ({"machine": None}, "field machine"),
        ({"frequency_hz": -1.0}, "field frequency_hz"),
    ],
)
def test_times_that_cannot_be_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(RemoteError, match=named):
        time_models(FakeAgent({**TIMES, **change}), [b"model"])  # type: ignore[arg-type]
