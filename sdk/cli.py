"""The command ``sdk``: parse, call, print.

Data go to stdout, as tables for people or with ``--json`` as one document for machines; progress, notes and errors
go to stderr.  Exit status 0 when it worked, 1 from `sdk compare` when a model became slower and from a command on an
inventory when not every board did as it was told, 2 for anything that the user can put right, 130 for Ctrl-C.

Nothing heavy is imported here: every command imports what it needs when it runs, so that ``sdk --help`` is instant.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from device_agent.errors import ArmletError
from sdk import __version__
from sdk.commands import boards, data, exports, models, releases, runs, services
from sdk.commands.output import say

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except ArmletError as error:
        return _fail(error, arguments)
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; Python would complain once more when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(ArmletError(f"{where}{error.strerror or error}"), arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _fail(error: ArmletError, arguments: argparse.Namespace) -> int:
    say("error", error)
    if arguments.json:
        print(json.dumps(error.to_json()))
    return getattr(error, "exit_status", EXIT_BAD_INPUT)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="sdk",
        description="Deploy convolutional networks to ARM boards: convert, prune, cluster, Huffman-pack, push "
        "over SSH, run, and compare measured with theoretical latency.",
        epilog="No board at hand? `sdk demo` needs none.",
    )
    parser.add_argument("--version", action="version", version=f"armlet {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for subject in (models, data, boards, releases, services, runs, exports):
        subject.register(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
