"""What `serve` does under twice the load that it can carry: what it answers, what it turns away, what memory it takes.

    python -m benchmarks.speed.serve_load [-o benchmarks/results/speed/serve_load.json] [--requests 20000]

A network of the zoo (MobileNet V1, width 0.25, 128x128, fresh weights) is deployed to the board `local` and served on a
Unix socket, one worker, as `sdk deploy --service` would have it. First the capacity is measured: clients that ask again
as soon as they are answered. Then requests come at twice that rate, whether the ones before are answered or not (an
open loop: those that a slow server would hold back come all the same). Every answer is held against what the host's
interpreter computes for that image; the images are far apart, so that an answer to another's question shows. While
requests come, the other of two releases is deployed again and again, and an answer has to be right for the release
that it names.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import benchmark, text_of
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph

CLIENTS = 32
#: Images in a request: enough that twice the capacity is still a rate which clients on the same machine can offer.
BATCH = 8
IMAGES = 16
#: Of the largest score; runtimes round differently.
TOLERANCE = 1e-3


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path | str, timeout: float = 60.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Load:
    """Who is asked what. ``right``: release -> (images, scores), filled before a release can answer."""

    path: Path
    name: str
    images: np.ndarray  # (images, height, width, 3), uint8
    right: dict[str, np.ndarray]


@dataclass
class Tally:
    """What came of requests."""

    statuses: Counter[str] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    without_retry_after: int = 0
    seconds: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(
        self, load: Load, image: int, response: http.client.HTTPResponse, body: bytes, took: float
    ) -> None:
        with self.lock:
            self.statuses[str(response.status)] += 1
            if response.status == 200:
                release = response.headers["Release"]
                self.releases[release] += 1
                self.seconds.append(took)
                right = load.right.get(release)
                difference = (
                    np.inf
                    if right is None
                    else np.abs(np.frombuffer(body, "<f4").reshape(BATCH, -1) - right[image]).max()
                )
                if not difference <= TOLERANCE:
                    self.wrong.append(f"image {image}, release {release[:12]}: off by {difference:.3g}")
            elif response.status == 503:
                self.without_retry_after += response.headers["Retry-After"] is None
            else:
                self.wrong.append(body.decode("utf-8", "replace")[:200])

    def lost(self, error: BaseException) -> None:
        with self.lock:
            self.statuses["lost"] += 1
            self.wrong.append(f"{type(error).__name__}: {error}")


def ask(load: Load, connection: http.client.HTTPConnection, image: int, tally: Tally) -> None:
    """One request; what came of it goes into the tally."""
    array = load.images[image][None].repeat(BATCH, 0)
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept": "application/octet-stream",
        "Tensor-Shape": ",".join(map(str, array.shape)),
        "Tensor-Dtype": "uint8",
    }
    start = time.perf_counter()
    try:
        connection.request("POST", f"/v1/models/{load.name}:predict", array.tobytes(), headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        tally.lost(error)
        connection.close()
        return
    tally.count(load, image, response, body, time.perf_counter() - start)


def with_clients(load: Load, clients: int, next_request: Callable[[], int | None], tally: Tally) -> float:
    """Lets so many clients ask until there is no next request; the seconds that took."""

    def client() -> None:
        with contextlib.closing(UnixConnection(load.path)) as connection:
            while (number := next_request()) is not None:
                ask(load, connection, number % len(load.images), tally)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def capacity(load: Load, clients: int, requests: int) -> tuple[float, Tally]:
    """Answers a second where clients ask again as soon as they are answered."""
    numbers, lock, tally = iter(range(requests)), threading.Lock(), Tally()

    def next_request() -> int | None:
        with lock:
            return next(numbers, None)

    seconds = with_clients(load, clients, next_request, tally)
    return tally.statuses["200"] / seconds, tally


def overload(
    load: Load, rate: float, requests: int, every: Callable[[int], None] | None = None
) -> tuple[dict[str, Any], Tally]:
    """Requests at a rate per second, whether or not the ones before are answered.

    ``every`` is called by one of the clients now and then with the number of requests so far.
    """
    numbers, lock, tally = iter(range(requests)), threading.Lock(), Tally()
    begun = time.perf_counter()
    late: list[float] = []

    def next_request() -> int | None:
        with lock:
            number = next(numbers, None)
        if number is None:
            return None
        if every is not None and number % 250 == 0:
            every(number)
        wait = begun + number / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        late.append(max(0.0, -wait))
        return number

    seconds = with_clients(load, CLIENTS, next_request, tally)
    milliseconds = sorted(1e3 * s for s in tally.seconds) or [float("nan")]
    return {
        "offered_per_second": requests / seconds,
        "wanted_per_second": rate,
        "median_lateness_milliseconds": 1e3 * statistics.median(late),
        "answered_per_second": tally.statuses["200"] / seconds,
        "statuses": dict(tally.statuses),
        "wrong_or_lost": len(tally.wrong),
        "releases_that_answered": len(tally.releases),
        "accepted_milliseconds": {
            "median": statistics.median(milliseconds),
            "p99": milliseconds[int(0.99 * (len(milliseconds) - 1))],
        },
    }, tally


def metrics(path: Path) -> dict[str, float]:
    """Samples of the server's metrics, by name and labels."""
    with contextlib.closing(UnixConnection(path)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }


def right_scores(tflite: bytes, images: np.ndarray) -> np.ndarray:
    """What the host's interpreter answers, (images, classes)."""
    from device_agent.record.preprocess import PREPROCESS
    from sdk.graph.on_host.evaluate import predict

    return predict(tflite, PREPROCESS["tf"](images))


def check_apart(scores: Sequence[np.ndarray]) -> None:
    """That an answer to another image or of another release would be seen."""
    rows = np.concatenate(list(scores))
    distances = np.abs(rows[:, None] - rows[None]).max(axis=-1)
    closest = distances[~np.eye(len(rows), dtype=bool)].min()
    assert closest > 4 * TOLERANCE, f"two right answers are only {closest:.3g} apart"


# -- the whole ------------------------------------------------------------------------------------------------------


def make_models(folder: Path) -> dict[int, Path]:
    """Two releases of one name: seed -> package.

    Fresh weights let every image fade into the same scores; these are scaled so that scores are far apart.
    """
    import sdk

    paths = {}
    for seed in (1, 2):
        tflite = folder / str(seed) / "load.tflite"  # both releases are of the name "load"
        tflite.parent.mkdir()
        sdk.write_zoo_model("mobilenet_v1", tflite, input_size=128, classes=10, width=0.25, seed=seed)
        graph = read_graph(tflite.read_bytes())
        *weights, last = graph.weights()
        scaled = {weight.tensor_index: np.asarray(3 * weight.array, np.float32) for weight in weights}
        scaled[last.tensor_index] = np.asarray(5 * last.array, np.float32)
        tflite.write_bytes(write_graph(graph.with_data(scaled)))
        paths[seed] = tflite.with_suffix(".armlet")
        sdk.pack_model(tflite, paths[seed], preprocess="tf")
    return paths


@contextlib.contextmanager
def served(home: Path, path: Path) -> Iterator[subprocess.Popen]:
    """The server as the board would start it."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ARMLET_HOME")}
    environment["PATH"] = f"{home.parent / '.bin'}:{environment['PATH']}"  # as a login on that board has it
    process = subprocess.Popen(
        [str(home / "python"), "-m", "device_agent", "serve", "--name", "load", "--socket", str(path)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if metrics(path)["armlet_live"] == 1:
                    break
            assert time.monotonic() < end, "the server does not start"
            assert process.poll() is None, "the server has ended"
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=20_000, help="at twice the capacity (default: 20000)")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the server did under its load, in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_DATA_HOME"] = str(Path(name, "data"))
        result = run(Path(name), arguments.requests)
    print(text_of(result), end="")
    return result


def main() -> int:
    """0 where every answer was right, every request counted and the end orderly."""
    result = benchmark(__doc__, measure, add_arguments)
    wrong = sum(result[phase]["wrong_or_lost"] for phase in ("overload", "overload_while_deploying"))
    return 0 if not wrong and result["drained_with_status"] == 0 and result["counts_agree"] else 1


def run(folder: Path, requests: int) -> dict[str, Any]:
    """Deploy, serve, measure, overload, end."""
    import sdk
    from device_agent.package import reader as package

    packages = make_models(folder)
    images = (
        np.random.default_rng(0).integers(0, 256, (IMAGES, 2, 2, 3), np.uint8).repeat(64, 1).repeat(64, 2)
    )
    scores = {
        seed: right_scores(package.unpack(path.read_bytes()).tflite, images)
        for seed, path in packages.items()
    }
    check_apart(list(scores.values()))
    deployed = {seed: sdk.deploy_model("local", path) for seed, path in packages.items()}
    right = {deployed[seed].release: scores[seed] for seed in packages}
    home = folder / "data" / "armlet" / "boards" / "local" / "home" / ".armlet"
    path = folder / "serve.sock"
    with served(home, path) as process:
        load = Load(path, "load", images, right)
        busy = os.getloadavg()[0]
        capacity(load, 2, 200)  # the first inferences of a process are slow
        alone, _ = capacity(load, 1, 500)
        most, _ = capacity(load, 4, 1000)
        # What is left for answers where nothing else runs; deploys take a core of this machine for themselves.
        shedding, calm = overload(load, 2 * most, requests // 4)
        before = metrics(path)
        memory: list[tuple[int, float]] = []
        deploying = _deploy_in_turn(packages)
        result, tally = overload(
            load,
            2 * most,
            requests,
            every=lambda number: memory.append((number, metrics(path)["process_resident_memory_bytes"])),
        )
        deploys = deploying()
        after = metrics(path)
        process.send_signal(signal.SIGTERM)
        out, status = process.stdout.read(), process.wait(60)  # type: ignore[union-attr]
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "cpu": _cpu(),
        "load_average_before": busy,
        "python": platform.python_version(),
        "runtime": f"{deployed[1].runtime} {deployed[1].runtime_version}",
        "network": "mobilenet_v1, width 0.25, 128x128x3, requests of 8 images, 1 worker, 1 thread, queue of 16",
        "requests": requests,
        "capacity_per_second": {"one client": alone, "four clients": most},
        "overload": shedding,
        "overload_while_deploying": result,
        "examples_of_wrong": [*calm.wrong, *tally.wrong][:5],
        "deploys_meanwhile": deploys,
        "reloads": after["armlet_reloads_total" + '{model="load"}'],
        "counts_agree": _agree(before, after, tally),
        "resident_bytes": _resident_bytes(memory, requests),
        "drained_with_status": status,
        "last_words": json.loads(out),
    }


def _resident_bytes(memory: list[tuple[int, float]], requests: int) -> dict[str, float]:
    """The largest resident memory in two parts of the run, and its growth; bytes by the number of the request."""
    first = [size for number, size in memory if requests // 10 <= number < requests // 2]
    last = [size for number, size in memory if number >= requests // 2]
    return {
        "from a tenth to the half, largest": max(first),
        "from the half on, largest": max(last),
        "growth": max(last) - max(first),
    }


def _deploy_in_turn(packages: Mapping[int, Path]) -> Callable[[], int]:
    """Deploys the two releases in turn, until what is returned is called; that says how many were confirmed."""
    import sdk

    done, confirmed = threading.Event(), []

    def work() -> None:
        while not done.wait(1.0):
            seed = 1 + len(confirmed) % 2
            confirmed.append(sdk.deploy_model("local", packages[seed]).state)

    thread = threading.Thread(target=work)
    thread.start()

    def end() -> int:
        done.set()
        thread.join()
        return confirmed.count("confirmed")

    return end


def _agree(before: Mapping[str, float], after: Mapping[str, float], tally: Tally) -> bool:
    """Whether the server counted what the clients did."""
    return all(
        after.get(key, 0.0) - before.get(key, 0.0) == tally.statuses[code]
        for code in ("200", "503")
        for key in [f'armlet_requests_total{{model="load",code="{code}"}}']
    )


def _cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
