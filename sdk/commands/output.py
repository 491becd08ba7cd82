"""What a command says: one JSON document for machines, or tables for people; progress on stderr."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any


def print_result(arguments: argparse.Namespace, document: Any, render: Callable[[Any], Any]) -> None:
    """One JSON document for machines, or what ``render`` makes of :mod:`sdk.report.terminal.drawing` for people."""
    if arguments.json:
        print(json.dumps(document, indent=2, sort_keys=False))
        return
    from rich.console import Console

    from sdk.report.terminal import drawing as terminal

    Console(highlight=False).print(render(terminal))


def progress_bar(arguments: argparse.Namespace) -> Any:
    from sdk.tools.system.progress_bar import terminal_progress

    return terminal_progress(enabled=not arguments.json)
