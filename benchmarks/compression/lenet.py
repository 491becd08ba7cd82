"""The LeNets of Deep Compression on MNIST: bytes of the whole package against error on the full test set.

    python -m benchmarks.compression lenet_300_100 --data mnist.npz [--sparsity 0.965] [--clusters 16] \
        [--price 5e-6] [--channels 0.5] [--shift 2] [--float-epochs 40] [--epochs 40] [--validate] [--work FOLDER]

Trains the float network (seeded, on images moved by up to two pixels, because that is a property of digits
and not of a network), then compresses it on the training set alone, with nothing of the test set kept back or
looked at. The float model and the checkpoint of the training stay in the work folder, so that a run that was
cut goes on. ``--validate`` is for choosing settings: the last 10,000 training images are kept from both trainings and
take the test set's place.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import text_of
from device_agent.package import reader as package
from sdk import models
from sdk.compress.recipes.attempts import key_of
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.data.loading import load_dataset
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.evaluate import predict, top1
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.models.keras_builder import load_keras
from sdk.package.pack import pack
from sdk.tools.system import checkpoint

SHIFT = 2  # pixels
BATCH = 128
RATE, DECAY = 1.5e-3, 0.01
VALIDATION = 10_000


def train_float(name: str, train: Dataset, epochs: int) -> bytes:
    """The float network as .tflite bytes."""
    keras = load_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    model = models.build(name)
    optimizer = keras.optimizers.AdamW(RATE, weight_decay=DECAY)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(batch: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(targets, model(batch, training=True))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    images, labels = train.images(), train.labels
    assert labels is not None
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    steps = len(images) // BATCH
    for epoch in range(epochs):
        started, total = time.monotonic(), 0.0
        order = np.random.default_rng((1, epoch))
        mixed = order.permutation(len(images))
        for number in range(steps):
            chosen = mixed[number * BATCH : (number + 1) * BATCH]
            rows, columns = order.integers(0, 2 * SHIFT + 1, (2, BATCH, 1)) + np.arange(28)
            moved = padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
            done = (epoch * steps + number) / (epochs * steps)
            optimizer.learning_rate = RATE * (1 + np.cos(np.pi * done)) / 2
            total += float(step(moved, labels[chosen]))
        text = f"{name}: float epoch {epoch + 1}/{epochs}, loss {total / steps:.4f}"
        print(f"{text}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return from_keras(model)


def trained(graph: Graph, recipe: Recipe, data: Dataset, state: Path) -> Graph:
    """The graph after the recipe's training, which goes on from the checkpoint at ``state`` where there is one."""
    return apply(
        graph,
        recipe,
        print_progress,
        data,
        resume=checkpoint.load(state),
        checkpoint=lambda arrays: checkpoint.save(state, arrays),
    )


def error_percent(model: bytes, test: Dataset) -> float:
    """Share of wrong answers of the TFLite interpreter on the whole test set."""
    return float(100 * np.mean(top1(predict(model, test.images())) != test.labels))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sparsity", type=float, default=0.965)
    parser.add_argument("--clusters", type=int, default=16)
    parser.add_argument("--float-epochs", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--price", type=float, default=0.0, help="nats of the loss a bit")
    parser.add_argument(
        "--channels", type=float, default=0.0, help="share of the MACs that goes with channels first"
    )
    parser.add_argument("--shift", type=int, default=SHIFT, help="pixels, while it is compressed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("."))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes and errors before and after, and what is left of each layer."""
    train, test = (
        load_dataset(arguments.data, input_shape=(28, 28, 1), preprocess="01", split=split)
        for split in ("train", "test")
    )
    stem = arguments.network
    if arguments.validate:
        numbers = np.arange(len(train))
        train, test = train.subset(numbers[:-VALIDATION]), train.subset(numbers[-VALIDATION:])
        stem += "-validate"
    original = arguments.work / f"{stem}.tflite"
    if not original.exists():
        original.write_bytes(train_float(arguments.network, train, arguments.float_epochs))
    graph = read_graph(original.read_bytes())
    recipe = Recipe(
        sparsity=arguments.sparsity,
        clusters=arguments.clusters,
        effort="train",
        samples=len(train),
        seed=arguments.seed,
        epochs=arguments.epochs,
        shift=arguments.shift,
        price=arguments.price,
        channels=arguments.channels,
    )
    state = arguments.work / f"{stem}-{key_of(recipe)}.npz"
    started = time.perf_counter()
    made = trained(graph, recipe, train, state)
    seconds = time.perf_counter() - started
    packed = pack(write_graph(made))
    weights = {w.tensor.name: w.array.size for w in graph.weights()}
    record = {
        "network": arguments.network,
        "images": "the last 10,000 of the training set" if arguments.validate else "the test set",
        "original_bytes": len(write_graph(graph)),
        "package_bytes": len(packed),
        "error_percent": [
            error_percent(model, test) for model in (write_graph(graph), package.unpack(packed).tflite)
        ],
        "nonzero_percent": {
            w.tensor.name: round(100 * np.count_nonzero(w.array) / weights[w.tensor.name], 2)
            for w in made.weights()
        },
        "shapes": {w.tensor.name: list(w.tensor.shape) for w in made.weights()},
        "recipe": recipe.to_json(),
        "seconds": round(seconds),
        "machine": platform.machine(),
    }
    print(text_of(record), end="")
    return record


def print_progress(stage: str, done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{time.strftime('%H:%M:%S')} {stage} {100 * done // max(total, 1)} %", file=sys.stderr)
