"""How work says how far it is: a plain callback, so that stages know nothing of terminals. Pure."""

from __future__ import annotations

from collections.abc import Callable

#: Takes the stage that runs, how much of it is done, and how much there is (0: not known).
Progress = Callable[[str, int, int], None]
#: The stage that counts the whole work, whichever stage runs.
WHOLE = "in all"


def silent(stage: str, done: int, total: int) -> None:
    """The callback for machines and tests."""
