"""The int8 form answers nearly like the float graph, computes in int8, and is fed the same way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from device_agent.record.preprocess import PREPROCESS
from sdk.compress.board_form.mirror import mirror
from sdk.compress.board_form.sparse_hint import sparse_hint
from sdk.compress.recipes.recipe import Recipe, to_int8
from sdk.compress.solve.even_values import ranges
from sdk.compress.solve.quantize import quantize, with_float_answers, with_ranges
from sdk.compress.weights.prune import prune
from sdk.errors import DataError, ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.enums import NO_ACTIVATION
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.compress.layered_graphs import Layers, kinds, small_mobilenet, small_shufflenet
from tests.sdk.graph.small_graphs import interpret

pytestmark = pytest.mark.tensorflow


def images(size: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize("make", [small_mobilenet, small_shufflenet])
def test_the_answers_stay_within_a_few_steps_of_eight_bits(make: Callable[[], Graph]) -> None:
    graph = make()
    int8 = quantize(graph, images(32, 32, 0))
    model, quantised = write_graph(graph), write_graph(int8)
    expected, found = (
        np.array([interpret(m, x[None])[0] for x in images(32, 16, 1)]) for m in (model, quantised)
    )
    spread = expected.max() - expected.min()
    assert np.abs(expected - found).max() < 0.1 * spread
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.98


def test_every_layer_computes_in_int8_and_the_ends_stay_float() -> None:
    int8 = quantize(small_mobilenet(), images(32, 8, 0))
    assert kinds(int8)[0] == "QUANTIZE"
    assert kinds(int8)[-1] == "DEQUANTIZE"
    assert {w.tensor.dtype for w in int8.weights()} == {"INT8"}
    assert int8.tensors[int8.inputs[0]].dtype == int8.tensors[int8.outputs[0]].dtype == "FLOAT32"
    convolutions = [w for w in int8.weights() if w.layer == "convolution 1x1"]
    assert all(
        len(w.tensor.quantization.scales) == w.tensor.shape[0] for w in convolutions if w.tensor.quantization
    )


def test_a_channel_without_weights_gets_a_scale_all_the_same() -> None:
    graph = small_mobilenet()
    (weight, *_) = [w for w in graph.weights() if w.layer == "convolution 1x1"]
    (kernel, *_) = [w for w in graph.weights() if w.layer == "depthwise"]
    emptied = {weight.tensor_index: weight.array.copy(), kernel.tensor_index: kernel.array.copy()}
    emptied[weight.tensor_index][3] = 0
    emptied[kernel.tensor_index][..., 5] = 0
    int8 = quantize(graph.with_data(emptied), images(32, 8, 0))
    for found in int8.weights():
        assert found.tensor.quantization is not None
        assert (found.tensor.quantization.scales > 0).all()


def test_a_mirrored_graph_still_says_so() -> None:
    assert quantize(mirror(small_mobilenet()), images(32, 4, 0)).input_flips == ("height", "width")


def test_images_of_another_shape_or_none_are_refused() -> None:
    with pytest.raises(DataError, match="nothing to calibrate with"):
        quantize(small_mobilenet(), [])
    with pytest.raises(DataError, match=r"expected \(1, 32, 32, 3\) or \(32, 32, 3\); found \(16, 16, 3\)"):
        quantize(small_mobilenet(), images(16, 1, 0))


def test_a_hinted_graph_and_one_that_is_int8_already_are_refused() -> None:
    with pytest.raises(ModelError, match="sparse hint"):
        quantize(sparse_hint(prune(small_mobilenet(), 0.8)), images(32, 1, 0))
    net = Layers(1, 8)
    net.tensors[0] = net.tensors[0].__class__("codes", (1, 8), "INT8")
    with pytest.raises(ModelError, match="1 input of float32; found INT8"):
        quantize(net.graph(net.image), [])


def dataset_of(samples: np.ndarray) -> Dataset:
    """Images (n, height, width, channels) float32, which are taken as they are."""
    return Dataset(
        "noise",
        samples.shape[1:],
        PREPROCESS["raw"],
        lambda i: samples[i],
        lambda i: bytes(32),
        np.arange(len(samples)),
    )


def rounded(graph: Graph, samples: np.ndarray) -> Graph:
    """As :func:`sdk.compress.recipes.recipe.to_int8` makes it."""
    dataset = dataset_of(samples)
    recipe = Recipe(int8=True, sparsity=0.0, clusters=0, samples=len(samples), data_sha256=dataset.digest())
    return to_int8(graph, recipe, dataset)


def test_rounding_on_images_keeps_more_of_the_answers_than_rounding_to_the_nearest() -> None:
    graph = small_mobilenet()
    learn, check = images(32, 48, 0), images(32, 32, 1)
    nearest = quantize(graph, learn)
    chosen = rounded(graph, learn)
    assert kinds(chosen) == kinds(nearest)

    def error(int8: Graph) -> float:
        wanted, found = (
            np.array([interpret(m, x[None])[0] for x in check])
            for m in (write_graph(graph), write_graph(int8))
        )
        return float(np.square(wanted - found).mean())

    assert error(chosen) < error(nearest)
    for before, after in zip(nearest.weights(), chosen.weights(), strict=True):
        assert before.tensor.quantization is not None
        assert after.tensor.quantization is not None
        np.testing.assert_array_equal(before.tensor.quantization.scales, after.tensor.quantization.scales)
        assert np.abs(before.array.astype(int) - after.array).max() <= 127


def test_rounding_on_images_leaves_pruned_weights_zero() -> None:
    graph = prune(small_mobilenet(), 0.6)
    int8 = rounded(graph, images(32, 16, 0))
    by_name = {weight.tensor.name: weight.array for weight in int8.weights()}
    for weight in graph.weights():
        assert not by_name[weight.tensor.name][weight.array == 0].any()


def test_a_last_softmax_stays_float_on_scores_in_the_range_that_counts() -> None:
    net = Layers(1, 32, 32, 3, seed=2)
    scores = net.dense(net.mean(net.conv(net.image, 16, 3)), 40)
    graph = net.graph(net.append("SOFTMAX", (scores,), (1, 40), "SoftmaxOptions", beta=1.0))
    (*_, weight) = graph.weights()
    bias = graph.operators[-2].inputs[2]
    # Two classes are nearly alike and far above the others, of which one is far below all that counts.
    rows = weight.array * np.float32(0.02)
    graph = graph.with_data(
        {weight.tensor_index: rows, bias: np.array([9, 8.95, -60, *[0] * 37], np.float32)}
    )
    seen = images(32, 24, 0)
    executor = Executor(graph)
    known = np.asarray(executor(seen, wanted=executor.scores))
    quantised = quantize(graph, seen)
    fitted = with_float_answers(quantised, known)
    assert kinds(fitted)[-2:] == ["DEQUANTIZE", "SOFTMAX"]
    assert kinds(quantised)[-2:] == ["SOFTMAX", "DEQUANTIZE"]
    others = images(32, 8, 1)
    expected, plain, better = (
        np.array([interpret(write_graph(one), image[None])[0] for image in others]).reshape(8, -1)
        for one in (graph, quantised, fitted)
    )
    assert np.abs(better - expected).max() < 0.75 * np.abs(plain - expected).max()
    assert (plain[:, 3:] == 0).all()  # which is a multiple of 1/256
    np.testing.assert_allclose(better[:, 3:], expected[:, 3:], rtol=0.1)
    assert with_float_answers(fitted, known) is fitted


def test_ranges_without_the_longest_tails_lose_less() -> None:
    net = Layers(1, 32, 32, 3, seed=4)
    first = net.conv(net.image, 16, 3, stride=2, activation=NO_ACTIVATION)
    total = net.add(first, net.conv(first, 16, activation=NO_ACTIVATION))
    graph = net.graph(net.dense(net.mean(net.conv(total, 16)), 10))
    seen, others = images(32, 24, 0), images(32, 8, 1)
    seen[:, :2, :2] *= 12  # of which little is left in the answers
    others[:, :2, :2] *= 12
    executor = Executor(graph)
    found = ranges(executor, lambda samples: seen[list(samples)], len(seen))
    quantised = quantize(graph, seen)
    narrow = with_ranges(quantised, found)
    names = {tensor.name: tensor.quantization for tensor in narrow.tensors}
    before = {tensor.name: tensor.quantization for tensor in quantised.tensors}
    changed = [name for name in found if names[name].scales[0] < 0.9 * before[name].scales[0]]
    assert len(changed) >= 2
    expected, plain, better = (
        np.array([interpret(write_graph(one), image[None])[0] for image in others]).reshape(8, -1)
        for one in (graph, quantised, narrow)
    )
    assert np.square(better - expected).sum() < 1.1 * np.square(plain - expected).sum()
