"""Taking out channels that do nothing leaves every answer as it was, and only those go."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.rewrite.dead_channels import cut_dead_channels, drop_dead_channels
from sdk.graph.records import Graph, Operator, Tensor
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import interpret, small_network

CHAIN_IMAGE = (1, 8, 8, 1)


def weight(graph: Graph, name: str) -> tuple[int, np.ndarray]:
    for w in graph.weights():
        if w.tensor.name == name:
            return w.tensor_index, w.array.copy()
    raise KeyError(name)


def lenet(seed: int = 0, classes: int = 4) -> Graph:
    """Convolution, max pool, flattening, two fully connected layers: a LeNet's parts."""
    rng = np.random.default_rng(seed)

    def constant(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape, "FLOAT32", rng.normal(0, 0.5, shape).astype(np.float32))

    def value(name: str, *shape: int) -> Tensor:
        return Tensor(name, shape, "FLOAT32")

    tensors = (
        value("image", *CHAIN_IMAGE),  # 0
        constant("conv/weight", 6, 3, 3, 1),  # 1
        constant("conv/bias", 6),  # 2
        value("conv", 1, 6, 6, 6),  # 3
        value("pool", 1, 3, 3, 6),  # 4
        Tensor("flat/shape", (2,), "INT32", np.array([1, 54], np.int32)),  # 5
        value("flat", 1, 54),  # 6
        constant("hidden/weight", 10, 54),  # 7
        constant("hidden/bias", 10),  # 8
        value("hidden", 1, 10),  # 9
        constant("scores/weight", classes, 10),  # 10
        constant("scores/bias", classes),  # 11
        value("scores", 1, classes),  # 12
    )
    window = {"padding": 1, "strideW": 1, "strideH": 1, "fusedActivationFunction": 0}
    convolution = {**window, "dilationWFactor": 1, "dilationHFactor": 1}
    pool = {**window, "strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2}
    operators = (
        Operator("CONV_2D", (0, 1, 2), (3,), convolution, "Conv2DOptions"),
        Operator("MAX_POOL_2D", (3,), (4,), pool, "Pool2DOptions"),
        Operator("RESHAPE", (4, 5), (6,), {"newShape": [1, 54]}, "ReshapeOptions"),
        Operator("FULLY_CONNECTED", (6, 7, 8), (9,), {"fusedActivationFunction": 1}, "FullyConnectedOptions"),
        Operator(
            "FULLY_CONNECTED", (9, 10, 11), (12,), {"fusedActivationFunction": 0}, "FullyConnectedOptions"
        ),
    )
    return Graph(tensors, operators, (0,), (12,))


def answers_alike(before: Graph, after: Graph, shape: tuple[int, ...]) -> None:
    for seed in range(5):
        image = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
        np.testing.assert_allclose(
            interpret(write_graph(after), image), interpret(write_graph(before), image), rtol=1e-4, atol=1e-4
        )


def test_channels_that_nobody_reads_or_makes_go_and_answers_stay() -> None:
    graph = lenet()
    hidden, hidden_weight = weight(graph, "hidden/weight")
    scores, scores_weight = weight(graph, "scores/weight")
    hidden_weight.reshape(10, 9, 6)[:, :, 2] = 0  # nobody reads channel 2 of the convolution
    hidden_weight[3] = 0  # unit 3 is a constant
    scores_weight[:, 7] = 0  # nobody reads unit 7
    pruned = graph.with_data({hidden: hidden_weight, scores: scores_weight})
    smaller = drop_dead_channels(pruned)
    shapes = {w.tensor.name: w.tensor.shape for w in smaller.weights()}
    assert shapes == {"conv/weight": (5, 3, 3, 1), "hidden/weight": (8, 45), "scores/weight": (4, 8)}
    answers_alike(pruned, smaller, CHAIN_IMAGE)
    assert [smaller.tensors[t].name for t in smaller.outputs] == ["scores"]


def test_what_is_gone_reads_nothing_either() -> None:
    graph = lenet()
    hidden, hidden_weight = weight(graph, "hidden/weight")
    scores, scores_weight = weight(graph, "scores/weight")
    hidden_weight.reshape(10, 9, 6)[:7, :, 2] = 0  # the last three units alone read channel 2,
    scores_weight[:, 7:] = 0  # and nobody reads them
    smaller = drop_dead_channels(graph.with_data({hidden: hidden_weight, scores: scores_weight}))
    assert weight(smaller, "conv/weight")[1].shape[0] == 5


def test_depthwise_layers_shrink_with_their_neighbours() -> None:
    graph = small_network()
    stem, stem_weight = weight(graph, "stem/weight")
    pointwise, pointwise_weight = weight(graph, "pointwise/weight")
    pointwise_weight[..., [1, 5]] = 0
    stem_weight[3] = 0  # a constant, but padding surrounds it with zeros: it stays
    pruned = graph.with_data({stem: stem_weight, pointwise: pointwise_weight})
    smaller = drop_dead_channels(pruned)
    shapes = {w.tensor.name: w.tensor.shape for w in smaller.weights()}
    assert shapes["stem/weight"][0] == shapes["depthwise/weight"][3] == shapes["pointwise/weight"][3] == 14
    answers_alike(pruned, smaller, (1, 8, 8, 3))


def test_a_graph_without_dead_channels_is_given_back() -> None:
    graph = lenet()
    assert drop_dead_channels(graph) is graph


def test_one_channel_stays_of_a_layer_that_is_all_zeros() -> None:
    graph = lenet()
    hidden, hidden_weight = weight(graph, "hidden/weight")
    pruned = graph.with_data({hidden: np.zeros_like(hidden_weight)})
    smaller = drop_dead_channels(pruned)
    assert all(min(w.tensor.shape) >= 1 for w in smaller.weights())
    answers_alike(pruned, smaller, CHAIN_IMAGE)


@pytest.mark.parametrize("output", [3, 9])
def test_a_value_that_leaves_the_graph_keeps_its_channels(output: int) -> None:
    from dataclasses import replace

    graph = lenet()
    hidden, hidden_weight = weight(graph, "hidden/weight")
    scores, scores_weight = weight(graph, "scores/weight")
    hidden_weight.reshape(10, 9, 6)[:, :, 2] = 0
    scores_weight[:, 7] = 0
    pruned = replace(graph.with_data({hidden: hidden_weight, scores: scores_weight}), outputs=(12, output))
    smaller = drop_dead_channels(pruned)
    assert smaller.tensors[smaller.outputs[1]].shape == graph.tensors[output].shape


def test_arrays_beside_weights_are_cut_as_the_weights_are() -> None:
    graph = lenet()
    chosen = [w.tensor_index for w in graph.weights()]
    data = {t: graph.tensors[t].data.copy() for t in chosen}  # type: ignore[union-attr]
    for tensor in chosen[:-1]:
        data[tensor][1] = 0.0
    sparse = graph.with_data(data)
    smaller, (beside,) = cut_dead_channels(sparse, [{t: data[t] * 2 for t in chosen}])
    assert [w.array.size for w in smaller.weights()] != [w.array.size for w in graph.weights()]
    for weight, array in zip(smaller.weights(), beside.values(), strict=True):
        np.testing.assert_array_equal(array, weight.array * 2)
