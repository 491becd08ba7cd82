"""From a :class:`~sdk.models.networks.network.Network` to a Keras 3 model (TensorFlow backend).

Only layers are used that become plain TFLite operators at batch 1: batch norm folds, a grouped convolution
is one ``CONV_2D``, a channel shuffle is ``RESHAPE - TRANSPOSE - RESHAPE`` and a split is one ``SPLIT``.
"""

from __future__ import annotations

import os
from typing import Any

from sdk.errors import ModelError
from sdk.models.networks.network import Layer, Network

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99


def load_keras() -> Any:
    """Import Keras 3 on TensorFlow.

    Raises:
        ModelError: Keras is missing, or runs on another backend, which cannot be converted to TFLite.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault(
        "TF_CPP_MIN_LOG_LEVEL", "2"
    )  # TensorFlow greets with a page of CPU remarks otherwise.
    try:
        import keras
    except ImportError as error:
        raise ModelError(
            "Keras is needed to build a network of the zoo",
            found=str(error),
            hint="Install the host packages: pip install 'armlet[host]'",
        ) from error
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ModelError(
            "Keras runs on a backend that cannot be converted",
            expected="tensorflow",
            found=backend,
            hint="Unset KERAS_BACKEND, or set it to tensorflow.",
        )
    return keras


def to_keras(network: Network, *, seed: int = 0) -> Any:
    """A ``keras.Model`` with fresh weights that depend on ``seed`` alone.

    Input ``(batch, height, width, channels)`` float32, output ``(batch, classes)``.
    """
    keras = load_keras()
    builder = _Builder(keras, seed)
    values: list[Any] = []
    for layer in network.layers:
        values.append(builder.apply(layer, [values[index] for index in layer.inputs]))
    return keras.Model(values[0], values[network.output.index], name=network.name)


class _Builder:
    """Applies one layer after the other to Keras tensors."""

    def __init__(self, keras: Any, seed: int) -> None:
        self.keras = keras
        self.layers = keras.layers
        self.seed = seed
        # Both halves of a split come from one operation.
        self.splits: dict[int, list[Any]] = {}

    def apply(self, layer: Layer, values: list[Any]) -> Any:
        return getattr(self, f"_{layer.kind}")(layer, *values)

    def _initializer(self, layer: Layer) -> Any:
        return self.keras.initializers.HeNormal(seed=1000 * self.seed + layer.index)

    def _activate(self, name: str, activation: str | None, value: Any) -> Any:
        if activation is None:
            return value
        top = {"relu": None, "relu6": 6.0}[activation]
        return self.layers.ReLU(max_value=top, name=f"{name}_{activation}")(value)

    def _finish(self, layer: Layer, value: Any) -> Any:
        if layer.options["batch_norm"]:
            value = self.layers.BatchNormalization(
                epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, name=f"{layer.name}_norm"
            )(value)
        return self._activate(layer.name, layer.options["activation"], value)

    def _input(self, layer: Layer) -> Any:
        return self.keras.Input(layer.shape, name=layer.name, dtype="float32")

    def _conv(self, layer: Layer, value: Any) -> Any:
        o = layer.options
        convolution = self.layers.Conv2D(
            o["filters"],
            o["kernel"],
            strides=o["stride"],
            groups=o["groups"],
            padding=o["padding"],
            use_bias=not o["batch_norm"],
            kernel_initializer=self._initializer(layer),
            name=layer.name,
        )
        return self._finish(layer, convolution(value))

    def _depthwise(self, layer: Layer, value: Any) -> Any:
        o = layer.options
        convolution = self.layers.DepthwiseConv2D(
            o["kernel"],
            strides=o["stride"],
            padding=o["padding"],
            use_bias=not o["batch_norm"],
            depthwise_initializer=self._initializer(layer),
            name=layer.name,
        )
        return self._finish(layer, convolution(value))

    def _dense(self, layer: Layer, value: Any) -> Any:
        dense = self.layers.Dense(
            layer.options["units"], kernel_initializer=self._initializer(layer), name=layer.name
        )
        return self._activate(layer.name, layer.options["activation"], dense(value))

    def _max_pool(self, layer: Layer, value: Any) -> Any:
        o = layer.options
        pool = self.layers.MaxPooling2D(o["kernel"], o["stride"], padding=o["padding"], name=layer.name)
        return pool(value)

    def _average_pool(self, layer: Layer, value: Any) -> Any:
        o = layer.options
        pool = self.layers.AveragePooling2D(o["kernel"], o["stride"], padding=o["padding"], name=layer.name)
        return pool(value)

    def _global_average_pool(self, layer: Layer, value: Any) -> Any:
        return self.layers.GlobalAveragePooling2D(name=layer.name)(value)

    def _add(self, layer: Layer, first: Any, second: Any) -> Any:
        value = self.layers.Add(name=layer.name)([first, second])
        return self._activate(layer.name, layer.options["activation"], value)

    def _concatenate(self, layer: Layer, *values: Any) -> Any:
        value = self.layers.Concatenate(name=layer.name)(list(values))
        return self._activate(layer.name, layer.options["activation"], value)

    def _half(self, layer: Layer, value: Any) -> Any:
        source = layer.inputs[0]
        if source not in self.splits:
            self.splits[source] = self.keras.ops.split(value, 2, axis=-1)
        return self.splits[source][layer.options["part"]]

    def _shuffle(self, layer: Layer, value: Any) -> Any:
        height, width, channels = layer.shape
        groups = layer.options["groups"]
        # Height and width travel as one axis: four dimensions with the batch, which every delegate takes.
        apart = (height * width, groups, channels // groups)
        value = self.layers.Reshape(apart, name=f"{layer.name}_apart")(value)
        value = self.layers.Permute((1, 3, 2), name=layer.name)(value)
        return self.layers.Reshape(layer.shape, name=f"{layer.name}_together")(value)

    def _flatten(self, layer: Layer, value: Any) -> Any:
        return self.layers.Flatten(name=layer.name)(value)

    def _dropout(self, layer: Layer, value: Any) -> Any:
        return self.layers.Dropout(layer.options["rate"], seed=self.seed, name=layer.name)(value)

    def _softmax(self, layer: Layer, value: Any) -> Any:
        return self.layers.Softmax(name=layer.name)(value)

    def _pad(self, layer: Layer, value: Any) -> Any:
        return self.layers.ZeroPadding2D(layer.options["amount"], name=layer.name)(value)
