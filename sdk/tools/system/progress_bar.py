"""Progress on the terminal: one line on stderr for work that takes longer than a blink, gone when it is done.

Where the stage ``WHOLE`` is told, share and time left on the line are of the whole work.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sdk.tools.progress import WHOLE, Progress, silent

TRUSTED_SECONDS, TRUSTED_SHARE = 2.0, 0.01  # before both are over nobody knows how long it will take


class Estimate:
    """How long it will still take: the rest at the pace until now, counted for the whole work once that is told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._started: dict[str, float] = {}
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> float | None:
        """Takes a report; seconds left, or None where that is not known (yet)."""
        if stage != WHOLE and stage != self._stage:
            self._started.pop(stage, None)  # a stage that comes again starts again
            self._stage = stage
        started = self._started.setdefault(stage, self.clock())
        elapsed = self.clock() - started
        share = done / total if total else 0.0
        if share < TRUSTED_SHARE or elapsed < TRUSTED_SECONDS:
            return None
        return elapsed * (1 - min(share, 1.0)) / share


def left_text(seconds: float | None) -> str:
    """Seconds left -> "about 3 min left", and nothing where they are unknown."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(round(seconds), 1)} s left"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"


#: The lines that are drawn now.
_drawn: list[Any] = []


@contextmanager
def paused() -> Iterator[None]:
    """Takes the line of progress away while a person is asked something."""
    drawn = list(_drawn)
    for bars in drawn:
        bars.stop()
    try:
        yield
    finally:
        for bars in drawn:
            bars.start()


@contextmanager
def terminal_progress(enabled: bool = True) -> Iterator[Progress]:
    """Yields a callback that draws on stderr while it is a terminal, and does nothing otherwise."""
    if not enabled or not sys.stderr.isatty():
        yield silent
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from sdk.tools.system.terminal import Terminal

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bars(*columns, console=Terminal(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None, left="")
        estimate, whole = Estimate(), False
        name = ""

        def report(stage: str, done: int, total: int) -> None:
            nonlocal whole, name
            left = left_text(estimate(stage, done, total))
            if stage == WHOLE:
                whole = True
                bars.update(task, completed=done, total=total, left=left)
            elif whole:
                bars.update(task, description=stage)
            else:
                if stage != name:
                    bars.reset(task, description=stage, total=None)  # one line: the stage that runs now
                bars.update(task, completed=done, total=total or None, left=left)
            name = stage if stage != WHOLE else name

        _drawn.append(bars)
        try:
            yield report
        finally:
            _drawn.remove(bars)
