"""``python3 -m device_agent VERB``: what the host calls. One JSON line on standard output, whatever happens.

    status                  what is installed and deployed here
    missing                 which blobs the host has to send (a JSON list of SHA-256 on standard input)
    install                 take a release and its blobs from standard input, try it, confirm or revert
    import LAYOUT [NAME...] the same with the releases that `sdk export` wrote: an OCI image layout, a folder or a tar
    confirm NAME            make the release on trial the current one
    rollback NAME           go back to the release before, or another earlier one
    check RELEASE           the health check of one release; with --passed it is made ready to start and run fast
    mend RELEASE            make what it starts quickly from anew
    run MODEL               predictions for the arrays of an .npy file
    bench MODEL...          measure models, interleaved
    profile MODEL...        what each operator takes, by the runtime's own profiler
    time                    time models from standard input that are not deployed
    load MODEL              one start: from its files to ready, first inference, peak memory
    smoke                   does the runtime work here?
    prune                   remove environments and agents that were replaced
    serve                   answer requests over a Unix socket or the loopback until told to end; see docs/serve.md
    service ACTION NAME     the same as a service of systemd: install, start, stop, remove, status

MODEL is the name of something deployed, or the path of a .armlet or .tflite file. An error is the line
{"error": class, "what": ..., "expected": ..., "found": ..., "hint": ...} and exit status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn, Sequence

from device_agent.errors import AgentError, ArmletError
from device_agent.verbs import table as verbs


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise AgentError(f"the agent was called wrongly: {message}", hint=self.format_usage().strip())


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="device_agent", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--home", type=Path, help="the agent's folder (default: $ARMLET_HOME, else ~/.armlet)"
    )
    commands = parser.add_subparsers(dest="verb", required=True, parser_class=_Parser)

    commands.add_parser("status")
    missing = commands.add_parser("missing")
    missing.add_argument("--name", default="", help="of the release that is to come")
    missing.add_argument("--release", default="", help="its id: does it run already?")
    missing.add_argument("--keep", type=int, help="as for install, where it does")
    commands.add_parser("smoke")
    commands.add_parser("prune")

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

    confirm = commands.add_parser("confirm")
    confirm.add_argument("name")
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

    forget = commands.add_parser("forget")
    forget.add_argument("names", nargs="+")

    mend = commands.add_parser("mend")
    mend.add_argument("release")

    check = commands.add_parser("check")
    check.add_argument("release")
    check.add_argument("--passed", type=Path, help="file for what the check found; then prepare the release")
    for command in (install, imported, check):
        command.add_argument("--emulated", action="store_true", help="do not choose threads by time")

    run = commands.add_parser("run")
    run.add_argument("model")
    run.add_argument("--inputs", default="-", help=".npy, (n, ...) or one input; - is standard input")
    run.add_argument("--outputs", default="-", help=".npy to write; - puts it into the answer, in base64")
    bench = commands.add_parser("bench")
    bench.add_argument("models", nargs="+")
    bench.add_argument("--inputs", help=".npy whose first input is used (default: seeded noise)")
    bench.add_argument("--min-samples", type=int, default=1024)
    bench.add_argument("--max-seconds", type=float, default=10.0, help="per model")
    bench.add_argument("--max-warmup-seconds", type=float, default=3.0)
    bench.add_argument(
        "--emulated", action="store_true", help="say in the record that this machine is emulated"
    )
    bench.add_argument("--no-pinning", action="store_true", help="do not keep to the big cores")
    profile = commands.add_parser("profile")
    profile.add_argument("models", nargs="+")
    profile.add_argument("--max-inferences", type=int, default=2000)
    profile.add_argument("--max-seconds", type=float, default=5.0, help="per model")
    profile.add_argument("--emulated", action="store_true")
    profile.add_argument("--no-pinning", action="store_true", help="do not keep to the big cores")
    time_models = commands.add_parser("time")
    time_models.add_argument("--threads", type=int, default=1)
    time_models.add_argument("--min-samples", type=int, default=64)
    time_models.add_argument("--max-seconds", type=float, default=0.5, help="per model")
    time_models.add_argument("--beside", metavar="MODEL", help="a deployed model to be timed between them")
    time_models.add_argument("--no-pinning", action="store_true", help="do not keep to the big cores")
    load = commands.add_parser("load")
    load.add_argument("model")
    load.add_argument("--cold", action="store_true", help="without what was kept for a quick start")
    for command in (check, run, bench, profile, load):
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--kernel", choices=("auto", "c", "numpy"), default="auto")
    serve_arguments(commands.add_parser("serve"))
    service = commands.add_parser("service")
    service.add_argument("action", choices=("install", "start", "stop", "remove", "status"))
    service.add_argument("name", nargs="?")
    service.add_argument("--options", help="of `serve`, in one word (default: as before)")
    return parser


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `serve`."""
    where = parser.add_argument_group("where to listen; both may be given")
    where.add_argument("--socket", type=Path, metavar="PATH", help="Unix socket that only this user may open")
    where.add_argument("--port", type=int, metavar="N", help="TCP port of the loopback; 0 takes a free one")
    where.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="(default: 127.0.0.1)")
    where.add_argument(
        "--allow-remote", action="store_true", help="listen on an address that others can reach, to anybody"
    )
    what = parser.add_argument_group("what to serve")
    what.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="MODEL",
        help="may be repeated (default: all that is deployed)",
    )
    what.add_argument("--workers", type=int, default=1, help="interpreters of each model (default: 1)")
    what.add_argument("--threads", type=int, help="cores of one inference (default: as when it was deployed)")
    what.add_argument("--kernel", choices=("auto", "c", "numpy"), default="auto")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--queue", type=int, default=16, help="requests that may wait (default: 16)")
    limits.add_argument("--max-connections", type=int, default=64, help="(default: 64)")
    limits.add_argument("--max-body", type=int, default=16 << 20, metavar="BYTES", help="(default: 16777216)")
    for option, seconds, text in (
        ("--deadline", 10.0, "for an answer, where a request says nothing else"),
        ("--read-seconds", 10.0, "to read the head of a request, and again its body"),
        ("--idle-seconds", 60.0, "between two requests of a connection"),
        ("--drain-seconds", 30.0, "to finish what was accepted, when told to end"),
    ):
        limits.add_argument(
            option, type=float, default=seconds, metavar="S", help=f"{text} (default: {seconds:g})"
        )


def answer(arguments: Sequence[str], listener: int | None = None) -> tuple[dict[str, Any], int]:
    """What a call answers, and its exit status. ``listener``: the channel whose reader it ends with."""
    try:
        options = build_parser().parse_args(arguments)
        if listener is not None and options.verb != "serve":  # a service outlives who started it
            threading.Thread(target=_end_with_the_listener, args=(listener,), daemon=True).start()
        if options.home is not None:
            os.environ["ARMLET_HOME"] = str(options.home)  # child processes of a verb read it too
        return {"verb": options.verb, **verbs.VERBS[options.verb](options)}, 0
    except ArmletError as error:
        return error.to_json(), 2
    except (MemoryError, OSError) as error:
        return AgentError(f"the agent could not finish: {error or type(error).__name__}").to_json(), 2
    except Exception as error:
        traceback.print_exc()
        what = f"the agent failed unexpectedly: {type(error).__name__}: {error}"
        return AgentError(what, hint="This is a defect; the traceback is on standard error.").to_json(), 2


def _end_with_the_listener(channel: int) -> None:
    """Ends the process when nobody is left to read its answer: sshd does not, and a measurement would run on.

    Blocks in the kernel until then. Ending anywhere is safe: see :mod:`device_agent.store.store`.
    """
    poll = select.poll()
    poll.register(
        channel, 0
    )  # POLLERR and POLLHUP alone, which a pipe or socket gives when its reader is gone
    poll.poll()
    os._exit(3)


def main(arguments: Sequence[str] | None = None, *, ends_with_listener: bool = False) -> int:
    """Answers on the real standard output; anything else that prints (a runtime's C++ log) goes to standard error."""
    sys.stdout.flush()
    channel = os.dup(1)
    os.dup2(2, 1)
    umask = os.umask(0o077)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            listener = os.dup(channel) if ends_with_listener else None
            reply, status = answer(sys.argv[1:] if arguments is None else arguments, listener)
        line = json.dumps(reply, allow_nan=False, separators=(",", ":")) + "\n"
        with os.fdopen(os.dup(channel), "w", encoding="ascii") as out:
            out.write(line)
        return status
    finally:
        os.umask(umask)
        sys.stdout.flush()
        os.dup2(channel, 1)
        os.close(channel)


if __name__ == "__main__":
    sys.exit(main(ends_with_listener=True))
