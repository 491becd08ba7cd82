"""What the graph passes save: instructions per inference on an ARM core, and time on the host.

    python -m benchmarks.speed.graph_passes [--cpu cortex-a72] [--runtime ai-edge-litert] [-o FILE]
    python -m benchmarks.speed.graph_passes --host [-o FILE]

The first counts each network as converted, and as ``sdk compress --for`` a board with that core packs it: dense, with
single weights pruned by magnitude (``--block 1``), and with pairs of output channels pruned together (the default
there).  Each line stands beside the options that made it; the network itself is what ``--save FOLDER`` writes.
Instructions are counted under QEMU (see ``benchmarks/speed/instructions.py``) and are no latency.

The second times the stock conversion and the specialised dense model on this machine's own CPU, interleaved in one run,
and shows the ratio of the medians, which no pass may push above 1.02.

Networks are at 224x224 with random weights and random batch norm statistics; zeros and shapes decide what is counted,
not values.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import benchmark
from device_agent.package.reader import unpack
from sdk.api.files.compressing import compress_model
from sdk.board.catalogue import load_board
from sdk.compress.board_form.specialise import for_board
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.deploy.provision.instructions import count_inference
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import FLIP_AXES, Graph
from sdk.graph.writer import write_graph
from sdk.models import build
from sdk.tools.system.progress_bar import terminal_progress

#: The core that is emulated, and a board that has it.
BOARDS = {
    "cortex-a53": "rpi3",
    "cortex-a72": "rpi4",
    "cortex-a76": "rpi5",
}
HOST_ROUNDS = 300
HOST_WARM_UP = 20
PRUNED = {"single weights": 1, "pairs of channels": 2}


def keras_application(name: str) -> Any:
    """One of Keras' own networks, untrained."""
    import keras

    return getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))


#: Name, how it is built, and the shares of zeros in its 1x1 weights that are counted.
NETWORKS: tuple[tuple[str, Callable[[], Any], tuple[float, ...]], ...] = (
    ("Keras MobileNet V1 1.0", lambda: keras_application("MobileNet"), (0.5, 0.8, 0.9)),
    ("Keras MobileNet V2 1.0", lambda: keras_application("MobileNetV2"), (0.5, 0.85)),
    ("Keras MobileNet V3 Large", lambda: keras_application("MobileNetV3Large"), (0.5, 0.8)),
    ("Keras MobileNet V3 Small", lambda: keras_application("MobileNetV3Small"), (0.5, 0.8)),
    ("Keras EfficientNet B0", lambda: keras_application("EfficientNetB0"), (0.5, 0.8)),
    ("ShuffleNet V1 1x g3", lambda: build("shufflenet_v1"), (0.5, 0.7)),
    (
        "ShuffleNet V1 1x g3, depthwise stem",
        lambda: build("shufflenet_v1", stem="depthwise"),
        (0.5, 0.7),
    ),
    ("ShuffleNet V2 1x", lambda: build("shufflenet_v2"), ()),
)


def randomised(model: Any) -> Any:
    """Gives every batch norm statistics that are not a fresh model's, so that folding them changes the weights."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            count = layer.gamma.shape[0]
            layer.gamma.assign(rng.uniform(0.5, 1.5, count))
            layer.beta.assign(rng.normal(0, 0.3, count))
            layer.moving_mean.assign(rng.normal(0, 0.2, count))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, count))
    return model


@dataclass(frozen=True)
class Variant:
    """One call of ``sdk compress``: how it was pruned, its options, and the ``.tflite`` that its package decodes to."""

    pruned: str
    zeros: float
    options: str
    form: str
    passes: tuple[str, ...]
    graph: Graph


def variants(model: Path, shares: tuple[float, ...], board: str) -> Iterator[Variant]:
    """What ``sdk compress`` makes of a model: dense, and with each share of zeros, single weights and pairs."""
    for share in (0.0, *shares):
        for pruned, block in PRUNED.items() if share else (("not pruned", 1),):
            package = model.with_suffix(".armlet")
            made = compress_model(
                model,
                package,
                effort="none",
                sparsity=share,
                clusters=0,
                block=block,
                low_rank=False,
                board=board,
            )
            yield Variant(
                pruned,
                share,
                f"--for {board} --sparsity {share:g} --clusters 0 --block {block} --low-rank off",
                made.form,
                tuple(p["name"] for p in made.passes if p["applied"]),
                read_graph(unpack(package.read_bytes()).tflite),
            )


def largest_difference(before: Graph, after: Graph) -> float:
    """Of the outputs for one random image, relative to the largest of them; on this machine."""
    shape = before.tensors[before.inputs[0]].shape
    image = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    axes = tuple(FLIP_AXES[name] for name in after.input_flips)
    expected, found = interpret(before, image), interpret(after, np.flip(image, axes))
    return float(np.abs(expected - found).max() / np.abs(expected).max())


def interpret(graph: Graph, image: np.ndarray) -> np.ndarray:
    interpreter = ready(graph, image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def ready(graph: Graph, image: np.ndarray | None = None) -> Any:
    """An interpreter of one thread with its input set."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=write_graph(graph), num_threads=1)
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    filled = np.zeros(detail["shape"], detail["dtype"]) if image is None else np.ascontiguousarray(image)
    interpreter.set_tensor(detail["index"], filled)
    return interpreter


def count(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    board = BOARDS[arguments.cpu]
    rows = []
    print(
        "M instructions per inference; times fewer than as converted; largest relative difference of an output"
    )
    for name, make, shares in NETWORKS:
        if arguments.only and arguments.only not in name:
            continue
        graph = read_graph(from_keras(randomised(make())))
        model = folder / f"{name.lower().replace(' ', '_').replace(',', '')}.tflite"
        model.write_bytes(write_graph(graph))
        stock = instructions(graph, arguments)
        print(f"{name}\n  {stock['instructions'] / 1e6:8.1f}          as converted", flush=True)
        rows.append({"network": name, "form": "as converted", "pruned": "not pruned", "zeros": 0.0, **stock})
        for made in variants(model, shares, board):
            counted = instructions(made.graph, arguments)
            recipe = Recipe(sparsity=made.zeros, clusters=0, block=PRUNED.get(made.pruned, 1))
            difference = largest_difference(apply(graph, recipe), made.graph)
            fewer = stock["instructions"] / counted["instructions"]
            print(
                f"  {counted['instructions'] / 1e6:8.1f}  {fewer:5.2f}x  {made.form}: {made.options}"
                f"  ({difference:.0e})",
                flush=True,
            )
            rows.append(
                {
                    "network": name,
                    "form": made.form,
                    "pruned": made.pruned,
                    "zeros": made.zeros,
                    "compress": made.options,
                    "passes": made.passes,
                    "largest_relative_difference": difference,
                    **counted,
                }
            )
    return rows


def instructions(graph: Graph, arguments: argparse.Namespace) -> dict[str, Any]:
    with terminal_progress() as progress:
        return count_inference(
            write_graph(graph),
            runtime=arguments.runtime,
            cpu=arguments.cpu,
            identified=not arguments.unidentified,
            progress=progress,
        ).to_json()


def time_on_the_host() -> list[dict[str, Any]]:
    """Medians of the stock model and of what the host and an ARM board get of it, A B C A B C."""
    host, arm = load_board("local"), replace(load_board("rpi4"), runtimes=())
    rows = []
    print(
        "this machine, one thread, milliseconds: as converted, for this host, for an ARM board; ratios of medians"
    )
    for name, make, _ in NETWORKS:
        graph = read_graph(from_keras(randomised(make())))
        models = [ready(g) for g in (graph, for_board(graph, host).graph, for_board(graph, arm).graph)]
        samples: list[list[float]] = [[] for _ in models]
        for turn in range(HOST_WARM_UP + HOST_ROUNDS):
            for model, taken in zip(models, samples, strict=True):
                start = time.perf_counter()
                model.invoke()
                if turn >= HOST_WARM_UP:
                    taken.append(time.perf_counter() - start)
        medians = [statistics.median(taken) for taken in samples]
        minima = [min(taken) for taken in samples]
        ratios = [median / medians[0] for median in medians[1:]]
        print(
            f"  {'  '.join(f'{m * 1e3:7.3f}' for m in medians)}   {ratios[0]:.3f}  {ratios[1]:.3f}  {name}",
            flush=True,
        )
        rows.append(
            {
                "network": name,
                "median_seconds": medians,
                "minimum_seconds": minima,
                "rounds": HOST_ROUNDS,
            }
        )
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu", default="cortex-a72", choices=list(BOARDS), help="default: cortex-a72")
    parser.add_argument(
        "--runtime",
        default="ai-edge-litert",
        choices=("ai-edge-litert", "tflite-runtime"),
        help="default: the first",
    )
    parser.add_argument(
        "--unidentified", action="store_true", help="do not tell the runtime which core it is"
    )
    parser.add_argument("--only", metavar="NAME", help="networks whose name has this in it")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the networks' .tflite files there")
    parser.add_argument("--host", action="store_true", help="time dense models on this machine instead")


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows: times with ``--host``, else counts."""
    if arguments.host:
        return time_on_the_host()
    with tempfile.TemporaryDirectory(prefix="armlet-speed-") as temporary:
        folder = arguments.save or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return count(arguments, folder)


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
