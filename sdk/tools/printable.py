"""A board's words, made fit for a terminal."""

from __future__ import annotations

from typing import Any


def printable_text(value: Any, limit: int) -> str:
    """``value`` as text of at most ``limit`` characters, unable to drive a terminal; "" for None."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() else " " for c in text)[:limit]
