"""Servers for the tests of `serve`: in this process, or in one of their own as a service manager starts them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.serve import supervisor as serve
from device_agent.serve.notify import Notifier
from device_agent.serve.served_models import Serving
from device_agent.verbs.parser import parse

RAW = "application/octet-stream"


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def array(self) -> np.ndarray:
        shape = [int(n) for n in self.headers["Tensor-Shape"].split(",")]
        return np.frombuffer(self.body, self.headers["Tensor-Dtype"]).reshape(shape)


def ask(
    connection: http.client.HTTPConnection, path: str, body: Any = None, method: str = "", **headers: str
) -> Answer:
    """One request; header names with "_" for "-"."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method or ("GET" if body is None else "POST"), path, body, named)
    return Answer(connection.getresponse())


def ask_raw(
    connection: http.client.HTTPConnection,
    image: np.ndarray,
    name: str = "net",
    query: str = "",
    **headers: str,
) -> Answer:
    """A prediction for an array, sent as it is."""
    described = {
        "Content_Type": RAW,
        "Tensor_Shape": ",".join(map(str, image.shape)),
        "Tensor_Dtype": str(image.dtype),
    }
    return ask(connection, f"/v1/models/{name}:predict{query}", image.tobytes(), **{**described, **headers})


def exchange(path: Path | str, data: bytes, *, end: bool = False, seconds: float = 30.0) -> bytes:
    """Sends bytes as they are, and reads until the server closes the connection."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(seconds)
        channel.connect(str(path))
        received = b""
        with contextlib.suppress(OSError):
            channel.sendall(data)
            if end:
                channel.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while block := channel.recv(1 << 16):
                received += block
        return received


@contextlib.contextmanager
def running(path: Path, *options: str) -> Iterator[Serving]:
    """A server in this process, on a Unix socket, supervised by a thread; drained at the end."""
    arguments = parse(["serve", "--socket", str(path), *options])
    serving = serve.begin(arguments)
    end = serve.End()
    supervisor = threading.Thread(target=serve.supervise, args=(serving, Notifier({}), end), daemon=True)
    supervisor.start()
    try:
        yield serving
    finally:
        end.come.set()
        supervisor.join()
        serve.drain(serving, 20.0)


class Process:
    """A server in a process of its own; ``port`` and ``line`` are what it said at its start."""

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "device_agent", "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        self.said: list[str] = []
        self._lines = threading.Thread(target=self._read, daemon=True)
        self._lines.start()
        self.line = self.wait_for("armlet: .* at ")
        found = re.search(r"http://[^ ]*:(\d+)", self.line)
        self.port = int(found.group(1)) if found else 0

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.decode())

    def wait_for(self, pattern: str, seconds: float = 60.0) -> str:
        """The line that says so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.said):
                if re.search(pattern, line):
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in {self.said}")

    def end(self, seconds: float = 30.0) -> tuple[int, dict[str, Any]]:
        """Tells it to end; its exit status and its last words."""
        self.process.terminate()
        out, _ = self.process.stdout.read(), self.process.wait(seconds)  # type: ignore[union-attr]
        return self.process.returncode, json.loads(out)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
