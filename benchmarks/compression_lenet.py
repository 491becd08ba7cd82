"""The LeNets of Deep Compression on MNIST: bytes of the whole package against error on the full test set.

    python -m benchmarks.compression_lenet lenet_300_100 --data mnist.npz [--sparsity 0.965] [--clusters 16] \
        [--float-epochs 40] [--epochs 40] [--work FOLDER] [--json FILE]

Trains the float network (seeded, on images moved by up to two pixels, because that is a property of digits
and not of a network), then compresses it on the training set alone, with nothing of the test set kept back or
looked at. The float model and the checkpoint of the training stay in the work folder, so that a run that was
cut goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

from device_agent import package
from sdk import checkpoint, models
from sdk.compress.recipe import Recipe, apply
from sdk.convert import from_keras
from sdk.data import Dataset, load_dataset
from sdk.evaluate import predict, top1
from sdk.graph import Graph
from sdk.pack import pack

SHIFT = 2  # pixels
BATCH = 256


def train_float(name: str, train: Dataset, epochs: int) -> bytes:
    """The float network as .tflite bytes."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    keras.utils.set_random_seed(1)
    model = models.build(name)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    images, labels = train.images(), train.labels
    assert labels is not None
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    order = np.random.default_rng(0)
    for epoch in range(epochs):
        model.optimizer.learning_rate = 1e-3 * (1 - epoch / epochs)
        mixed = order.permutation(len(images))
        losses = []
        for start in range(0, len(images), BATCH):
            chosen = mixed[start : start + BATCH]
            moves = order.integers(0, 2 * SHIFT + 1, (len(chosen), 2))
            moved = [padded[i, y : y + 28, x : x + 28] for i, (y, x) in zip(chosen, moves, strict=True)]
            losses.append(float(model.train_on_batch(np.stack(moved), labels[chosen])))
        print(f"float epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}", file=sys.stderr)
    return from_keras(model)


def error_percent(model: bytes, test: Dataset) -> float:
    """Share of wrong answers of the TFLite interpreter on the whole test set."""
    return float(100 * np.mean(top1(predict(model, test.images())) != test.labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", choices=("lenet_300_100", "lenet_5"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sparsity", type=float, default=0.965)
    parser.add_argument("--clusters", type=int, default=16)
    parser.add_argument("--float-epochs", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("."))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    train, test = (
        load_dataset(arguments.data, input_shape=(28, 28, 1), preprocess="01", split=split)
        for split in ("train", "test")
    )
    original = arguments.work / f"{arguments.network}.tflite"
    if not original.exists():
        original.write_bytes(train_float(arguments.network, train, arguments.float_epochs))
    graph = Graph.read(original.read_bytes())
    recipe = Recipe(
        sparsity=arguments.sparsity,
        clusters=arguments.clusters,
        effort="train",
        samples=len(train),
        seed=arguments.seed,
        epochs=arguments.epochs,
        shift=SHIFT,
    )
    state = arguments.work / f"{arguments.network}-{arguments.sparsity}-{arguments.clusters}.npz"
    started = time.perf_counter()
    made = apply(
        graph,
        recipe,
        _progress,
        train,
        resume=checkpoint.load(state),
        checkpoint=lambda arrays: checkpoint.save(state, arrays),
    )
    seconds = time.perf_counter() - started
    packed = pack(made.write())
    record = {
        "network": arguments.network,
        "original_bytes": len(graph.write()),
        "package_bytes": len(packed),
        "error_percent": [
            error_percent(model, test) for model in (graph.write(), package.unpack(packed).tflite)
        ],
        "nonzero_percent": {
            w.tensor.name: round(float(100 * np.mean(w.array != 0)), 2) for w in made.weights()
        },
        "recipe": recipe.to_json(),
        "seconds": round(seconds),
        "machine": platform.machine(),
    }
    print(json.dumps(record, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def _progress(stage: str, done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{time.strftime('%H:%M:%S')} {stage} {100 * done // max(total, 1)} %", file=sys.stderr)


if __name__ == "__main__":
    main()
