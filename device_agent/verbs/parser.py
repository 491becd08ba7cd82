"""The command line of the agent: its verbs and their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from device_agent.run.kernels.delegate import CHOICES
from device_agent.serve import options
from device_agent.serve.options import Parser


def build_parser(description: str = "") -> argparse.ArgumentParser:
    """The parser of every verb."""
    parser = Parser(
        prog="device_agent", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--home", type=Path, help="the agent's folder (default: $ARMLET_HOME, else ~/.armlet)"
    )
    parser.add_argument(
        "--scratch", metavar="TOKEN", help="deploy and run in a place of its own, until the verb `discard`"
    )
    parser.add_argument(
        "--kernels",
        dest="any_kernels",
        choices=CHOICES,
        default="auto",
        help="what runs layers with zeros (default: as deployed)",
    )
    commands = parser.add_subparsers(dest="verb", required=True, parser_class=Parser)
    for verb in ("status", "smoke", "prune", "discard", "doctor"):
        commands.add_parser(verb)
    _add_deploying(commands)
    _add_going_back(commands)
    _add_running(commands)
    _add_measuring(commands)
    options.add_arguments(commands.add_parser("serve"))
    service = commands.add_parser("service")
    service.add_argument("action", choices=("install", "start", "stop", "remove", "status"))
    service.add_argument("name", nargs="?")
    service.add_argument("--options", help="of `serve`, in one word (default: as before)")
    return parser


def _add_deploying(commands: Any) -> None:
    missing = commands.add_parser("missing")
    missing.add_argument("--name", default="", help="of the release that is to come")
    missing.add_argument("--release", default="", help="its id: does it run already?")
    missing.add_argument("--keep", type=int, help="as for install, where it does")

    install = commands.add_parser("install")
    imported = commands.add_parser("import")
    imported.add_argument("layout", type=Path)
    imported.add_argument("names", nargs="*", help="of the releases to take (default: all of them)")
    for command in (install, imported):
        command.add_argument(
            "--keep-on-trial", action="store_true", help="leave confirming to the verb `confirm`"
        )
        command.add_argument(
            "--keep", type=int, help="releases of that name to keep (default: as before, at first 2)"
        )
        command.add_argument("--max-inference-seconds", type=float, help="longest inference of a release")
        command.add_argument("--max-memory-bytes", type=int, help="most memory (default: what is free)")
        command.add_argument("--check-seconds", type=float, default=120.0, help="longest health check")

    check = commands.add_parser("check")
    check.add_argument("release")
    check.add_argument("--passed", type=Path, help="file for what the check found; then prepare the release")
    _add_decoding(check)
    for command in (install, imported, check):
        command.add_argument("--emulated", action="store_true", help="choose nothing by time")
    choose = commands.add_parser("choose-kernels")
    choose.add_argument("name")
    choose.add_argument("release")
    choose.add_argument("--runtime-seconds", type=float, required=True, help="with the runtime's kernels")
    choose.add_argument("--armlet-seconds", type=float, required=True, help="with Armlet's")
    choose.add_argument("--predicted-for", required=True, help="the board that both are predicted for")


def _add_going_back(commands: Any) -> None:
    commands.add_parser("confirm").add_argument("name")
    rollback = commands.add_parser("rollback")
    rollback.add_argument("name")
    rollback.add_argument("--reason", default="asked for")
    rollback.add_argument("--to", default="", help="beginning of the id of the release to go back to")
    rollback.add_argument("--only-from", default="", help="id of a release: only if that is the current one")
    rollback.add_argument(
        "--or-to-nothing",
        action="store_true",
        help="where there is no release before, the name stands for none",
    )
    commands.add_parser("forget").add_argument("names", nargs="+")
    commands.add_parser("mend").add_argument("release")
    commands.add_parser("look").add_argument("name")


def _add_running(commands: Any) -> None:
    run = commands.add_parser("run")
    run.add_argument("model")
    run.add_argument("--inputs", default="-", help=".npy, (n, ...) or one input; - is standard input")
    run.add_argument(
        "--all",
        action="store_true",
        help="every input from standard input, (cases, ...) each as .npy, and every output so into the answer",
    )
    run.add_argument("--outputs", default="-", help=".npy to write; - puts it into the answer, in base64")
    run.add_argument("--output", type=int, default=0, help="which of the model's outputs, from 0")
    predict = commands.add_parser("predict")
    predict.add_argument("model")
    predict.add_argument("--inputs", default="-", help=".npy of one image; - is standard input")
    predict.add_argument("--top", type=int, default=5, help="classes in the answer")
    predict.add_argument("--threshold", type=float, help="the least score of a box")
    load = commands.add_parser("load")
    load.add_argument("model")
    load.add_argument("--cold", action="store_true", help="without what was kept for a quick start")
    load.add_argument(
        "--base-memory", action="store_true", help="import the runtime before: what it takes alone"
    )
    for command in (run, predict, load):
        _add_decoding(command)


def _add_measuring(commands: Any) -> None:
    bench = commands.add_parser("bench")
    bench.add_argument("models", nargs="+")
    bench.add_argument("--min-samples", type=int, default=4096)
    bench.add_argument("--max-seconds", type=float, default=10.0, help="per model")
    bench.add_argument("--max-warmup-seconds", type=float, default=3.0, help="per loading")
    bench.add_argument("--loadings", type=int, help="of each model (default: 5 to 20, as time allows)")
    bench.add_argument("--precision", type=float, help="go on until intervals are this narrow, such as 0.01")
    bench.add_argument(
        "--emulated", action="store_true", help="say in the record that this machine is emulated"
    )
    loading = commands.add_parser("loading")
    loading.add_argument("models", nargs="+")
    loading.add_argument("--samples", type=int, required=True)
    loading.add_argument("--rounds", type=int, required=True)
    loading.add_argument("--max-seconds", type=float, required=True, help="of turns, per model")
    loading.add_argument("--max-warmup-seconds", type=float, required=True)
    loading.add_argument(
        "--since", type=float, required=True, help="times count from, by the monotonic clock"
    )
    soak = commands.add_parser("soak")
    soak.add_argument("models", nargs="+")
    soak.add_argument("--seconds", type=float, required=True, help="of all models together")
    for command in (bench, loading, soak):
        command.add_argument("--inputs", help=".npy whose first input is used (default: seeded noise)")
    profile = commands.add_parser("profile")
    profile.add_argument("models", nargs="+")
    profile.add_argument("--max-inferences", type=int, default=2000)
    profile.add_argument("--max-seconds", type=float, default=5.0, help="per model")
    profile.add_argument("--emulated", action="store_true")
    time_models = commands.add_parser("time")
    time_models.add_argument("--threads", type=int, default=1)
    time_models.add_argument("--min-samples", type=int, default=64)
    time_models.add_argument("--max-seconds", type=float, default=0.5, help="per model")
    time_models.add_argument("--beside", metavar="MODEL", help="a deployed model to be timed between them")
    for command in (bench, loading, profile, soak):
        _add_decoding(command)
    for command in (bench, profile, time_models, soak):
        command.add_argument("--no-pinning", action="store_true", help="do not keep to the big cores")


def _add_decoding(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--kernel", choices=("auto", "c", "numpy"), default="auto")
