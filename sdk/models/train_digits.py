"""Train the demo's two networks: ``python -m sdk.models.train_digits [--out DIR] [--epochs N]``.

A narrow MobileNet V1 and a narrow ShuffleNet V1 learn handwritten digits (``digits.py``) and are written as float32
``.tflite`` files with a record, ``digits.json``, of how they were made and how good they are. The project carries both,
so that the demo does not train. About ten minutes on two cores.

The networks are trained *to be prunable*, because the demo prunes and clusters them without any retraining. After
``DENSE_EPOCHS`` ordinary epochs, each step multiplies the smallest weights of every layer that the demo will prune
by ``SHRINK``; the share of weights this is done to rises as in gradual pruning (Zhu and Gupta 2017, arXiv
1710.01878, equation 1), and the last ``FREE_EPOCHS`` let every weight move again, at a low learning rate. No weight
is set to zero: the shipped networks are dense, with many small weights. "Small" is judged after the batch norm is
folded in, which is what magnitude pruning of the deployed network sees.

Everything random is seeded, TensorFlow's deterministic kernels are on, and each network is trained by one thread of
a process of its own: the same versions on the same kind of CPU give the same files. Other CPUs round differently,
and so train slightly different networks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdk.graph.on_host.evaluate import predict, top1
from sdk.graph.on_host.sources import keras_files
from sdk.models import build, describe, digits
from sdk.models.demo import FOLDER, OPTIONS, RECORD, network_arguments
from sdk.models.keras_builder import load_keras

SEED = 0
BATCH = 32
EPOCHS = 60
DENSE_EPOCHS = 15
RAMP_EPOCHS = 20
FREE_EPOCHS = 6
SHRUNK_SHARE = 0.75  # a little more than the 0.7 that the demo prunes
SHRINK = 0.9
PEAK_LEARNING_RATE = 3e-3
WARM_UP_EPOCHS = 2
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.1
# One epoch has 33 steps, too few for running averages with Keras' momentum of 0.99 to arrive; the averages of 0.9
# in turn are noisy, so the final ones are taken again, over this many epochs.
BATCH_NORM_MOMENTUM = 0.9
STATISTICS_EPOCHS = 3


@dataclass(frozen=True)
class SplitAccuracy:
    """How a ``.tflite`` does on a split; ``smallest_margin`` is the least gap between the two best probabilities."""

    correct: int
    samples: int
    smallest_margin: float

    @property
    def accuracy(self) -> float:
        """Share of the samples whose most probable class is the right one."""
        return self.correct / self.samples


def evaluate(tflite: bytes, samples: digits.Samples) -> SplitAccuracy:
    """Run ``tflite`` on ``samples``, one at a time on one thread, as a board does."""
    probabilities = predict(tflite, samples.inputs())
    best = np.sort(probabilities, axis=-1)
    correct = int(np.sum(top1(probabilities) == samples.labels))
    return SplitAccuracy(correct, len(samples), float((best[:, -1] - best[:, -2]).min()))


def augment(small: np.ndarray, generator: np.random.RandomState, size: int) -> np.ndarray:
    """Digits turned, scaled, sheared and moved at random, drawn at ``size``.

    uint8 (n, 8, 8) of 0 ... 16 to float32 (n, size, size, 3) of -1 ... 1.
    """
    count, source = len(small), digits.SOURCE_PIXELS
    angle = generator.uniform(-0.2, 0.2, count)  # radians
    scale = generator.uniform(0.9, 1.1, count)
    shear = generator.uniform(-0.15, 0.15, count)
    shift = generator.uniform(-0.8, 0.8, (2, count, 1, 1))  # source pixels
    cosine, sine = ((f(angle) * scale)[:, None, None] for f in (np.cos, np.sin))
    y, x = np.meshgrid(*[(np.arange(size) + 0.5) * source / size - source / 2] * 2, indexing="ij")
    middle = (source - 1) / 2 + 1  # one row and column of background around the digit
    last = source + 1 - 1e-3
    at_x = np.clip(cosine * x + (shear[:, None, None] - sine) * y + shift[0] + middle, 0, last)
    at_y = np.clip(sine * x + cosine * y + shift[1] + middle, 0, last)
    left, top = at_x.astype(np.intp), at_y.astype(np.intp)
    right_share, bottom_share = (at_x - left).astype(np.float32), (at_y - top).astype(np.float32)
    padded = np.pad(small.astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    digit = np.arange(count)[:, None, None]

    def row(at: np.ndarray) -> np.ndarray:
        return padded[digit, at, left] * (1 - right_share) + padded[digit, at, left + 1] * right_share

    gray = row(top) * (1 - bottom_share) + row(top + 1) * bottom_share
    gray = gray / np.float32(digits.SOURCE_LEVELS / 2) - 1
    return np.repeat(gray[..., None].astype(np.float32), digits.CHANNELS, axis=-1)


def train(name: str, samples: digits.Samples, epochs: int = EPOCHS) -> bytes:
    """Train the demo's network ``name`` on ``samples`` and return it as ``.tflite``; progress goes to stderr.

    For a fresh process: it sets TensorFlow's seeds and threads.
    """
    keras = load_keras()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    deployed = build(name, seed=SEED, **network_arguments(name))
    model = trainable_twin(keras, tf, deployed)
    steps = len(samples) // BATCH
    optimizer = _optimizer(keras, model, steps, epochs)
    shrink = shrinker(keras, tf, model)

    @tf.function
    def step(images: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = keras.losses.categorical_crossentropy(
                targets, model(images, training=True), label_smoothing=LABEL_SMOOTHING
            )
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    generator = np.random.RandomState(SEED)
    one_hot = np.eye(digits.CLASSES, dtype=np.float32)
    # A short run goes through the same phases, shortened.
    dense, ramp, free = (count * epochs / EPOCHS for count in (DENSE_EPOCHS, RAMP_EPOCHS, FREE_EPOCHS))
    started = time.monotonic()

    def batches() -> Iterator[np.ndarray]:
        yield from generator.permutation(len(samples))[: steps * BATCH].reshape(steps, BATCH)

    for epoch in range(epochs):
        total = 0.0
        for number, batch in enumerate(batches(), 1):
            images = augment(samples.small[batch], generator, digits.SIZE)
            total += float(step(images, one_hot[samples.labels[batch]]))
            done = min(1.0, (epoch + number / steps - dense) / ramp)
            if done > 0 and epoch < epochs - free:
                shrink(tf.constant(SHRUNK_SHARE * (1 - (1 - done) ** 3), tf.float32))
        seconds = time.monotonic() - started
        line = f"{name}: epoch {epoch + 1}/{epochs}, loss {total / steps:.3f}, {seconds:.0f} s"
        print(line, file=sys.stderr, flush=True)
    order = [batch for _ in range(STATISTICS_EPOCHS) for batch in batches()]
    images_of = (augment(samples.small[batch], generator, digits.SIZE) for batch in order)
    retake_statistics(keras, model, images_of)
    deployed.set_weights(model.get_weights())
    return keras_files.from_keras(deployed)


def trainable_twin(keras: Any, tf: Any, model: Any) -> Any:
    """The same network with every grouped convolution as several ordinary ones, same weights in the same order.

    TensorFlow has no gradient of grouped convolutions on a CPU outside XLA, and XLA's convolutions are several
    times slower there.
    """

    class SplitConv2D(keras.layers.Conv2D):
        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            parts = zip(tf.split(inputs, self.groups, -1), tf.split(kernel, self.groups, -1), strict=True)
            return tf.concat([tf.nn.conv2d(x, weights, 1, "SAME") for x, weights in parts], -1)

    def clone(layer: Any) -> Any:
        grouped = type(layer) is keras.layers.Conv2D and layer.groups > 1
        twin = (SplitConv2D if grouped else type(layer)).from_config(layer.get_config())
        if isinstance(twin, keras.layers.BatchNormalization):
            twin.momentum = BATCH_NORM_MOMENTUM
        return twin

    twin = keras.models.clone_model(model, clone_function=clone)
    twin.set_weights(model.get_weights())
    return twin


def retake_statistics(keras: Any, model: Any, batches: Iterable[np.ndarray]) -> None:
    """Sets the mean and variance of every batch norm to their plain averages over ``batches``.

    Each batch is (n, height, width, channels) float32.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for number, images in enumerate(batches):
        for norm in norms:
            norm.momentum = number / (number + 1)
        model(images, training=True)


def _optimizer(keras: Any, model: Any, steps: int, epochs: int) -> Any:
    schedule = keras.optimizers.schedules.CosineDecay(
        PEAK_LEARNING_RATE / 10,
        steps * epochs,
        warmup_target=PEAK_LEARNING_RATE,
        warmup_steps=steps * min(WARM_UP_EPOCHS, epochs // 2),
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(model.trainable_variables)
    return optimizer


def shrinker(keras: Any, tf: Any, model: Any) -> Callable[[Any], None]:
    """A function of a share: shrinks that share of the weights, the smallest, of every 1x1 and dense layer."""
    layers: list[tuple[Any, Any]] = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layers.append((layer, None))
        elif isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1):
            layers.append((layer, model.get_layer(f"{layer.name}_norm")))

    @tf.function
    def shrink(share: Any) -> None:
        for layer, norm in layers:
            magnitude = tf.abs(layer.kernel)
            if norm is not None:  # as it will be when the norm is folded in
                magnitude *= tf.abs(norm.gamma) / tf.sqrt(norm.moving_variance + norm.epsilon)
            ordered = tf.sort(tf.reshape(magnitude, [-1]))
            threshold = ordered[tf.cast(share * ordered.shape[0], tf.int32)]
            layer.kernel.assign(tf.where(magnitude < threshold, layer.kernel * SHRINK, layer.kernel))

    return shrink


def record_model(name: str, tflite: bytes, splits: dict[str, digits.Samples]) -> dict[str, Any]:
    """The entry of one network in ``digits.json``."""
    network = describe(name, **network_arguments(name))
    results = {split: evaluate(tflite, samples) for split, samples in splits.items()}
    return {
        "file": f"{name}_digits.tflite",
        "bytes": len(tflite),
        "sha256": hashlib.sha256(tflite).hexdigest(),
        "options": OPTIONS[name],
        "parameters": network.parameters,
        "macs": network.macs,
        "accuracy": {split: round(result.accuracy, 6) for split, result in results.items()},
        "correct": {split: result.correct for split, result in results.items()},
        "smallest_test_margin": results["test"].smallest_margin,
    }


def record_conditions(splits: dict[str, digits.Samples], epochs: int) -> dict[str, Any]:
    """What both networks share in ``digits.json``."""
    from importlib.metadata import version

    packages = ("tensorflow", "keras", "ai-edge-litert", "scikit-learn", "numpy")
    return {
        "written_by": "python -m sdk.models.train_digits",
        "data": {
            "source": "sklearn.datasets.load_digits (UCI optdigits, test part)",
            "sha256": digits.SOURCE_SHA256,
            "split_seed": digits.SPLIT_SEED,
            "samples": {split: len(samples) for split, samples in splits.items()},
            "input_shape": [digits.SIZE, digits.SIZE, digits.CHANNELS],
            "preprocess": digits.PREPROCESS,
        },
        "training": {
            "seed": SEED,
            "epochs": epochs,
            "batch": BATCH,
            "peak_learning_rate": PEAK_LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "label_smoothing": LABEL_SMOOTHING,
            "shrunk_share": SHRUNK_SHARE,
            "shrink_per_step": SHRINK,
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "machine": platform.machine(),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sdk.models.train_digits",
        description="Train the demo's MobileNet V1 and ShuffleNet V1 on handwritten digits.",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / FOLDER, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"default {EPOCHS}")
    parsed = parser.parse_args(arguments)
    if parsed.epochs < 1:
        parser.error(f"--epochs: expected at least 1, found {parsed.epochs}")

    splits = digits.load_splits()
    parsed.out.mkdir(parents=True, exist_ok=True)
    record = record_conditions(splits, parsed.epochs)
    record["models"] = {}
    with ProcessPoolExecutor(len(OPTIONS), multiprocessing.get_context("spawn")) as pool:
        trained = [pool.submit(train, name, splits["train"], parsed.epochs) for name in OPTIONS]
        for name, future in zip(OPTIONS, trained, strict=True):
            entry = record_model(name, future.result(), splits)
            record["models"][name] = entry
            (parsed.out / entry["file"]).write_bytes(future.result())
    (parsed.out / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
