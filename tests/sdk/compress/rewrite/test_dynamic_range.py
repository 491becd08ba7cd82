"""8-bit weights under float values answer nearly as float weights do, in a fourth of the bytes."""

from __future__ import annotations

import numpy as np

from sdk.compress.rewrite.dynamic_range import dynamic_range
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import Layers, small_shufflenet
from tests.sdk.graph.small_graphs import interpret, small_network


def test_answers_stay_near_and_weights_take_a_byte() -> None:
    graph = small_network(channels=64)
    made = read_graph(write_graph(dynamic_range(graph)))
    kinds = {w.tensor.name: w.tensor.dtype for w in made.weights()}
    assert kinds["pointwise/weight"] == kinds["classifier/weight"] == "INT8"
    assert kinds["depthwise/weight"] == "FLOAT32"
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    expected, found = (interpret(write_graph(g), image) for g in (graph, made))
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert len(write_graph(made)) < 0.5 * len(write_graph(graph))


def test_a_channel_of_zeros_has_a_scale_and_groups_stay_float() -> None:
    net = Layers(1, 8, 8, 3)
    x = net.conv(net.conv(net.image, 32, 3), 64)
    weight = net.tensors[net.operators[1].inputs[1]].data
    assert weight is not None
    weight[5] = 0
    made = dynamic_range(net.graph(net.dense(net.mean(x), 5)))
    (rounded,) = [w.tensor for w in made.weights() if w.tensor.dtype == "INT8"]
    assert rounded.quantization is not None
    assert (rounded.quantization.scales > 0).all()
    assert rounded.data is not None
    assert not rounded.data[5].any()
    grouped = [w for w in dynamic_range(small_shufflenet()).weights() if w.layer == "convolution 1x1"]
    assert {w.tensor.dtype for w in grouped if w.tensor.elements < 1024} == {"FLOAT32"}
