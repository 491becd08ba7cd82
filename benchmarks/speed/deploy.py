"""What a deploy costs: bytes and seconds, first, again and changed; and how fast a push is beside OpenSSH's sftp.

    python -m benchmarks.speed.deploy [-o benchmarks/results/speed/deploy.json] [--rounds 5] [--megabytes 64]

Deploys are whole `sdk deploy` commands, start of Python included, of MobileNet V1 (compressed: 70 % zeros, 32
centroids) to an OpenSSH server on the loopback. Bytes on the wire are what the client sent, encrypted, handshake
included.

Pushes send one file of noise over a connection that is open, interleaved with `sftp put` of the same file to the
same server through the same wire (its connection taken off: an `sftp` that sends nothing is timed too). ``agent`` is
the path that packages take: through the agent, with SHA-256 on the way; ``put`` is the connection's own file
transfer. The best of the rounds counts. At 10 ms a thread holds every chunk back by 5 ms each way.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import sdk
from benchmarks.record import benchmark, text_of
from benchmarks.speed.loopback import Server, Wire, openssh
from sdk.board.ssh.connection import SshConnection, connect
from sdk.deploy.session import accepted_agent
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph

#: Of the deploy that changes nothing.
REPEATS = 5
#: Last layers that differ, each deployed once: the board keeps the one before.
HEADS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=64)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes and seconds of deploys and pushes, and under which conditions."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with openssh(folder) as server:
            result: dict[str, Any] = {
                "deploys": deploys(server, folder),
                "pushes": [
                    pushes(server, folder, delay, arguments.rounds, arguments.megabytes << 20)
                    for delay in (0.0, 0.005)
                ],
            }
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.strip()
    result["conditions"] = {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "ssh": version,
        "load_average": os.getloadavg()[0],
    }
    print(text_of(result), end="")
    return result


# -- deploys ----------------------------------------------------------------------------------------------------------


def deploys(server: Server, folder: Path) -> dict[str, Any]:
    """Whole commands. Those that changed have another last layer each."""
    plain = folder / "mobilenet.tflite"
    sdk.write_zoo_model("mobilenet_v1", plain)
    graph = read_graph(plain.read_bytes())
    head = next(w for w in reversed(list(graph.weights())) if w.array.ndim > 1)
    models = [plain]
    for number in range(1, HEADS + 1):
        models.append(folder / str(number) / plain.name)
        models[-1].parent.mkdir()
        other = np.roll(head.array, number, axis=0)
        models[-1].write_bytes(write_graph(graph.with_data({head.tensor_index: other})))
    packages = [model.with_suffix(".armlet") for model in models]
    for model, package in zip(models, packages, strict=True):
        sdk.compress_model(model, package, sparsity=0.7, clusters=32)
    wire = Wire(server)
    first = deploy(server, wire, packages[0])
    again = [deploy(server, wire, packages[0]) for _ in range(REPEATS)]
    changed = [deploy(server, wire, package) for package in packages[1:]]
    wire.close()
    return {
        "package_bytes": packages[0].stat().st_size,
        "first": first,
        "again": best(again),
        "changed_last_layer": best(changed),
    }


def deploy(server: Server, wire: Wire, package: Path) -> dict[str, Any]:
    before, start = wire.to_server, time.perf_counter()
    address = ["--host", "127.0.0.1", "--port", str(wire.port), "--key", str(server.key)]
    done = subprocess.run(
        [sys.executable, "-m", "sdk.cli", "deploy", "--board", "local", *address, str(package), "--json"],
        env={**os.environ, "HOME": str(server.client_home), "XDG_CACHE_HOME": cache_folder()},
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds = time.perf_counter() - start
    answer = json.loads(done.stdout)
    return {
        "state": answer["state"],
        "seconds": seconds,
        "model_bytes": answer["sent_bytes"],
        "runtime_and_agent_bytes": answer["provisioned_bytes"],
        "wire_bytes": wire.to_server - before,
    }


def cache_folder() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")


def best(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The fastest run, and what the median one took: the machine has other work."""
    median = sorted(run["seconds"] for run in runs)[len(runs) // 2]
    return {**min(runs, key=lambda run: run["seconds"]), "median_seconds": median, "runs": len(runs)}


# -- pushes -----------------------------------------------------------------------------------------------------------


def pushes(server: Server, folder: Path, delay: float, rounds: int, size: int) -> dict[str, Any]:
    """Best throughput of each way, in bytes per second."""
    wire = Wire(server, delay)
    source = folder / "noise"
    whole: dict[str, list[float]] = {"sftp": [], "put": [], "agent": []}
    empty: dict[str, list[float]] = {"sftp": [], "put": [0.0], "agent": []}
    login = {"key": server.key, "known_hosts": server.client_home / ".ssh" / "known_hosts", "config": None}
    with connect("127.0.0.1", port=wire.port, **login) as connection:
        for number in range(rounds):
            source.write_bytes(np.random.default_rng(number).bytes(size))
            empty["sftp"].append(sftp(server, wire, "pwd\n"))
            whole["sftp"].append(sftp(server, wire, f"put {source} noise\n"))
            start = time.perf_counter()
            connection.put(source, "noise")
            whole["put"].append(time.perf_counter() - start)
            data = source.read_bytes()
            empty["agent"].append(through_the_agent(connection, data, 0))
            whole["agent"].append(through_the_agent(connection, data, len(data) - 1))
    wire.close()
    # Each the best of its kind: a difference of two that were disturbed could be anything.
    rates = {way: size / (min(taken) - min(empty[way])) for way, taken in whole.items()}
    return {
        "round_trip_seconds": 2 * delay,
        "bytes": size,
        "rounds": rounds,
        "bytes_per_second": rates,
        "put_over_sftp": rates["put"] / rates["sftp"],
        "agent_over_sftp": rates["agent"] / rates["sftp"],
        # Round by round, which a machine with other work disturbs less than two bests from different moments.
        "median_put_over_sftp": median_ratio(whole, empty, "put"),
        "median_agent_over_sftp": median_ratio(whole, empty, "agent"),
    }


def median_ratio(whole: dict[str, list[float]], empty: dict[str, list[float]], way: str) -> float:
    """How much faster than sftp a way was in the round in the middle."""
    taken = [
        (ours - min(empty[way]), theirs - min(empty["sftp"]))
        for ours, theirs in zip(whole[way], whole["sftp"], strict=True)
    ]
    return float(np.median([theirs / ours for ours, theirs in taken]))


def sftp(server: Server, wire: Wire, batch: str) -> float:
    known = server.client_home / ".ssh" / "known_hosts"
    options = ["-F", "none", "-P", str(wire.port), "-i", str(server.key), "-o", f"UserKnownHostsFile={known}"]
    start = time.perf_counter()
    subprocess.run(
        ["sftp", "-q", *options, "-b", "-", "127.0.0.1"],
        input=batch.encode(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


def through_the_agent(connection: SshConnection, data: bytes, count: int) -> float:
    """Until the board has written and hashed the first ``count`` bytes, fewer than all: the agent then says that the
    transfer was cut, and no health check is in the time.
    """
    agent = accepted_agent(connection)
    assert agent is not None
    digest = hashlib.sha256(data).hexdigest()
    release = {
        "schema": "armlet.release/1",
        "name": "noise",
        "package_sha256": digest,
        "parts": [[digest, len(data)]],
        "golden_inputs_sha256": None,
        "golden_outputs_sha256": None,
        "golden_tolerance": 0.0,
    }
    header = json.dumps({"release": release, "blobs": [[digest, len(data), 0]]}).encode() + b"\n"
    start = time.perf_counter()
    try:
        agent.call(["install"], stdin=header + data[:count], timeout_seconds=600.0)
    except sdk.ArmletError as error:
        if "the transfer was cut" not in str(error):
            raise
    return time.perf_counter() - start


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
