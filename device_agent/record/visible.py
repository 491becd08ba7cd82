"""Text of strangers on its way to a person: what could drive a terminal, or turn a line around, becomes visible.

Names come out of packages, models, files and a board's answers. Shown as they are, an escape sequence clears the
screen or changes its colours, and a bidirectional control (Unicode UAX #9) makes ``exe.tflite`` read ``etilft.exe``.
"""

from __future__ import annotations

from typing import Any, Iterable

#: Not printable for Python, and harmless.
_HARMLESS = "\N{NO-BREAK SPACE}"


def visible(value: Any, *, most: int | None = None, lines: bool = False) -> str:
    """``value`` as text in which every control, format and bidirectional character is written as its escape.

    It is "" for None. ``lines``: line ends stay line ends. ``most``: the largest number of characters; the end of a
    longer text is left out. ESC becomes ``\\x1b``, RIGHT-TO-LEFT OVERRIDE ``\\u202e``.
    """
    text = "" if value is None else str(value)
    if most is not None:
        text = text[:most]
    if not text.isprintable():
        kept = _HARMLESS + "\n" if lines else _HARMLESS
        text = "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)
    return text if most is None else text[:most]


def first_of(names: Iterable[Any], most: int) -> str:
    """The first ``most`` of some names in a row, and how many more there are: "conv, dense and 7 more"."""
    every = [str(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
