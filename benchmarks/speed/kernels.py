"""What zeros are worth in kernels of Armlet: time on this machine, instructions on an emulated ARM core.

    python -m benchmarks.speed.kernels [--part host|cores|predicted|memory|all] [--cpu cortex-a72] [-o results.json]

Untrained networks of the zoo, pruned by magnitude: AlexNet at the densities of Deep Compression (Han et al., 2016,
table 4) and its classifier alone, timed in turns on one thread against the dense network in the same runtime; and of
others the instructions of an inference, counted under QEMU, dense in the runtime and pruned with the kernels, and
milliseconds predicted for boards with three cores, as `sdk predict` does. `memory` loads pruned
classifiers and ResNet-18 in processes of their own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import benchmark
from benchmarks.speed.kernel_networks import resnet18, ssd_mobilenet
from device_agent.run.kernels import delegate
from device_agent.run.runtime import Model
from sdk.board.catalogue import load_board
from sdk.compress.board_form.specialise import for_board
from sdk.deploy.predicting.engine import predict_on
from sdk.deploy.provision.instructions import count_inference
from sdk.deploy.provision.kernel import build, build_delegate
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Operator, Signature, Tensor, Weight
from sdk.graph.writer import write_graph
from sdk.models import build as build_network
from sdk.package.pack import pack
from sdk.tools.system.progress_bar import terminal_progress

#: Weights that are kept of conv1 to conv5 and fc6 to fc8.
DEEP_COMPRESSION = (0.84, 0.38, 0.35, 0.37, 0.37, 0.09, 0.09, 0.25)
#: Sizes of AlexNet's fully connected layers.
CLASSIFIER = (9216, 4096, 4096, 1000)
#: The same of VGG-16, and the weights that are kept of it (table 5).
VGG16_CLASSIFIER, VGG16_DENSITIES = (25088, 4096, 4096, 1000), (0.04, 0.04, 0.23)
#: Values that a pruned fully connected layer keeps: 5 bits for single weights, as in the paper; 4 for fours.
CENTROIDS = {1: 31, 2: 15, 4: 15}
ROUNDS = 201
#: Boards with a Cortex-A53, A72 and A76.
PREDICTED = ("rpi3", "rpi4", "rpi5")

#: Name, how it is built, which convolutions are pruned, shares of zeros.
NETWORKS: tuple[tuple[str, Callable[[], Any], str, tuple[float, ...]], ...] = (
    ("SqueezeNet 1.1", lambda: build_network("squeezenet", version="1.1"), "all but the first", (0.8,)),
    ("MobileNet V1 1.0", lambda: build_network("mobilenet_v1"), "1x1", (0.8, 0.9)),
    ("ShuffleNet V1 1x g3", lambda: build_network("shufflenet_v1"), "1x1", (0.5, 0.8)),
    ("ResNet-18", resnet18, "3x3", (0.8,)),
    ("SSD MobileNet V1", ssd_mobilenet, "1x1", (0.8,)),
)


def prune(weight: Weight, keep: float, block: int, values: int | None = None) -> np.ndarray:
    """The weights, of which the largest blocks of output channels stay, of so many values where that is given."""
    rows = np.moveaxis(weight.array, weight.channel_axis, 0)
    matrix = rows.reshape(len(rows), -1).copy()
    block = block if len(matrix) % block == 0 else 1
    sizes = (matrix.reshape(len(matrix) // block, block, -1) ** 2).sum(axis=1)
    kept = max(1, round(keep * sizes.size))
    least = np.partition(sizes.ravel(), sizes.size - kept)[sizes.size - kept]
    matrix[~np.repeat(sizes >= least, block, axis=0)] = 0.0  # a product would leave negative zeros
    if values is not None:
        found = matrix[matrix != 0.0]
        centroids = np.quantile(found, np.linspace(0.0, 1.0, values))
        nearest = np.searchsorted((centroids[1:] + centroids[:-1]) / 2.0, found)
        matrix[matrix != 0.0] = centroids[nearest]
    whole = np.moveaxis(matrix.reshape(rows.shape), 0, weight.channel_axis)
    return np.ascontiguousarray(whole, np.float32)


def kernel_of(weight: Weight) -> str:
    """The size of a convolution's kernel, such as "3x3"."""
    return "x".join(str(size) for size in weight.array.shape[1:3])


def alexnet(graph: Graph, block: int) -> bytes:
    """AlexNet, pruned as Deep Compression pruned it."""
    changes = {}
    for weight, keep in zip(graph.weights(), DEEP_COMPRESSION, strict=True):
        values = CENTROIDS[block] if weight.layer == "fully connected" else None
        changes[weight.tensor_index] = prune(weight, keep, block, values)
    return write_graph(graph.with_data(changes))


def classifier(sizes: tuple[int, ...] = CLASSIFIER) -> Graph:
    """Fully connected layers alone, AlexNet's; ``sizes`` are the inputs of the first and the outputs of each."""
    rng = np.random.default_rng(0)
    tensors = [Tensor("x", (1, sizes[0]), "FLOAT32")]
    operators = []
    for columns, rows in itertools.pairwise(sizes):
        weights = rng.standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(columns))
        tensors += [
            Tensor(f"weights{rows}{columns}", (rows, columns), "FLOAT32", weights),
            Tensor(f"bias{rows}{columns}", (rows,), "FLOAT32", np.zeros(rows, np.float32)),
            Tensor(f"y{rows}{columns}", (1, rows), "FLOAT32"),
        ]
        last = len(tensors) - 1
        options = {"fusedActivationFunction": int(rows != sizes[-1])}
        inputs = (last - 3, last - 2, last - 1)
        operators.append(Operator("FULLY_CONNECTED", inputs, (last,), options, "FullyConnectedOptions"))
    last = len(tensors) - 1
    signature = Signature("serving_default", (("x", 0),), (("y", last),))
    return Graph(tuple(tensors), tuple(operators), (0,), (last,), signatures=(signature,))


def pruned_classifier(
    block: int, sizes: tuple[int, ...] = CLASSIFIER, densities: tuple[float, ...] = DEEP_COMPRESSION[-3:]
) -> bytes:
    """The classifier, pruned as Deep Compression pruned it."""
    graph = classifier(sizes)
    keep = dict(zip((w.tensor_index for w in graph.weights()), densities, strict=True))
    return write_graph(
        graph.with_data(
            {w.tensor_index: prune(w, keep[w.tensor_index], block, CENTROIDS[block]) for w in graph.weights()}
        )
    )


def pruned_resnet() -> bytes:
    """ResNet-18 with 80 % of its 3x3 weights pruned in fours."""
    graph = read_graph(from_keras(resnet18()))
    chosen = [w for w in graph.weights() if kernel_of(w) == "3x3"]
    return write_graph(graph.with_data({w.tensor_index: prune(w, 0.2, 4, CENTROIDS[4]) for w in chosen}))


def timed(name: str, dense: bytes, sparse: dict[str, bytes]) -> list[dict[str, Any]]:
    """Seconds of one inference in turns, one thread: dense in the runtime, and each of ``sparse`` with the kernels."""
    models = {"dense, runtime": Model(dense)}
    models |= {key: Model(data, kernels="armlet") for key, data in sparse.items()}
    samples: dict[str, list[float]] = {key: [] for key in models}
    rng = np.random.default_rng(0)
    for model in models.values():
        # Behind the convolutions of a network about 4 of 10 inputs of its classifier are not zero.
        shape = model.inputs[0].shape
        values = rng.standard_normal(shape, np.float32)
        model.set_input(np.maximum(values - 0.25, 0.0) if len(shape) == 2 else values)
    for _ in range(ROUNDS):
        for key, model in models.items():
            model.invoke()
            start = time.perf_counter()
            model.invoke()
            samples[key].append(time.perf_counter() - start)
    first = statistics.median(samples["dense, runtime"]), min(samples["dense, runtime"])
    rows = []
    for key, taken in samples.items():
        median, least = statistics.median(taken), min(taken)
        print(
            f"{name:24} {key:24} median {median * 1e3:7.2f} ms ({first[0] / median:5.2f}x), "
            f"least {least * 1e3:7.2f} ms ({first[1] / least:5.2f}x)",
            flush=True,
        )
        operators = len(models[key].armlet_operators())
        packed = sum(op.packed_bytes for op in models[key].armlet_operators())
        rows.append(
            {
                "network": name,
                "form": key,
                "samples_seconds": taken,
                "armlet_operators": operators,
                "packed_bytes": packed,
            }
        )
    return rows


def on_host() -> list[dict[str, Any]]:
    """AlexNet and its classifier on this machine."""
    delegate.use(str(build_delegate()))
    names = {1: "single weights, kernels", 4: "fours, kernels"}
    rows = timed(
        "AlexNet's classifier",
        write_graph(classifier()),
        {name: pruned_classifier(b) for b, name in names.items()},
    )
    graph = read_graph(from_keras(build_network("alexnet")))
    return rows + timed("AlexNet", write_graph(graph), {name: alexnet(graph, b) for b, name in names.items()})


def forms_of(graph: Graph, which: str, shares: Sequence[float]) -> Iterator[tuple[str, bytes]]:
    """The network dense, then pruned in fours at each share: name and file."""
    yield "dense, runtime", write_graph(graph)
    chosen = [
        w
        for number, w in enumerate(w for w in graph.weights() if w.layer.startswith("convolution"))
        if (number if which == "all but the first" else kernel_of(w) == which)
    ]
    for share in shares:
        changes = {w.tensor_index: prune(w, 1.0 - share, 4) for w in chosen}
        yield f"{100 * share:.0f} % zero in fours, kernels", write_graph(graph.with_data(changes))


def in_pairs(graph: Graph, shares: Sequence[float]) -> Iterator[tuple[str, bytes]]:
    """The network pruned in pairs at each share, in the form for the runtime's own sparse kernels."""
    for share in shares:
        changes = {
            w.tensor_index: prune(w, 1.0 - share, 2) for w in graph.weights() if w.layer == "convolution 1x1"
        }
        form = for_board(graph.with_data(changes), load_board("rpi4"), caller_flips=True)
        yield f"{100 * share:.0f} % zero in pairs, runtime", write_graph(form.graph)


def on_cores(cpu: str) -> list[dict[str, Any]]:
    """Instructions of an inference on an emulated core: dense in the runtime, pruned with the kernels."""
    library = build_delegate("aarch64")
    rows = []
    with terminal_progress() as progress:
        for name, make, which, shares in NETWORKS:
            graph = read_graph(from_keras(make()))
            dense = 0
            for form, data in forms_of(graph, which, shares):
                used = library if form.endswith("kernels") else None
                count = count_inference(data, cpu=cpu, delegate=used, inferences=1, progress=progress)
                dense = dense or count.instructions
                print(
                    f"{name:24} {form:32} {count.instructions / 1e6:8.1f} M ({dense / count.instructions:.2f}x)",
                    flush=True,
                )
                rows.append(
                    {
                        "network": name,
                        "pruned": which,
                        "form": form,
                        "cpu": cpu,
                        "instructions": count.instructions,
                    }
                )
    return rows


_LOADED = """
import json, sys, time
import numpy as np
from device_agent.package import kernel
from device_agent.run.conditions import read_peak_memory
from device_agent.run.kernels import delegate
from device_agent.run.loaded import LoadedModel
path, kernels, library, decoder = sys.argv[1:]
delegate.use(library)
kernel.use(decoder)
base = read_peak_memory()
begun = time.process_time()
with open(path, "rb") as file:
    loaded = LoadedModel(file.read(), kernels=kernels)
started = time.process_time() - begun
loaded.model.invoke()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
packed = sum(op.packed_bytes for op in loaded.model.armlet_operators())
print(json.dumps({"base_bytes": base, "peak_bytes": read_peak_memory(), "packed_bytes": packed,
                  "resident_bytes": 1024 * int(status["VmRSS"].split()[0]), "start_cpu_seconds": started}))
"""


def in_memory() -> list[dict[str, Any]]:
    """What processes take that load a pruned network and run it once: its package in the runtime, its .tflite with
    the kernels, and its package with the kernels, which then get its weights without their zeros."""
    libraries = [str(build_delegate()), str(build())]
    rows = []
    with tempfile.TemporaryDirectory(prefix="armlet-memory-") as folder:
        for name, block, data in (
            ("AlexNet's classifier", 1, pruned_classifier(1)),
            ("AlexNet's classifier", 4, pruned_classifier(4)),
            ("VGG-16's classifier", 1, pruned_classifier(1, VGG16_CLASSIFIER, VGG16_DENSITIES)),
            ("ResNet-18", 4, pruned_resnet()),
        ):
            files = {"package": Path(folder) / "one.armlet", "tflite": Path(folder) / "one.tflite"}
            files["tflite"].write_bytes(data)
            files["package"].write_bytes(pack(data))
            for form, kernels in (("package", "runtime"), ("tflite", "armlet"), ("package", "armlet")):
                command = [sys.executable, "-c", _LOADED, str(files[form]), kernels, *libraries]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                taken = json.loads(done.stdout.splitlines()[-1])
                size = files[form].stat().st_size
                print(
                    f"{name:22} blocks of {block}, {form:7} {size / 1e6:5.1f} MB, {kernels:8} packed "
                    f"{taken['packed_bytes'] / 1e6:.1f} MB, peak {taken['peak_bytes'] / 1e6:.0f} MB "
                    f"({taken['base_bytes'] / 1e6:.0f} before), after {taken['resident_bytes'] / 1e6:.0f} MB, "
                    f"start {taken['start_cpu_seconds']:.2f} s of processor",
                    flush=True,
                )
                what = {"network": name, "block": block, "form": form, "kernels": kernels, "file_bytes": size}
                rows.append({**what, "float_bytes": len(data), **taken})
    return rows


def predicted(networks: Sequence[str]) -> list[dict[str, Any]]:
    """Milliseconds of an inference predicted for the fastest core of three boards, one thread."""
    library = build_delegate("aarch64")
    boards = [load_board(name) for name in PREDICTED]
    rows = []
    for name, make, which, shares in NETWORKS:
        if networks and name not in networks:
            continue
        graph = read_graph(from_keras(make()))
        pairs = in_pairs(graph, shares) if which == "1x1" and not name.startswith("SSD") else ()
        for form, data in itertools.chain(forms_of(graph, which, shares), pairs):
            ours = library if form.endswith("kernels") else None
            found = predict_on(boards, data, delegate=ours)
            times = {one.board: one.seconds * 1e3 for one in found}
            print(
                f"{name:24} {form:32} " + ", ".join(f"{b} {ms:.1f} ms" for b, ms in times.items()), flush=True
            )
            rows.append({"network": name, "form": form, "milliseconds": times})
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--part",
        choices=("host", "cores", "predicted", "memory", "all"),
        default="all",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--network", action="append", default=[], help="predict this one alone; may be repeated"
    )
    parser.add_argument(
        "--cpu", default="cortex-a72", help="the core that is emulated (default: %(default)s)"
    )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was timed and counted."""
    parts: dict[str, Callable[[], Any]] = {
        "host": on_host,
        "cores": lambda: on_cores(arguments.cpu),
        "predicted": lambda: predicted(arguments.network),
        "memory": in_memory,
    }
    return {name: part() for name, part in parts.items() if arguments.part in (name, "all")}


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
