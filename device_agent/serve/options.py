"""The options of `serve`, and the parser that says in one error what is wrong with a call of the agent."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn, Sequence

from device_agent.errors import AgentError
from device_agent.run.kernels.delegate import CHOICES


class Parser(argparse.ArgumentParser):
    """As argparse's, but a wrong call is an AgentError."""

    def error(self, message: str) -> NoReturn:
        """Raises AgentError, where argparse would print and exit."""
        raise AgentError(f"the agent was called wrongly: {message}", hint=self.format_usage().strip())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `serve`."""
    where = parser.add_argument_group("where to listen; both may be given")
    where.add_argument("--socket", type=Path, metavar="PATH", help="Unix socket that only this user may open")
    where.add_argument("--port", type=int, metavar="N", help="TCP port of the loopback; 0 takes a free one")
    where.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="(default: 127.0.0.1)")
    where.add_argument(
        "--allow-remote", action="store_true", help="listen on an address that others can reach, to anybody"
    )
    what = parser.add_argument_group("what to serve")
    what.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="MODEL",
        help="may be repeated (default: all that is deployed)",
    )
    what.add_argument("--workers", type=int, default=1, help="interpreters of each model (default: 1)")
    what.add_argument("--threads", type=int, help="cores of one inference (default: as when it was deployed)")
    what.add_argument("--kernel", choices=("auto", "c", "numpy"), default="auto")
    what.add_argument(
        "--kernels",
        choices=CHOICES,
        default="auto",
        help="what runs layers with zeros (default: as deployed)",
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument("--queue", type=int, default=16, help="requests that may wait (default: 16)")
    limits.add_argument("--max-connections", type=int, default=64, help="(default: 64)")
    limits.add_argument("--max-body", type=int, default=16 << 20, metavar="BYTES", help="(default: 16777216)")
    for option, seconds, text in (
        ("--deadline", 10.0, "for an answer, where a request says nothing else"),
        ("--read-seconds", 10.0, "to read the head of a request, and again its body"),
        ("--idle-seconds", 60.0, "between two requests of a connection"),
        ("--drain-seconds", 30.0, "to finish what was accepted, when told to end"),
    ):
        limits.add_argument(
            option, type=float, default=seconds, metavar="S", help=f"{text} (default: {seconds:g})"
        )


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options of a call of `serve`. Raises AgentError."""
    parser = Parser(prog="serve")
    add_arguments(parser)
    return parser.parse_args(words)
