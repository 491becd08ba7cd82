"""Progress on the terminal: one line on stderr for work that takes longer than a blink, gone when it is done.

Where the stage ``WHOLE`` is reported, share and time left on the line are of the whole work.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_agent.record.visible import visible
from sdk.tools.progress import WHOLE, Progress, silent

AT_MOST_EVERY = 0.05  # seconds between two changes of the line
END_SECONDS = 2.0
MOST_PARTS = 999  # of a stage, that are counted in words
TRUSTED_SECONDS, TRUSTED_SHARE = 4.0, 0.05  # before both are over nobody knows how long it will take
MARGIN = 0.5  # of an early estimate


class Estimate:
    """How long it will still take: the rest at the pace until now, counted for the whole work once that is told.

    Work more often becomes slower than faster, so early estimates have a margin. An estimate that was shown stands
    while the pace does not refute it: it counts down, and does not grow with every slow step.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._started: dict[str, float] = {}
        self._stage = ""
        self._end: dict[str, float] = {}  # the moment that was told

    def __call__(self, stage: str, done: int, total: int) -> float | None:
        """Takes a report; seconds left, or None where that is not known (yet)."""
        if stage != WHOLE and stage != self._stage:
            self._started.pop(stage, None)  # a stage that comes again starts again
            self._end.pop(stage, None)
            self._stage = stage
        now = self.clock()
        elapsed = now - self._started.setdefault(stage, now)
        share = min(done / total, 1.0) if total else 0.0
        if share < TRUSTED_SHARE or elapsed < TRUSTED_SECONDS:
            return None
        least = elapsed * (1 - share) / share
        most = least * (1 + MARGIN * max(1 - share, 0.4))
        end = self._end.get(stage, now + most)
        self._end[stage] = min(end if end > now + least else now + most, now + most)
        return self._end[stage] - now


class Drawing:
    """The process that draws (:mod:`sdk.tools.system.progress_drawing`). Without one nothing is drawn."""

    def __init__(self) -> None:
        # Our own path, because a checkout is found by PYTHONPATH or by the folder that we were started in.
        script = "import sys; sys.path[:] = sys.argv[1:]; from sdk.tools.system.progress_drawing import main; main()"
        self._process: subprocess.Popen[str] | None = None
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-c", script, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

    def tell(self, *message: object) -> None:
        """Sends it a message; one that ended draws no more."""
        with contextlib.suppress(OSError, ValueError):
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()

    def hide(self) -> None:
        """Takes the line away; it is gone when this returns."""
        self.tell("hide")
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.readline()

    def end(self) -> None:
        """Takes the line away for good."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
            process.communicate(timeout=END_SECONDS)
        if process.poll() is None:
            process.kill()
            process.wait()


class Above(io.TextIOBase):
    """What is written here, line by line, goes above the line of progress."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._begun = ""

    def write(self, text: str) -> int:
        """The number of characters, as of any file."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._drawing.tell("say", line)
        return len(text)

    def isatty(self) -> bool:
        """It is part of a terminal."""
        return True


#: The lines that are drawn now.
_drawn: list[Drawing] = []


@contextmanager
def paused() -> Iterator[None]:
    """Takes the line of progress away while a person is asked something."""
    drawn = list(_drawn)
    for drawing in drawn:
        drawing.hide()
    try:
        yield
    finally:
        for drawing in drawn:
            drawing.tell("show")


@contextmanager
def terminal_progress(enabled: bool = True) -> Iterator[Progress]:
    """Yields a callback that draws on stderr while it is a terminal, and does nothing otherwise."""
    if not enabled or not sys.stderr.isatty():
        yield silent
        return
    drawing = Drawing()
    _drawn.append(drawing)
    try:
        with contextlib.redirect_stderr(Above(drawing)):
            yield Line(drawing.tell)
    finally:
        _drawn.remove(drawing)
        drawing.end()


class Line:
    """What the line says: the stage that runs, and how far it or the whole work is."""

    def __init__(self, tell: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._estimate = Estimate(clock)
        self._name, self._counted, self._told_at = "", "", -math.inf
        self._whole: tuple[int, int, float | None] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Takes a report; most of those that come thick and fast are left out."""
        left = self._estimate(stage, done, total)
        new = stage not in (self._name, WHOLE)
        if stage == WHOLE:
            self._whole = (done, total, left)
        else:
            # Which of a few parts; the share is that of the whole work.
            self._name, self._counted = stage, f" {done} of {total}" if 1 < total <= MOST_PARTS else ""
        if new or self._clock() - self._told_at > AT_MOST_EVERY:
            self._told_at = self._clock()
            name = visible(self._name, most=60)
            if self._whole is None:
                self._tell("task", name, done, total or None, left)
            else:
                self._tell("task", name + self._counted, *self._whole)
