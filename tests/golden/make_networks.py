"""Makes networks/*.armlet: networks as TensorFlow's converter writes them, without their weights.

    python -m tests.golden.make_networks

To convert all of them takes a minute, and most tests ask for their structure alone.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.package.reader import unpack
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package.pack import pack

FOLDER = Path(__file__).parent / "networks"
#: Of the zoo, for 224 x 224 pixels.
OF_THE_ZOO = ("mobilenet_v1", "mobilenet_v2", "shufflenet_v1")
#: Keras' own: the function and its options.
OF_KERAS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet_v3": ("MobileNetV3Large", {"input_shape": (224, 224, 3)}),
    "efficientnet_b0": ("EfficientNetB0", {"input_shape": (224, 224, 3)}),
    "keras_mobilenet": ("MobileNet", {"input_shape": (64, 64, 3), "classes": 10, "alpha": 0.25}),
    "keras_mobilenet_v2": ("MobileNetV2", {"input_shape": (64, 64, 3), "classes": 10, "alpha": 0.35}),
    "keras_mobilenet_v3": ("MobileNetV3Small", {"input_shape": (64, 64, 3), "classes": 10, "alpha": 0.75}),
}


def network(name: str, rng: np.random.Generator) -> Graph:
    """The network with weights and biases as large as those of a trained one; none is zero, and none repeats."""
    graph = read_graph(unpack((FOLDER / f"{name}.armlet").read_bytes()).tflite)
    data = {}
    for weight in graph.weights():
        shape = weight.array.shape
        read = math.prod(shape[1:-1]) * (shape[-1] if shape[0] > 1 else 1)  # by one value of an output
        data[weight.tensor_index] = rng.normal(0, math.sqrt(2 / read), shape).astype(np.float32)
        for bias in graph.operators[weight.operator_index].inputs[2:3]:
            if bias < 0:  # there is none
                continue
            data[bias] = rng.normal(0, 0.3, graph.tensors[bias].shape).astype(np.float32)
    return graph.with_data(data)


def efficientnet_lite0(size: int, classes: int) -> Any:
    """EfficientNet-B0 (arXiv 1905.11946) without squeeze and excitation, and with ReLU6 for swish: its Lite variant."""
    import keras
    from keras import layers

    def normalised(layer: Any, x: Any, *, active: bool = True) -> Any:
        x = layers.BatchNormalization()(layer(x))
        return layers.ReLU(6.0)(x) if active else x

    inputs = keras.Input((size, size, 3))
    x = normalised(layers.Conv2D(32, 3, 2, padding="same", use_bias=False), inputs)
    for expansion, channels, count, stride, window in (
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ):
        for number in range(count):
            y, before = x, x.shape[-1]
            if expansion > 1:
                y = normalised(layers.Conv2D(expansion * before, 1, use_bias=False), y)
            strides = stride if number == 0 else 1
            y = normalised(layers.DepthwiseConv2D(window, strides, padding="same", use_bias=False), y)
            y = normalised(layers.Conv2D(channels, 1, use_bias=False), y, active=False)
            x = layers.Add()([x, y]) if number else y
    x = normalised(layers.Conv2D(1280, 1, use_bias=False), x)
    x = layers.Dense(classes, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def recurrent() -> Any:
    """An LSTM, which becomes WHILE, behind a convolution; nine of ten weights are zero."""
    import keras
    from keras import layers

    inputs = keras.Input((6, 6, 2))
    x = layers.Reshape((6, 48))(layers.Conv2D(8, 3, padding="same")(inputs))
    model = keras.Model(inputs, layers.Dense(8)(layers.LSTM(16)(x)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) > 1:
            values = rng.choice([-0.5, 0.25, 0.5], weight.shape)
            weight.assign(values * (rng.random(weight.shape) < 0.1))
    return model


def main() -> None:
    """Writes the files."""
    from sdk.graph.on_host.sources.keras_files import from_keras
    from sdk.models import build
    from sdk.models.keras_builder import load_keras

    applications = load_keras().applications
    FOLDER.mkdir(exist_ok=True)
    made = {name: build(name) for name in OF_THE_ZOO}
    made |= {n: getattr(applications, f)(weights=None, **options) for n, (f, options) in OF_KERAS.items()}
    made["efficientnet_lite0"] = efficientnet_lite0(64, 100)
    for name, model in made.items():
        graph = read_graph(from_keras(model))
        bare = graph.with_data({w.tensor_index: np.zeros_like(w.array) for w in graph.weights()})
        (FOLDER / f"{name}.armlet").write_bytes(pack(write_graph(bare)))
    (FOLDER / "keras_lstm.armlet").write_bytes(pack(from_keras(recurrent())))


if __name__ == "__main__":
    main()
