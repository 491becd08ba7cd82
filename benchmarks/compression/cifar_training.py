"""Trains the float networks of ``cifar``: a network of the zoo on images of 32x32, with batch norm.

Random flips, shifts by up to four pixels and a square cut out; AdamW with a cosine rate. Everything is seeded,
and the state is kept after each epoch, so that a run that was cut goes on.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from sdk.graph.dataset import Dataset
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.models import build
from sdk.models.keras_builder import load_keras
from sdk.models.train_digits import retake_statistics, trainable_twin
from sdk.tools.system import checkpoint

SIZE, CLASSES = 32, 10
BATCH = 128
PEAK_RATE, DECAY, SMOOTHING = 3e-3, 0.05, 0.1
WARM_UP = 0.1  # of all steps
SHIFT, HOLE = 4, 8  # pixels
STATISTICS_BATCHES = 32
# Network of the zoo and its options. The last one has a stride less, so that its last layers see 2x2 positions.
NETWORKS: dict[str, tuple[str, dict[str, float]]] = {
    "mobilenet_v1": ("mobilenet_v1", {"width": 0.5}),
    "shufflenet_v1": ("shufflenet_v1", {}),
    "mobilenet_v1_16": ("mobilenet_v1", {"width": 0.5, "reduction": 16}),
    "resnet_8": ("resnet_8", {}),
}
NO_HOLE = {"resnet_8"}  # too small to learn its training set by heart
# Looks at windows of so many pixels for this share of the epochs: half the work of a step, and nothing is lost.
WINDOWS: dict[str, tuple[int, float]] = {"resnet_8": (24, 0.6)}


def in_sixteen_bits() -> None:
    """Has TensorFlow multiply in bfloat16 from here on; variables and sums of the optimiser keep 32 bits."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})


def augment(images: np.ndarray, order: np.random.Generator, hole: int = HOLE) -> np.ndarray:
    """Flipped, moved (zeros fill in) and with a hole of zeros, each image by itself; zero is about the mean.

    ``images`` is (n, 32, 32, 3) float32, and so is what comes back; ``hole`` is the side of a hole in pixels.
    """
    count = len(images)
    flip = order.random(count) < 0.5
    images = np.where(flip[:, None, None, None], images[:, :, ::-1], images)
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    starts = order.integers(0, 2 * SHIFT + 1, (2, count, 1))
    rows, columns = starts + np.arange(SIZE)
    moved = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if not hole:
        return moved
    middle = order.integers(0, SIZE, (2, count, 1))
    down, across = np.abs(np.arange(SIZE) - middle) <= hole // 2
    return moved * ~(down[:, :, None] & across[:, None, :])[..., None]


def train_float(name: str, data: Dataset, epochs: int, state: Path) -> bytes:
    """The float network as ``.tflite`` bytes; ``state`` is the checkpoint."""
    keras = load_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    network, options = NETWORKS[name]
    deployed = build(network, input_size=SIZE, classes=CLASSES, **options)
    window, until = WINDOWS.get(name, (SIZE, 0.0))
    model = _with_fused_norms(keras, tf, trainable_twin(keras, tf, deployed), windows=until > 0)
    optimizer = keras.optimizers.AdamW(PEAK_RATE, weight_decay=DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(model.trainable_variables)
    variables = [*model.weights, *optimizer.variables]

    @tf.function
    def step(batch: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = keras.losses.categorical_crossentropy(
                targets, model(batch, training=True), label_smoothing=SMOOTHING
            )
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    hole = 0 if name in NO_HOLE else HOLE
    images, labels = data.images(), data.labels
    assert labels is not None
    steps = len(images) // BATCH
    one_hot = np.eye(CLASSES, dtype=np.float32)
    for epoch in range(_restore(state, variables), epochs):
        started, total = time.monotonic(), 0.0
        order = np.random.default_rng((1, epoch))
        mixed = order.permutation(len(images))
        for number in range(steps):
            chosen = mixed[number * BATCH : (number + 1) * BATCH]
            done = (epoch * steps + number) / (epochs * steps)
            optimizer.learning_rate = PEAK_RATE * min(done / WARM_UP + 0.01, (1 + np.cos(np.pi * done)) / 2)
            batch = augment(images[chosen], order, hole)
            if epoch < until * epochs:
                batch = _window(batch, window, order)
            total += float(step(batch, one_hot[labels[chosen]]))
        arrays = {str(n): np.asarray(v) for n, v in enumerate(variables)}
        checkpoint.save(state, {**arrays, "epoch": np.array(epoch + 1)})
        text = f"{name}: float epoch {epoch + 1}/{epochs}, loss {total / steps:.3f}"
        print(f"{text}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    order = np.random.default_rng(1)
    batches = order.permutation(len(images))[: STATISTICS_BATCHES * BATCH].reshape(-1, BATCH)
    retake_statistics(keras, model, (augment(images[batch], order, hole) for batch in batches))
    deployed.set_weights(model.get_weights())
    state.unlink(missing_ok=True)
    return from_keras(deployed)


def _with_fused_norms(keras: Any, tf: Any, model: Any, *, windows: bool = False) -> Any:
    """The same network and weights; a batch norm is one operator while it learns: a step takes a quarter less time.

    With ``windows`` it takes images of any size.
    """

    class FusedNorm(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
            if not training:
                return super().call(inputs)
            value, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=self.gamma.value,
                offset=self.beta.value,
                mean=tf.zeros(0),
                variance=tf.zeros(0),
                epsilon=self.epsilon,
                is_training=True,
            )
            for average, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
                average.assign(average * self.momentum + seen * (1 - self.momentum))
            return value

    def clone(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.BatchNormalization):
            return layer
        twin = FusedNorm.from_config(layer.get_config())
        twin.momentum = layer.momentum
        return twin

    inputs = keras.Input((None, None, 3)) if windows else None
    twin = keras.models.clone_model(model, input_tensors=inputs, clone_function=clone)
    twin.set_weights(model.get_weights())
    return twin


def _window(images: np.ndarray, size: int, order: np.random.Generator) -> np.ndarray:
    """The same random window of ``size`` pixels each way out of all images, (n, size, size, 3)."""
    row, column = order.integers(0, SIZE - size + 1, 2)
    return images[:, row : row + size, column : column + size]


def _restore(state: Path, variables: list[Any]) -> int:
    """Takes a checkpoint back where there is one; the epoch that comes next."""
    saved = checkpoint.load(state)
    if saved is None:
        return 0
    for number, variable in enumerate(variables):
        variable.assign(saved[str(number)])
    return int(saved["epoch"])
