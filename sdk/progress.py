"""Progress on the terminal: one line on stderr for work that takes longer than a blink, gone when it is done.

Stages report through a plain callback ``(stage, done, total)``, so that they know nothing of terminals.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """The callback for machines and tests."""


@contextmanager
def terminal_progress(enabled: bool = True) -> Iterator[Progress]:
    """Yields a callback that draws on stderr while it is a terminal, and does nothing otherwise."""
    if not enabled or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, object] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for task in bars.tasks:  # one line: the stage that runs now
                    bars.remove_task(task.id)
                tasks.clear()
                tasks[stage] = bars.add_task(stage, total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)  # type: ignore[arg-type]

        yield report
