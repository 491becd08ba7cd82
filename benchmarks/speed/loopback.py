"""An OpenSSH server on the loopback, and a wire in front of it that counts bytes and takes its time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SSHD = "/usr/sbin/sshd"
CHUNK_BYTES = 1 << 16


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    """Where it listens; the folder that is ``~`` for who logs in; and for who runs ssh: key and known_hosts."""

    port: int
    home: Path
    key: Path
    client_home: Path


@contextmanager
def openssh(folder: Path) -> Iterator[Server]:
    """A real sshd of the current user's, with keys of its own."""
    home, client = folder / "home", folder / "client"
    (home / "bin").mkdir(parents=True)
    (client / ".ssh").mkdir(parents=True, mode=0o700)
    (home / "bin" / "python3").symlink_to(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    for path in (folder / "host_key", client / ".ssh" / "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    shutil.copy(client / ".ssh" / "id_ed25519.pub", folder / "authorized_keys")
    port = free_port()
    libraries = "".join(f" {k}={v}" for k, v in os.environ.items() if k == "LD_LIBRARY_PATH")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nUsePAM no\nSubsystem sftp internal-sftp\n"
        f"SetEnv HOME={home} PATH={home}/bin:/usr/bin:/bin{libraries}\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield Server(port, home, client / ".ssh" / "id_ed25519", client)
        finally:
            server.terminate()


class Wire:
    """Listens on ``port`` and passes everything on to the server, ``delay_seconds`` later; counts what passes.

    It is a process of its own, as a network is: a thread of the client's would take turns with the client.
    """

    def __init__(self, server: Server, delay_seconds: float = 0.0) -> None:
        context = multiprocessing.get_context("fork")
        self._counts = context.Array("q", 2)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        #: For known_hosts, which holds the key under each port that leads to it.
        key = (server.key.parents[2] / "host_key.pub").read_text().split()
        with open(server.client_home / ".ssh" / "known_hosts", "a") as file:
            file.write(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")
        run = _Passing(listener, server.port, delay_seconds, self._counts).accept
        self._process = context.Process(target=run, daemon=True)
        self._process.start()
        listener.close()

    @property
    def to_server(self) -> int:
        return int(self._counts[0])

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


class _Passing:
    """What the process does: two threads for each direction of each connection."""

    def __init__(self, listener: socket.socket, port: int, delay: float, counts: Any) -> None:
        self._listener = listener
        self._port = port
        self._delay = delay
        self._counts = counts

    def accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._port))
            for source, target, direction in ((client, server, 0), (server, client, 1)):
                for end in (source, target):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                threading.Thread(target=self._read, args=(source, waiting, direction), daemon=True).start()
                threading.Thread(target=self._write, args=(target, waiting), daemon=True).start()

    def _read(self, source: socket.socket, waiting: queue.SimpleQueue, direction: int) -> None:
        data = b"."
        while data:
            try:
                data = source.recv(CHUNK_BYTES)
            except OSError:
                data = b""
            with self._counts.get_lock():
                self._counts[direction] += len(data)
            waiting.put((time.perf_counter() + self._delay, data))

    def _write(self, target: socket.socket, waiting: queue.SimpleQueue) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = waiting.get()
                if (wait := due - time.perf_counter()) > 0:
                    time.sleep(wait)
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
