"""How small does a network become, and what does it lose?

    python -m benchmarks.compression                    # the cases
    python -m benchmarks.compression CASE --help        # what a case needs
    python -m benchmarks.compression lenet_5 --data mnist.npz [-o benchmarks/results/compression/lenet_5.json]

A case stands for the settings that its figure in docs/compression.md was made with; options change them.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.compression.cases import CASES
from benchmarks.record import add_output_options, run


def build_parser() -> argparse.ArgumentParser:
    """A command for each case, with the options of its kind."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m benchmarks.compression",
    )
    commands = parser.add_subparsers(metavar="CASE", required=True)
    for name, case in CASES.items():
        command = commands.add_parser(
            name,
            help=case.question.replace("%", "%%"),
            description=case.kind.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        case.kind.add_arguments(command)
        add_output_options(command)
        command.set_defaults(measure=case.kind.measure, **case.settings)
    return parser


def main() -> None:
    parser = build_parser()
    if len(sys.argv) == 1:
        parser.print_help()
        return
    arguments = parser.parse_args()
    run(arguments.measure, arguments)


if __name__ == "__main__":
    main()
