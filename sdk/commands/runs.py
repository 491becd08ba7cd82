"""Commands that measure, and that read what was measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from device_agent.errors import ArmletError
from sdk.api.values import sizes
from sdk.commands.arguments import recipe_arguments, target, target_arguments, usage_arguments
from sdk.commands.output import print_result, progress_bar
from sdk.commands.register import add_command
from sdk.tools.values import counts, positive, seconds, share, shares

EXIT_SLOWER = 1  # sdk compare --fail-if-slower


def register(commands: Any) -> None:
    """Adds the commands to the parser's group."""
    sub = add_command(
        commands,
        "bench",
        _bench,
        "measure models on a board, interleaved, against theory; the first is the baseline",
        "sdk bench --board rpi4 --host raspberrypi.local mobilenet.armlet shufflenet.armlet",
    )
    sub.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="packages or models")
    target_arguments(sub, required=False)  # a table of sizes needs none
    sub.add_argument(
        "--suite",
        metavar="NAME",
        help="networks of a paper instead of MODELs: shufflenet-paper, or deep-compression (sizes; uses no board)",
    )
    sub.add_argument(
        "--sizes",
        type=sizes,
        metavar="HxW[,HxW]",
        help="images of these sizes, such as 224x224 (default: the model's own; of a suite, all)",
    )
    sub.add_argument(
        "--only",
        type=lambda text: tuple(text.split(",")),
        metavar="NETWORK[,NETWORK]",
        help="of a suite, by their names in the zoo, such as shufflenet_v1,alexnet",
    )
    sub.add_argument(
        "--threads",
        type=counts,
        default=(1, "all"),
        metavar="N[,N]",
        help="threads of the runtime, a number or all (default: 1,all: two answers)",
    )
    sub.add_argument("--samples", type=positive, default=1024, help="inferences a model (default: 1024)")
    sub.add_argument(
        "--seconds", type=seconds, default=10.0, help="or this long, whichever is first (default: 10)"
    )
    sub.add_argument(
        "--no-profile", dest="profile", action="store_false", help="do not time the operators, only the whole"
    )
    sub.add_argument(
        "-o", "--output", type=Path, metavar="RUN.json", help="keep the run, raw samples included"
    )

    sub = add_command(
        commands,
        "tune",
        _tune,
        "build variants of a model, measure each on the board, deploy the fastest that is accurate enough",
        "sdk tune --board rpi4 --host raspberrypi.local mobilenet.keras --data images/ --max-loss 1",
    )
    sub.add_argument("model", type=Path, help="any float model that `sdk convert` reads")
    target_arguments(sub)
    _tune_arguments(sub)

    sub = add_command(
        commands,
        "report",
        _report,
        "show a kept run again, or make one HTML page of it",
        "sdk report run.json --html run.html",
    )
    sub.add_argument(
        "run_file", type=Path, metavar="RUN.json", help="what `sdk bench -o` or `sdk tune -o` wrote"
    )
    sub.add_argument("--html", type=Path, metavar="FILE", help="page to write; it needs no network")
    sub.add_argument("--operators", action="store_true", help="every single operator too")

    sub = add_command(
        commands,
        "compare",
        _compare,
        "hold a new run against an old one; exit status 1 when a model became slower",
        "sdk compare old.json new.json --fail-if-slower 5%",
    )
    sub.add_argument("old", type=Path, metavar="OLD.json", help="what `sdk bench -o` wrote")
    sub.add_argument("new", type=Path, metavar="NEW.json", help="the same, later")
    sub.add_argument(
        "--fail-if-slower",
        type=share,
        default=0.05,
        metavar="X%",
        help="slower counts beyond this, the whole 95 %% interval considered (default: 5%%)",
    )

    sub = add_command(
        commands,
        "eval",
        _eval,
        "count right answers on the board and on the host, on the same images",
        "sdk eval --board rpi4 --host raspberrypi.local mobilenet.armlet --data images/",
    )
    sub.add_argument("model", type=Path, help=".armlet package, or any model that `sdk convert` reads")
    target_arguments(sub)
    sub.add_argument("--data", type=Path, required=True, help="folder of images, or .npz with x and y")
    sub.add_argument(
        "--preprocess", help="tf, torch, 01, raw or mean=...:scale=... (default: as the package says)"
    )
    sub.add_argument("--split", choices=("train", "test"), help="where the data have both")
    sub.add_argument("--limit", type=positive, help="at most so many images, taken evenly")

    sub = add_command(
        commands,
        "demo",
        _demo,
        "the whole path on two networks trained on handwritten digits; no board needed",
        "sdk demo",
    )
    target_arguments(sub, board="local")
    recipe_arguments(sub)
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="RUN.json",
        help="keep the run, for `sdk report` and `sdk compare`",
    )


def _tune_arguments(sub: argparse.ArgumentParser) -> None:
    group = sub.add_argument_group("accuracy")
    group.add_argument(
        "--data", type=Path, required=True, help="images, labels optional: a folder or an .npz"
    )
    group.add_argument("--check", type=Path, metavar="DATA", help="other images to measure the loss on")
    usage_arguments(group, 'as the model says, else "tf"')
    group.add_argument(
        "--max-loss",
        type=float,
        required=True,
        metavar="POINTS",
        help="of top-1 that a variant may lose, or of equal answers",
    )
    group = sub.add_argument_group("variants, besides dense float and int8")
    group.add_argument(
        "--sparsities",
        type=shares,
        default=(0.7, 0.8, 0.9),
        metavar="X[,X]",
        help="shares of zeros (default: 0.7,0.8,0.9)",
    )
    group.add_argument(
        "--effort",
        choices=("none", "calibrate", "train"),
        default="calibrate",
        help="how zeros are made, as in `sdk compress` (default: calibrate)",
    )
    group.add_argument("--samples", type=positive, metavar="N", help="at most so many images to calibrate on")
    group.add_argument("--epochs", type=positive, default=30, help="of training (default: 30)")
    group = sub.add_argument_group("measurement")
    group.add_argument(
        "--threads", type=counts, metavar="N[,N]", help="of the runtime (default: 1 and all cores)"
    )
    group.add_argument("--inferences", type=positive, default=256, help="a candidate (default: 256)")
    group.add_argument(
        "--seconds", type=seconds, default=5.0, help="or this long, whichever is first (default: 5)"
    )
    group = sub.add_argument_group("result")
    group.add_argument(
        "--no-deploy", dest="deploy", action="store_false", help="measure only; nothing stays on the board"
    )
    group.add_argument("--keep", type=Path, metavar="FILE.armlet", help="write the winner's package here too")
    group.add_argument(
        "-o", "--output", type=Path, metavar="TUNED.json", help="keep the table, raw samples included"
    )


def _tune(arguments: argparse.Namespace) -> None:
    from sdk import api

    with progress_bar(arguments) as progress:
        tuned = api.tune_model(
            arguments.board,
            arguments.model,
            arguments.data,
            **target(arguments),
            max_loss=arguments.max_loss,
            check=arguments.check,
            preprocess=arguments.preprocess,
            labels=arguments.labels,
            sparsities=arguments.sparsities,
            effort=arguments.effort,
            samples=arguments.samples,
            epochs=arguments.epochs,
            threads=arguments.threads,
            inferences=arguments.inferences,
            seconds=arguments.seconds,
            deploy=arguments.deploy,
            keep=arguments.keep,
            progress=progress,
        )
    if arguments.output is not None:
        api.write_tuned(tuned, arguments.output)
    print_result(arguments, tuned.to_json(), lambda terminal: terminal.tuned(tuned))


def _bench(arguments: argparse.Namespace) -> None:
    from sdk import api

    if arguments.suite is not None or arguments.only is not None:
        _bench_suite(arguments)
        return
    if not arguments.models:
        raise ArmletError("there is nothing to measure", expected="a MODEL or --suite NAME")
    _need_board(arguments)
    with progress_bar(arguments) as progress:
        report = api.bench_models(
            arguments.board,
            arguments.models,
            **target(arguments),
            sizes=arguments.sizes,
            threads=arguments.threads,
            samples=arguments.samples,
            seconds=arguments.seconds,
            profile=arguments.profile,
            progress=progress,
        )
    if arguments.output is not None:
        api.write_run(report, arguments.output)
    print_result(arguments, report.to_json(), lambda terminal: terminal.report(report))


def _need_board(arguments: argparse.Namespace) -> None:
    if arguments.board is None:
        raise ArmletError("on which board?", expected="--board NAME", hint="`sdk boards` lists them.")


def _bench_suite(arguments: argparse.Namespace) -> None:
    from sdk import api
    from sdk.errors import ModelError
    from sdk.explain.suites import DEEP_COMPRESSION

    if arguments.suite == DEEP_COMPRESSION.name and not arguments.models and arguments.sizes is None:
        with progress_bar(arguments) as progress:
            table = api.run_size_suite(networks=arguments.only, progress=progress)
        if arguments.output is not None:
            api.write_run(table, arguments.output)
        print_result(arguments, table.to_json(), lambda terminal: terminal.size_suite(table))
        return
    if arguments.suite in (None, DEEP_COMPRESSION.name) or arguments.models:
        raise ModelError(
            "a suite has its own models",
            expected="--suite NAME and no MODEL; --only belongs to suites, --sizes to those that are measured",
            found=" ".join(map(str, arguments.models)) or "no suite",
        )
    _need_board(arguments)
    with progress_bar(arguments) as progress:
        result = api.run_suite(
            arguments.board,
            arguments.suite,
            sizes=arguments.sizes,
            networks=arguments.only,
            **target(arguments),
            threads=arguments.threads,
            samples=arguments.samples,
            seconds=arguments.seconds,
            profile=False,
            progress=progress,
        )
    if arguments.output is not None:
        api.write_run(result, arguments.output)
    print_result(arguments, result.to_json(), lambda terminal: terminal.suite(result))


def _report(arguments: argparse.Namespace) -> None:
    from sdk import api
    from sdk.api.measuring.size_suite import SizeRun
    from sdk.api.measuring.suites import SuiteRun

    tuned = api.read_tuned(arguments.run_file)
    if tuned is not None:
        if arguments.html is not None:
            api.write_tuned_html(tuned, arguments.html)
        print_result(arguments, tuned.to_json(), lambda terminal: terminal.tuned(tuned))
        return
    found = api.read_record(arguments.run_file)
    if arguments.html is not None:
        api.write_html(found, arguments.html)

    def show(terminal: Any) -> Any:
        if isinstance(found, SuiteRun):
            return terminal.suite(found)
        if isinstance(found, SizeRun):
            return terminal.size_suite(found)
        return terminal.report(found, operators=arguments.operators)

    print_result(arguments, found.to_json(), show)


def _compare(arguments: argparse.Namespace) -> int:
    from sdk import api

    result = api.compare_runs(arguments.old, arguments.new, limit=arguments.fail_if_slower)
    print_result(arguments, result.to_json(), lambda terminal: terminal.against(result))
    return EXIT_SLOWER if result.slower else 0


def _eval(arguments: argparse.Namespace) -> None:
    from sdk import api

    with progress_bar(arguments) as progress:
        result = api.evaluate_on_board(
            arguments.board,
            arguments.model,
            arguments.data,
            preprocess=arguments.preprocess,
            split=arguments.split,
            limit=arguments.limit,
            **target(arguments),
            progress=progress,
        )
    print_result(arguments, result.to_json(), lambda terminal: terminal.evaluation(result))


def _demo(arguments: argparse.Namespace) -> None:
    from sdk import api
    from sdk.api.measuring import demo

    with progress_bar(arguments) as progress:
        report = demo.run(
            arguments.board,
            **target(arguments),
            sparsity=arguments.sparsity,
            clusters=arguments.clusters,
            progress=progress,
        )
    if arguments.output is not None:
        api.write_run(report, arguments.output)
    print_result(arguments, report.to_json(), lambda terminal: terminal.report(report))
