"""``sdk`` and ``python`` for pages: a process that has imported TensorFlow and paramiko forks for each command.

An import of TensorFlow takes longer than most commands that need it. Nothing of this project is imported before the
fork, and TensorFlow has run no operation then, so a command finds what it finds in a process of its own: its arguments,
folder, environment, umask and streams, and modules of the project that were never imported. What it says of itself is
its exit status. Commands that are not ``sdk ...``, ``python FILE ...`` or ``python -m MODULE ...`` are real processes.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import marshal
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

#: What stands first in PATH. It hands its streams and all else over, and ends as the command did.
SHIM = """#!{python} -IS
import marshal, os, sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
python, words = {python!r}, {words!r} + sys.argv[1:]
alone = not words or (words[0] == "-m" and len(words) < 2) or (words[0].startswith("-") and words[0] != "-m")
if alone or os.environ.get("PYTHONPATH", "") != {path!r}:
    os.execv(python, [python, *words])
umask = os.umask(0)
os.umask(umask)
server = socket(AF_UNIX, SOCK_SEQPACKET)
server.connect({address!r})
said = marshal.dumps([words, os.getcwd(), dict(os.environ), umask])
streams = b"".join(n.to_bytes(4, sys.byteorder) for n in (0, 1, 2))
server.sendmsg([said], [(SOL_SOCKET, SCM_RIGHTS, streams)])
status = server.recv(64)
sys.exit(int(status) if status else 70)
"""
MOST_BYTES = 1 << 17


class WarmCommands:
    """The folder to put first in PATH, :attr:`folder`, and the process behind it. A context manager.

    ``environment``: as the commands will have it; its PYTHONPATH is the one for which this works.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        #: Short, because a socket's path must be.
        self.folder = Path(tempfile.mkdtemp(prefix="armlet-", dir="/tmp"))
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.docs.warm_commands", str(self.folder)],
            env={**environment, "HOME": str(self.folder), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n"
        script = str(Path(sys.executable).with_name("sdk"))
        for name, words in (("sdk", [script]), ("python", [])):
            self._write(name, words, environment.get("PYTHONPATH", ""))

    def _write(self, name: str, words: list[str], path: str) -> None:
        shim = self.folder / name
        address = str(self.folder / "socket")
        shim.write_text(SHIM.format(python=sys.executable, words=words, path=path, address=address))
        shim.chmod(0o700)

    def __enter__(self) -> WarmCommands:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._server.pid, signal.SIGTERM)
        self._server.wait()
        assert self._server.stdout is not None
        self._server.stdout.close()
        shutil.rmtree(self.folder)


def next_command(folder: Path) -> Command:
    """Forks for each command until it is ended. Comes back in the forks alone, which then are to be the command."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is not listener:
                process, caller = key.data
                waiting.unregister(key.fileobj)
                os.close(key.fd)
                tell(caller, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
                continue
            caller, _ = listener.accept()
            said, streams, _, _ = socket.recv_fds(caller, MOST_BYTES, 3)
            process = os.fork()
            if process == 0:
                for opened in (waiting, listener, caller):
                    opened.close()
                return Command(*marshal.loads(said), streams)
            for stream in streams:
                os.close(stream)
            waiting.register(os.pidfd_open(process), selectors.EVENT_READ, (process, caller))


def tell(caller: socket.socket, status: int) -> None:
    """Tells who called how its command ended, as a shell would say it."""
    with caller, contextlib.suppress(OSError):  # it may have gone
        caller.send(str(status if status >= 0 else 128 - status).encode())


@dataclass(frozen=True)
class Command:
    """What a caller handed over."""

    words: list[str]
    folder: str
    environment: dict[str, str]
    umask: int
    streams: list[int]

    def run(self) -> int:
        """Runs it in this process, as Python would, and returns its exit status."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(self.folder)
        os.umask(self.umask)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
        np.random.seed()  # else every command would draw the same numbers
        try:
            if self.words[0] == "-m":
                sys.argv, sys.path[0] = self.words[1:], self.folder
                runpy.run_module(self.words[1], run_name="__main__", alter_sys=True)
            else:
                sys.argv, sys.path[0] = list(self.words), str(Path(self.words[0]).resolve().parent)
                path = Path.cwd() / self.words[0]
                script = ModuleType("__main__")
                script.__file__ = str(path)
                sys.modules["__main__"] = script
                exec(compile(path.read_bytes(), path, "exec"), script.__dict__)
        except SystemExit as ended:
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)
            return int(ended.code or 0) if not isinstance(ended.code, str) else 1
        except BaseException:
            traceback.print_exc()
            return 1
        return 0


def end(status: int) -> None:
    """Ends this process as Python does, but leaves its memory to the kernel: taking TensorFlow apart takes a second."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 - Python has no public name for it
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    import paramiko  # noqa: F401
    import tensorflow  # noqa: F401

    gc.collect()
    gc.freeze()  # of what stands now nothing is looked at, and copied, in the forks
    end(next_command(Path(sys.argv[1])).run())
