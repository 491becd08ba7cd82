"""The command ``sdk``: parse, call, print.

Data go to stdout, as tables for people or with ``--json`` as one document for machines; progress, notes and errors
go to stderr. Exit status:

    0    it worked
    1    a check failed: `sdk compare` found a slower model, a board of an inventory did not do as it was told,
         or there is nothing to compress
    2    an error, which the user can put right
    3    a target was missed
    4    `sdk compare` can't tell
    130  Ctrl-C

Nothing heavy is imported here: every command imports what it needs when it runs, so that ``sdk --help`` is instant.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from device_agent.errors import ArmletError
from sdk import __version__
from sdk.commands import boards, completion, data, exports, models, releases, runs, services
from sdk.commands.output import say
from sdk.commands.parser import Parser
from sdk.tools.extras import missing
from sdk.tools.system.encoding import write_plainly
from sdk.tools.system.keeping import keep_results
from sdk.tools.system.quiet import leave_out_forms_of_data

EXIT_BAD_INPUT = 2

#: Heading of the help -> its commands; those of none are other names for one of these.
SUBJECTS = {
    "models and packages": (
        "compress",
        "convert",
        "data",
        "inspect",
        "diff",
        "pack",
        "unpack",
        "zoo",
        "tools",
        "sign",
        "verify",
    ),
    "boards": (
        "deploy",
        "status",
        "releases",
        "rollback",
        "confirm",
        "service",
        "boards",
        "board",
        "export",
        "native",
    ),
    "measuring": ("bench", "predict", "eval", "tune", "report", "compare"),
    "to begin with": ("demo", "completion"),
}
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in given
    write_plainly()
    parser = build_parser()
    _complete(parser)
    try:
        arguments = parser.parse_args(given)
        if not as_json and find_spec("rich") is None:  # said before the work is done, not after it
            raise ModuleNotFoundError("rich", name="rich")
        return int(arguments.run(arguments) or 0)
    except ArmletError as error:
        return _fail(error, as_json)
    except ModuleNotFoundError as error:
        told = missing(error)
        if told is None:
            raise
        return _fail(told, as_json)
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; Python would complain once more when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(ArmletError(f"{where}{error.strerror or error}"), as_json)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def program() -> NoReturn:
    """Runs the command of this process's arguments, and ends the process with its exit status."""
    leave_out_forms_of_data()
    keep_results()
    try:
        sys.exit(main())
    finally:
        gc.freeze()  # else Python takes every object apart before it ends, a second after TensorFlow


def _fail(error: ArmletError, as_json: bool) -> int:
    say("error", error)
    if as_json:
        print(json.dumps(error.to_json()))
    return getattr(error, "exit_status", EXIT_BAD_INPUT)


def build_parser() -> Parser:
    """The parser of every command."""
    parser = Parser(
        prog="sdk",
        description="Deploy convolutional networks to ARM boards: compress, push over SSH, run, and compare\n"
        "measured with theoretical latency.",
        epilog="No board at hand? `sdk demo` needs none.\n"
        "Exit status: 0 it worked, 1 a check failed, 2 an error, 3 a target was missed, 4 can't tell,\n"
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"armlet {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for subject in (models, data, boards, releases, services, runs, exports, completion):
        subject.register(commands)
    parser.subjects = SUBJECTS
    return parser


def _complete(parser: Parser) -> None:
    """Answers a shell that asks what may come next, and ends; see `sdk completion`."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)


if __name__ == "__main__":
    program()
