"""The same networks on ONNX Runtime, MNN and ncnn: time on this machine, and instructions on an emulated ARM core.

    python -m benchmarks.peers.compare [--host] [--board] [--cpu cortex-a72] [-o FILE]

Runs whichever peers are installed beside the project, on the version that is installed:

    pip install onnx onnxruntime MNN ncnn pnnx

and says of the others that they were skipped. MobileNet V1 and ShuffleNet V1 1x g3 of the zoo at 224x224, float32, one
thread, the same weights for all; each peer's own converter reads them from one ONNX file, and its answer for one image
is held against LiteRT's. Beside the stock conversion stands what ``sdk compress --for`` makes of it: exact and dense,
and with 90 % (50 % for ShuffleNet) of the 1x1 weights pruned in pairs.

``--host`` times all of them interleaved, A B C A B C, in one process, and shows medians. ``--board`` counts
instructions per inference under QEMU, with the peers' own aarch64 wheels, which pip downloads into the cache the first
time. Without either, both.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import runs
from benchmarks.peers.onnx_export import export
from benchmarks.record import benchmark
from benchmarks.speed.graph_passes import BOARDS, randomised
from device_agent.package.reader import unpack
from sdk.api.files.compressing import compress_model
from sdk.board.emulation.cores import find_core
from sdk.board.emulation.plugin import run_counted
from sdk.board.emulation.userland import prefix
from sdk.deploy.provision.instructions import count_inference, runtime_environment, unpacked
from sdk.errors import ArmletError, BoardError
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.models import build
from sdk.tools.system.folders import cache_folder
from sdk.tools.system.progress_bar import terminal_progress

PEERS = ("onnxruntime", "MNN", "ncnn")
#: What the peers' wheels need at import besides numpy, pure Python.
NEEDED = {"onnxruntime": ("flatbuffers", "packaging")}
NETWORKS: tuple[tuple[str, Callable[[], Any], float], ...] = (
    ("MobileNet V1 1.0", lambda: build("mobilenet_v1", padding="symmetric"), 0.9),
    ("ShuffleNet V1 1x g3", lambda: build("shufflenet_v1", padding="symmetric"), 0.5),
)
OURS = "ai-edge-litert"
ROUNDS, WARM_UP, INFERENCES = 200, 20, 3


def installed() -> list[str]:
    """The peers that can be imported and converted for here; the others are named with what they lack."""
    found = []
    if util.find_spec("onnx") is None:
        print("skipped: every peer (onnx is not installed: pip install onnx)")
        return found
    for peer in PEERS:
        lacking = [
            m for m in (runs.MODULES[peer], *(["pnnx"] if peer == "ncnn" else [])) if not util.find_spec(m)
        ]
        if lacking:
            print(f"skipped: {peer} ({', '.join(lacking)} is not installed)")
        else:
            found.append(peer)
    return found


def convert(peer: str, onnx_file: Path, size: int = 224) -> Path:
    """The network as the peer reads it, by the peer's own converter; its images have ``size`` pixels a side. Raises
    ArmletError where that fails."""
    if peer == "onnxruntime":
        return onnx_file
    made = onnx_file.with_suffix(runs.SUFFIXES[peer])
    if peer == "MNN":
        command = [sys.executable, "-c", "from MNN.tools.mnnconvert import main; main()", "-f", "ONNX"]
        command += ["--modelFile", str(onnx_file), "--MNNModel", str(made), "--bizCode", "armlet"]
    else:
        spec = util.find_spec("pnnx")
        assert spec is not None
        assert spec.origin is not None
        program = Path(spec.origin).with_name("pnnx")
        command = [str(program), str(onnx_file), f"inputshape=[1,3,{size},{size}]", "fp16=0"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=onnx_file.parent)
    if done.returncode != 0 or not made.exists():
        raise ArmletError(
            f"{peer} could not convert {onnx_file.name}", found=(done.stderr or done.stdout).strip()[-300:]
        )
    return made


def models(
    peers: list[str], name: str, make: Callable[[], Any], share: float, folder: Path, board: str
) -> list[dict[str, Any]]:
    """Every form of one network: label, peer that runs it, file; ours first."""
    stem = name.lower().replace(" ", "_").replace(".", "_")
    graph = read_graph(from_keras(randomised(make())))
    stock = folder / f"{stem}.tflite"
    stock.write_bytes(write_graph(graph))
    onnx_file = folder / f"{stem}.onnx"
    if peers:
        onnx_file.write_bytes(export(graph))
    found = [{"form": "stock conversion", "peer": OURS, "file": stock, "pruned": False}]
    for label, sparsity in (("sdk compress --for", 0.0), (f"sdk compress --for, {share:.0%} zero", share)):
        package = folder / f"{stem}.armlet"
        compress_model(
            stock,
            package,
            effort="none",
            sparsity=sparsity,
            clusters=0,
            block=2 if sparsity else 1,
            board=board,
        )
        path = folder / f"{stem}_{sparsity:g}.tflite"
        path.write_bytes(unpack(package.read_bytes()).tflite)
        found.append({"form": label, "peer": OURS, "file": path, "pruned": bool(sparsity)})
    for peer in peers:
        try:
            found.append({"form": "", "peer": peer, "file": convert(peer, onnx_file), "pruned": False})
        except ArmletError as error:
            print(f"skipped: {error}")
    image = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    expected = None
    for one in found:
        one["run"], predict = runs.ready(one["peer"], str(one["file"]))
        answer = np.asarray(predict(image)).reshape(-1)
        expected = answer if expected is None else expected
        one["largest_difference"] = float(np.abs(answer - expected).max())
        if not one["pruned"] and one["largest_difference"] > 1e-4:
            raise ArmletError(
                f"{one['peer']} computes something else",
                found=f"a difference of {one['largest_difference']:.2g}",
            )
    return found


def time_interleaved(rows: list[dict[str, Any]]) -> None:
    """Median seconds of each, in turns."""
    samples: list[list[float]] = [[] for _ in rows]
    for turn in range(WARM_UP + ROUNDS):
        for row, taken in zip(rows, samples, strict=True):
            start = time.perf_counter()
            row["run"]()
            if turn >= WARM_UP:
                taken.append(time.perf_counter() - start)
    for row, taken in zip(rows, samples, strict=True):
        row["median_seconds"] = statistics.median(taken)


def count(row: dict[str, Any], cpu: str) -> int:
    """Instructions an inference of one row on the emulated core, the wheels' kernels for aarch64."""
    if row["peer"] == OURS:
        with terminal_progress() as progress:
            return count_inference(
                row["file"].read_bytes(), runtime=OURS, cpu=cpu, progress=progress
            ).instructions
    core = find_core(cpu)
    folders = [str(wheels(row["peer"])), str(unpacked(runtime_environment("aarch64", OURS)))]
    script = Path(runs.__file__)
    arguments = [str(script), os.pathsep.join(folders), row["peer"], str(row["file"]), str(INFERENCES + 1)]
    totals, _, _ = run_counted(
        "aarch64", core, prefix("aarch64", core), ["/usr/bin/python3", "-sS", *arguments]
    )
    per_mark, ends = totals[1] - totals[0], totals[2:-1]
    return int(statistics.median_low([b - a - per_mark for a, b in itertools.pairwise(ends)][1:]))


def wheels(peer: str) -> Path:
    """A folder with the aarch64 wheel of the installed version, unpacked; downloaded by pip once."""
    version = metadata.version(peer)
    folder = cache_folder("peers", f"{peer}-{version}-aarch64")
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        platforms = [f"--platform=manylinux_{tag}_aarch64" for tag in ("2_28", "2_27", "2_24", "2_17")]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += [
            "--python-version=3.11",
            *platforms,
            "--platform=manylinux2014_aarch64",
            "--dest",
            temporary,
        ]
        done = subprocess.run(
            [*command, f"{peer}=={version}", *NEEDED.get(peer, ())], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise BoardError(
                f"pip found no aarch64 wheel of {peer} {version}", found=done.stderr.strip()[-200:]
            )
        for wheel in Path(temporary).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
    (folder / "complete").touch()
    return folder


def show(name: str, rows: list[dict[str, Any]]) -> None:
    print(f"{name}\n  {'ms here':>9}  {'M instructions':>14}")
    for row in rows:
        seconds, executed = row.get("median_seconds"), row.get("instructions")
        print(
            f"  {'-' if seconds is None else f'{seconds * 1e3:9.2f}':>9}"
            f"  {'-' if executed is None else f'{executed / 1e6:.1f}':>14}"
            f"  {row['peer']} {row['version']} {row['form']}",
            flush=True,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", action="store_true", help="only time on this machine")
    parser.add_argument("--board", action="store_true", help="only count instructions on an emulated core")
    parser.add_argument("--cpu", default="cortex-a72", choices=list(BOARDS), help="default: cortex-a72")


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every form of every network on every peer: how long it took, and what it executed."""
    both = arguments.host == arguments.board
    kept: list[dict[str, Any]] = []
    peers = installed()
    with tempfile.TemporaryDirectory(prefix="armlet-peers-") as temporary:
        for name, make, share in NETWORKS:
            rows = models(peers, name, make, share, Path(temporary), BOARDS[arguments.cpu])
            for row in rows:
                row["version"] = metadata.version(row["peer"])
            if both or arguments.host:
                # The sparse form is for the board: there are no sparse kernels on a PC.
                time_interleaved([row for row in rows if not row["pruned"]])
            for row in rows if both or arguments.board else ():
                try:
                    row["instructions"] = count(row, arguments.cpu)
                except ArmletError as error:
                    print(f"not counted: {row['peer']}: {error}")
            show(name, rows)
            kept += [
                {
                    "network": name,
                    "cpu": arguments.cpu,
                    **{k: v for k, v in r.items() if k not in ("run", "file")},
                }
                for r in rows
            ]
    return kept


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
