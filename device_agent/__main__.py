"""``python3 -m device_agent VERB``: what the host calls. One JSON line on standard output, whatever happens.

    status                  what is installed and deployed here
    missing                 which blobs the host has to send (a JSON list of SHA-256 on standard input)
    install                 take a release and its blobs from standard input, try it, confirm or revert
    import LAYOUT [NAME...] the same with the releases that `sdk export` wrote: an OCI image layout, a folder or a tar
    confirm NAME            make the release on trial the current one
    rollback NAME           go back to the release before, or another earlier one
    check RELEASE           the health check of one release; with --passed it is made ready to start and run fast
    mend RELEASE            make again what it starts quickly from
    run MODEL               predictions for the arrays of an .npy file
    bench MODEL...          measure models in several loadings, interleaved
    loading MODEL...        measure one loading of each in this process; what `bench` calls
    profile MODEL...        what each operator takes, by the runtime's own profiler
    time                    time models from standard input that are not deployed
    load MODEL              one start: from its files to ready, first inference, peak memory
    smoke                   does the runtime work here?
    prune                   remove environments and agents that were replaced
    doctor                  check every byte of what is deployed, and mend what can be
    discard                 remove what was deployed with --scratch, to be measured only
    serve                   answer requests over a Unix socket or the loopback until told to end; see docs/serve.md
    service ACTION NAME     the same as a service of systemd: install, start, stop, remove, status

MODEL is the name of something deployed, or the path of a .armlet or .tflite file. An error is the line
{"error": class, "what": ..., "expected": ..., "found": ..., "hint": ...} and exit status 2.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import sys
import threading
from typing import Any, NoReturn, Sequence

from device_agent.errors import AgentError, ArmletError

#: A process of its own looks for garbage when so many objects more are there than the last time. Nearly all are modules
#: and stay: to look through them as often as Python does by default took a quarter of a short call.
OBJECTS = 100_000
#: Verbs that work for a long time, and look as often as that.
LONG = ("serve", "soak")
USUAL = gc.get_threshold()


def answer(arguments: Sequence[str], listener: int | None = None) -> tuple[dict[str, Any], int]:
    """The answer of a call, and its exit status. ``listener``: the channel whose reader it ends with."""
    from device_agent.run.kernels.delegate import CHOICE_VARIABLE
    from device_agent.store import scratch
    from device_agent.verbs import table as verbs
    from device_agent.verbs.parser import parse

    try:
        options = parse(arguments, __doc__)
        if options.verb in LONG:
            gc.set_threshold(*USUAL)
        if listener is not None and options.verb != "serve":  # a service outlives who started it
            threading.Thread(target=_end_with_the_listener, args=(listener,), daemon=True).start()
        if options.home is not None:
            os.environ["ARMLET_HOME"] = str(options.home)  # child processes of a verb read it too
        if options.scratch is not None:
            os.environ[scratch.VARIABLE] = options.scratch
        if options.any_kernels != "auto":
            os.environ[CHOICE_VARIABLE] = options.any_kernels
        return {"verb": options.verb, **verbs.VERBS[options.verb](options)}, 0
    except ArmletError as error:
        return error.to_json(), 2
    except (MemoryError, OSError) as error:
        return AgentError(f"the agent could not finish: {error or type(error).__name__}").to_json(), 2
    except Exception as error:
        import traceback

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


def _alone() -> NoReturn:
    """One call in a process of its own, which ends without taking apart what it imported."""
    from device_agent.run import fresh_process

    gc.set_threshold(OBJECTS, *USUAL[1:])
    fresh_process.program = main
    status = main(ends_with_listener=True)
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _alone()
