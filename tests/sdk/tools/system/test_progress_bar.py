"""The line of progress: alive while Python is kept busy, gone afterwards; an estimate that does not grow."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdk.tools.progress import WHOLE
from sdk.tools.system.progress_bar import AT_MOST_EVERY, Above, Drawing, Estimate, Line
from sdk.tools.system.progress_drawing import draw, left_text
from sdk.tools.system.terminal import Terminal

ROOT = Path(__file__).parents[4]
#: ctypes.PyDLL keeps Python's lock: no thread of this process runs meanwhile, as while TensorFlow converts.
KEPT_BUSY = """
import ctypes, sys
from sdk.tools.system.progress_bar import terminal_progress
with terminal_progress() as progress:
    progress("convert", 0, 0)
    ctypes.PyDLL(None).usleep(2_000_000)
    print("a warning", file=sys.stderr)
print("the result")
"""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_line_turns_while_python_is_kept_busy_and_is_gone_at_the_end() -> None:
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", KEPT_BUSY], stdin=terminal, stdout=terminal, stderr=terminal,
                          env=environment) as process:  # fmt: skip
        os.close(terminal)
        drawn = b""
        while True:
            try:
                drawn += os.read(controller, 65536)
            except OSError:  # nobody writes any more
                break
    os.close(controller)
    assert process.returncode == 0
    text = drawn.decode()
    assert len(set(re.findall(r"([\u2800-\u28ff]) \S*\s*convert|([\u2800-\u28ff])", text))) > 4, text
    assert "convert" in text
    assert "%" not in text  # nobody knows a share
    after = text[text.rindex("convert") :]
    assert "\x1b[2K" in after  # the line is erased
    assert text.rstrip().endswith("the result")
    assert "a warning" in text


def drawn(*messages: tuple[object, ...]) -> str:
    out = io.StringIO()
    console = Terminal(file=out, force_terminal=True, width=80)
    answers = io.StringIO()
    draw([json.dumps(message) for message in messages], answers, console)
    hidden = sum(message[0] == "hide" for message in messages)
    assert answers.getvalue() == "\n" * hidden
    return out.getvalue()


def test_what_is_known_is_drawn() -> None:
    text = drawn(
        ("task", "calibrate", 30, 60, 42.0),
        ("say", "a [bold]note"),
        ("hide",),
        ("show",),
        ("task", "b", 0, None, None),
    )
    assert re.search(r"calibrate .* 50 % .*about 40 s left", text)
    assert "a [bold]note" in text
    assert re.search(r"\bb\b", text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "about 1 s left"), (7.4, "about 7 s left"), (43, "about 45 s left"), (100, "about 2 min left"),
     (6000, "about 1.7 h left")],
)  # fmt: skip
def test_time_left_is_coarse(seconds: float, text: str) -> None:
    assert left_text(seconds) == text


def test_an_estimate_does_not_grow_while_work_slows_down_a_little() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    told: list[float] = []
    for percent in range(100):
        left = estimate(WHOLE, percent, 100)
        if left is not None:
            told.append(clock.now + left)
        clock.now += 1.0 + percent / 250  # the last step takes 1.4 times as long as the first
    assert len(told) > 90
    assert max(later - before for before, later in itertools.pairwise(told)) < 1e-9
    assert 130 < told[0] - 100 < 165  # it takes 120


def test_an_estimate_that_was_too_short_is_taken_back_a_few_times() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    told = []
    for percent in range(100):
        left = estimate(WHOLE, percent, 100)
        if left is not None:
            told.append(clock.now + left)
        clock.now += 1.0 if percent < 20 else 4.0
    grown = [later - before for before, later in itertools.pairwise(told) if later > before + 1e-9]
    assert len(grown) <= 6


def test_an_estimate_needs_something_to_go_by() -> None:
    clock = Clock()
    estimate = Estimate(clock)
    assert estimate("push", 0, 100) is None
    clock.now += 10
    assert estimate("push", 1, 100) is None
    assert estimate("push", 50, 100) == pytest.approx(12.5)
    assert estimate("decode", 0, 0) is None
    assert estimate("push", 50, 100) is None  # it begins again


def test_the_line_tells_the_whole_once_it_is_known_and_not_every_step() -> None:
    clock = Clock()
    told: list[tuple[object, ...]] = []
    line = Line(lambda *message: told.append(message), clock)
    line("convert\x1b", 0, 0)
    for done in range(100):
        line("push", done, 100)
    clock.now += 2 * AT_MOST_EVERY
    line("push", 100, 100)
    line(WHOLE, 300, 1000)
    line("check", 1, 7)
    assert told == [
        ("task", "convert\\x1b", 0, None, None),
        ("task", "push", 0, 100, None),
        ("task", "push", 100, 100, None),
        ("task", "check 1 of 7", 300, 1000, None),
    ]


def test_without_the_process_that_draws_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    drawing = Drawing()
    assert Above(drawing).write("a line\nand half") == 15
    drawing.hide()
    drawing.end()
