"""One line, or a few, on what became of a board or a service."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.text import Text


def added_board(result: Any) -> RenderableType:
    """Where the board's file is, and what to check in it."""
    return Text("\n".join([str(result.path), *(f"note: {warning}" for warning in result.warnings)]))


def stopped_board(result: Any) -> RenderableType:
    """Whether an emulated board ran until now."""
    return Text(f"{result.board} {'stopped' if result.stopped else 'was not running'}")


def signature_policy(result: Any) -> RenderableType:
    """From whom a board takes packages."""
    signed = "only that are signed by one of them" if result.requires_signatures else "from anyone"
    return Text(f"{result.board} takes packages {signed}")
