"""Prints the result of a command: one JSON document, or tables for people; progress on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

from device_agent.record.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType


class Result(Protocol):
    """A result that a command shows: a record with JSON, whose type names its drawing function."""

    def to_json(self) -> Any:
        """JSON-ready."""
        ...


def show(arguments: argparse.Namespace, result: Result, **how: bool) -> None:
    """A result: one JSON document for machines, or drawn as its type is; ``how`` goes to what draws it."""
    if arguments.json:
        print(json.dumps(result.to_json(), indent=2, sort_keys=False))
        return
    from sdk.report.terminal.dispatch import drawn

    draw(drawn(result, **how))


def draw(renderable: RenderableType) -> None:
    """Prints what :mod:`sdk.report.terminal.drawing` made."""
    from sdk.tools.system.terminal import Terminal

    console = Terminal()
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as drawn:
        console.print(renderable)
    print("\n".join(line.rstrip() for line in drawn.get().split("\n")), end="")


def say(kind: str, text: object) -> None:
    """A note or an error for people, ``kind: text`` on stderr; what strangers wrote in it is made visible."""
    print(f"{kind}: {visible(text, lines=True)}", file=sys.stderr)


def progress_bar(arguments: argparse.Namespace) -> Any:
    from sdk.tools.system.progress_bar import terminal_progress

    return terminal_progress(enabled=not arguments.json)
