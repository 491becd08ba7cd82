"""How a command is added to the parser: with a summary, an example, and ``--json``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_command(
    within: Any,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    """The parser of a new command of the group ``within``; ``run`` gets what it has parsed."""
    sub: argparse.ArgumentParser = within.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    sub.set_defaults(run=run)
    return sub
