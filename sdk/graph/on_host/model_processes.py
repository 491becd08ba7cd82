"""The processes in which the host runs models, each in a few milliseconds: one has imported all, and forks for each.

Python, numpy and the runtime take a fifth of a second to import, longer than most models take to answer. The process
that forks runs no model, so each model finds what it would find in a process of its own. It ends with its caller, and
what it forked with it. Systems other than Linux start each process by itself: what they load may not survive a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Union

#: A request and an answer are a word and two numbers.
MAX_MESSAGE_BYTES = 64
#: How long the end of a process is waited for between two questions, at most.
LONGEST_PAUSE_SECONDS = 0.05


def start_process(said: IO[bytes]) -> ModelProcess:
    """A process that waits for a model (see interpreter_child.py); what its runtime prints goes to ``said``."""
    if sys.platform == "linux":
        for _ in range(2):  # the process that forks may have been ended by somebody
            with contextlib.suppress(OSError):
                return _forks().start(said)
    return subprocess.Popen(
        [sys.executable, "-m", "sdk.graph.on_host.interpreter_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for the caller, which then closes it
    )


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[3])  # also where the project runs without being installed
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


# ---- the caller's side

_lock = threading.Lock()
_Key = tuple[int, str, "str | None"]
_kept: dict[_Key, _Forks] = {}


def _forks() -> _Forks:
    """The process that forks for this one. A fork of this process, and another search path, have their own."""
    key = (os.getpid(), sys.executable, os.environ.get("PYTHONPATH"))
    with _lock:
        for other in [k for k, forks in _kept.items() if k[0] != key[0] or forks.ended]:
            _kept.pop(other).close()
        if key not in _kept:
            _kept[key] = _Forks(key[0])
        return _kept[key]


@atexit.register
def _close_all() -> None:
    while _kept:
        _kept.popitem()[1].close()


class _Forks:
    """The process that forks, and the socket over which it is asked to."""

    def __init__(self, caller: int) -> None:
        self._caller = caller
        self.ended = False
        self._asking = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sdk.graph.on_host.model_processes", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Its numpy moves bytes alone, and threads do not survive a fork.
                env={**_environment(), "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )

    def start(self, said: IO[bytes]) -> _Forked:
        """Raises OSError where the process that forks has ended."""
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        try:
            pid = self.ask("start", 0, (theirs_in, theirs_out, said.fileno()))
        except OSError:
            os.close(ours_in)
            os.close(ours_out)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        return _Forked(self, int(pid), os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb"))

    def ask(self, word: str, number: int, streams: tuple[int, ...] = ()) -> str:
        """What it answers. Raises OSError where it has ended."""
        with self._asking:
            try:
                socket.send_fds(self._socket, [f"{word} {number}".encode()], streams)
                answer = self._socket.recv(MAX_MESSAGE_BYTES)
            except OSError:
                self.ended = True
                raise
        if not answer:
            self.ended = True
            raise ConnectionResetError("the process that forks has ended")
        return answer.decode()

    def close(self) -> None:
        """Ends it, unless it is another process's."""
        self.ended = True
        self._socket.close()
        if self._caller == os.getpid():
            self._process.wait()
        else:
            self._process.returncode = 0  # else its end would be waited for here


class _Forked:
    """One process; the same questions as of a :class:`subprocess.Popen`."""

    def __init__(self, forks: _Forks, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self._forks, self.pid, self.stdin, self.stdout = forks, pid, stdin, stdout
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            try:
                answer = self._forks.ask("poll", self.pid)
            except OSError:
                answer = str(-signal.SIGKILL)  # nobody knows; it ends when its input does
            self._status = int(answer) if answer != "runs" else None
        return self._status

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._forks.ask("kill", self.pid)

    def wait(self) -> int:
        pause = 0.001
        while (status := self.poll()) is None:
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return status


ModelProcess = Union["subprocess.Popen[bytes]", _Forked]

# ---- the process that forks


def _serve(connection: socket.socket) -> list[int] | None:
    """Forks for each request until the caller is gone: None. In a fork the streams that it is to have."""
    running: set[int] = set()
    while True:
        said, streams, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 3)
        if not said:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            return None
        word, number = said.decode().split()
        answer = ""
        if word == "start":
            pid = os.fork()
            if pid == 0:
                connection.close()
                return list(streams)
            running.add(pid)
            answer = str(pid)
        elif word == "kill":
            if int(number) in running:
                os.kill(int(number), signal.SIGKILL)
        else:
            ended, status = os.waitpid(int(number), os.WNOHANG)
            running -= {ended}
            answer = str(os.waitstatus_to_exitcode(status)) if ended else "runs"
        for stream in streams:
            os.close(stream)
        connection.send(answer.encode() or b"done")


def main() -> int:
    """Imports what a model needs, then serves; the exit status is a fork's, or 0."""
    from sdk.graph.on_host import interpreter_child

    interpreter_child.prepare()
    streams = _serve(socket.socket(fileno=int(sys.argv[1])))
    if streams is None:
        return 0
    os.setsid()  # as start_new_session does
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return interpreter_child.main()


if __name__ == "__main__":
    sys.exit(main())
