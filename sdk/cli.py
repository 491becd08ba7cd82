"""The command ``sdk``: parse, call, print.

Data go to stdout, as tables for people or with ``--json`` as one document for machines; progress, notes and errors
go to stderr.  Exit status 0 when it worked, 1 from `sdk compare` when a model became slower, 2
for anything that the user can put right, 130 for Ctrl-C.

Nothing heavy is imported here: every command imports what it needs when it runs, so that ``sdk --help`` is instant.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from device_agent.errors import ArmletError

EXIT_SLOWER = 1
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
    print(f"error: {error}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(error.to_json()))
    return EXIT_BAD_INPUT


# ---------------------------------------------------------------------------------------------------- commands


def _convert(arguments: argparse.Namespace) -> None:
    from sdk import api

    with _progress(arguments) as progress:
        result = api.convert_model(
            arguments.model, arguments.output, input_shape=arguments.input_shape, progress=progress
        )
    _print(arguments, result.to_json(), lambda terminal: terminal.converted(result))


def _compress(arguments: argparse.Namespace) -> None:
    from sdk import api

    with _progress(arguments) as progress:
        result = api.compress_model(
            arguments.model,
            arguments.output,
            effort=arguments.effort,
            sparsity=arguments.sparsity,
            clusters=arguments.clusters,
            scope=arguments.scope,
            data=arguments.data,
            check=arguments.check,
            preprocess=arguments.preprocess,
            target_bytes=arguments.target_size,
            max_loss=arguments.max_loss,
            samples=arguments.samples,
            epochs=arguments.epochs,
            seconds=arguments.time_budget,
            recipe=arguments.recipe,
            save_recipe=arguments.save_recipe,
            save_tflite=arguments.save_tflite,
            input_shape=arguments.input_shape,
            progress=progress,
        )
    _print(arguments, result.to_json(), lambda terminal: terminal.compressed(result))


def _pack(arguments: argparse.Namespace) -> None:
    from sdk import api

    with _progress(arguments) as progress:
        result = api.pack_model(arguments.model, arguments.output, progress=progress)
    _print(arguments, result.to_json(), lambda terminal: terminal.packed(result))


def _unpack(arguments: argparse.Namespace) -> None:
    from sdk import api

    result = api.unpack_package(arguments.package, arguments.output, kernel=arguments.kernel)
    _print(arguments, result.to_json(), lambda terminal: terminal.unpacked(result))


def _inspect(arguments: argparse.Namespace) -> None:
    from sdk import api

    result = api.inspect_package(arguments.package)
    _print(arguments, result.to_json(), lambda terminal: terminal.inspection(result))


def _zoo(arguments: argparse.Namespace) -> None:
    from sdk import api

    given = {name: getattr(arguments, name) for name in ZOO_OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    common = {
        "input_size": arguments.size,
        "classes": arguments.classes,
        "channels": arguments.channels,
    }
    if arguments.network is None:
        networks = api.list_zoo()
        _print(arguments, [n.to_json() for n in networks], lambda terminal: terminal.zoo(networks))
        return
    if arguments.output is None:
        network = api.describe_zoo_model(arguments.network, **common, **options)
        _print(arguments, network.to_json(), lambda terminal: terminal.zoo([network]))
        return
    with _progress(arguments) as progress:
        result = api.write_zoo_model(
            arguments.network, arguments.output, **common, seed=arguments.seed, progress=progress, **options
        )
    _print(arguments, result.to_json(), lambda terminal: terminal.converted(result))


def _boards(arguments: argparse.Namespace) -> None:
    from sdk.boards import list_boards

    boards = list_boards()
    _print(
        arguments, [dataclasses.asdict(board) for board in boards], lambda terminal: terminal.boards(boards)
    )


def _board_fetch(arguments: argparse.Namespace) -> None:
    from sdk import api

    with _progress(arguments) as progress:
        fetched = api.fetch_runtimes(
            arguments.board,
            python_version=arguments.python_version,
            all_runtimes=arguments.all_runtimes,
            progress=progress,
        )
    _print(arguments, [f.to_json() for f in fetched], lambda terminal: terminal.fetched(fetched))


def _board_probe(arguments: argparse.Namespace) -> None:
    from sdk.api import probing

    with _progress(arguments) as progress:
        probed = probing.probe_board(arguments.board, progress=progress, **_address(arguments))
    _print(arguments, probed.to_json(), lambda terminal: terminal.probed(probed))


def _board_add(arguments: argparse.Namespace) -> None:
    from sdk.api import probing

    with _progress(arguments) as progress:
        probed = probing.probe_board(progress=progress, **_address(arguments))
    path = probing.add_board(arguments.name, probed, replace=arguments.replace)
    _print(
        arguments,
        {"board": arguments.name, "path": str(path), "warnings": list(probed.proposal.warnings)},
        lambda _: "\n".join([str(path), *(f"note: {warning}" for warning in probed.proposal.warnings)]),
    )


def _board_start(arguments: argparse.Namespace) -> None:
    from sdk import virtual_board

    with _progress(arguments) as progress:
        status = virtual_board.start(arguments.board, progress=progress)
    _print(arguments, status.to_json(), lambda terminal: terminal.board_status(status))


def _board_stop(arguments: argparse.Namespace) -> None:
    from sdk import virtual_board

    stopped = virtual_board.stop(arguments.board)
    text = "stopped" if stopped else "was not running"
    _print(arguments, {"board": arguments.board, "stopped": stopped}, lambda _: f"{arguments.board} {text}")


def _board_status(arguments: argparse.Namespace) -> None:
    from sdk import virtual_board

    status = virtual_board.status(arguments.board)
    _print(arguments, status.to_json(), lambda terminal: terminal.board_status(status))


def _deploy(arguments: argparse.Namespace) -> None:
    from sdk import api
    from sdk.deploy import Limits

    with _progress(arguments) as progress:
        result = api.deploy_model(
            arguments.board,
            arguments.model,
            keep_on_trial=arguments.keep_on_trial,
            limits=Limits(arguments.max_latency, arguments.max_memory),
            **_target(arguments),
            progress=progress,
        )
    _print(arguments, result.to_json(), lambda terminal: terminal.deployed(result))


def _sign(arguments: argparse.Namespace) -> None:
    from sdk.api import signatures

    result = signatures.sign_package(arguments.package, arguments.key)
    _print(arguments, result.to_json(), lambda terminal: terminal.signed(result))


def _verify(arguments: argparse.Namespace) -> None:
    from sdk.api import signatures

    result = signatures.verify_package(arguments.package, arguments.allowed_signers, arguments.signature)
    _print(arguments, result.to_json(), lambda terminal: terminal.verified(result))


def _board_require_signatures(arguments: argparse.Namespace) -> None:
    from sdk.api import releases

    with _progress(arguments) as progress:
        releases.require_signatures(
            arguments.board, arguments.allowed_signers, progress=progress, **_address(arguments)
        )
    required = arguments.allowed_signers is not None
    text = "takes packages only that are signed by one of them" if required else "takes packages from anyone"
    _print(
        arguments,
        {"board": arguments.board, "requires_signatures": required},
        lambda _: f"{arguments.board} {text}",
    )


def _status(arguments: argparse.Namespace) -> None:
    from sdk.api import releases

    with _progress(arguments) as progress:
        result = releases.board_status(arguments.board, progress=progress, **_address(arguments))
    _print(arguments, result.to_json(), lambda terminal: terminal.board_overview(result))


def _releases(arguments: argparse.Namespace) -> None:
    from sdk.api import releases

    with _progress(arguments) as progress:
        slots = releases.board_status(arguments.board, progress=progress, **_address(arguments)).slots
    if arguments.name is not None:
        known = ", ".join(slot.name for slot in slots)
        slots = tuple(slot for slot in slots if slot.name == arguments.name)
        if not slots:
            raise ArmletError(
                f"nothing is deployed under the name {arguments.name}", found=known or "nothing"
            )
    _print(arguments, [slot.to_json() for slot in slots], lambda terminal: terminal.releases(slots))


def _rollback(arguments: argparse.Namespace) -> None:
    from sdk.api import releases

    with _progress(arguments) as progress:
        slot = releases.rollback_model(
            arguments.board,
            arguments.name,
            reason=arguments.reason,
            progress=progress,
            **_address(arguments),
        )
    _print(arguments, slot.to_json(), lambda terminal: terminal.slot_changed(slot))


def _confirm(arguments: argparse.Namespace) -> None:
    from sdk.api import releases

    with _progress(arguments) as progress:
        slot = releases.confirm_model(
            arguments.board, arguments.name, progress=progress, **_address(arguments)
        )
    _print(arguments, slot.to_json(), lambda terminal: terminal.slot_changed(slot))


def _bench(arguments: argparse.Namespace) -> None:
    from sdk import api

    if arguments.suite is not None or arguments.sizes is not None:
        _bench_suite(arguments)
        return
    if not arguments.models:
        raise ArmletError("there is nothing to measure", expected="a MODEL or --suite NAME")
    _need_board(arguments)
    with _progress(arguments) as progress:
        report = api.bench_models(
            arguments.board,
            arguments.models,
            **_target(arguments),
            threads=arguments.threads,
            samples=arguments.samples,
            seconds=arguments.seconds,
            profile=arguments.profile,
            progress=progress,
        )
    if arguments.output is not None:
        api.write_run(report, arguments.output)
    _print(arguments, report.to_json(), lambda terminal: terminal.report(report))


def _need_board(arguments: argparse.Namespace) -> None:
    if arguments.board is None:
        raise ArmletError("on which board?", expected="--board NAME", hint="`sdk boards` lists them.")


def _bench_suite(arguments: argparse.Namespace) -> None:
    from sdk import api
    from sdk.errors import ModelError
    from sdk.files import write_file
    from sdk.suites import DEEP_COMPRESSION

    if arguments.suite == DEEP_COMPRESSION.name and not arguments.models and arguments.sizes is None:
        with _progress(arguments) as progress:
            table = api.run_size_suite(progress=progress)
        if arguments.output is not None:
            write_file(arguments.output, json.dumps(table.to_json()).encode() + b"\n")
        _print(arguments, table.to_json(), lambda terminal: terminal.size_suite(table))
        return
    if arguments.suite in (None, DEEP_COMPRESSION.name) or arguments.models:
        raise ModelError(
            "a model file has one input size, and a suite its own models",
            expected="--suite NAME; --sizes belongs to suites that are measured",
            found=" ".join(map(str, arguments.models)) or "no suite",
        )
    _need_board(arguments)
    with _progress(arguments) as progress:
        result = api.run_suite(
            arguments.board,
            arguments.suite,
            sizes=arguments.sizes,
            **_target(arguments),
            threads=arguments.threads,
            samples=arguments.samples,
            seconds=arguments.seconds,
            profile=False,
            progress=progress,
        )
    if arguments.output is not None:
        write_file(arguments.output, json.dumps(result.to_json()).encode() + b"\n")
    _print(arguments, result.to_json(), lambda terminal: terminal.suite(result))


def _report(arguments: argparse.Namespace) -> None:
    from sdk import api

    report = api.read_run(arguments.run_file)
    if arguments.html is not None:
        api.write_html(report, arguments.html)
    _print(arguments, report.to_json(), lambda terminal: terminal.report(report))


def _compare(arguments: argparse.Namespace) -> int:
    from sdk import api

    result = api.compare_runs(arguments.old, arguments.new, limit=arguments.fail_if_slower)
    _print(arguments, result.to_json(), lambda terminal: terminal.against(result))
    return EXIT_SLOWER if result.slower else 0


def _eval(arguments: argparse.Namespace) -> None:
    from sdk import api

    with _progress(arguments) as progress:
        result = api.evaluate_on_board(
            arguments.board,
            arguments.model,
            arguments.data,
            preprocess=arguments.preprocess,
            split=arguments.split,
            limit=arguments.limit,
            **_target(arguments),
            progress=progress,
        )
    _print(arguments, result.to_json(), lambda terminal: terminal.evaluation(result))


def _board_calibrate(arguments: argparse.Namespace) -> None:
    from sdk import api

    with _progress(arguments) as progress:
        result = api.calibrate_board(
            arguments.board, threads=arguments.threads, **_target(arguments), progress=progress
        )
    _print(arguments, result.to_json(), lambda terminal: terminal.calibration(result))


def _demo(arguments: argparse.Namespace) -> None:
    from sdk import api, demo

    with _progress(arguments) as progress:
        report = demo.run(
            arguments.board,
            **_target(arguments),
            sparsity=arguments.sparsity,
            clusters=arguments.clusters,
            progress=progress,
        )
    if arguments.output is not None:
        api.write_run(report, arguments.output)
    _print(arguments, report.to_json(), lambda terminal: terminal.report(report))


# ------------------------------------------------------------------------------------------------------ output


def _print(arguments: argparse.Namespace, document: Any, render: Callable[[Any], Any]) -> None:
    """One JSON document for machines, or what ``render`` makes of :mod:`sdk.report.terminal` for people."""
    if arguments.json:
        print(json.dumps(document, indent=2, sort_keys=False))
        return
    from rich.console import Console

    from sdk.report import terminal

    Console(highlight=False).print(render(terminal))


def _progress(arguments: argparse.Namespace) -> Any:
    from sdk.progress import terminal_progress

    return terminal_progress(enabled=not arguments.json)


# ------------------------------------------------------------------------------------------------------ parser

ZOO_OPTIONS = {
    "width": "multiplier of the channels: MobileNet",
    "scale": "multiplier of the channels: ShuffleNet",
    "groups": "groups of the 1x1 convolutions: ShuffleNet V1",
    "padding": "same (as TensorFlow) or symmetric (sparse kernels want it): MobileNet, ShuffleNet",
    "stem": "max_pool (as the paper) or depthwise: ShuffleNet",
    "version": "1.0 or 1.1: SqueezeNet",
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; also what the documentation's list of commands is made from."""
    from sdk import __version__

    parser = argparse.ArgumentParser(
        prog="sdk",
        description="Deploy convolutional networks to ARM boards: convert, prune, cluster, Huffman-pack, push "
        "over SSH, run, and compare measured with theoretical latency.",
        epilog="No board at hand? `sdk demo` needs none.",
    )
    parser.add_argument("--version", action="version", version=f"armlet {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str,
        run: Callable[[argparse.Namespace], int | None],
        summary: str,
        example: str,
        within: Any = commands,
    ) -> argparse.ArgumentParser:
        sub = within.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
        sub.set_defaults(run=run)
        return sub

    sub = command(
        "convert",
        _convert,
        "convert a Keras file, a SavedModel folder or a .tflite to a float .tflite of batch 1",
        "sdk convert mobilenet.keras -o mobilenet.tflite",
    )
    _model_arguments(sub)
    _output(sub, ".tflite file to write")

    sub = command(
        "compress",
        _compress,
        "prune and cluster a model and pack it into one .armlet file",
        "sdk compress mobilenet.tflite -o mobilenet.armlet --sparsity 0.7 --clusters 32",
    )
    _model_arguments(sub)
    _output(sub, ".armlet file to write")
    _compress_arguments(sub)

    sub = command(
        "pack", _pack, "pack any .tflite exactly as it is", "sdk pack mobilenet.tflite -o mobilenet.armlet"
    )
    sub.add_argument("model", type=Path, help=".tflite file")
    _output(sub, ".armlet file to write")

    sub = command(
        "unpack",
        _unpack,
        "decode a package to the very .tflite that was packed",
        "sdk unpack mobilenet.armlet -o mobilenet.tflite",
    )
    sub.add_argument("package", type=Path, help=".armlet file")
    _output(sub, ".tflite file to write")
    sub.add_argument(
        "--kernel", choices=("auto", "c", "numpy"), default="auto", help="decoder (default: auto)"
    )

    sub = command(
        "inspect",
        _inspect,
        "show a package layer by layer and stage by stage",
        "sdk inspect mobilenet.armlet",
    )
    sub.add_argument("package", type=Path, help=".armlet file")

    sub = command(
        "zoo",
        _zoo,
        "list the networks of the zoo, or write one as .tflite with fresh weights",
        "sdk zoo mobilenet_v1 --width 0.5 --size 224 -o m.tflite",
    )
    _zoo_arguments(sub)

    command("boards", _boards, "list the boards that are known", "sdk boards")

    board = commands.add_parser("board", help="fetch what a board needs; start and stop the virtual one")
    board_commands = board.add_subparsers(title="commands", metavar="COMMAND", required=True)
    sub = command(
        "fetch",
        _board_fetch,
        "fetch the runtime for a board now, so that a later deploy needs no internet",
        "sdk board fetch rpi4",
        within=board_commands,
    )
    sub.add_argument("board", help="name of a board, see `sdk boards`")
    sub.add_argument(
        "--python-version", metavar="X.Y", help="Python on the board (default: as its file says)"
    )
    sub.add_argument(
        "--all-runtimes", action="store_true", help="every runtime that fits, not just the first"
    )

    sub = command(
        "probe",
        _board_probe,
        "look at a board: its cores, clocks, system, and which board of the catalogue it is",
        "sdk board probe --host raspberrypi.local",
        within=board_commands,
    )
    sub.add_argument("--board", help="for boards on this machine (local, virtual-arm64), or to compare with")
    _address_arguments(sub)

    sub = command(
        "add",
        _board_add,
        "look at a board and write its file to your own folder",
        "sdk board add kitchen-pi --host kitchen.local",
        within=board_commands,
    )
    sub.add_argument("name", help="what --board will call it")
    sub.add_argument("--replace", action="store_true", help="write over a file of that name")
    _address_arguments(sub)

    for name, run, summary in (
        ("start", _board_start, "start an emulated ARM board on this machine (needs root)"),
        ("stop", _board_stop, "stop an emulated board"),
        ("status", _board_status, "say whether an emulated board runs, and how to reach it"),
    ):
        sub = command(name, run, summary, f"sdk board {name} virtual-arm64", within=board_commands)
        sub.add_argument("board", nargs="?", default="virtual-arm64", help="default: virtual-arm64")

    sub = command(
        "require-signatures",
        _board_require_signatures,
        "let a board take packages only that are signed by who may",
        "sdk board require-signatures --board rpi4 --host raspberrypi.local --allowed-signers allowed_signers",
        within=board_commands,
    )
    _board_arguments(sub)
    who = sub.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--allowed-signers",
        type=Path,
        metavar="FILE",
        help="lines of a name and a public key, see ssh-keygen(1)",
    )
    who.add_argument("--off", action="store_true", help="take packages from anyone again")

    sub = command(
        "calibrate",
        _board_calibrate,
        "measure what a board can do through its runtime, for later reports",
        "sdk board calibrate --board rpi4 --host raspberrypi.local",
        within=board_commands,
    )
    _target_arguments(sub)
    sub.add_argument("--threads", type=_positive, default=1, help="threads of the runtime (default: 1)")

    sub = command(
        "deploy",
        _deploy,
        "push a model to a board, check it there and make it the one that runs",
        "sdk deploy --board rpi4 --host raspberrypi.local mobilenet.armlet",
    )
    sub.add_argument("model", type=Path, help=".armlet package, or any model that `sdk convert` reads")
    _target_arguments(sub)

    sub.add_argument(
        "--keep-on-trial",
        action="store_true",
        help="check it, but leave the old one running until `sdk confirm`",
    )

    sub.add_argument(
        "--max-latency",
        type=_duration,
        metavar="TIME",
        help="send it back when an inference takes longer, such as 50ms (default: 10 times the release before)",
    )
    sub.add_argument(
        "--max-memory",
        type=_bytes,
        metavar="SIZE",
        help="send it back when it needs more memory, such as 200MB (default: what is free there)",
    )

    sub = command(
        "sign",
        _sign,
        "sign a package with your SSH key, for boards that take signed packages only",
        "sdk sign mobilenet.armlet --key ~/.ssh/id_ed25519",
    )
    sub.add_argument("package", type=Path, help=".armlet file; its signature becomes FILE.armlet.sig")
    sub.add_argument(
        "--key", type=Path, help="private key, or .pub of one in the SSH agent (default: as ssh's)"
    )

    sub = command(
        "verify",
        _verify,
        "say who signed a package",
        "sdk verify mobilenet.armlet --allowed-signers allowed_signers",
    )
    sub.add_argument("package", type=Path, help=".armlet file")
    sub.add_argument(
        "--allowed-signers",
        type=Path,
        required=True,
        metavar="FILE",
        help="lines of a name and a public key, see ssh-keygen(1)",
    )
    sub.add_argument("--signature", type=Path, metavar="FILE", help="default: PACKAGE.sig")

    sub = command(
        "status",
        _status,
        "say what is installed and deployed on a board, and what was sent back",
        "sdk status --board rpi4 --host raspberrypi.local",
    )
    _board_arguments(sub)

    sub = command(
        "releases",
        _releases,
        "show what happened to the models of a board: confirmed, sent back and why, rolled back",
        "sdk releases --board rpi4 --host raspberrypi.local mobilenet",
    )
    sub.add_argument("name", nargs="?", help="name of a deployed model (default: all of them)")
    _board_arguments(sub)

    sub = command(
        "rollback",
        _rollback,
        "make the release before the current one run again",
        "sdk rollback --board rpi4 --host raspberrypi.local mobilenet",
    )
    sub.add_argument("name", help="name of a deployed model")
    sub.add_argument("--reason", default="asked for", metavar="TEXT", help="kept in the history on the board")
    _board_arguments(sub)

    sub = command(
        "confirm",
        _confirm,
        "make the release on trial the one that runs",
        "sdk confirm --board rpi4 --host raspberrypi.local mobilenet",
    )
    sub.add_argument("name", help="name of a deployed model")
    _board_arguments(sub)

    sub = command(
        "bench",
        _bench,
        "measure models on a board, interleaved, against theory; the first is the baseline",
        "sdk bench --board rpi4 --host raspberrypi.local mobilenet.armlet shufflenet.armlet",
    )
    sub.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="packages or models")
    _target_arguments(sub, required=False)  # a table of sizes needs none
    sub.add_argument(
        "--suite",
        metavar="NAME",
        help="networks of a paper instead of MODELs: shufflenet-paper, or deep-compression (sizes; uses no board)",
    )
    sub.add_argument(
        "--sizes",
        type=_sizes,
        metavar="HxW[,HxW]",
        help="inputs of the suite, such as 224x224 (default: all)",
    )
    sub.add_argument(
        "--threads", type=_counts, default=(1,), metavar="N[,N]", help="threads of the runtime (default: 1)"
    )
    sub.add_argument("--samples", type=_positive, default=1024, help="inferences a model (default: 1024)")
    sub.add_argument(
        "--seconds", type=_seconds, default=10.0, help="or this long, whichever is first (default: 10)"
    )

    sub.add_argument(
        "--no-profile", dest="profile", action="store_false", help="do not time the operators, only the whole"
    )
    sub.add_argument(
        "-o", "--output", type=Path, metavar="RUN.json", help="keep the run, raw samples included"
    )

    sub = command(
        "report",
        _report,
        "show a kept run again, or make one HTML page of it",
        "sdk report run.json --html run.html",
    )
    sub.add_argument("run_file", type=Path, metavar="RUN.json", help="what `sdk bench -o` wrote")
    sub.add_argument("--html", type=Path, metavar="FILE", help="page to write; it needs no network")

    sub = command(
        "compare",
        _compare,
        "hold a new run against an old one; exit status 1 when a model became slower",
        "sdk compare old.json new.json --fail-if-slower 5%",
    )
    sub.add_argument("old", type=Path, metavar="OLD.json", help="what `sdk bench -o` wrote")
    sub.add_argument("new", type=Path, metavar="NEW.json", help="the same, later")
    sub.add_argument(
        "--fail-if-slower",
        type=_share,
        default=0.05,
        metavar="X%",
        help="slower counts beyond this, the whole 95 %% interval considered (default: 5%%)",
    )

    sub = command(
        "eval",
        _eval,
        "count right answers on the board and on the host, on the same images",
        "sdk eval --board rpi4 --host raspberrypi.local mobilenet.armlet --data images/",
    )
    sub.add_argument("model", type=Path, help=".armlet package, or any model that `sdk convert` reads")
    _target_arguments(sub)
    sub.add_argument("--data", type=Path, required=True, help="folder of images, or .npz with x and y")
    sub.add_argument(
        "--preprocess", help="tf, torch, 01, raw or mean=...:scale=... (default: as the package says)"
    )
    sub.add_argument("--split", choices=("train", "test"), help="where the data have both")
    sub.add_argument("--limit", type=_positive, help="at most so many images, taken evenly")

    sub = command(
        "demo",
        _demo,
        "the whole path on two networks trained on handwritten digits; no board needed",
        "sdk demo",
    )
    _target_arguments(sub, board="local")
    _recipe_arguments(sub)
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="RUN.json",
        help="keep the run, for `sdk report` and `sdk compare`",
    )
    return parser


def _model_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", type=Path, help=".keras, .h5, SavedModel folder or .tflite")
    sub.add_argument(
        "--input-shape",
        type=_shape,
        metavar="HxWxC",
        help="where the model leaves it open, such as 224x224x3",
    )


def _compress_arguments(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("what to learn from")
    group.add_argument("--data", type=Path, help="images, labels optional: a folder or an .npz")
    group.add_argument("--check", type=Path, metavar="DATA", help="other images to check the accuracy on")
    group.add_argument(
        "--preprocess", default="tf", help="tf, torch, 01, raw or mean=...:scale=... (default: tf)"
    )
    group.add_argument(
        "--effort",
        choices=("auto", "none", "calibrate", "train"),
        default="auto",
        help="none: by magnitude; calibrate: layer by layer on images; train: end to end on images "
        "(default: calibrate where there are images)",
    )
    group.add_argument("--samples", type=_positive, metavar="N", help="at most so many of the images")
    group.add_argument("--epochs", type=_positive, default=30, help="of training (default: 30)")

    group = sub.add_argument_group("what to reach")
    group.add_argument("--target-size", type=_bytes, metavar="SIZE", help="of the package, such as 500KB")
    group.add_argument("--max-loss", type=float, metavar="POINTS", help="of accuracy, or of equal answers")
    group.add_argument(
        "--time-budget", type=_duration, metavar="TIME", help="end a search after so long, such as 20m"
    )
    group.add_argument("--sparsity", type=float, help="share of weights that becomes zero (default: 0.7)")
    group.add_argument("--clusters", type=int, help="centroids a layer, 0 for none (default: 32)")
    group.add_argument(
        "--scope", choices=("layer", "global"), default="layer", help="where magnitudes are compared"
    )

    group = sub.add_argument_group("to do it again")
    group.add_argument("--recipe", type=Path, metavar="FILE", help="replay a recipe, to the same bytes")
    group.add_argument("--save-recipe", type=Path, metavar="FILE", help="write the recipe as TOML")
    group.add_argument("--save-tflite", type=Path, metavar="FILE", help="write the compressed .tflite too")


def _recipe_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--sparsity", type=float, default=0.7, help="share of weights that becomes zero (default: 0.7)"
    )
    sub.add_argument("--clusters", type=int, default=32, help="centroids a layer, 0 for none (default: 32)")


def _zoo_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("network", nargs="?", help="name of the network; without one, lists them all")
    sub.add_argument(
        "--size", type=_size, metavar="N or HxW", help="height and width of the input (default: the paper's)"
    )
    sub.add_argument("--classes", type=_positive, help="number of classes (default: the paper's)")
    sub.add_argument("--channels", type=_positive, help="channels of the input (default: the paper's)")
    for name, help_text in ZOO_OPTIONS.items():
        sub.add_argument(f"--{name}", help=help_text)
    sub.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")
    sub.add_argument("-o", "--output", type=Path, metavar="FILE", help=".tflite file to write")


def _board_arguments(
    sub: argparse.ArgumentParser, board: str | None = None, *, required: bool = True
) -> None:
    sub.add_argument(
        "--board",
        required=required and board is None,
        default=board,
        help="name of a board, see `sdk boards`" + (f" (default: {board})" if board else ""),
    )
    _address_arguments(sub)


def _target_arguments(
    sub: argparse.ArgumentParser, board: str | None = None, *, required: bool = True
) -> None:
    _board_arguments(sub, board, required=required)
    sub.add_argument(
        "--runtime", choices=("tflite-runtime", "ai-edge-litert"), help="default: as the board's file says"
    )
    sub.add_argument("--kernel", choices=("auto", "c", "numpy"), default="auto", help="decoder on the board")


def _address_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--host", help="address of the board, or a name of ~/.ssh/config")
    sub.add_argument("--port", type=_positive, help="port of its SSH server (default: 22)")
    sub.add_argument("--user", help="login name (default: as ~/.ssh/config or the board's file says)")
    sub.add_argument("--key", type=Path, help="private key (default: the SSH agent and the usual files)")
    sub.add_argument(
        "--accept-new-host-key",
        action="store_true",
        help="trust the key of a host that is not in known_hosts; a changed key is always refused",
    )


def _address(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("host", "port", "user", "key", "accept_new_host_key")
    return {name: getattr(arguments, name) for name in names}


def _target(arguments: argparse.Namespace) -> dict[str, Any]:
    return {**_address(arguments), "runtime": arguments.runtime, "kernel": arguments.kernel}


def _output(sub: argparse.ArgumentParser, help_text: str) -> None:
    sub.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=help_text)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text}")
    return value


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    from sdk.suites import parse_size

    try:
        return tuple(dict.fromkeys(parse_size(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes such as 224x224,480x640, found {text!r}") from None


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_positive(part) for part in text.split(",")))


def _share(text: str) -> float:
    value = float(text[:-1]) / 100.0 if text.endswith("%") else float(text)
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"expected a share such as 5% or 0.05, found {text}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 86400:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and below a day, found {text}")
    return value


def _bytes(text: str) -> int:
    number = text.strip().upper().removesuffix("B").strip()
    factor = {"K": 1e3, "M": 1e6, "G": 1e9}.get(number[-1:], 1)
    try:
        size = int(float(number.rstrip("KMG")) * factor)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"expected a size such as 500KB or 1.8MB, found {text!r}")
    return size


def _duration(text: str) -> float:
    factor = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    return _seconds(text) if not factor else _seconds(text[:-1]) * factor


def _duration(text: str) -> float:
    for unit, factor in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if text.endswith(unit):
            return _seconds(repr(float(text[: -len(unit)]) * factor))
    return _seconds(text)


def _bytes(text: str) -> int:
    units = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
    factor = units.get(text[-2:])
    return _positive(str(round(float(text[:-2]) * factor) if factor else int(text)))


def _size(text: str) -> tuple[int, int]:
    shape = _shape(text)
    if len(shape) > 2:
        raise argparse.ArgumentTypeError(f"expected a size such as 224 or 480x640, found {text!r}")
    return shape[0], shape[-1]


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"expected sizes such as 224x224x3, found {text!r}")
    return shape


if __name__ == "__main__":
    sys.exit(main())
