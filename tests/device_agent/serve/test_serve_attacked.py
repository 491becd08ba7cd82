"""A server under attack: honest clients get their answers, and its memory stays below what docs/serve.md promises."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.speed.serve_load import UnixConnection
from device_agent.store.store import Store
from tests.device_agent.serve.served import Process, ask, ask_raw
from tests.device_agent.store.deploying import deploy, package

SECONDS = 4.0
PLACES, MAX_BODY = 17, 1 << 20
HEAD = b"POST /v1/models/net:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: "


def request(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    return HEAD + kind + b"\r\nContent-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


def many_scans() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 20_000 + data[-2:]


#: What each of some clients sends again and again, as soon as its connection ends or it was answered.
ATTACKS: dict[str, tuple[int, Callable[[], bytes]]] = {
    "heads alone": (24, lambda: request(b"application/json", b"", 5000)),
    "bodies that do not end": (12, lambda: request(b"application/json", b" " * 500_000, 1_000_000)),
    "half a line": (8, lambda: b"POST /v1/mod"),
    "a word among numbers": (
        2,
        lambda: request(b"application/json", b'{"image":[' + b"1," * 55_000 + b'"xxxx"]}'),
    ),
    "many lists": (2, lambda: request(b"application/json", b'{"image":[' + b"[1]," * 200_000 + b"[1]]}")),
    "long numbers": (2, lambda: request(b"application/json", b'{"image":[0.' + b"1" * 900_000 + b"]}")),
    "many scans": (1, lambda: request(b"image/jpeg", many_scans())),
}


def attack(path: Path, data: bytes, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(0.5)
            channel.connect(str(path))
            channel.sendall(data)
            while not stop.is_set():
                try:
                    if not channel.recv(1 << 16):
                        break
                except TimeoutError:
                    continue
        stop.wait(0.05)


@pytest.fixture
def attacked(tmp_path: Path, socket_folder: Path) -> Iterator[tuple[Process, Path]]:
    deploy(Store(tmp_path / "store"), package())
    path = socket_folder / "serve.sock"
    options = ("--socket", str(path), "--max-body", str(MAX_BODY), "--read-seconds", "2")
    with Process(*options, environment={"ARMLET_HOME": str(tmp_path)}) as server:
        yield server, path


def resident(process: Process) -> int:
    """Bytes of the server at its largest."""
    with open(f"/proc/{process.process.pid}/status") as file:
        [line] = [line for line in file if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


def test_honest_clients_are_answered_while_others_attack(attacked: tuple[Process, Path]) -> None:
    server, path = attacked
    image = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    connection = UnixConnection(path)
    expected = ask_raw(connection, image).json
    connection.close()
    before = resident(server)
    stop = threading.Event()
    threads = [
        threading.Thread(target=attack, args=(path, make(), stop), daemon=True)
        for count, make in ATTACKS.values()
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    statuses: list[int] = []
    health: list[float] = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        client = UnixConnection(path)
        with contextlib.closing(client):
            begun = time.monotonic()
            try:
                assert ask(client, "/healthz").status == 200
                health.append(time.monotonic() - begun)
                answer = ask_raw(client, image)
                statuses.append(answer.status)
                assert answer.status != 200 or json.loads(answer.body) == expected
            except OSError:
                statuses.append(0)
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join(10)
    answered = statuses.count(200)
    # Bodies, twice: as they came and as arrays; and one long body of JSON that is parsed.
    promised = 2 * PLACES * MAX_BODY + 30 * MAX_BODY
    grown = resident(server) - before
    print(
        f"\n{answered} of {len(statuses)} honest requests answered; /healthz took {max(health):.2f} s at most; "
        f"memory grew by {grown >> 20} MB at most, {promised >> 20} MB are promised"
    )
    assert len(statuses) > 20
    assert answered >= 0.99 * len(statuses), statuses
    assert grown < promised
    connection = UnixConnection(path)
    assert ask_raw(connection, image).json == expected
    connection.close()
