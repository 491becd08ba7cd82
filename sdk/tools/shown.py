"""Results that a notebook shows as the terminal does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_drawing: list[Callable[[Any], str]] = []


def show_with(draw: Callable[[Any], str]) -> None:
    """Sets what makes HTML of a result. The room that draws stands above those that make results."""
    _drawing[:] = [draw]


class Shown:
    """A result that Jupyter draws."""

    def _repr_html_(self) -> str | None:
        """The HTML that a notebook shows; None leaves it to ``repr``."""
        return _drawing[0](self) if _drawing else None
