"""One-operator models: each computes what its operator does, and like operators share one."""

from __future__ import annotations

import numpy as np

from sdk.graph.isolate import isolate, null_model
from sdk.graph.on_host.evaluate import predict
from sdk.graph.records import Graph, Operator, Tensor
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network


def test_every_operator_alone_run_in_a_chain_computes_what_the_graph_does() -> None:
    graph = small_network()
    isolated = isolate(graph)
    assert sorted(isolated.of) == list(range(len(graph.operators)))
    image = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    value = image
    for index in range(len(graph.operators)):
        value = predict(isolated.models[isolated.of[index]], value)
    np.testing.assert_allclose(value, predict(write_graph(graph), image), rtol=1e-4, atol=1e-5)


def test_operators_that_are_alike_share_a_model() -> None:
    shape = (1, 4, 4, 8)
    tensors = tuple(Tensor(f"t{i}", shape, "FLOAT32") for i in range(3))
    relus = tuple(Operator("RELU", (i,), (i + 1,)) for i in range(2))
    isolated = isolate(Graph(tensors, relus, (0,), (2,)))
    assert len(isolated.models) == 1
    assert isolated.of == {0: 0, 1: 0}


def test_what_is_done_while_preparing_has_no_model_and_its_weight_becomes_a_constant() -> None:
    half = np.ones((4, 3), np.float16)
    tensors = (
        Tensor("x", (1, 3), "FLOAT32"),
        Tensor("half", (4, 3), "FLOAT16", half),
        Tensor("weight", (4, 3), "FLOAT32"),
        Tensor("y", (1, 4), "FLOAT32"),
    )
    options = {"fusedActivationFunction": 0, "weightsFormat": 0, "keepNumDims": False}
    operators = (
        Operator("DEQUANTIZE", (1,), (2,), {}, "DequantizeOptions", 3),
        Operator("FULLY_CONNECTED", (0, 2, -1), (3,), options, "FullyConnectedOptions"),
    )
    isolated = isolate(Graph(tensors, operators, (0,), (3,)))
    assert list(isolated.of) == [1]
    assert predict(isolated.models[0], np.ones((1, 3), np.float32)).shape == (1, 4)


def test_the_null_model_adds_one() -> None:
    assert predict(null_model(), np.full((1, 1, 1, 1), 2, np.float32)).item() == 3.0


def test_padding_stays_with_the_convolution_that_the_runtime_fuses_it_into() -> None:
    rng = np.random.default_rng(0)
    amounts = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    tensors = (
        Tensor("x", (1, 4, 4, 2), "FLOAT32"),
        Tensor("amounts", (4, 2), "INT32", amounts),
        Tensor("padded", (1, 6, 6, 2), "FLOAT32"),
        Tensor("w", (3, 3, 3, 2), "FLOAT32", rng.random((3, 3, 3, 2), np.float32)),
        Tensor("b", (3,), "FLOAT32", np.zeros(3, np.float32)),
        Tensor("y", (1, 4, 4, 3), "FLOAT32"),
    )
    one = {
        "strideW": 1,
        "strideH": 1,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
        "fusedActivationFunction": 0,
    }
    pad = Operator("PAD", (0, 1), (2,), {}, "PadOptions")
    convolution = Operator("CONV_2D", (2, 3, 4), (5,), {**one, "padding": 1}, "Conv2DOptions")
    graph = Graph(tensors, (pad, convolution), (0,), (5,))
    isolated = isolate(graph)
    assert isolated.of == {1: 0}
    image = rng.random((1, 4, 4, 2), np.float32)
    np.testing.assert_allclose(
        predict(isolated.models[0], image), predict(write_graph(graph), image), rtol=1e-5
    )
    shown = Graph(
        tensors, (pad, convolution), (0,), (2, 5)
    )  # the padded tensor is an output: nothing is fused
    assert sorted(isolate(shown).of) == [0, 1]
