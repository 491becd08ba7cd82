"""MobileNet V1 0.5, ShuffleNet V1 1x and ResNet-8 on CIFAR-10: trained here, then pruned by training.

    python -m benchmarks.compression cifar_mobilenet_v1 --data cifar10.npz [--sparsity 0.85] [--clusters 16] \
        [--price 0] [--channels 0.5] [--block 1] [--for rpi4] [--float-epochs 24] [--epochs 24] [--bfloat16] \
        [--work FOLDER]

Prints accuracy, bytes and, with ``--for``, the instructions per inference on an emulated Cortex-A72 before and after,
both in the form that is fastest on that board. The networks are the zoo's, at 32x32. Where their strides are
ImageNet's, the last layers see one position, and accuracy is far from what networks made for CIFAR reach;
``cifar_mobilenet_v1_16`` has a stride less. What is measured is what compression changes. Both trainings see the
training set alone; the float model and the checkpoints stay in the work folder, so that a run that was cut goes on.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compression.cifar_training import SHIFT, SIZE, in_sixteen_bits, train_float
from benchmarks.compression.lenet import error_percent, trained
from benchmarks.record import text_of
from device_agent.package import reader as package
from device_agent.record.usage import Usage
from sdk.board.catalogue import load_board
from sdk.compress.board_form.mirror import flip_inside
from sdk.compress.board_form.specialise import for_board
from sdk.compress.recipes.attempts import key_of
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.rewrite.structure import multiply_accumulates
from sdk.compress.solve.whole_channels.choice import macs_of
from sdk.data.loading import load_dataset
from sdk.deploy.provision.instructions import count_inference
from sdk.deploy.provision.kernel import build_delegate
from sdk.graph.dataset import Dataset
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package.pack import pack

CALIBRATED_ON = 8000  # images, where a training begins with a calibration
PREPROCESS = "mean=125.3,123.0,113.9:scale=63.0,62.1,66.7"  # of CIFAR-10's training images


def zeros_percent(made: Graph, original: Graph) -> float:
    """Share of the original's 1x1 weights that are zero or gone with a channel."""

    def weights(graph: Graph) -> list[np.ndarray]:
        return [w.array for w in graph.weights() if w.layer == "convolution 1x1"]

    kept = sum(np.count_nonzero(a) for a in weights(made))
    return round(100 * (1 - kept / sum(a.size for a in weights(original))), 2)


def executed_macs(graph: Graph) -> int:
    """Multiply-accumulates of one inference that have a weight other than zero."""
    total = 0.0
    for operator in graph.operators:
        if macs := multiply_accumulates(graph, operator):
            weights = graph.tensors[operator.inputs[1]].data
            assert weights is not None
            total += macs * np.count_nonzero(weights) / weights.size
    return round(total)


def on_the_board(original: Graph, made: Graph, board: str) -> tuple[Graph, dict[str, Any]]:
    """The compressed graph in the form for a board, and the instructions of both networks there.

    A form for the kernels of Armlet is counted in these.
    """
    forms = [
        for_board(graph, load_board(board), caller_flips=True, armlet=True) for graph in (original, made)
    ]
    counts = [
        count_inference(
            write_graph(form.graph), delegate=build_delegate("aarch64") if form.form == "armlet" else None
        )
        for form in forms
    ]
    return forms[1].graph, {
        "board": board,
        "forms": [form.form for form in forms],
        "passes": forms[1].applied,
        "instructions": [count.instructions for count in counts],
        "fewer": round(counts[0].instructions / counts[1].instructions, 2),
        "counted_on": f"{counts[0].cpu}, {counts[0].runtime} {counts[0].runtime_version}",
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sparsity", type=float, default=0.85)
    parser.add_argument("--clusters", type=int, default=16)
    parser.add_argument("--price", type=float, default=0.0, help="of a bit in training; 0 counts none")
    parser.add_argument(
        "--begin",
        type=float,
        default=0.0,
        help="price of a bit in a calibration that the training begins with; --sparsity is each layer's least then",
    )
    parser.add_argument(
        "--channels", type=float, default=0.0, help="share of the MACs that goes with channels"
    )
    parser.add_argument("--block", type=int, default=1, choices=(1, 2), help="channels pruned together")
    parser.add_argument("--for", dest="board", help="a board of Cortex-A72 cores, such as rpi4")
    parser.add_argument("--float-epochs", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="train in 16 bits where that is faster: half the time with AMX",
    )
    parser.add_argument("--work", type=Path, default=Path("."))


def trained_float(arguments: argparse.Namespace) -> tuple[Dataset, Dataset, Path]:
    """Images to train and to test on, and the file of the float network, which is trained where it is not there yet."""
    train, test = (
        load_dataset(arguments.data, input_shape=(SIZE, SIZE, 3), preprocess=PREPROCESS, split=split)
        for split in ("train", "test")
    )
    original = arguments.work / f"{arguments.network}_cifar.tflite"
    if not original.exists():
        state = original.with_suffix(".npz")
        original.write_bytes(train_float(arguments.network, train, arguments.float_epochs, state))
    return train, test, original


def recipe_of(arguments: argparse.Namespace, images: int) -> Recipe:
    """The recipe of a training on so many images; one that begins with a calibration keeps its zeros and grids."""
    return Recipe(
        sparsity=arguments.sparsity,
        clusters=arguments.clusters,
        effort="train",
        samples=images,
        epochs=arguments.epochs,
        shift=SHIFT,
        flip=True,
        few=CALIBRATED_ON if arguments.begin else 0,
        begin=arguments.begin,
        price=arguments.price,
        block=arguments.block,
        channels=arguments.channels,
    )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes, errors and zeros before and after, and what a board executes."""
    if arguments.bfloat16:
        in_sixteen_bits()
    train, test, original = trained_float(arguments)
    graph = read_graph(original.read_bytes())
    recipe = recipe_of(arguments, len(train))
    state = arguments.work / f"{arguments.network}_cifar-{key_of(recipe)}.npz"
    started = time.perf_counter()
    made = trained(graph, recipe, train, state)
    zeros = zeros_percent(made, graph)
    board = {}
    if arguments.board:
        made, board = on_the_board(graph, made, arguments.board)
    packed = pack(write_graph(made), metadata=Usage(flip=made.input_flips).to_metadata())
    compressed = write_graph(flip_inside(read_graph(package.unpack(packed).tflite)))
    record = {
        "network": arguments.network,
        "images": [len(train), len(test)],
        "float_epochs": arguments.float_epochs,
        "bfloat16": arguments.bfloat16,
        "original_bytes": len(write_graph(graph)),
        "package_bytes": len(packed),
        "ratio": round(len(write_graph(graph)) / len(packed), 2),
        "error_percent": [error_percent(model, test) for model in (write_graph(graph), compressed)],
        "zeros_of_1x1_percent": zeros,
        "macs": [macs_of(graph), macs_of(made)],
        "macs_without_zeros": [executed_macs(graph), executed_macs(made)],
        **board,
        "recipe": recipe.to_json(),
        "seconds": round(time.perf_counter() - started),
        "machine": platform.machine(),
    }
    print(text_of(record), end="")
    return record
