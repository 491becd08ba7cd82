"""`serve` under more than it can carry, while releases come and go, and when it is told to end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import serve_load
from benchmarks.speed.serve_load import UnixConnection
from device_agent.record.preprocess import PREPROCESS
from device_agent.store.store import Store
from tests.device_agent.run.test_agent import raw
from tests.device_agent.serve.served import Process, ask, ask_raw, exchange, running
from tests.device_agent.store.deploying import begin, deploy, package, revert

SIZE = 96  # some milliseconds per inference


@pytest.fixture
def store(home) -> Store:
    return Store(home / "store")


@pytest.fixture(scope="module")
def packages() -> list[bytes]:
    return [package(seed, size=SIZE) for seed in range(2)]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8).repeat(12, 1).repeat(12, 2)


@pytest.fixture(scope="module")
def scores(packages, images) -> list[np.ndarray]:
    right = [raw(data, PREPROCESS["tf"](images)) for data in packages]
    serve_load.check_apart(right)
    return right


@pytest.mark.alone
def test_twice_the_load_is_shed_and_nothing_accepted_is_lost_or_mixed_up(
    store, socket_folder, packages, images, scores
):
    path = socket_folder / "serve.sock"
    first = deploy(store, packages[0])
    load = serve_load.Load(path, "net", images, {first.id: scores[0]})
    turns = []

    def another_release(number: int) -> None:
        # A deploy that is confirmed, or one whose health check fails, in the middle of it all.
        turns.append(number)
        if len(turns) % 3 == 0:
            revert(store, packages[len(turns) % 2])
            return
        with store.locked():
            release = begin(store, packages[len(turns) % 2])
            load.right[release.id] = scores[len(turns) % 2]
            store.confirm("net")
            store.collect()

    with Process("--socket", str(path), "--queue", "4") as process:
        serve_load.capacity(load, 2, 50)
        rate, _ = serve_load.capacity(load, 3, 150)
        before = serve_load.metrics(path)
        resident: list[float] = []
        lock = threading.Lock()

        def every(number: int) -> None:
            with lock:
                resident.append(serve_load.metrics(path)["process_resident_memory_bytes"])
                another_release(number)

        # Well beyond it: the capacity was taken on a machine that may be busier or idler now.
        result, tally = serve_load.overload(load, 3 * rate, 2500, every=every)
        after = serve_load.metrics(path)
        assert tally.wrong == []
        assert set(tally.statuses) == {"200", "503"}, result
        assert tally.statuses["503"] > 100, result
        assert tally.without_retry_after == 0
        assert len(tally.releases) == 2
        for status in ("200", "503"):
            name = f'armlet_requests_total{{model="net",code="{status}"}}'
            assert after[name] - before.get(name, 0) == tally.statuses[status]
        assert after['armlet_in_flight{model="net"}'] == 0
        assert after['armlet_reloads_total{model="net"}'] >= 3
        assert max(resident[5:]) - resident[2] < 12 << 20, resident  # two releases are in memory now and then
        status, words = process.end()
    assert status == 0
    assert words["shed"] >= tally.statuses["503"]


def slow_server(store: Store, path: Path, *options: str) -> Process:
    """One whose batches take long enough to see them under way."""
    deploy(store, package(size=192))
    return Process("--socket", str(path), *options)


def many(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (64, 192, 192, 3), np.uint8)


def test_told_to_end_it_finishes_what_it_accepted_and_lets_nobody_in(store, socket_folder):
    path = socket_folder / "serve.sock"
    with slow_server(store, path, "--queue", "8") as process:
        answers: list = []

        def client(seed: int) -> None:
            connection = UnixConnection(path, timeout=60)
            answers.append(ask_raw(connection, many(seed)))
            connection.close()

        kept = UnixConnection(path)
        assert ask(kept, "/healthz").json["ready"]
        half = socket.socket(socket.AF_UNIX)  # is let in, and sends its body later
        half.connect(str(path))
        body = bytes(192 * 192 * 3)
        half.sendall(
            b"POST /v1/models/net:predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
            b"Tensor-Shape: 192,192,3\r\nTensor-Dtype: uint8\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 30
        while serve_load.metrics(path)['armlet_in_flight{model="net"}'] < 4:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("stopping")
        end = time.monotonic() + 10
        while path.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            exchange(path, b"GET /healthz HTTP/1.0\r\n\r\n")
        half.sendall(body)
        received = b""
        while block := half.recv(1 << 16):
            received += block
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in received
        for thread in threads:
            thread.join()
        # All that had a place are answered; who had none yet is told that this is the end.
        finished = [answer for answer in answers if answer.status == 200]
        assert [len(answer.json["answers"]) for answer in finished] == [64] * len(finished)
        assert len(finished) >= 4
        assert {answer.status for answer in answers} <= {200, 503}
        try:
            told = ask(kept, "/healthz")
        except (http.client.HTTPException, OSError):
            pass  # closed already
        else:
            assert not told.json["ready"]  # there is a moment in which who was about to ask is still told
        status, words = process.end()
        assert (status, words["verb"]) == (0, "serve")
        half.close()


def test_who_takes_longer_than_the_drain_is_reported(store, socket_folder):
    path = socket_folder / "serve.sock"
    with slow_server(store, path, "--drain-seconds", "0.2", "--read-seconds", "20") as process:
        half = socket.socket(socket.AF_UNIX)
        half.connect(str(path))
        half.sendall(
            b"POST /v1/models/net:predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Length: 99\r\n\r\n"
        )
        end = time.monotonic() + 30
        while serve_load.metrics(path)['armlet_bodies_coming{model="net"}'] < 1:
            assert time.monotonic() < end
            time.sleep(0.01)
        status, words = process.end()
        assert (status, words["found"]) == (2, "1 requests without an answer")
        half.close()


def test_an_answer_that_comes_too_late_is_a_504_and_the_next_is_answered(store, socket_folder):
    path = socket_folder / "serve.sock"
    deploy(store, package(size=192))
    with running(path) as serving:
        connection = UnixConnection(path)
        late = ask_raw(connection, many(), query="?deadline=0.01")
        assert (late.status, late.json["error"]) == (504, "DeadlineExceeded")
        assert ask_raw(connection, many()[0]).status == 200
        assert serving.pools["net"].held == 0
        connection.close()


@pytest.mark.filterwarnings("ignore:.*the new release is not taken")
def test_a_new_release_is_taken_without_a_request_and_a_bad_one_is_not(store, socket_folder, packages):
    path = socket_folder / "serve.sock"
    old = deploy(store, packages[0])
    with running(path):
        connection = UnixConnection(path)

        def release() -> str:
            return ask(connection, "/healthz").json["models"]["net"]["release"]

        assert release() == old.id
        revert(store, packages[1])
        new = deploy(store, package(5, size=SIZE))
        end = time.monotonic() + 20
        while release() != new.id:
            assert time.monotonic() < end
            time.sleep(0.05)
        # One that is confirmed, and damaged on the disk: the old one goes on, and the reason is told.
        with store.locked():
            damaged = begin(store, packages[1])
            blob = store.blobs.path(damaged.parts[0][0])
            blob.write_bytes(b"?" + blob.read_bytes()[1:])
            store.confirm("net")
        end = time.monotonic() + 20
        while ask(connection, "/healthz").json["models"]["net"]["reload_error"] is None:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert release() == new.id
        assert serve_load.metrics(path)['armlet_reload_failed{model="net"}'] == 1
        assert ask_raw(connection, np.zeros((SIZE, SIZE, 3), np.uint8)).json["release"] == new.id
        connection.close()


# -- systemd's notifications --------------------------------------------------------------------------------------


class NotifySocket:
    """Where systemd would listen."""

    def __init__(self, path: Path) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind(str(path))
        self.channel.settimeout(30)
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def next(self, begins: str) -> str:
        """The next message that begins so; others that come before are not kept."""
        while True:
            message = self.channel.recv(4096).decode()
            if message.startswith(begins):
                return message

    def count(self, begins: str, seconds: float) -> int:
        """How many such messages come in that time."""
        found, end = 0, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.channel.settimeout(left)
            try:
                found += self.channel.recv(4096).decode().startswith(begins)
            except TimeoutError:
                break
        self.channel.settimeout(30)
        return found


def test_systemd_is_told_of_the_start_of_reloads_of_life_and_of_the_end(store, socket_folder, packages):
    deploy(store, packages[0])
    notified = NotifySocket(socket_folder / "notify")
    environment = {**notified.environment, "WATCHDOG_USEC": "600000"}
    with Process("--port", "0", environment=environment) as process:
        assert "STATUS=serving net " in notified.next("READY=1")
        notified.next("WATCHDOG=1")
        new = deploy(store, packages[1])
        assert notified.next("STATUS=") == f"STATUS=serving net {new.id[:12]}"
        process.process.send_signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in notified.next("RELOADING=1")
        notified.next("READY=1")
        notified.next("WATCHDOG=1")
        process.process.send_signal(signal.SIGTERM)
        notified.next("STOPPING=1")
        assert process.process.wait(30) == 0
    notified.channel.close()


@pytest.mark.alone
def test_the_watchdog_is_not_fed_while_a_worker_hangs(store, socket_folder, packages, monkeypatch):
    from device_agent.serve import supervisor as serve
    from device_agent.serve.notify import Notifier

    deploy(store, packages[0])
    notified = NotifySocket(socket_folder / "notify")
    path = socket_folder / "serve.sock"
    arguments = ["serve", "--socket", str(path)]
    from device_agent.verbs.parser import parse

    serving = serve.begin(parse(arguments), live_seconds=0.9)
    notifier = Notifier({**notified.environment, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": str(os.getpid())})
    end = serve.End()
    supervisor = threading.Thread(target=serve.supervise, args=(serving, notifier, end), daemon=True)
    supervisor.start()
    try:
        assert notified.count("WATCHDOG=1", 1.5) >= 3
        hang, hangs = threading.Event(), threading.Event()
        place = serving.pools["net"].enter(60)

        def work(agent) -> None:
            hangs.set()
            hang.wait(60)

        worker = threading.Thread(target=place.run, args=(work,))
        worker.start()
        hangs.wait(10)
        notified.count("WATCHDOG=1", 0.5)  # one may have been on its way
        assert notified.count("WATCHDOG=1", 1.0) == 0
        connection = UnixConnection(path)
        sick = ask(connection, "/healthz")
        assert (sick.status, sick.json["live"]) == (503, False)
        hang.set()
        worker.join()
        notified.next("WATCHDOG=1")
        assert ask(connection, "/healthz/live").status == 200
        connection.close()
    finally:
        end.come.set()
        supervisor.join()
        serve.drain(serving, 10)
        notified.channel.close()


def test_without_a_service_manager_nobody_is_told():
    from device_agent.serve.notify import Notifier

    for environment in (
        {},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/nowhere"},
        {"NOTIFY_SOCKET": "@armlet-nobody"},
    ):
        notifier = Notifier(environment)
        assert notifier.watchdog_seconds is None
        notifier.ready("x")
        notifier.alive()


def test_a_server_outlives_who_started_it(store, socket_folder, packages):
    deploy(store, packages[0])
    path = socket_folder / "serve.sock"
    with Process("--socket", str(path)) as process:
        process.process.stdout.close()  # the reader of its standard output has gone
        time.sleep(0.3)
        assert json.loads(exchange(path, b"GET /healthz HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")[2])["live"]


def test_a_batch_that_nobody_waits_for_any_longer_is_given_up(store, socket_folder):
    path = socket_folder / "serve.sock"
    deploy(store, package(size=192))
    with running(path) as serving:
        connection = UnixConnection(path)
        before = serving.pools["net"].agents[0].latency.count
        late = ask_raw(connection, many(), query="?deadline=0.01")
        assert late.status == 504
        end = time.monotonic() + 20
        while serving.pools["net"].held:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert serving.pools["net"].agents[0].latency.count - before < 64
        long = ask_raw(connection, many()[0], query="?deadline=11")
        assert (long.status, long.json["expected"]) == (400, "a deadline of at most 10 s")
        connection.close()
