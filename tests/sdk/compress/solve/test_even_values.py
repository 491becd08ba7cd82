"""Channels become alike in size for int8: the float answers stay, and 8 bits lose less."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.solve.even_values import LIMIT, evened
from sdk.compress.solve.quantize import quantize
from sdk.graph.enums import NO_ACTIVATION, RELU6
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import Layers, small_shufflenet, squeezed_mobilenet
from tests.sdk.graph.small_graphs import interpret

pytestmark = pytest.mark.tensorflow
SIZE = 16


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


def uneven_network() -> Graph:
    """A MobileNet V2's parts; what depthwise layers read has channels far apart in size, and they make up for it."""
    net, rng = Layers(1, SIZE, SIZE, 3, seed=3), np.random.default_rng(5)
    stem = net.conv(net.image, 16, 3, stride=2, activation=RELU6)
    x = net.conv(net.depthwise(stem, activation=RELU6), 8, activation=NO_ACTIVATION)
    y = net.conv(
        net.depthwise(net.conv(x, 24, activation=RELU6), activation=RELU6), 8, activation=NO_ACTIVATION
    )
    graph = net.graph(net.dense(net.mean(net.depthwise(net.add(x, y))), 10))
    by_channel = {one.inputs[0] for one in graph.operators if one.kind == "DEPTHWISE_CONV_2D"}
    sizes: dict[int, np.ndarray] = {}
    changes = {}
    for operator in graph.operators:
        read, made = operator.inputs[0], operator.outputs[0]
        if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        count = graph.tensors[made].shape[-1]
        own = np.exp(-np.abs(rng.normal(0, 2, count))) if made in by_channel else np.ones(count)
        sizes[made] = own.astype(np.float32)
        weight, bias = (graph.tensors[number].data for number in operator.inputs[1:3])
        assert weight is not None
        assert bias is not None
        lies = (-1, *[1] * (weight.ndim - 1)) if operator.kind != "DEPTHWISE_CONV_2D" else (-1,)
        changes[operator.inputs[1]] = weight / sizes.get(read, np.float32(1)) * sizes[made].reshape(lies)
        changes[operator.inputs[2]] = bias * sizes[made]
    return graph.with_data(changes)


def answers(graph: Graph, pictures: np.ndarray) -> np.ndarray:
    model = write_graph(graph)
    return np.array([interpret(model, picture[None])[0] for picture in pictures]).reshape(len(pictures), -1)


def made_even(graph: Graph, seen: np.ndarray) -> Graph:
    return evened(Executor(graph), lambda samples: seen[list(samples)], len(seen))


def test_floats_answer_as_before_and_eight_bits_lose_less() -> None:
    graph, seen, others = uneven_network(), images(64, 0), images(32, 1)
    even = made_even(graph, seen)
    before = answers(graph, others)
    floats, plain, evenly = (
        np.square(answers(one, others) - before).sum() / np.square(before).sum()
        for one in (even, quantize(graph, seen), quantize(even, seen))
    )
    assert floats < 1e-4  # what is larger than on any image that was seen is clipped
    assert evenly < plain / 2


def test_channels_that_meet_in_a_sum_are_scaled_alike_by_powers_of_two_where_depthwise_layers_read() -> None:
    net = Layers(1, SIZE, SIZE, 3, seed=3)
    stem = net.conv(net.image, 8, 3, activation=NO_ACTIVATION)
    total = net.add(stem, net.conv(net.image, 8, activation=NO_ACTIVATION))
    last = net.conv(net.depthwise(total), 4)
    graph = net.graph(net.dense(net.mean(last), 10))
    quiet = np.geomspace(1, 0.01, 8, dtype=np.float32)
    changes = {}
    for operator in graph.operators[:2]:
        weight, bias = (graph.tensors[number].data for number in operator.inputs[1:3])
        assert weight is not None
        assert bias is not None
        changes |= {operator.inputs[1]: weight * quiet[:, None, None, None], operator.inputs[2]: bias * quiet}
    graph = graph.with_data(changes)
    even = made_even(graph, images(16, 0))
    ratios = []
    for before, after in zip(graph.weights(), even.weights(), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.moveaxis(after.array / before.array, before.channel_axis, 0).reshape(
                before.tensor.shape[before.channel_axis], -1
            )
        ratios.append(ratio[:, 0])
        assert (ratio == ratio[:, :1]).all()  # exactly
        np.testing.assert_array_equal(np.log2(ratio) % 1, 0)
    made, added, read, *others = ratios
    np.testing.assert_array_equal(made, added)
    np.testing.assert_array_equal(made, 1 / read)
    assert made.max() > 1
    assert made.max() <= LIMIT
    assert all((ratio == 1).all() for ratio in others)


@pytest.mark.parametrize("make", [small_shufflenet, squeezed_mobilenet])
def test_where_channels_are_mixed_or_gated_the_answers_stay(make) -> None:
    graph = make(SIZE)
    before = answers(graph, images(4, 1))
    found = answers(made_even(graph, images(16, 0)), images(4, 1))
    np.testing.assert_allclose(found, before, atol=1e-3 * np.abs(before).max())


def test_before_weights_are_on_grids_the_channels_of_a_sum_are_made_alike_too() -> None:
    graph, seen = uneven_network(), images(16, 0)
    (total,) = (one.outputs[0] for one in graph.operators if one.kind == "ADD")
    joined = {total, *next(one.inputs for one in graph.operators if one.outputs[0] == total)}
    loud = np.array([8.0, 1, 1, 1, 1, 1, 1, 0.25], np.float32)
    changes = {}
    for operator in graph.operators:
        if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        weight, bias = (np.asarray(graph.tensors[number].data) for number in operator.inputs[1:3])
        if operator.inputs[0] in joined:
            weight = weight / loud
        if operator.outputs[0] in joined:
            weight, bias = weight * loud[:, None, None, None], bias * loud
        changes |= {operator.inputs[1]: weight, operator.inputs[2]: bias}
    graph = graph.with_data(changes)
    free = evened(Executor(graph), lambda samples: seen[list(samples)], len(seen), free=True)
    np.testing.assert_allclose(answers(free, seen), answers(graph, seen), atol=1e-4)

    def spread(of: Graph) -> float:
        largest = np.abs(np.asarray(Executor(of)(seen, wanted=total))).max(axis=(0, 1, 2))
        return float(largest.max() / largest.min())

    assert spread(free) < 0.5 * spread(graph)
    assert spread(free) == pytest.approx(np.sqrt(spread(graph)), rel=0.6)
