"""Unfolded layers compute what the interpreter's operators compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdk.compress.solve.matrices import LayerShape
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from tests.sdk.graph.small_graphs import small_network

CASES = (
    "1x1",
    "1x1 stride 2",
    "3x3 same stride 2",
    "3x2 valid",
    "3x3 grouped",
    "1x1 grouped",
    "dilated",
    "depthwise",
    "depthwise times 2",
)


def layer_cases() -> dict[str, Any]:
    from keras import layers

    return {
        "1x1": lambda: layers.Conv2D(6, 1),
        "1x1 stride 2": lambda: layers.Conv2D(6, 1, strides=2),
        "3x3 same stride 2": lambda: layers.Conv2D(6, 3, strides=2, padding="same"),
        "3x2 valid": lambda: layers.Conv2D(6, (3, 2)),
        "3x3 grouped": lambda: layers.Conv2D(8, 3, groups=4, padding="same"),
        "1x1 grouped": lambda: layers.Conv2D(8, 1, groups=2),
        "dilated": lambda: layers.Conv2D(6, 3, dilation_rate=2),
        "depthwise": lambda: layers.DepthwiseConv2D(3, strides=2, padding="same"),
        "depthwise times 2": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    }


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", CASES)
def test_patches_times_the_unfolded_weight_are_the_layers_output(name: str) -> None:
    import keras

    inputs = keras.Input((7, 8, 8))
    graph = read_graph(from_keras(keras.Model(inputs, layer_cases()[name]()(inputs))))
    (weight,) = graph.weights()
    shape = LayerShape.of(graph, weight)
    assert shape is not None
    operator = graph.operators[weight.operator_index]
    images = np.random.default_rng(0).normal(size=(2, 7, 8, 8)).astype(np.float32)
    values = Executor(graph).run({graph.inputs[0]: images}, wanted=(operator.inputs[0], operator.outputs[0]))
    expected = values[operator.outputs[0]].numpy()  # a fresh layer's bias is zero
    patches = np.swapaxes(shape.patches(values[operator.inputs[0]]), 0, 1)  # (groups, positions, columns)
    some = np.array([3, 0, patches.shape[1] - 1])
    assert np.prod(shape.positions(values[operator.inputs[0]])) == patches.shape[1]
    np.testing.assert_array_equal(
        shape.patches(values[operator.inputs[0]], some), np.swapaxes(patches[:, some], 0, 1)
    )
    products = patches @ np.swapaxes(shape.unfold(weight.array), 1, 2)  # (groups, positions, rows)
    np.testing.assert_allclose(
        np.swapaxes(products, 0, 1).reshape(expected.shape), expected, rtol=1e-4, atol=1e-5
    )


def test_folding_undoes_unfolding_for_every_layer() -> None:
    graph = small_network()
    for weight in graph.weights():
        shape = LayerShape.of(graph, weight)
        assert shape is not None
        unfolded = shape.unfold(weight.array)
        assert unfolded.shape == (shape.groups, shape.rows, shape.columns)
        np.testing.assert_array_equal(shape.fold(unfolded), weight.array)


def test_a_fully_connected_layers_patches_are_its_flattened_input() -> None:
    graph = small_network()
    weight = next(w for w in graph.weights() if w.layer == "fully connected")
    shape = LayerShape.of(graph, weight)
    assert shape is not None
    values = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    np.testing.assert_array_equal(shape.patches(values)[:, 0], values)
