"""The command line of the agent: its verbs and their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable, Mapping, Sequence

from device_agent.run.kernels.delegate import CHOICES
from device_agent.serve.options import Parser, add_arguments


def parse(arguments: Sequence[str], description: str = "") -> argparse.Namespace:
    """The options of a call. Raises AgentError where it is a wrong one.

    The options of other verbs are not made: argparse takes longer for all of them than a short verb for its work.
    """
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
    parser.add_argument("verb", choices=ARGUMENTS, metavar="verb")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="its options: see `VERB --help`")
    options = parser.parse_args(arguments)
    command = Parser(prog=f"device_agent {options.verb}")
    ARGUMENTS[options.verb](command)
    rest = options.rest
    del options.rest
    return command.parse_args(rest, options)


def _nothing(command: argparse.ArgumentParser) -> None:
    pass


def _missing(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default="", help="of the release that is to come")
    command.add_argument("--release", default="", help="its id: does it run already?")
    command.add_argument("--keep", type=int, help="as for install, where it does")


def _install(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--keep-on-trial", action="store_true", help="leave confirming to the verb `confirm`"
    )
    command.add_argument(
        "--keep", type=int, help="releases of that name to keep (default: as before, at first 2)"
    )
    command.add_argument("--max-inference-seconds", type=float, help="longest inference of a release")
    command.add_argument("--max-memory-bytes", type=int, help="most memory (default: what is free)")
    command.add_argument("--check-seconds", type=float, default=120.0, help="longest health check")
    command.add_argument("--emulated", action="store_true", help="choose nothing by time")


def _import(command: argparse.ArgumentParser) -> None:
    command.add_argument("layout", type=Path)
    command.add_argument("names", nargs="*", help="of the releases to take (default: all of them)")
    _install(command)


def _check(command: argparse.ArgumentParser) -> None:
    command.add_argument("release")
    command.add_argument(
        "--passed", type=Path, help="file for what the check found; then prepare the release"
    )
    command.add_argument("--emulated", action="store_true", help="choose nothing by time")
    _decoding(command)


def _choose_kernels(command: argparse.ArgumentParser) -> None:
    command.add_argument("name")
    command.add_argument("release")
    command.add_argument("--runtime-seconds", type=float, required=True, help="with the runtime's kernels")
    command.add_argument("--armlet-seconds", type=float, required=True, help="with Armlet's")
    command.add_argument("--predicted-for", required=True, help="the board that both are predicted for")


def _name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name")


def _names(command: argparse.ArgumentParser) -> None:
    command.add_argument("names", nargs="+")


def _release(command: argparse.ArgumentParser) -> None:
    command.add_argument("release")


def _rollback(command: argparse.ArgumentParser) -> None:
    command.add_argument("name")
    command.add_argument("--reason", default="asked for")
    command.add_argument("--to", default="", help="beginning of the id of the release to go back to")
    command.add_argument("--only-from", default="", help="id of a release: only if that is the current one")
    command.add_argument(
        "--or-to-nothing",
        action="store_true",
        help="where there is no release before, the name stands for none",
    )


def _run(command: argparse.ArgumentParser) -> None:
    command.add_argument("model")
    command.add_argument("--inputs", default="-", help=".npy, (n, ...) or one input; - is standard input")
    command.add_argument(
        "--all",
        action="store_true",
        help="every input from standard input, (cases, ...) each as .npy, and every output so into the answer",
    )
    command.add_argument(
        "--apart", action="store_true", help="with --all: each case meets a model without a state"
    )
    command.add_argument("--outputs", default="-", help=".npy to write; - puts it into the answer, in base64")
    command.add_argument("--output", type=int, default=0, help="which of the model's outputs, from 0")
    _decoding(command)


def _predict(command: argparse.ArgumentParser) -> None:
    command.add_argument("model")
    command.add_argument("--inputs", default="-", help=".npy of one image; - is standard input")
    command.add_argument("--top", type=int, default=5, help="classes in the answer")
    command.add_argument("--threshold", type=float, help="the least score of a box")
    _decoding(command)


def _load(command: argparse.ArgumentParser) -> None:
    command.add_argument("model")
    command.add_argument("--release", action="store_true", help="the model is the id of a release")
    command.add_argument("--cold", action="store_true", help="without what was kept for a quick start")
    command.add_argument(
        "--base-memory", action="store_true", help="import the runtime before: what it takes alone"
    )
    _decoding(command)


def _bench(command: argparse.ArgumentParser) -> None:
    command.add_argument("models", nargs="+")
    command.add_argument("--min-samples", type=int, default=4096)
    command.add_argument("--max-seconds", type=float, default=10.0, help="per model")
    command.add_argument("--max-warmup-seconds", type=float, default=3.0, help="per loading")
    command.add_argument("--loadings", type=int, help="of each model (default: 5 to 20, as time allows)")
    command.add_argument(
        "--precision", type=float, help="go on until intervals are this narrow, such as 0.01"
    )
    command.add_argument(
        "--no-starts", action="store_true", help="an earlier call has measured how the models start"
    )
    command.add_argument(
        "--emulated", action="store_true", help="say in the record that this machine is emulated"
    )
    _inputs(command)
    _decoding(command)
    _cores(command)


def _loading(command: argparse.ArgumentParser) -> None:
    command.add_argument("models", nargs="+")
    command.add_argument("--samples", type=int, required=True)
    command.add_argument("--rounds", type=int, required=True)
    command.add_argument("--max-seconds", type=float, required=True, help="of turns, per model")
    command.add_argument("--max-warmup-seconds", type=float, required=True)
    command.add_argument(
        "--since", type=float, required=True, help="times count from, by the monotonic clock"
    )
    _inputs(command)
    _decoding(command)


def _soak(command: argparse.ArgumentParser) -> None:
    command.add_argument("models", nargs="+")
    command.add_argument("--seconds", type=float, required=True, help="of all models together")
    _inputs(command)
    _decoding(command)
    _cores(command)


def _profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("models", nargs="+")
    command.add_argument("--max-inferences", type=int, default=2000)
    command.add_argument("--max-seconds", type=float, default=5.0, help="per model")
    command.add_argument("--emulated", action="store_true")
    _decoding(command)
    _cores(command)


def _time(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--min-samples", type=int, default=64)
    command.add_argument("--max-seconds", type=float, default=0.5, help="per model")
    command.add_argument("--beside", metavar="MODEL", help="a deployed model to be timed between them")
    _cores(command)


def _service(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("install", "start", "stop", "remove", "status"))
    command.add_argument("name", nargs="?")
    command.add_argument("--options", help="of `serve`, in one word (default: as before)")


def _inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--inputs", help=".npy whose first input is used (default: seeded noise)")


def _decoding(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--kernel", choices=("auto", "c", "numpy"), default="auto")


def _cores(command: argparse.ArgumentParser) -> None:
    command.add_argument("--no-pinning", action="store_true", help="do not keep to the big cores")


#: What gives each verb its options.
ARGUMENTS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    "status": _nothing,
    "smoke": _nothing,
    "prune": _nothing,
    "discard": _nothing,
    "doctor": _nothing,
    "missing": _missing,
    "install": _install,
    "import": _import,
    "check": _check,
    "choose-kernels": _choose_kernels,
    "confirm": _name,
    "rollback": _rollback,
    "forget": _names,
    "mend": _release,
    "look": _name,
    "run": _run,
    "predict": _predict,
    "load": _load,
    "bench": _bench,
    "loading": _loading,
    "soak": _soak,
    "profile": _profile,
    "time": _time,
    "serve": add_arguments,
    "service": _service,
}
