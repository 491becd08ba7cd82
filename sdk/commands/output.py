"""What a command says: one JSON document for machines, or tables for people; progress on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from device_agent.record.visible import visible

#: Tables are complete on so many; on fewer they would lose digits, so there the terminal may break their lines itself.
LEAST_COLUMNS = 80


def print_result(arguments: argparse.Namespace, document: Any, render: Callable[[Any], Any]) -> None:
    """One JSON document for machines, or what ``render`` makes of :mod:`sdk.report.terminal.drawing` for people."""
    if arguments.json:
        print(json.dumps(document, indent=2, sort_keys=False))
        return
    from sdk.report.terminal import drawing as terminal
    from sdk.tools.system.terminal import Terminal

    console = Terminal()
    console.width = max(console.width, LEAST_COLUMNS)
    console.print(render(terminal))


def say(kind: str, text: object) -> None:
    """A note or an error for people, ``kind: text`` on stderr; what strangers wrote in it is made visible."""
    print(f"{kind}: {visible(text, lines=True)}", file=sys.stderr)


def progress_bar(arguments: argparse.Namespace) -> Any:
    from sdk.tools.system.progress_bar import terminal_progress

    return terminal_progress(enabled=not arguments.json)
