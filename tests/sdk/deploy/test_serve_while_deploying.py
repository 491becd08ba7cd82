"""A server on a board answers all the while: `sdk deploy` brings releases, good and bad, `sdk rollback` goes back."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdk
from benchmarks.speed import serve_load
from device_agent.package import reader as package_format
from sdk.api.files.golden import golden_pair, remembered_golden
from sdk.errors import RemoteError
from sdk.package.release import Golden, prepare
from tests.device_agent.store.deploying import package

SIZE = 48


@pytest.mark.ssh
def test_no_request_is_lost_while_releases_come_go_back_and_are_rolled_back(
    tmp_path: Path, socket_folder: Path, monkeypatch: pytest.MonkeyPatch, with_runtime
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with_runtime(tmp_path / "data")
    paths, right = [], {}
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    for seed in range(3):
        paths.append(tmp_path / f"{seed}.armlet")
        paths[-1].write_bytes(package(seed, size=SIZE))
        data = paths[-1].read_bytes()
        release = prepare(data, "net", golden=remembered_golden(data)).id
        right[release] = serve_load.right_scores(package_format.unpack(data).tflite, images)
    serve_load.check_apart(list(right.values()))
    good, better, bad = right

    assert sdk.deploy_model("local", paths[0]).release == good
    home = tmp_path / "data" / "armlet" / "boards" / "local" / "home" / ".armlet"
    socket = socket_folder / "serve.sock"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ARMLET_HOME")}
    environment["PATH"] = f"{home.parent / '.bin'}:{environment['PATH']}"
    server = subprocess.Popen(
        [home / "python", "-m", "device_agent", "serve", "--name", "net", "--socket", socket],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(socket.exists)
        load, tally, done = (
            serve_load.Load(socket, "net", images, right),
            serve_load.Tally(),
            threading.Event(),
        )
        numbers = iter(range(10**9))

        def next_request() -> int | None:
            time.sleep(0.005)
            return None if done.is_set() else next(numbers)

        def answers(release: str) -> bool:
            return tally.releases[release] > before[release]

        clients = [
            threading.Thread(target=serve_load.with_clients, args=(load, 1, next_request, tally))
            for _ in range(3)
        ]
        for client in clients:
            client.start()
        before = tally.releases.copy()
        wait_until(lambda: answers(good))
        assert sdk.deploy_model("local", paths[1]).release == better
        wait_until(lambda: answers(better))

        with monkeypatch.context() as patch:
            patch.setattr("sdk.api.boards.deploying.remembered_golden", wrong_golden)
            with pytest.raises(RemoteError, match="went back to what ran before"):
                sdk.deploy_model("local", paths[2])
        before = tally.releases.copy()
        wait_until(lambda: answers(better))

        sdk.rollback_model("local", "net")
        wait_until(lambda: answers(good))
        time.sleep(1.0)  # longer than it takes to look for a new release
        before = tally.releases.copy()
        wait_until(lambda: answers(good))
        assert tally.releases[better] == before[better]
        done.set()
        for client in clients:
            client.join()
        assert tally.wrong == []
        assert set(tally.statuses) == {"200"}
        assert bad not in tally.releases
        assert serve_load.metrics(socket)['armlet_reloads_total{model="net"}'] == 2
        server.terminate()
        assert server.wait(30) == 0
    finally:
        done.set()
        server.kill()
        server.communicate()


def wrong_golden(data: bytes) -> Golden:
    """A golden pair that no board comes close to."""
    found = golden_pair(data)
    return replace(found, outputs=tuple(output + 10.0 for output in found.outputs), alternatives=())


def wait_until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
