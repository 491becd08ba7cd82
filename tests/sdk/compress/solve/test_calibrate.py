"""Calibration keeps what a network answers, where rounding alone does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.solve.calibrate import (
    Calibrated,
    Wish,
    calibrate,
    output_sensitivities,
    read_again,
    regular,
    solved_layers,
    with_biases,
)
from sdk.compress.solve.layer import Problem, solve
from sdk.compress.solve.statistics import Moments, Sensitivity, Streams, live_before
from sdk.compress.weights.biases import rounded_bias
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import interpret, small_network

pytestmark = pytest.mark.tensorflow
COUNT = 96


def images(samples: range) -> np.ndarray:
    """Smooth random images, another for every number."""
    coarse = [np.random.default_rng(i).normal(size=(4, 4, 3)) for i in samples]
    return np.stack([c.repeat(2, axis=0).repeat(2, axis=1) for c in coarse]).astype(np.float32)


def divergence(graph: Graph, constants: dict[int, np.ndarray]) -> float:
    """Mean KL divergence (nats) of the class probabilities on images that calibration has not seen."""
    executor = Executor(graph)
    fresh = images(range(1000, 1256))
    teacher, student = (_log_softmax(executor(fresh, c).numpy()) for c in ({}, constants))
    return float((np.exp(teacher) * (teacher - student)).sum(axis=1).mean())


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_network()


@pytest.fixture(scope="module")
def fisher(graph: Graph) -> dict[int, Sensitivity]:
    return output_sensitivities(Executor(graph), images, COUNT)


@pytest.fixture(scope="module")
def calibrated(graph: Graph, fisher: dict[int, Sensitivity]) -> Calibrated:
    return calibrate(Executor(graph), images, COUNT, 3e-5, fisher)


def test_it_answers_like_the_original_and_better_than_rounding_the_same_scales(
    graph: Graph, calibrated: Calibrated
) -> None:
    nearest = {}
    for layer in solved_layers(graph):
        tensor = layer.weight.tensor_index
        scales = calibrated.solutions[tensor].scales[..., None]
        nearest[tensor] = layer.shape.fold(np.rint(layer.shape.unfold(layer.weight.array) / scales) * scales)
    bits = calibrated.bits / sum(s.symbols.size for s in calibrated.solutions.values())
    assert bits < 4.5
    assert divergence(graph, calibrated.constants) < 0.5 * divergence(graph, nearest)


def test_the_loss_that_it_expects_is_about_the_loss_that_comes(graph: Graph, calibrated: Calibrated) -> None:
    assert calibrated.loss / 3 < divergence(graph, calibrated.constants) < calibrated.loss * 3


def test_every_layers_mean_output_is_the_originals(graph: Graph, calibrated: Calibrated) -> None:
    executor = Executor(graph)
    batch = images(range(COUNT))
    for layer in solved_layers(graph):
        operator = graph.operators[layer.weight.operator_index]
        linear = replace(
            graph,
            operators=tuple(
                o.with_options(fusedActivationFunction=0) if o is operator else o for o in graph.operators
            ),
        )
        output = operator.outputs[0]
        before = Executor(linear)(batch, wanted=output).numpy()
        after = Executor(linear)(batch, calibrated.constants, wanted=output).numpy()
        axes = tuple(range(before.ndim - 1))
        np.testing.assert_allclose(after.mean(axes), before.mean(axes), atol=4e-4)
    assert executor.graph is graph


def test_sparsity_is_reached_in_pruned_layers_alone(graph: Graph, fisher: dict[int, Sensitivity]) -> None:
    plain, sparse = (
        calibrate(Executor(graph), images, COUNT, 1e-6, fisher, usual=Wish(sparsity=sparsity))
        for sparsity in (0.0, 0.75)
    )
    for weight in graph.weights():
        before, after = (c.constants[weight.tensor_index] for c in (plain, sparse))
        if weight.tensor.name in ("pointwise/weight", "classifier/weight"):
            assert 0.75 <= (after == 0).mean() < 0.8
            assert (before == 0).mean() < 0.7
        else:
            np.testing.assert_array_equal(after, before)


def test_a_single_layer_gets_a_price_zeros_and_levels_of_its_own(
    graph: Graph, fisher: dict[int, Sensitivity]
) -> None:
    numbers = {w.tensor.name: w.tensor_index for w in graph.weights()}
    dear, coarse = numbers["pointwise/weight"], numbers["classifier/weight"]
    wishes = {dear: Wish(price=8.0, sparsity=0.6), coarse: Wish(levels=1)}
    seen: list[float] = []
    plain = calibrate(Executor(graph), images, COUNT, 1e-6, fisher)
    result = calibrate(Executor(graph), images, COUNT, 1e-6, fisher, wishes=wishes, watch=seen.append)
    assert result.solutions[dear].bits < 0.8 * plain.solutions[dear].bits
    assert (result.constants[dear] == 0).mean() >= 0.6
    assert set(np.unique(result.solutions[coarse].symbols)) == {-1, 0, 1}
    assert seen == sorted(seen)
    assert len(seen) == len(result.solutions)
    assert seen[-1] == result.bits


def test_the_interpreter_answers_as_the_executor_does(graph: Graph, calibrated: Calibrated) -> None:
    batch = images(range(3))
    model = write_graph(graph.with_data(calibrated.constants))
    expected = Executor(graph)(batch, calibrated.constants).numpy()
    answers = np.concatenate([interpret(model, image[None]) for image in batch])
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-4)


def test_the_same_images_and_price_give_the_same_weights(
    graph: Graph, fisher: dict[int, Sensitivity], calibrated: Calibrated
) -> None:
    again = calibrate(Executor(graph), images, COUNT, 3e-5, fisher)
    for tensor, array in calibrated.constants.items():
        np.testing.assert_array_equal(array, again.constants[tensor])


def test_a_covariance_that_is_nothing_but_rounding_errors_is_made_safe_to_invert() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-7, (2, 32, 32))
    covariance = noise + np.swapaxes(noise, 1, 2)
    assert np.linalg.eigvalsh(covariance).min() < 0
    sound = np.eye(32) * 2.0
    moments = Moments(*np.zeros((2, 2, 32)), *[covariance] * 3, np.full(2, 1e-4), np.zeros(2))
    np.linalg.cholesky(np.linalg.inv(regular(moments, covariance)))
    usual = np.stack([sound, sound])
    np.testing.assert_allclose(regular(moments, usual), usual * 1.01)


def test_problems_can_be_solved_again_at_another_price(calibrated: Calibrated) -> None:
    problems: list[Problem] = list(calibrated.problems.values())
    dearer = sum(solve(problem, 3e-4).bits for problem in problems)
    assert dearer < calibrated.bits


def test_sensitivities_are_the_second_order_of_the_loss(graph: Graph, fisher: dict[int, Sensitivity]) -> None:
    """A small change of one channel of the classifier's output costs half its sensitivity times the square."""
    (classifier,) = (x for x in solved_layers(graph) if x.weight.layer == "fully connected")
    bias = graph.tensors[classifier.bias].data
    assert bias is not None
    measured = []
    for channel in range(bias.size):
        moved = bias.copy()
        moved[channel] += 0.1
        measured.append(divergence(graph, {classifier.bias: moved}) / (0.5 * 0.1**2))
    expected = fisher[classifier.weight.operator_index].channels
    assert np.mean(measured) == pytest.approx(expected.mean(), rel=0.35)


def test_layers_that_share_one_bias_get_their_own(graph: Graph):
    stem, depthwise, *rest = graph.operators
    shared = replace(depthwise, inputs=(*depthwise.inputs[:2], stem.inputs[2]))
    one_bias = replace(graph, operators=(stem, shared, *rest))
    whole = with_biases(one_bias)
    biases = [layer.bias for layer in solved_layers(whole)]
    assert len(set(biases)) == len(biases) == len(solved_layers(graph))
    first = images(range(1))
    np.testing.assert_array_equal(
        interpret(write_graph(whole), first), interpret(write_graph(one_bias), first)
    )
    fisher = output_sensitivities(Executor(whole), images, COUNT)
    assert len(fisher) == len(biases)
    assert len(calibrate(Executor(whole), images, COUNT, 3e-5, fisher).solutions) == len(biases)


def test_errors_that_all_positions_share_cost_as_many_times_more_as_there_are_positions() -> None:
    """Gradients g of one output, inputs x: of one position, of nine alike, and of nine that have nothing in common."""
    rng = np.random.default_rng(0)
    images_, positions, columns = 20_000, 9, 4
    mean = np.array([1.0, -2.0, 0.0, 0.5])

    def coherence(alike: bool, places: int) -> float:
        shape = (images_, 1 if alike else places)
        g = np.broadcast_to(rng.normal(0, 1, shape), (images_, places))
        x = np.broadcast_to(mean + rng.normal(0, 1, (*shape, columns)), (images_, places, columns))
        of_weights, of_bias = np.einsum("ip,ipc->ic", g, x), g.sum(axis=1)
        seen = Sensitivity(
            np.square(g).sum(axis=1).mean(keepdims=True),
            (of_weights.T @ of_weights / images_)[None],
            (of_bias @ of_weights / images_)[None],
            np.square(of_bias).mean(keepdims=True),
        )
        return seen.coherence(np.eye(columns)[None], mean[None])

    assert coherence(False, 1) == pytest.approx(1, rel=0.05)
    assert coherence(False, positions) == pytest.approx(1, rel=0.05)
    assert coherence(True, positions) == pytest.approx(positions, rel=0.05)


def test_biases_end_in_zeros_and_hardly_change() -> None:
    values = np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32)
    rounded = rounded_bias(values)
    assert not (rounded.view(np.uint32) & 0xFFF).any()
    assert (np.abs(rounded - values) <= 2.0**-12 * np.abs(values)).all()


def test_layers_without_a_bias_are_given_one_of_zeros(graph: Graph) -> None:
    operators = list(graph.operators)
    operators[4] = replace(operators[4], inputs=(*operators[4].inputs[:2], -1))
    bare = replace(graph, operators=tuple(operators))
    assert len(solved_layers(bare)) == 3
    whole = with_biases(bare)
    assert len(solved_layers(whole)) == 4
    image = images(range(1))
    np.testing.assert_allclose(
        interpret(write_graph(whole), image), interpret(write_graph(bare), image), rtol=1e-6
    )


def test_a_layer_sees_the_same_with_little_memory_and_with_much(graph: Graph) -> None:
    counts: dict[int, int] = {}

    def streams(memory_bytes: int) -> Streams:
        def counted(samples: range) -> np.ndarray:
            counts[memory_bytes] = counts.get(memory_bytes, 0) + len(samples)
            return images(samples)

        return Streams(Executor(graph), counted, COUNT, memory_bytes)

    sizes = {
        layer.weight.operator_index: COUNT
        * 8
        * sum(graph.tensors[t].elements for t in live_before(graph, layer.weight.operator_index))
        for layer in solved_layers(graph)
    }
    least, most = min(sizes.values()), max(sizes.values())
    little, much = streams(least), streams(most)
    for layer in solved_layers(graph):
        for each in (little, much):
            each.advance(layer.weight.operator_index, {})
        one, other = (each.moments(layer.shape, layer.source) for each in (little, much))
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-4, atol=1e-6)
    # Where the values of a layer do not fit, they are computed from those that did, or from the images, once more.
    assert least < most
    assert counts[most] == COUNT < counts[least]


def test_channels_of_a_block_share_their_zeros_in_1x1_convolutions_alone(
    graph: Graph, fisher: dict[int, Sensitivity]
) -> None:
    blocks = calibrate(Executor(graph), images, COUNT, 3e-5, fisher, usual=Wish(sparsity=0.6, block=2))
    for layer in solved_layers(graph):
        used = layer.shape.unfold(blocks.constants[layer.weight.tensor_index]) != 0
        pairs = used[:, : used.shape[1] // 2 * 2].reshape(len(used), -1, 2, used.shape[2])
        shared = bool((pairs.any(axis=2) == pairs.all(axis=2)).all())
        assert shared or layer.weight.layer != "convolution 1x1"
    pointwise = [w for w in graph.weights() if w.layer == "convolution 1x1"]
    assert all((blocks.constants[w.tensor_index] == 0).mean() >= 0.6 for w in pointwise)


def one_head_for_two_scales() -> Graph:
    """A detector's head that reads maps of two sizes with the same weights and biases."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 3))
    large = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    small = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(large)
    head = layers.Conv2D(6, 3, padding="same", bias_initializer="random_normal")
    values = [layers.Flatten()(head(one)) for one in (large, small)]
    return read_graph(from_keras(keras.Model(image, layers.Concatenate()(values))))


def test_layers_that_share_weights_cost_together_and_keep_their_means_apart() -> None:
    shared = one_head_for_two_scales()
    readers = [len(numbers) for numbers in shared.consumers().values()]
    (head,) = [w for w in shared.weights() if len(shared.consumers()[w.tensor_index]) == 2]
    assert readers.count(2) >= 2  # the weight, and the bias
    whole = with_biases(shared)
    layers = solved_layers(whole)
    (again,) = read_again(whole, layers)
    assert again.weight.tensor_index == head.tensor_index
    assert again.bias not in {layer.bias for layer in layers}
    first = next(layer for layer in layers if layer.weight.tensor_index == head.tensor_index)
    np.testing.assert_array_equal(whole.tensors[again.bias].data, whole.tensors[first.bias].data)

    sensitivities = output_sensitivities(Executor(whole), images, COUNT)
    assert set(sensitivities) == {layer.weight.operator_index for layer in layers}
    found = calibrate(Executor(whole), images, COUNT, 1e-4, sensitivities)
    seen = images(range(COUNT))
    for layer in (first, again):
        output = whole.operators[layer.weight.operator_index].outputs[0]
        before, after = (
            Executor(whole)(seen, constants, wanted=output).numpy().mean(axis=(0, 1, 2))
            for constants in ({}, found.constants)
        )
        np.testing.assert_allclose(after, before, atol=2e-3)
    assert found.constants[again.bias].tolist() != found.constants[first.bias].tolist()
    # Errors at either size cost, as they do where each has a weight of its own.
    place, other = first.weight.operator_index, again.weight.operator_index
    operator, copy = whole.operators[other], len(whole.tensors)
    apart = replace(
        whole,
        tensors=(*whole.tensors, replace(head.tensor, name="copy")),
        operators=tuple(
            replace(o, inputs=(o.inputs[0], copy, o.inputs[2])) if o is operator else o
            for o in whole.operators
        ),
    )
    of_each = output_sensitivities(Executor(apart), images, COUNT)
    together = of_each[place].channels.sum() + of_each[other].channels.sum()
    assert sensitivities[place].channels.sum() == pytest.approx(together, rel=1e-3)
