"""Commands that write for others: releases for other engines to carry, the C library for native programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sdk.api.release_requests import Export
from sdk.commands.options import add_options, keywords
from sdk.commands.output import progress_bar, show
from sdk.commands.parser import add_command
from sdk.commands.results import NativeLibraries


def register(commands: Any) -> None:
    """Adds the commands to the parser's group."""
    sub = add_command(
        commands,
        "export",
        _export,
        "write models as releases that Ansible or any OCI registry carries to boards",
        "sdk export mobilenet.armlet --format oci -o release",
    )
    sub.add_argument("models", type=Path, nargs="+", metavar="model", help=".armlet package, or any model")
    add_options(sub, Export)
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="new folder to write, or for oci a new .tar file",
    )

    sub = add_command(
        commands,
        "native",
        _native,
        "build the package reader and the kernels for zeros as C libraries, for programs not written in Python",
        "sdk native -o armlet-sdk --target aarch64",
    )
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write; each target gets a folder in it",
    )
    sub.add_argument(
        "--target",
        action="append",
        metavar="MACHINE",
        help="x86_64, aarch64 or armv7l, as `uname -m` says; may be given several times (default: this computer)",
    )


def _export(arguments: argparse.Namespace) -> None:
    from sdk.api.boards.exporting import export_releases

    with progress_bar(arguments) as progress:
        result = export_releases(
            arguments.models, arguments.output, **keywords(Export, arguments), progress=progress
        )
    show(arguments, result)


def _native(arguments: argparse.Namespace) -> None:
    import platform

    from sdk.deploy import native

    results = native.build(arguments.output, arguments.target or [platform.machine()])
    show(arguments, NativeLibraries(results))
