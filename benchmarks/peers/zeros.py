"""Networks with zeros in the kernels of Armlet beside dense ones in the runtime, ncnn, MNN and ONNX Runtime, on an ARM
board that is not there.

    python -m benchmarks.peers.zeros [--network NAME] [--board rpi4] [-o FILE]

Instructions of an inference and the milliseconds that are predicted of it (as by ``sdk predict``), both of one replay
for each form: float32, one thread. The networks and what is pruned in fours are those of ``benchmarks.speed.kernels``.
Each peer reads the dense network from one ONNX file with its own converter, and its answer is held against LiteRT's.
Runs whichever peers are installed (see ``benchmarks.peers.compare``).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import runs
from benchmarks.peers.compare import OURS, convert, installed, wheels
from benchmarks.peers.onnx_export import export
from benchmarks.record import benchmark
from benchmarks.speed.graph_passes import randomised
from benchmarks.speed.kernel_networks import resnet18
from benchmarks.speed.kernels import forms_of
from sdk.board.catalogue import load_board
from sdk.board.description.records import Board
from sdk.board.emulation.cores import find_core
from sdk.board.emulation.plugin import run_replayed
from sdk.board.emulation.replay.machine import machine_text
from sdk.board.emulation.userland import prefix
from sdk.deploy.predicting.engine import MARKS, Replayed, predict_on, prediction_of, read_result, target_of
from sdk.deploy.provision.instructions import runtime_environment, unpacked
from sdk.deploy.provision.kernel import build_delegate
from sdk.errors import ArmletError
from sdk.explain.speed.prediction import Prediction
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.models import build

#: Name, how it is built, which convolutions are pruned, shares of zeros.
NETWORKS: tuple[tuple[str, Callable[[], Any], str, tuple[float, ...]], ...] = (
    ("MobileNet V1 1.0", lambda: build("mobilenet_v1", padding="symmetric"), "1x1", (0.8, 0.9)),
    ("ShuffleNet V1 1x g3", lambda: build("shufflenet_v1", padding="symmetric"), "1x1", (0.5, 0.8)),
    ("SqueezeNet 1.1", lambda: build("squeezenet", version="1.1"), "all but the first", (0.8,)),
    ("ResNet-18", resnet18, "3x3", (0.8,)),
)


def _replay_ours(tflite: bytes, board: Board, delegate: Path | None) -> Prediction:
    return predict_on([board], tflite, delegate=delegate)[0]


def replay_peer(peer: str, model: Path, board: Board, size: int) -> Prediction:
    """One inference of a peer, replayed on the fastest core of a board."""
    target = target_of(board)
    core = find_core(target.timed.core.name)
    folders = [str(wheels(peer)), str(unpacked(runtime_environment("aarch64", OURS)))]
    program = [
        "/usr/bin/python3",
        "-sSB",
        str(Path(runs.__file__)),
        os.pathsep.join(folders),
        peer,
        str(model),
        "2",
        str(size),
    ]
    root = prefix("aarch64", core)
    written, _, _ = run_replayed(
        "aarch64", core, root, program, boards=machine_text([target.timed]), marks=MARKS
    )
    replayed = Replayed(read_result(written), (), ())
    return prediction_of(target, core, replayed, 0, (peer, metadata.version(peer), "float32"))


def require_same_answer(peer: str, model: Path, dense: Path, size: int) -> None:
    """Raises ArmletError where a peer computes something else on this machine than LiteRT."""
    image = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    ours, theirs = (
        np.asarray(runs.ready(name, str(file))[1](image)).reshape(-1)
        for name, file in ((OURS, dense), (peer, model))
    )
    if not np.allclose(ours, theirs, atol=1e-3 * float(np.abs(ours).max())):
        raise ArmletError(
            f"{peer} computes something else", found=f"a difference of {np.abs(ours - theirs).max():.2g}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", action="append", default=[], help="this one alone; may be repeated")
    parser.add_argument("--peers-only", action="store_true", help="the peers alone, dense")
    parser.add_argument("--board", default="rpi4", help="default: %(default)s")


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Instructions and predicted milliseconds of every network in every form."""
    board, peers, kept = load_board(arguments.board), installed(), []
    for name, make, which, shares in NETWORKS:
        if arguments.network and name not in arguments.network:
            continue
        with tempfile.TemporaryDirectory(prefix="armlet-peers-") as temporary:
            graph = read_graph(from_keras(randomised(make())))
            size = graph.tensors[graph.inputs[0]].shape[1]
            found: list[tuple[str, Callable[[], Prediction]]] = []
            for form, data in () if arguments.peers_only else forms_of(graph, which, shares):
                library = build_delegate("aarch64") if form.endswith("kernels") else None
                found.append((form, partial(_replay_ours, data, board, library)))
            dense, onnx_file = Path(temporary) / "dense.tflite", Path(temporary) / "network.onnx"
            dense.write_bytes(next(forms_of(graph, which, ()))[1])
            if peers:
                onnx_file.write_bytes(export(graph))
            for peer in peers:
                try:
                    model = convert(peer, onnx_file, size)
                    require_same_answer(peer, model, dense, size)
                except ArmletError as error:
                    print(f"skipped: {peer} on {name}: {error}")
                    continue
                found.append((f"dense, {peer}", partial(replay_peer, peer, model, board, size)))
            kept += [row for form, replay in found if (row := _row(name, form, replay))]
    return kept


def _row(name: str, form: str, replay: Callable[[], Prediction]) -> dict[str, Any] | None:
    try:
        one = replay()
    except ArmletError as error:
        print(f"not replayed: {name}, {form}: {error}", flush=True)
        return None
    print(f"{name:20} {form:36} {one.instructions / 1e6:7.1f} M  {one.seconds * 1e3:7.1f} ms", flush=True)
    return {
        "network": name,
        "form": form,
        "board": one.board,
        "runtime": f"{one.runtime} {one.runtime_version}",
        "instructions": one.instructions,
        "milliseconds": one.seconds * 1e3,
    }


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
