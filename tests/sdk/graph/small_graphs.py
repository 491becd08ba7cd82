"""Small graphs made by hand, so that tests of passes need neither TensorFlow nor files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdk.graph.enums import RELU6, SAME
from sdk.graph.records import Graph, Operator, Signature, Tensor
from sdk.graph.writer import write_graph

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset


def small_network(seed: int = 0, size: int = 8, channels: int = 16, classes: int = 10) -> Graph:
    """3x3 convolution, depthwise 3x3, 1x1 convolution, MEAN, fully connected: a MobileNet's parts, once each."""
    rng = np.random.default_rng(seed)

    def constant(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape, "FLOAT32", rng.normal(0, 0.3, shape).astype(np.float32))

    def value(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape, "FLOAT32")

    half = size // 2
    tensors = (
        value("image", 1, size, size, 3),  # 0
        constant("stem/weight", channels, 3, 3, 3),  # 1
        constant("stem/bias", channels),  # 2
        value("stem", 1, half, half, channels),  # 3
        constant("depthwise/weight", 1, 3, 3, channels),  # 4
        constant("depthwise/bias", channels),  # 5
        value("depthwise", 1, half, half, channels),  # 6
        constant("pointwise/weight", 2 * channels, 1, 1, channels),  # 7
        constant("pointwise/bias", 2 * channels),  # 8
        value("pointwise", 1, half, half, 2 * channels),  # 9
        Tensor("axes", (2,), "INT32", np.array([1, 2], np.int32)),  # 10
        value("pooled", 1, 2 * channels),  # 11
        constant("classifier/weight", classes, 2 * channels),  # 12
        constant("classifier/bias", classes),  # 13
        value("scores", 1, classes),  # 14
    )
    convolution = {
        "padding": SAME,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
        "fusedActivationFunction": RELU6,
    }
    operators = (
        Operator("CONV_2D", (0, 1, 2), (3,), {**convolution, "strideW": 2, "strideH": 2}, "Conv2DOptions"),
        Operator(
            "DEPTHWISE_CONV_2D",
            (3, 4, 5),
            (6,),
            {**convolution, "strideW": 1, "strideH": 1, "depthMultiplier": 1},
            "DepthwiseConv2DOptions",
        ),
        Operator("CONV_2D", (6, 7, 8), (9,), {**convolution, "strideW": 1, "strideH": 1}, "Conv2DOptions"),
        Operator("MEAN", (9, 10), (11,), {"keepDims": False}, "ReducerOptions"),
        Operator(
            "FULLY_CONNECTED", (11, 12, 13), (14,), {"fusedActivationFunction": 0}, "FullyConnectedOptions"
        ),
    )
    signature = Signature("serving_default", (("image", 0),), (("scores", 14),))
    return Graph(
        tensors, operators, (0,), (14,), metadata=(("note", b"made by hand"),), signatures=(signature,)
    )


def interpret(model: bytes, image: np.ndarray) -> np.ndarray:
    """What the TFLite interpreter answers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def samples(graph: Graph, count: int = 3) -> np.ndarray:
    """Noise for the model's input, of shape (count, ...)."""
    shape = graph.tensors[graph.inputs[0]].shape
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape[1:])).astype(np.float32)


def check_against_interpreter(graph: Graph) -> None:
    """Compares the class scores (before a softmax, which would hide differences) on several samples at once."""
    from sdk.graph.in_tensorflow.executor import Executor

    executor = Executor(graph)
    model = write_graph(replace(graph, outputs=(executor.scores,), signatures=()))
    images = samples(graph)
    expected = np.concatenate([interpret(model, image[None]) for image in images])
    found = executor(images, wanted=executor.scores).numpy()
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def host_outputs(tflite: bytes, inputs: np.ndarray) -> np.ndarray:
    """What the host's runtime answers."""
    from sdk.graph.on_host.evaluate import predict

    return predict(tflite, inputs)


def naming_its_class(graph: Graph) -> Graph:
    """The graph with the number of the largest score as its only output."""
    scores, axis, number = graph.outputs[0], len(graph.tensors), len(graph.tensors) + 1
    tensors = (Tensor("axis", (), "INT32", np.array(1, np.int32)), Tensor("class", (1,), "INT64"))
    choose = Operator("ARG_MAX", (scores, axis), (number,), {"outputType": 4}, "ArgMaxOptions")
    return replace(
        graph,
        tensors=(*graph.tensors, *tensors),
        operators=(*graph.operators, choose),
        outputs=(number,),
        signatures=(),
    )


def labelled(graph: Graph, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 8, 8, 3) bytes of smooth noise, and (count,) what the network answers to them preprocessed by "tf"."""
    from sdk.graph.in_tensorflow.executor import Executor

    coarse = np.random.default_rng(0).integers(0, 255, (count, 4, 4, 3))
    noise = coarse.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)
    return noise, Executor(graph)(noise.astype(np.float32) / 127.5 - 1).numpy().argmax(axis=1)


def labelled_noise(path: Path, graph: Graph, count: int) -> Dataset:
    """The data set of :func:`labelled`, kept at ``path``."""
    from sdk.data.loading import load_dataset

    noise, answers = labelled(graph, count)
    np.savez(path, x=noise, y=answers)
    return load_dataset(path, input_shape=(8, 8, 3), preprocess="tf")


def images(count: int, seed: int = 0) -> np.ndarray:
    """(count, 8, 8, 3) numbers from 0 to 1, for :func:`small_network`."""
    return np.random.default_rng(seed).random((count, 8, 8, 3), np.float32)
