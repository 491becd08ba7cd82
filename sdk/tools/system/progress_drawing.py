"""The process that draws the line of progress: it turns and counts while TensorFlow keeps its parent's Python busy.

It reads one JSON list per line on stdin: ["task", name, done, total or null, seconds left or null], ["say", text] for
what is to stand above the line, ["hide"] and ["show"]. It answers "hide" with a line on stdout. The line goes when
stdin ends.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from sdk.tools.system.terminal import Terminal


def left_text(seconds: float) -> str:
    """Seconds left -> "about 3 min left", coarser the more there are."""
    if seconds < 90:
        step = 1 if seconds < 15 else 5
        return f"about {max(step * round(seconds / step), 1)} s left"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"


class _Left(ProgressColumn):
    """The time left, which goes on between two reports."""

    def render(self, task: Task) -> Text:
        end = task.fields["end"]
        return Text("" if end is None else left_text(end - time.monotonic()))


def main() -> None:
    """Draws until stdin ends. An interrupt is for the parent, which ends stdin then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    draw(sys.stdin, sys.stdout)


def draw(messages: Iterable[str], answers: TextIO, console: Any = None) -> None:
    """Draws on ``console`` (None: the terminal of stderr) what the messages say."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[share]}"),
        TimeElapsedColumn(),
        _Left(),
    )
    bars = Progress(*columns, console=console or Terminal(stderr=True), transient=True)
    task = bars.add_task("", total=None, end=None, share="")
    name: str | None = None
    with bars:
        for line in messages:
            kind, *said = json.loads(line)
            if kind == "task":
                new, done, total, left = said
                if name is None or (total is None and new != name):
                    bars.reset(task, total=None)
                name = new
                share = f"{100 * done / total:>3.0f} %" if total else ""
                end = None if left is None else time.monotonic() + left
                bars.update(task, description=new, completed=done, total=total, end=end, share=share)
            elif kind == "say":
                bars.console.print(said[0])
            elif kind == "hide":
                bars.stop()
                print(file=answers, flush=True)
            elif kind == "show":
                bars.start()


if __name__ == "__main__":
    main()
