"""A training that counts bits makes smaller packages that answer as well, and goes on after a cut like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdk.cli import main
from sdk.compress.recipes.recipe import Recipe, tuning
from sdk.compress.recipes.targets import Settings, compress, replay
from sdk.compress.rewrite.dead_channels import drop_dead_channels
from sdk.compress.solve.calibrate import with_biases
from sdk.compress.train.fine_tuning import tune
from sdk.compress.train.priced import PricedStudent
from sdk.compress.train.rate import cheapest, code_bits, soft_bits
from sdk.compress.train.schedule import Tuning
from sdk.compress.train.student import Course, State
from sdk.errors import ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph, Operator, Tensor
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.sdk.graph.small_graphs import images, labelled_noise, small_network

pytestmark = pytest.mark.tensorflow
HOW = Tuning(sparsity=0.8, clusters=12, epochs=20, batch=64, rate=5e-3, price=1e-4)


@pytest.fixture(scope="module")
def graph() -> Graph:
    """A convolution over the whole image and a classifier: two layers of weights."""
    rng = np.random.default_rng(0)

    def constant(name: str, *shape: int) -> Tensor:
        inputs = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
        return Tensor(name, shape, "FLOAT32", rng.normal(0, inputs**-0.5, shape).astype(np.float32))

    tensors = (
        Tensor("image", (1, 8, 8, 3), "FLOAT32"),
        constant("hidden/weight", 64, 8, 8, 3),
        constant("hidden/bias", 64),
        Tensor("hidden", (1, 1, 1, 64), "FLOAT32"),
        Tensor("shape", (2,), "INT32", np.array([1, 64], np.int32)),
        Tensor("flat", (1, 64), "FLOAT32"),
        constant("classifier/weight", 10, 64),
        constant("classifier/bias", 10),
        Tensor("scores", (1, 10), "FLOAT32"),
    )
    window = {"padding": 1, "strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
    operators = (
        Operator("CONV_2D", (0, 1, 2), (3,), {**window, "fusedActivationFunction": 1}, "Conv2DOptions"),
        Operator("RESHAPE", (3, 4), (5,), {"newShape": [1, 64]}, "ReshapeOptions"),
        Operator("FULLY_CONNECTED", (5, 6, 7), (8,), {"fusedActivationFunction": 0}, "FullyConnectedOptions"),
    )
    return Graph(tensors, operators, (0,), (8,))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> Dataset:
    """Smooth noise, labelled with what the network answers."""
    return labelled_noise(tmp_path_factory.mktemp("data") / "noise.npz", graph, 640)


def loss(graph: Graph, made: Graph, dataset: Dataset) -> float:
    """The divergence of answers from the original's, nats."""
    images = dataset.images()
    before, after = (Executor(g)(images).numpy().astype(np.float64) for g in (graph, made))
    before, after = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (before, after))
    return float((np.exp(before) * (before - after)).sum(axis=1).mean())


def test_with_a_price_the_package_is_smaller_at_the_same_sparsity_and_answers_as_well(
    graph: Graph, dataset: Dataset
) -> None:
    free, priced = (
        drop_dead_channels(tune(Executor(graph), dataset, replace(HOW, price=price)))
        for price in (1e-12, HOW.price)
    )
    sizes = len(pack(write_graph(free))), len(pack(write_graph(priced)))
    losses = loss(graph, free, dataset), loss(graph, priced, dataset)
    assert sizes[1] < 0.8 * sizes[0]
    assert losses[1] < 1.05 * losses[0]


def test_a_run_that_is_resumed_ends_like_one_that_was_not_cut(graph: Graph, dataset: Dataset) -> None:
    how = replace(HOW, epochs=10, sparsity=0.95, shift=1)
    few, states = dataset.take(320), []
    uncut = tune(Executor(graph), few, how, course=Course(checkpoint=states.append, due=lambda: True))
    assert len(states) == 50
    shapes = {tuple(s[k].shape) for s in states for k in s if k.startswith("mask/")}
    assert len(shapes) > len(list(graph.weights()))  # a channel went on the way
    codes = [{k: v for k, v in s.items() if k.startswith("code/")} for s in (states[40], states[-1])]
    assert any(not np.array_equal(codes[0][k], codes[1][k]) for k in codes[0])  # and codes changed
    # While weights go, between epochs and within one; when masks are fixed; and when weights are shared.
    for number in (12, 37, 46):
        assert same(tune(Executor(graph), few, how, course=Course(states[number])), uncut)


def same(one: Graph, other: Graph) -> bool:
    return write_graph(one) == write_graph(other)


def test_a_checkpoint_of_something_else_is_refused(graph: Graph, dataset: Dataset) -> None:
    states: list[State] = []
    few, how = dataset.take(64), replace(HOW, epochs=5)
    tune(Executor(graph), few, how, course=Course(checkpoint=states.append))
    tune(Executor(graph), few, replace(how, price=0.0), course=Course(checkpoint=states.append))
    other = with_biases(small_network())
    with pytest.raises(ModelError, match="checkpoint"):  # of a training without a price
        tune(Executor(graph), few, how, course=Course(states[-1]))
    with pytest.raises(ModelError, match="checkpoint"):
        tune(Executor(other), few, how, course=Course(states[0]))
    with pytest.raises(ModelError, match="checkpoint"):
        tune(Executor(graph), few, how, course=Course({**states[0], "graph": np.zeros(8, np.uint8)}))


def test_weights_that_go_in_pairs_stay_or_go_in_pairs_whatever_their_codes_cost() -> None:
    # At this price every code would be the shortest, which is that of zero.
    graph = with_biases(small_network())
    tensors = [w.tensor_index for w in graph.weights() if w.layer == "convolution 1x1"]
    student = PricedStudent(Executor(graph), replace(HOW, sparsity=0.5, clusters=4, block=2, price=0.9))
    student.mask(0.5)
    student.share()
    student.sense(images(4))
    student.choose_codes()
    made = student.graph()
    for tensor in tensors:
        there = np.count_nonzero(
            made.tensors[tensor].data.reshape(-1, 2, made.tensors[tensor].shape[3]), axis=1
        )
        assert set(there.ravel()) == {0, 2}


def test_the_recipe_keeps_the_price_and_replays_to_the_same_bytes(graph: Graph, dataset: Dataset) -> None:
    settings = Settings(effort="train", sparsity=0.8, clusters=8, epochs=4, price=1e-4)
    made = compress(graph, dataset, settings)
    text = made.recipe.to_toml()
    assert "price = 0.0001" in text
    recipe = Recipe.from_toml(text)
    assert recipe == made.recipe
    assert tuning(graph, recipe).price == 1e-4
    assert same(replay(graph, recipe, dataset).graph, made.graph)


def test_a_recipe_of_a_training_without_a_price_reads_as_before() -> None:
    recipe = Recipe(effort="train", epochs=10)
    assert "price" not in recipe.to_toml()
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    with pytest.raises(ModelError, match="price"):
        Recipe.from_toml(replace(recipe, price=-1.0).to_toml())


def test_codes_are_chosen_by_error_and_bits() -> None:
    book, bits = np.array([0.0, 1.0, 1.1]), np.array([0.5, 3.0, 7.0])
    values, curvature = np.array([1.06, 1.06, 0.1]), np.array([100.0, 1e6, 1.0])
    assert cheapest(values, curvature, book, bits, 0.0).tolist() == [2, 2, 0]
    assert cheapest(values, curvature, book, bits, 0.1).tolist() == [1, 2, 0]
    assert cheapest(values[:1], np.array([0.1]), book, bits, 0.1).tolist() == [0]


def test_bits_follow_from_how_often_a_code_occurs_and_one_that_does_not_may_come_back() -> None:
    bits = code_bits(np.array([0] * 12 + [1] * 4), 3)
    np.testing.assert_allclose(bits, [np.log2(16 / 12), 2.0, 5.0])


def test_soft_bits_count_a_channel_once_and_zeros_not_at_all() -> None:
    import tensorflow as tf

    def bits(*places: tuple[int, int]) -> float:
        weight = np.zeros((4, 6), np.float32)
        for place in places:
            weight[place] = 1.0
        return float(soft_bits(tf.constant(weight), 0.1))

    assert bits() == 0.0
    assert bits((0, 0), (0, 1)) < bits((0, 0), (1, 1))
    assert bits((0, 0)) > 3


@pytest.mark.parametrize("price", ["-1e-5", "1", "nan", "many"])
def test_a_price_that_is_none_is_refused_in_one_line(
    price: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compress", "x.tflite", "-o", str(tmp_path / "x.armlet"), f"--price={price}"]) == 2
    assert "--price" in capsys.readouterr().err
