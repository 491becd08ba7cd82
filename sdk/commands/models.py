"""Commands on files: convert, compress, pack, unpack, inspect, compare, sign, and the zoo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdk.api.compress_request import Compress
from sdk.api.file_requests import (
    Convert,
    DescribeZoo,
    InstallTool,
    Pack,
    Sign,
    UnpackPackage,
    Verify,
    WriteZoo,
)
from sdk.commands.arguments import model_argument, output_argument
from sdk.commands.options import add_options, keywords, request
from sdk.commands.output import progress_bar, show
from sdk.commands.parser import add_command, add_group
from sdk.commands.results import Networks, Verified

EXIT_MISSED = 3  # sdk compress: nothing meets what was asked; the nearest is written beside


def register(commands: Any) -> None:
    """Adds the commands to the parser's group."""
    _register_making(commands)
    _register_tools(commands)
    _register_reading(commands)
    _register_signing(commands)


def _register_making(commands: Any) -> None:
    sub = add_command(
        commands,
        "convert",
        _convert,
        "convert Keras, SavedModel, PyTorch (.pt2), ONNX or .tflite to a .tflite of batch 1",
        "sdk convert mobilenet.keras -o mobilenet.tflite",
    )
    model_argument(sub)
    add_options(sub, Convert)
    output_argument(sub, ".tflite file to write")

    sub = add_command(
        commands,
        "compress",
        _compress,
        "prune and cluster a model and pack it into one .armlet file",
        "sdk compress mobilenet.tflite -o mobilenet.armlet --sparsity 0.7 --clusters 32",
    )
    model_argument(sub)
    add_options(sub, Compress)
    output_argument(sub, ".armlet file to write")

    sub = add_command(
        commands,
        "pack",
        _pack,
        "pack any .tflite exactly as it is",
        "sdk pack mobilenet.tflite -o mobilenet.armlet",
    )
    sub.add_argument("model", type=Path, help=".tflite file")
    add_options(sub, Pack)
    output_argument(sub, ".armlet file to write")


def _register_tools(commands: Any) -> None:
    tools = add_group(commands, "tools", "install converters for PyTorch and ONNX, once")
    sub = add_command(
        tools,
        "install",
        _install_tool,
        "make the environment of a converter, which works offline afterwards",
        "sdk tools install onnx",
    )
    sub.add_argument("tool", help="torch or onnx")
    add_options(sub, InstallTool)


def _install_tool(arguments: argparse.Namespace) -> None:
    from sdk.api.files.tools import install_tool

    with progress_bar(arguments) as progress:
        result = install_tool(arguments.tool, **keywords(InstallTool, arguments), progress=progress)
    show(arguments, result)


def _register_reading(commands: Any) -> None:
    sub = add_command(
        commands,
        "unpack",
        _unpack,
        "decode a package to exactly the .tflite that was packed",
        "sdk unpack mobilenet.armlet -o mobilenet.tflite",
    )
    sub.add_argument("package", type=Path, help=".armlet file")
    output_argument(sub, ".tflite file to write")
    add_options(sub, UnpackPackage)

    sub = add_command(
        commands,
        "inspect",
        _inspect,
        "show a package layer by layer and stage by stage",
        "sdk inspect mobilenet.armlet",
    )
    sub.add_argument("package", type=Path, help=".armlet file")

    sub = add_command(
        commands,
        "diff",
        _diff,
        "show which sections of two packages differ, and what a push would send",
        "sdk diff old.armlet new.armlet",
    )
    sub.add_argument("before", type=Path, help=".armlet file that a board has")
    sub.add_argument("after", type=Path, help=".armlet file to push")

    sub = add_command(
        commands,
        "zoo",
        _zoo,
        "list the networks of the zoo, or write one as .tflite with fresh weights",
        "sdk zoo mobilenet_v1 --width 0.5 --size 224 -o m.tflite",
    )
    sub.add_argument("network", nargs="?", help="name of the network; without one, lists them all")
    add_options(sub, WriteZoo)
    sub.add_argument("-o", "--output", type=Path, metavar="FILE", help=".tflite file to write")


def _register_signing(commands: Any) -> None:
    sub = add_command(
        commands,
        "sign",
        _sign,
        "sign the release of a package with your SSH key, for boards that take signed releases only",
        "sdk sign mobilenet.armlet --key ~/.ssh/id_ed25519",
    )
    sub.add_argument("package", type=Path, help=".armlet file; its signature becomes FILE.armlet.sig")
    add_options(sub, Sign)

    sub = add_command(
        commands,
        "verify",
        _verify,
        "show who signed a package",
        "sdk verify mobilenet.armlet --allowed-signers allowed_signers",
    )
    sub.add_argument("package", type=Path, help=".armlet file")
    add_options(sub, Verify)


def _convert(arguments: argparse.Namespace) -> None:
    from sdk.api.files.packing import convert_model

    with progress_bar(arguments) as progress:
        result = convert_model(
            arguments.model, arguments.output, **keywords(Convert, arguments), progress=progress
        )
    show(arguments, result)


def _compress(arguments: argparse.Namespace) -> int:
    from sdk.api.files import compressing

    with progress_bar(arguments) as progress, _says_how_to_go_on(arguments.output):
        result = compressing.compress(
            arguments.model, arguments.output, request(Compress, arguments), progress
        )
    show(arguments, result)
    return 0 if result.target_met else EXIT_MISSED


@contextmanager
def _says_how_to_go_on(output: Path) -> Iterator[None]:
    """Ctrl-C in a training: where its state is."""
    from sdk.api.files.compressing import checkpoint_of

    try:
        yield
    except KeyboardInterrupt:
        if checkpoint_of(output).exists():
            print(
                f"{checkpoint_of(output)} keeps the training: the same command goes on from it",
                file=sys.stderr,
            )
        raise


def _pack(arguments: argparse.Namespace) -> None:
    from sdk.api.files.packing import pack_model

    with progress_bar(arguments) as progress:
        result = pack_model(arguments.model, arguments.output, **keywords(Pack, arguments), progress=progress)
    show(arguments, result)


def _unpack(arguments: argparse.Namespace) -> None:
    from sdk.api.files.packing import unpack_package

    result = unpack_package(arguments.package, arguments.output, **keywords(UnpackPackage, arguments))
    show(arguments, result)


def _inspect(arguments: argparse.Namespace) -> None:
    from sdk.api.files.packing import inspect_package

    result = inspect_package(arguments.package)
    show(arguments, result)


def _diff(arguments: argparse.Namespace) -> None:
    from sdk.api.files.packing import diff_packages

    result = diff_packages(arguments.before, arguments.after)
    show(arguments, result)


def _zoo(arguments: argparse.Namespace) -> None:
    from sdk.api.files.packing import describe_zoo_model, list_zoo, write_zoo_model

    if arguments.network is None:
        show(arguments, Networks(list_zoo()))
        return
    if arguments.output is None:
        network = describe_zoo_model(arguments.network, **keywords(DescribeZoo, arguments))
        show(arguments, network)
        return
    with progress_bar(arguments) as progress:
        result = write_zoo_model(
            arguments.network, arguments.output, **keywords(WriteZoo, arguments), progress=progress
        )
    show(arguments, result)


def _sign(arguments: argparse.Namespace) -> None:
    from sdk.api.files import signatures

    result = signatures.sign_package(arguments.package, **keywords(Sign, arguments))
    show(arguments, result)


def _verify(arguments: argparse.Namespace) -> None:
    from sdk.api.files import signatures

    result = signatures.verify_package(arguments.package, **keywords(Verify, arguments))
    show(arguments, Verified(result))
