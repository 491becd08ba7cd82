"""TensorFlow computes what the interpreter computes, for every operator that the executor says it knows."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sdk.errors import DataError, UnsupportedOperator
from sdk.graph.enums import SAME, VALID
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Operator, Tensor
from tests.golden.make_networks import network
from tests.sdk.api.files.test_unsolved_weights import CLASSES, WORDS, text_classifier
from tests.sdk.graph.small_graphs import check_against_interpreter, samples, small_network

pytestmark = pytest.mark.tensorflow


def keras_graph(build: Any, shape: tuple[int, ...]) -> Graph:
    """The graph of one Keras function on an input of this shape."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape)
    return read_graph(from_keras(keras.Model(inputs, build(inputs))))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("keras_mobilenet_v3", "HARD_SWISH"),
        ("mobilenet_v3", "HARD_SWISH"),
        ("efficientnet_lite0", "DEPTHWISE_CONV_2D"),
    ],
)
def test_networks_of_others_run_as_in_the_interpreter(name: str, kind: str) -> None:
    graph = network(name, np.random.default_rng(1))
    assert [op.kind for op in graph.operators].count(kind) >= 16
    check_against_interpreter(graph)


def element_wise(x: Any) -> Any:
    from keras import layers, ops

    x = ops.maximum(ops.abs(x) + 0.1, ops.exp(-x)) - ops.minimum(ops.square(x), 0.5)
    x = ops.sqrt(ops.abs(x) + 0.01) / (1.5 + ops.sigmoid(x)) * ops.tanh(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x) + ops.elu(x)
    x = layers.PReLU(alpha_initializer="random_uniform", shared_axes=[1, 2])(x)
    return ops.hard_swish(x) + ops.log_softmax(x, axis=-1)


def data_movement(x: Any) -> Any:
    from keras import layers, ops

    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.UpSampling2D(2, interpolation="nearest")(x)
    first, second = ops.split(x, 2, axis=-1)
    x = ops.concatenate([second[:, 1:-1:2, ::2], first[:, 1:-1:2, ::2]], axis=-1)
    x = ops.transpose(ops.reshape(x, (-1, 7, 8, 2, 2)), (0, 1, 2, 4, 3))
    x = ops.pad(ops.reshape(x, (-1, 7, 8, 4)), ((0, 0), (1, 2), (0, 1), (0, 0)))
    return ops.take(x, [3, 1, 0, 2, 2], axis=-1)


def more_element_wise(x: Any) -> Any:
    from keras import ops

    x = (
        ops.log(ops.abs(x) + 0.5)
        + ops.sin(x) * ops.cos(x)
        + ops.floor(3 * x)
        - ops.round(3 * x)
        + ops.ceil(x)
    )
    x = ops.where(ops.greater(x, 0.1), x + ops.sign(x), ops.where(ops.less_equal(x, -0.1), -x, x * 0.5))
    other = ops.logical_and(ops.not_equal(x, 0.3), ops.logical_not(ops.less(x, -0.4)))
    x = x * ops.cast(other, "float32") + ops.cast(ops.cast(4 * x, "int32"), "float32")
    return ops.floor_divide(x, 0.7) + ops.mod(x, 0.7)


def rows(x: Any) -> Any:
    from keras import ops

    first, second = ops.unstack(x, axis=2)[:2]
    x = ops.stack([first, second, first * 2], axis=1)
    x = ops.matmul(x, ops.transpose(x, (0, 1, 3, 2)))
    x = ops.flip(ops.cumsum(x, axis=-1), axis=-1)
    return ops.prod(with_token()(x), axis=1)


def with_token() -> Any:
    """A layer that puts a row before all others that is the same for every sample, as transformers have one."""
    import tensorflow as tf
    from keras import layers

    class Token(layers.Layer):
        def call(self, x: Any) -> Any:
            shape = tf.shape(x)
            row = tf.broadcast_to(0.3, tf.stack([shape[0], 1, shape[2], shape[3]]))
            return tf.concat([row, x], axis=1)

    return Token()


def places() -> Any:
    """A layer that counts with the places of largest and smallest values: behind a choice there are operators."""
    import tensorflow as tf
    from keras import layers

    class Places(layers.Layer):
        def call(self, x: Any) -> Any:
            largest = tf.cast(tf.argmax(x, axis=-1), tf.float32)
            smallest = tf.cast(tf.argmin(x, axis=1, output_type=tf.int32), tf.float32)
            largest = tf.reduce_sum(largest, axis=(1, 2))[:, None, None, None]
            return largest + tf.reduce_sum(smallest, axis=1)[:, None, None, :]

    return Places()


def volumes(x: Any) -> Any:
    from keras import layers

    x = layers.Conv3D(6, 3, strides=(2, 1, 1), padding="same", activation="relu")(x)
    return layers.Conv3D(4, (2, 3, 1), padding="valid")(x)


def pooling(x: Any) -> Any:
    from keras import layers, ops

    largest = layers.MaxPooling2D(3, 2, padding="same")(x)
    average = layers.AveragePooling2D(3, 2, padding="same")(x)
    small = ops.mean(largest + average, axis=(1, 2), keepdims=True)
    small += places()(x)
    return small + ops.max(x, axis=(1, 2), keepdims=True) + ops.sum(x, axis=(1, 2), keepdims=True)


def convolutions(x: Any) -> Any:
    from keras import layers

    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(12, 3, groups=4, padding="same", activation="tanh")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="valid")(x)
    x = layers.Conv2D(8, (3, 2), dilation_rate=1, padding="valid", use_bias=False)(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same")(x)
    return layers.Dense(4)(x)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (element_wise, (4, 4, 6)),
        (data_movement, (4, 4, 4)),
        (pooling, (7, 6, 3)),
        (more_element_wise, (3, 4, 6)),
        (rows, (5, 3, 4)),
        (volumes, (6, 5, 4, 3)),
        (convolutions, (16, 16, 4)),
    ],
)
def test_operators_run_as_in_the_interpreter(build: Any, shape: tuple[int, ...]) -> None:
    check_against_interpreter(keras_graph(build, shape))


def test_gradients_reach_replaced_weights_of_every_kind_of_layer() -> None:
    import tensorflow as tf

    graph = keras_graph(convolutions, (12, 12, 4))
    executor = Executor(graph)
    weights = {w.tensor_index: tf.Variable(w.array) for w in graph.weights()}
    images = samples(graph)

    def loss() -> Any:
        return tf.reduce_mean(tf.square(executor(images, weights)))

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, weights)
    assert len(weights) >= 6
    for index, variable in weights.items():
        # A step along the gradient changes the loss as the gradient says.
        gradient = tf.convert_to_tensor(gradients[index])
        step = 1e-2 / float(tf.norm(gradient))
        variable.assign_add(step * gradient)
        above = float(loss())
        variable.assign_add(-2 * step * gradient)
        below = float(loss())
        variable.assign_add(step * gradient)
        assert (above - below) / 2 == pytest.approx(step * float(tf.norm(gradient)) ** 2, rel=0.05)


def test_a_part_of_the_graph_runs_from_given_values() -> None:
    graph = small_network()
    executor = Executor(graph)
    images = samples(graph)
    middle = executor.run({0: images}, wanted=(9,))
    assert executor.plan(middle, graph.outputs) == [3, 4]
    np.testing.assert_allclose(executor.run(middle, wanted=(14,))[14], executor(images), rtol=1e-6)


def test_scores_are_what_a_final_softmax_reads() -> None:
    graph = keras_graph(lambda x: __import__("keras").layers.Dense(3, activation="softmax")(x), (5,))
    executor = Executor(graph)
    assert graph.operators[-1].kind == "SOFTMAX"
    assert executor.scores == graph.operators[-1].inputs[0]
    assert Executor(small_network()).scores == 14


def with_operator(change: dict[str, Any], kind: str | None = None, index: int = 4) -> Graph:
    graph = small_network()
    operator = graph.operators[index].with_options(**change)
    operators = list(graph.operators)
    operators[index] = replace(operator, kind=kind or operator.kind)
    return replace(graph, operators=tuple(operators))


def test_the_batch_must_stay_the_first_axis() -> None:
    graph = small_network()
    scores = replace(graph.tensors[14], shape=(10, 1))
    columns = Operator("RESHAPE", (14,), (15,))
    softmax = Operator("SOFTMAX", (15,), (16,), {"beta": 1.0}, "SoftmaxOptions")
    graph = replace(
        graph,
        tensors=(*graph.tensors, scores, scores),
        operators=(*graph.operators, columns, softmax),
        outputs=(16,),
    )
    with pytest.raises(UnsupportedOperator, match="several samples"):
        Executor(graph)(samples(graph))


def test_what_cannot_be_run_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOperator, match="WHILE"):
        Executor(with_operator({}, "WHILE"))
    custom = replace(small_network(), operators=(Operator("CUSTOM", (0,), (14,), custom_code="FlexErf"),))
    with pytest.raises(UnsupportedOperator, match="FlexErf"):
        Executor(custom)
    sign = with_operator({"fusedActivationFunction": 5}, index=0)
    with pytest.raises(UnsupportedOperator, match="activation 5"):
        Executor(sign)(samples(sign))
    uneven = with_operator({"strideW": 2}, index=1)
    with pytest.raises(UnsupportedOperator, match="DEPTHWISE_CONV_2D"):
        Executor(uneven)(samples(uneven))
    over_batch = small_network().with_data({10: np.array([0, 1], np.int32)})
    with pytest.raises(UnsupportedOperator, match="batch"):
        Executor(over_batch)(samples(over_batch))


def test_a_sparse_or_missing_constant_is_refused_by_name() -> None:
    graph = small_network()
    tensors = list(graph.tensors)
    tensors[7] = replace(tensors[7], data=None)
    broken = replace(graph, tensors=tuple(tensors))
    with pytest.raises(UnsupportedOperator, match="pointwise/weight"):
        Executor(broken)(samples(broken))


@pytest.mark.parametrize("same", [True, False])
def test_mediapipes_transposed_convolution_is_that_of_the_runtime_and_a_bias(same: bool) -> None:
    random = np.random.default_rng(0)
    down, across = 1, 2
    height, width = (5, 8) if same else (7, 9)

    def constant(*shape: int) -> Tensor:
        return Tensor("c", shape, "FLOAT32", random.normal(0, 1, shape).astype(np.float32))

    size = np.array([1, height, width, 2], np.int32)
    tensors = (
        Tensor("x", (1, 5, 4, 3), "FLOAT32"),
        constant(2, 3, 3, 3),
        constant(2),
        Tensor("size", (4,), "INT32", size),
        Tensor("y", (1, height, width, 2), "FLOAT32"),
    )
    options = {
        "padding": SAME if same else VALID,
        "strideH": down,
        "strideW": across,
        "fusedActivationFunction": 0,
    }
    plain = Operator("TRANSPOSE_CONV", (3, 1, 0, 2), (4,), options, "TransposeConvOptions", version=3)
    theirs = Operator(
        "CUSTOM",
        (0, 1, 2),
        (4,),
        custom_code="Convolution2DTransposeBias",
        custom_options=struct.pack("<3i", 1 if same else 2, across, down),
    )
    graph = Graph(tensors, (plain,), (0,), (4,))
    check_against_interpreter(graph)
    images = samples(graph)
    again = Executor(replace(graph, operators=(theirs,)))(images).numpy()
    np.testing.assert_array_equal(again, Executor(graph)(images).numpy())


def test_numbers_of_words_that_nobody_knows_are_the_datas_fault() -> None:
    executor = Executor(text_classifier())
    words = np.array([[0, 1, 2, 3, 4, 5, 6, WORDS]], np.int32)
    with pytest.raises(
        DataError, match=rf"GATHER cannot compute with these data.*= {WORDS} is not in \[0, {WORDS}\)"
    ):
        executor(words)
    assert executor(words - 1 + (words == 0)).shape == (1, CLASSES)
