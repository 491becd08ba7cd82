"""How every benchmark takes its options and leaves its figures.

    --json     print the record as JSON; what is for people goes to standard error
    -o FILE    keep the record as JSON

A benchmark is a function of its arguments that prints as it goes and returns a record: a list or mapping of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdk.errors import ArmletError


def benchmark(
    documentation: str | None,
    measure: Callable[[argparse.Namespace], Any],
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    *,
    keep: Callable[[Path, Any], None] | None = None,
    argv: list[str] | None = None,
) -> Any:
    """Runs ``measure`` with what the command line says; the record that it returned. What Armlet refuses ends the
    program with one line and status 2. ``keep`` writes the record in a form of its own."""
    parser = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if add_arguments is not None:
        add_arguments(parser)
    add_output_options(parser)
    return run(measure, parser.parse_args(argv), keep=keep)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """The two options that all benchmarks have."""
    parser.add_argument(
        "--json", action="store_true", help="print the record as JSON, the rest on standard error"
    )
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="keep the record as JSON")


def run(
    measure: Callable[[argparse.Namespace], Any],
    arguments: argparse.Namespace,
    *,
    keep: Callable[[Path, Any], None] | None = None,
) -> Any:
    """The record of ``measure``, printed and kept as the arguments say."""
    try:
        with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout):
            record = measure(arguments)
    except (ArmletError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if arguments.json:
        print(text_of(record), end="")
    if arguments.output:
        (keep or write)(arguments.output, record)
    return record


def text_of(record: Any) -> str:
    """A record as JSON, with a line break at its end."""
    return json.dumps(record, indent=1) + "\n"


def write(path: Path, record: Any) -> None:
    """Keeps a record in a file."""
    path.write_text(text_of(record), encoding="utf-8")


def kept_runs(path: Path | None) -> dict[str, Any]:
    """The record that an earlier call kept, to go on with; without any ``runs`` where there is no such file."""
    if path is None or not path.exists():
        return {"runs": {}}
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def write_rows(path: Path, record: dict[str, Any]) -> None:
    """Keeps a record of ``conditions`` and ``results``, one a model; those of other models in the file stay."""
    rows = json.loads(path.read_text(encoding="utf-8"))["results"] if path.is_file() else []
    by_model = {row["model"]: row for row in [*rows, *record["results"]]}
    write(path, {**record, "results": list(by_model.values())})
