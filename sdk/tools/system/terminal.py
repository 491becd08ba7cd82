"""The gate to the terminal: whatever is drawn or said passes here, and nothing a stranger wrote can drive it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from device_agent.record.visible import visible

#: What a program reads is never wrapped: a path in it stays in one piece.
UNWRAPPED_COLUMNS = 10_000


class Terminal(Console):
    """rich's console without markup, on which control and bidirectional characters show as their escapes.

    "[/]" in the name of a layer is a name, not an instruction.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, **options)
        if not self.is_terminal and "COLUMNS" not in os.environ and "width" not in options:
            self.width = UNWRAPPED_COLUMNS

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of ``renderable``, their text made visible; rich's own control codes are not text."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text, lines=True), segment.style)
