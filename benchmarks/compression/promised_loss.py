"""Is a loss that `sdk compress --max-loss` promises kept on images that it never saw?

    python -m benchmarks.compression promised_loss --mnist mnist.npz --cifar cifar10.npz [--runs 20] [--work FOLDER]

Each run draws some thousand training images and a limit by its seed, asks for that limit, and counts on the test set,
from which nothing was drawn, what the package lost. LeNet-5 and MobileNet V1 0.5 for CIFAR-10 take turns. Their float
networks, and what every run found, stay in the work folder, so that a benchmark that was cut goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compression import cifar, lenet
from benchmarks.compression.cifar_training import SIZE
from benchmarks.compression.cifar_training import train_float as train_cifar
from benchmarks.record import text_of
from sdk.compress.recipes.check import points_lost
from sdk.compress.recipes.targets import Settings, compress
from sdk.data.loading import load_dataset
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.evaluate import predict, top1
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph

LEARNED_FROM = 250  # images of a calibration


@dataclass(frozen=True)
class Network:
    """A float network with its data; its limits are in points of top-1, its images the number of a draw."""

    name: str
    tflite: bytes
    train: Dataset
    test: Dataset
    limits: tuple[float, ...]
    images: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--float-epochs", type=int, nargs=2, default=(3, 12), help="of MNIST, of CIFAR-10")
    parser.add_argument("--work", type=Path, default=Path("."))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every run promised, and what its package lost on the test set."""
    networks = _networks(arguments)
    runs = []
    for seed in range(arguments.runs):
        done = arguments.work / f"promised_{seed}.json"
        if not done.exists():
            done.write_text(text_of(_run(networks[seed % len(networks)], seed)), encoding="utf-8")
        runs.append(json.loads(done.read_text(encoding="utf-8")))
    promised = [run for run in runs if run["promised"]]
    exceeded = [run for run in promised if run["test_points_lost"] > run["limit"]]
    print(
        f"{len(promised)} of {len(runs)} runs promise their limit; {len(exceeded)} exceed it on the test set"
    )
    return {
        "runs": runs,
        "promised": len(promised),
        "exceeded": len(exceeded),
        "float_epochs": list(arguments.float_epochs),
    }


def _networks(arguments: argparse.Namespace) -> list[Network]:
    """Both networks, trained where the work folder has none."""
    digits = [
        load_dataset(arguments.mnist, input_shape=(28, 28, 1), preprocess="01", split=split)
        for split in ("train", "test")
    ]
    things = [
        load_dataset(arguments.cifar, input_shape=(SIZE, SIZE, 3), preprocess=cifar.PREPROCESS, split=split)
        for split in ("train", "test")
    ]
    of_digits, of_things = arguments.float_epochs
    state = arguments.work / "mobilenet_v1_cifar.npz"
    return [
        Network(
            "lenet_5",
            _kept(
                arguments.work / "lenet_5.tflite", lambda: lenet.train_float("lenet_5", digits[0], of_digits)
            ),
            *digits,
            limits=(0.3, 0.5, 1.0, 2.0),
            images=8000,
        ),
        Network(
            "mobilenet_v1_cifar",
            _kept(
                arguments.work / "mobilenet_v1_cifar.tflite",
                lambda: train_cifar("mobilenet_v1", things[0], of_things, state),
            ),
            *things,
            limits=(1.5, 2.0, 3.0),
            images=6000,
        ),
    ]


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """The float network in a file, made where there is none."""
    if not path.exists():
        path.write_bytes(make())
    return path.read_bytes()


def _run(network: Network, seed: int) -> dict[str, Any]:
    """One compression of images and a limit that the seed draws."""
    rng = np.random.default_rng(seed)
    drawn = network.train.subset(np.sort(rng.permutation(len(network.train))[: network.images]))
    limit = float(rng.choice(network.limits))
    started = time.monotonic()
    result = compress(
        read_graph(network.tflite),
        drawn,
        Settings(effort="calibrate", max_loss=limit, samples=LEARNED_FROM, seed=seed),
    )
    seconds = time.monotonic() - started
    images, labels = network.test.images(), network.test.labels
    before, after = (
        top1(predict(model, images)) == labels for model in (network.tflite, write_graph(result.graph))
    )
    lost = points_lost(before.astype(np.float64) - after)
    record = {
        "network": network.name,
        "seed": seed,
        "limit": limit,
        "promised": result.target_met,
        "promised_at_most": None if result.lost is None else round(result.lost.high, 3),
        "test_points_lost": round(lost.value, 3),
        "package_bytes": next(p.package_bytes for p in result.curve if p.recipe == result.recipe),
        "seconds": round(seconds),
    }
    words = f"{network.name} seed {seed}: limit {limit:g}, promised {record['promised']} (at most "
    words += f"{record['promised_at_most']}), lost {record['test_points_lost']} on the test set"
    print(f"{words}, {record['package_bytes']:,} bytes, {seconds:.0f} s", file=sys.stderr, flush=True)
    return record
