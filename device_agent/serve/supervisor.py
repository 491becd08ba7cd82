"""``serve``: deployed models for programs in any language, over a Unix socket or TCP on the loopback.

The main thread supervises: it looks for new releases, asks the workers for signs of life, tells systemd, and when it is
told to end (SIGTERM, SIGINT) it closes the listeners, waits for the accepted requests and ends.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
import warnings
from argparse import Namespace
from typing import Any, Iterator

from device_agent.errors import AgentError

# Everything that a request or a new release will need: the folder of this code may be replaced while it runs.
from device_agent.run import quick_start_model as warm  # noqa: F401
from device_agent.run.agent import Agent
from device_agent.serve.admission import Pool
from device_agent.serve.http_api import Api
from device_agent.serve.http_connection import ConnectionLimits
from device_agent.serve.http_listener import Listener, TcpListener, UnixListener
from device_agent.serve.notify import Notifier
from device_agent.serve.served_models import LIVE_SECONDS, Serving, try_out
from device_agent.serve.turn_lock import SWITCH_SECONDS
from device_agent.store.store import Store, default_home

#: How often new releases are looked for.
LOOK_SECONDS = 0.5
#: How often workers are asked for a sign of life where no watchdog waits for it.
CHECK_SECONDS = 10.0
#: Stack of a thread that reads requests. The default, 8 MB, times the connections is all that a 32-bit board can map.
STACK_BYTES = 2 << 20


def serve(options: Namespace) -> dict[str, Any]:
    """Serves until it is told to end; what it did. Raises AgentError, also where it could not finish in time."""
    notifier = Notifier()
    with _told_to_end() as end:
        serving = begin(options, live_seconds=notifier.watchdog_seconds or LIVE_SECONDS)
        _say(f"{', '.join(serving.pools)} at {' and '.join(s.address_text for s in serving.listeners)}")
        notifier.ready(_status(serving))
        supervise(serving, notifier, end)
        notifier.stopping()
        _say("stopping; what was accepted is finished first")
        drain(serving, options.drain_seconds)
    return {
        "names": list(serving.pools),
        "answered": serving.answered.total(),
        "shed": serving.shed.total(),
        "reloads": sum(max(agent.reloads for agent in pool.agents) for pool in serving.pools.values()),
    }


def begin(options: Namespace, live_seconds: float = LIVE_SECONDS) -> Serving:
    """Loads the models and opens the doors; :func:`drain` closes them."""
    check_options(options)
    names = tuple(dict.fromkeys(options.name)) or Store(default_home() / "store").names()
    if not names:
        raise AgentError("there is nothing to serve", hint="Deploy a model first, with `sdk deploy`.")
    pools = [_pool(name, options) for name in names]
    serving = Serving(
        {pool.name: pool for pool in pools}, deadline_seconds=options.deadline, live_seconds=live_seconds
    )
    try:
        _listen(serving, options)
    except AgentError:
        for pool in pools:
            pool.close()
        raise
    return serving


def check_options(options: Namespace) -> None:
    """Raises AgentError where they make no sense."""
    if options.socket is None and options.port is None:
        raise AgentError("where to listen?", expected="--socket PATH or --port N", found="neither")
    if options.port is not None and not 0 <= options.port < 1 << 16:
        raise AgentError("this is not a port", expected="0 to 65535", found=str(options.port))
    for name, least in (
        ("workers", 1),
        ("threads", 1),
        ("queue", 0),
        ("max_body", 1),
        ("max_connections", 1),
    ):
        value = getattr(options, name)
        if value is not None and value < least:  # threads may be left to the release
            raise AgentError(
                f"--{name.replace('_', '-')} is too small", expected=f"{least} or more", found=str(value)
            )
    for name in ("deadline", "read_seconds", "idle_seconds", "drain_seconds"):
        if not 0.0 < getattr(options, name) <= 86400.0:
            found = f"{getattr(options, name):g}"
            raise AgentError(f"--{name.replace('_', '-')} is not a time", expected="up to a day", found=found)


def _pool(name: str, options: Namespace) -> Pool:
    agents = [
        Agent(
            name,
            threads=options.threads,
            kernel=options.kernel,
            kernels=options.kernels,
            reload="background",
        )
        for _ in range(options.workers)
    ]
    return Pool(agents[0].name, agents, options.queue, check=try_out)


def _listen(serving: Serving, options: Namespace) -> None:
    handler = type("ServedApi", (Api,), {"served": serving})
    limits = ConnectionLimits(
        body_bytes=options.max_body,
        all_bodies_bytes=options.max_body * sum(pool.capacity for pool in serving.pools.values()),
        read_seconds=options.read_seconds,
        idle_seconds=options.idle_seconds,
    )
    threading.stack_size(STACK_BYTES)
    sys.setswitchinterval(SWITCH_SECONDS)
    with contextlib.ExitStack() as stack:  # of two, the first is closed where the second cannot be opened
        listeners: list[Listener] = []
        if options.socket is not None:
            listeners.append(UnixListener(options.socket, handler))
            stack.callback(listeners[-1].server_close)
        if options.port is not None:
            listeners.append(
                TcpListener(options.bind, options.port, handler, allow_remote=options.allow_remote)
            )
            stack.callback(listeners[-1].server_close)
        stack.pop_all()
    for listener in listeners:
        listener.begin(limits, options.max_connections)
    serving.listeners = listeners
    for listener in listeners:
        listener.start()


def supervise(serving: Serving, notifier: Notifier, end: End) -> None:
    """Until the end: new releases, signs of life, and what systemd wants to hear."""
    every = CHECK_SECONDS if notifier.watchdog_seconds is None else notifier.watchdog_seconds / 3
    next_check = time.monotonic()
    while not end.come.is_set():
        if end.asked_to_reload():
            notifier.reloading()
            _look(serving)
            notifier.ready(_status(serving))
        elif _look(serving):
            notifier.status(_status(serving))
        if not serving.is_checking and time.monotonic() >= next_check:
            next_check = time.monotonic() + every
            serving.begin_check()
        if serving.check_passed():
            notifier.alive()
        end.come.wait(min(LOOK_SECONDS, every))


def _look(serving: Serving) -> bool:
    """Looks for new releases, and says so where one was taken."""
    taken = serving.refresh()
    if taken:
        _say(_status(serving))
    return taken


def _status(serving: Serving) -> str:
    running = (f"{name} {(pool.agents[0].release or 'file')[:12]}" for name, pool in serving.pools.items())
    return f"serving {', '.join(running)}"


def drain(serving: Serving, seconds: float) -> None:
    """Nobody new comes in, and everything that was accepted is answered. Raises AgentError where it is not."""
    deadline = time.monotonic() + seconds
    serving.is_stopping = True
    for listener in serving.listeners:
        listener.stop()
    for pool in serving.pools.values():
        pool.close()
    answered = all(pool.drained(deadline - time.monotonic()) for pool in serving.pools.values())
    told = answered and all(each.finished(deadline - time.monotonic()) for each in serving.listeners)
    if not told:
        left = sum(pool.held + pool.coming_in for pool in serving.pools.values())
        raise AgentError(
            "not everything could be finished before the end",
            expected=f"an end within {seconds:g} s",
            found=f"{left} requests without an answer",
        )


class End:
    """The state that signals set."""

    def __init__(self) -> None:
        self.come = threading.Event()
        self._reload = False

    def tell(self, number: int, frame: Any) -> None:
        """A signal handler: the service is to end."""
        self.come.set()

    def tell_to_reload(self, number: int, frame: Any) -> None:
        """A signal handler: a reload was asked for."""
        self._reload = True

    def asked_to_reload(self) -> bool:
        """Whether a reload was asked for since the last call."""
        asked, self._reload = self._reload, False
        return asked


@contextlib.contextmanager
def _told_to_end() -> Iterator[End]:
    """From SIGTERM and SIGINT, and SIGHUP for a look at the releases."""
    end = End()
    handlers = {signal.SIGTERM: end.tell, signal.SIGINT: end.tell, signal.SIGHUP: end.tell_to_reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    # A release that is not taken is warned of once; the line is for the journal.
    warnings.simplefilter("default")
    try:
        yield end
    finally:
        # Who says it again while Python cleans up must not turn an orderly end into a death by signal.
        if before[signal.SIGTERM] is signal.SIG_DFL:
            before[signal.SIGTERM] = signal.SIG_IGN
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(f"armlet: {text}", file=sys.stderr, flush=True)
