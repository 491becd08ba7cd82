"""Commands that measure, and that read what was measured."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from device_agent.errors import ArmletError
from sdk.api.board_requests import (
    TIMES,
    Bench,
    Demo,
    Evaluate,
    Predict,
    PredictTime,
    RunSuite,
    Soaking,
    SoakTime,
    SuiteNetworks,
    Tune,
)
from sdk.api.file_requests import CompareRuns, ExportRun, Pack, PackedOnTheWay, ShowRun
from sdk.commands.arguments import board_argument
from sdk.commands.options import add_options, keywords, request
from sdk.commands.output import Result, progress_bar, show
from sdk.commands.parser import add_command
from sdk.tools.option import flags_of, options_of
from sdk.tools.system.outputs import check_outputs

if TYPE_CHECKING:
    from sdk.explain.run import Report
    from sdk.explain.speed.predictions import Predictions

    _Run = TypeVar("_Run", Report, Predictions)

#: sdk compare: of the answer. 2 is that of an error, 3 of a target that was missed.
EXIT_OF_ANSWER = {"not slower": 0, "slower": 1, "can't tell": 4}


def register(commands: Any) -> None:
    """Adds the commands to the parser's group."""
    _register_measuring(commands)
    _register_reading(commands)
    _register_checking(commands)
    _register_predicting(commands)
    _register_demo(commands)


def _register_measuring(commands: Any) -> None:
    sub = add_command(
        commands,
        "bench",
        _bench,
        "measure models on a board, interleaved, against theory; the first is the baseline",
        "sdk bench --board rpi4 --host raspberrypi.local mobilenet.armlet shufflenet.armlet",
    )
    sub.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="packages or models")
    sub.gathers = "models"
    board_argument(sub, required=False)  # a table of sizes needs none
    add_options(sub, Bench)
    add_options(sub, SoakTime)
    sub.add_argument(
        "--suite",
        metavar="NAME",
        help="networks of a paper instead of MODELs: shufflenet-paper, or deep-compression (sizes; uses no board)",
    )
    add_options(sub, SuiteNetworks)
    sub.add_argument(
        "-o", "--output", type=Path, metavar="RUN.json", help="keep the run, raw samples included"
    )
    add_options(sub, ExportRun)

    sub = add_command(
        commands,
        "tune",
        _tune,
        "build variants of a model, measure each on the board, deploy the fastest that is accurate enough",
        "sdk tune --board rpi4 --host raspberrypi.local mobilenet.keras --data images/ --max-loss 1",
    )
    sub.add_argument("model", type=Path, help="any float model that `sdk convert` reads")
    board_argument(sub)
    groups = add_options(sub, Tune)
    groups["result"].add_argument(
        "-o", "--output", type=Path, metavar="TUNED.json", help="keep the table, raw samples included"
    )


def _register_reading(commands: Any) -> None:
    sub = add_command(
        commands,
        "report",
        _report,
        "show a kept run again, or make one HTML page of it",
        "sdk report run.json --html run.html",
    )
    sub.add_argument(
        "run_file",
        type=Path,
        metavar="RUN.json",
        help="run kept by `sdk bench -o`, `sdk tune -o` or `sdk predict -o`",
    )
    add_options(sub, ShowRun)

    sub = add_command(
        commands,
        "compare",
        _compare,
        "compare a new run with an old one; exit status 1: a model became slower or larger, 0: none did, 4: can't tell",
        "sdk compare old.json new.json --fail-if-slower 5% --fail-if-larger 2%",
    )
    sub.add_argument("old", type=Path, metavar="OLD.json", help="old run, kept by `sdk bench -o`")
    sub.add_argument("new", type=Path, metavar="NEW.json", help="new run, kept by `sdk bench -o`")
    add_options(sub, CompareRuns)


def _register_checking(commands: Any) -> None:
    sub = add_command(
        commands,
        "eval",
        _eval,
        "count right answers on the board and on the host; without --data, compare their outputs",
        "sdk eval --board rpi4 --host raspberrypi.local mobilenet.armlet --data images/",
    )
    what = ".armlet package, or any model that `sdk convert` reads"
    sub.add_argument("model", type=Path, nargs="?", help=what)
    sub.add_argument(
        "--layers",
        type=Path,
        nargs=2,
        metavar=("ORIGINAL", "COMPRESSED"),
        help="instead of a model: compare the output of each operator with the original's, and with --board with the "
        "host's",
    )
    board_argument(sub, required=False)
    add_options(sub, Evaluate)
    sub.add_argument(
        "--html", type=Path, metavar="FILE", help="HTML page to write; it loads nothing from a network"
    )


def _register_predicting(commands: Any) -> None:
    sub = add_command(
        commands,
        "predict",
        _predict,
        "predict milliseconds of models on boards that you do not have; with pictures, ask a model on a board",
        "sdk predict mobilenet.keras --board rpi4 --board rpi5\n"
        "  sdk predict --board rpi4 --host raspberrypi.local detector.armlet street.jpg",
    )
    sub.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="MODEL",
        help=".armlet packages, or any models that `sdk convert` reads; or one of them and pictures (or .npy arrays "
        "that it takes) to ask it about on a board",
    )
    sub.gathers = "files"
    sub.add_argument(
        "--board",
        action="append",
        required=True,
        dest="boards",
        metavar="BOARD",
        help="name of a board, see `sdk boards`; several times for several boards",
    )
    groups = add_options(sub, Predict, PredictTime, ExportRun)
    groups[TIMES].add_argument(
        "-o", "--output", type=Path, metavar="RUN.json", help="keep the predictions, for `sdk report`"
    )


def _register_demo(commands: Any) -> None:
    sub = add_command(
        commands,
        "demo",
        _demo,
        "the whole path on two networks trained on handwritten digits; no board needed",
        "sdk demo",
    )
    board_argument(sub, board="local")
    add_options(sub, Demo)
    sub.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="RUN.json",
        help="keep the run, for `sdk report` and `sdk compare`",
    )


def _tune(arguments: argparse.Namespace) -> None:
    from sdk.api.measuring.runs import write_run
    from sdk.api.measuring.tune import tune

    check_outputs([arguments.output, arguments.keep], [arguments.model, arguments.data])
    with progress_bar(arguments) as progress:
        tuned = tune(arguments.board, arguments.model, request(Tune, arguments), progress)
    if arguments.output is not None:
        write_run(tuned, arguments.output)
    show(arguments, tuned)


def _bench(arguments: argparse.Namespace) -> None:
    from sdk.api.measuring.bench import bench
    from sdk.api.measuring.runs import write_run, write_tables

    check_outputs([arguments.output], arguments.models)
    if arguments.suite is not None or arguments.networks is not None:
        _bench_suite(arguments)
        return
    if not arguments.models:
        raise ArmletError("there is nothing to measure", expected="a MODEL or --suite NAME")
    _need_board(arguments)
    if arguments.soak is not None:
        _soak(arguments)
        return
    if arguments.predict and arguments.host is None:
        _predict_instead(arguments)
        return
    with progress_bar(arguments) as progress:
        report = _made(bench(arguments.board, arguments.models, request(Bench, arguments), progress))
    if arguments.output is not None:
        write_run(report, arguments.output)
    write_tables(report, markdown=arguments.export_markdown, csv=arguments.export_csv)
    show(arguments, report)


def _predict_instead(arguments: argparse.Namespace) -> None:
    """`sdk bench --predict` without a board."""
    if arguments.sizes is not None or arguments.self_test or arguments.precision is not None:
        raise ArmletError(
            "nothing is measured without --host",
            expected="--predict without --sizes, --self-test and --precision, or the board's --host",
        )
    asked = options_of(Bench)["threads"].default
    threads = (1,) if arguments.threads == asked else arguments.threads
    packing = request(PackedOnTheWay, arguments)
    times = PredictTime(packing=packing, runtime=arguments.runtime, threads=threads)
    _show_times(arguments, [arguments.board], arguments.models, times)


def _made(report: _Run) -> _Run:
    """With what the page tells of how it came about: the command, and the machine that it ran on."""
    name = Path(sys.argv[0]).name
    words = ["sdk" if name == "cli.py" else name, *sys.argv[1:]]
    return replace(report, host=platform.node(), command=shlex.join(words))


def _soak(arguments: argparse.Namespace) -> None:
    from sdk.api.measuring.runs import write_run
    from sdk.api.measuring.soak import soak

    if arguments.self_test or arguments.precision is not None:
        raise ArmletError(
            "a soak compares a model with itself over time",
            expected="--soak without --self-test and --precision",
        )
    if arguments.export_markdown is not None or arguments.export_csv is not None:
        raise ArmletError("a soak has no table to export", expected="-o FILE.json, whose page has the curves")
    threads = _threads_of_a_soak(arguments.threads)
    with progress_bar(arguments) as progress:
        report = soak(
            arguments.board, arguments.models, request(Soaking, arguments, threads=threads), progress
        )
    if arguments.output is not None:
        write_run(report, arguments.output)
    show(arguments, report)


def _threads_of_a_soak(asked: tuple[int | str, ...]) -> int | str:
    """The one number of threads, all where nothing was said: a board gets warmest so."""
    if asked == options_of(Bench)["threads"].default:
        return "all"
    if len(asked) != 1:
        raise ArmletError(
            "a soak takes one number of threads",
            expected="--threads all, or a number",
            found=",".join(map(str, asked)),
            hint="Soak once for each, and let the board cool down between.",
        )
    return asked[0]


def _need_board(arguments: argparse.Namespace) -> None:
    if arguments.board is None:
        raise ArmletError("on which board?", expected="--board NAME", hint="`sdk boards` lists them.")


def _bench_suite(arguments: argparse.Namespace) -> None:
    from sdk.api.measuring.runs import write_run
    from sdk.api.measuring.size_suite import run_size_suite
    from sdk.api.measuring.suites import run_suite
    from sdk.errors import ModelError
    from sdk.explain.suites import DEEP_COMPRESSION

    if arguments.soak is not None:
        raise ModelError("a suite is not soaked", expected="--soak with MODELs", found="--suite")
    if arguments.predict:
        raise ModelError("a suite is not predicted", expected="--predict with MODELs", found="--suite")
    if arguments.suite == DEEP_COMPRESSION.name and not arguments.models and arguments.sizes is None:
        with progress_bar(arguments) as progress:
            table = run_size_suite(networks=arguments.networks, progress=progress)
        if arguments.output is not None:
            write_run(table, arguments.output)
        show(arguments, table)
        return
    if arguments.suite in (None, DEEP_COMPRESSION.name) or arguments.models:
        raise ModelError(
            "a suite has its own models",
            expected="--suite NAME and no MODEL; --only belongs to suites, --sizes to those that are measured",
            found=" ".join(map(str, arguments.models)) or "no suite",
        )
    _need_board(arguments)
    with progress_bar(arguments) as progress:
        result = run_suite(
            arguments.board,
            arguments.suite,
            **keywords(RunSuite, arguments),
            progress=progress,
        )
    if arguments.output is not None:
        write_run(result, arguments.output)
    show(arguments, result)


def _report(arguments: argparse.Namespace) -> None:
    from sdk.api.measuring.runs import read_record, write_html, write_tables
    from sdk.explain.run import Report
    from sdk.explain.speed.predictions import Predictions

    check_outputs([arguments.html], [arguments.run_file])
    found = read_record(arguments.run_file)
    if arguments.html is not None:
        write_html(found, arguments.html)
    write_tables(found, markdown=arguments.export_markdown, csv=arguments.export_csv)
    has_operators = isinstance(found, (Report, Predictions))
    show(arguments, found, **({"operators": arguments.operators} if has_operators else {}))


def _compare(arguments: argparse.Namespace) -> int:
    from sdk.api.measuring.runs import compare_runs

    result = compare_runs(arguments.old, arguments.new, **keywords(CompareRuns, arguments))
    show(arguments, result)
    return EXIT_OF_ANSWER["slower"] if result.fails else EXIT_OF_ANSWER[result.answer]


def _eval(arguments: argparse.Namespace) -> None:
    asked = request(Evaluate, arguments)
    if asked.data is None and (arguments.html is not None or arguments.layers is not None):
        what = "outputs on made-up inputs have no page" if arguments.layers is None else "on which images?"
        raise ArmletError(what, expected="--data")
    if arguments.layers is not None:
        _eval_layers(arguments, asked)
        return
    if arguments.model is None:
        raise ArmletError("there is nothing to run", expected="a MODEL, or --layers ORIGINAL COMPRESSED")
    _need_board(arguments)
    with progress_bar(arguments) as progress:
        if asked.data is None:
            from sdk.api.boards.agreeing import agree

            result: Result = agree(arguments.board, arguments.model, asked, opening=asked, progress=progress)
        else:
            from sdk.api.boards.evaluating import evaluate

            result = evaluated = evaluate(arguments.board, arguments.model, asked, progress)
            if arguments.html is not None:
                from sdk.api.measuring.pages import write_page

                write_page(evaluated, arguments.html)
    show(arguments, result)


def _eval_layers(arguments: argparse.Namespace, asked: Evaluate) -> None:
    from sdk.api.boards.layering import lose_by_layer

    if arguments.model is not None:
        raise ArmletError(
            "a MODEL is given beside --layers",
            expected="--layers and its two models",
            found=str(arguments.model),
        )
    with progress_bar(arguments) as progress:
        result = lose_by_layer(tuple(arguments.layers), asked, arguments.board, progress)
    if arguments.html is not None:
        from sdk.api.measuring.pages import write_page

        write_page(result, arguments.html)
    show(arguments, result)


def _predict(arguments: argparse.Namespace) -> None:
    from sdk.api.measuring.predictions import are_models

    model, *others = arguments.files
    models = are_models(others)
    if all(models):
        _predict_times(arguments)
        return
    if any(models) or len(arguments.boards) > 1:
        found = [path for path, is_model in zip(others, models, strict=True) if not is_model]
        raise ArmletError(
            "pictures are shown to one model on one board",
            expected="MODELs alone, to predict their milliseconds; or one MODEL, its PICTUREs and one --board",
            found=f"{len(others) - len(found) + 1} models, {len(arguments.boards)} boards and {found[0]}",
        )
    _refuse_options(arguments, PredictTime, ("threads", "operators", "calibrate"), "with pictures")
    _refuse_options(arguments, ExportRun, ("export_markdown", "export_csv"), "with pictures")
    if arguments.output is not None:
        raise ArmletError("answers about pictures are not kept in a file", expected="--json, or no -o")
    from sdk.api.boards.predicting import predict

    with progress_bar(arguments) as progress:
        result = predict(arguments.boards[0], model, others, request(Predict, arguments), progress)
    show(arguments, result)


def _predict_times(arguments: argparse.Namespace) -> None:
    of_pictures = [name for name in options_of(Predict) if name not in options_of(PredictTime)]
    of_pictures += options_of(Pack)  # which a time does not depend on
    _refuse_options(arguments, Predict, of_pictures, "without pictures")
    _show_times(arguments, arguments.boards, arguments.files, request(PredictTime, arguments))


def _show_times(
    arguments: argparse.Namespace, boards: list[str], files: list[Path], asked: PredictTime
) -> None:
    from sdk.api.measuring.predictions import predict_times
    from sdk.api.measuring.runs import write_run, write_tables

    inputs = [*files, *([Path(asked.calibrate)] if asked.calibrate is not None else [])]
    check_outputs([arguments.output], inputs)
    with progress_bar(arguments) as progress:
        result = _made(predict_times(boards, files, asked, progress))
    if arguments.output is not None:
        write_run(result, arguments.output)
    write_tables(result, markdown=arguments.export_markdown, csv=arguments.export_csv)
    show(arguments, result, operators=asked.operators)


def _refuse_options(arguments: argparse.Namespace, kind: type, names: Iterable[str], when: str) -> None:
    """Raises ArmletError for the first of the options that was given: it would do nothing here."""
    for name in names:
        said = options_of(kind)[name]
        if getattr(arguments, name) != said.default:
            raise ArmletError(
                f"{flags_of(name, said)[0]} has no effect {when}",
                expected="the command without it",
                hint="`sdk predict MODEL PICTURE` asks a model on a board; `sdk predict MODEL` predicts milliseconds.",
            )


def _demo(arguments: argparse.Namespace) -> None:
    from sdk.api.measuring import demo
    from sdk.api.measuring.runs import write_run

    check_outputs([arguments.output], [])
    with progress_bar(arguments) as progress:
        report = _made(demo.run(arguments.board, **keywords(Demo, arguments), progress=progress))
    if arguments.output is not None:
        write_run(report, arguments.output)
    show(arguments, report)
