"""Training keeps what pruning and sharing would lose, and a run that was cut goes on as if it had not been."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.recipes.targets import Settings, compress
from sdk.compress.train.adam import factored
from sdk.compress.train.batches import shifted
from sdk.compress.train.fine_tuning import tune
from sdk.compress.train.schedule import Tuning
from sdk.compress.train.student import Course, State, Student
from sdk.compress.weights.cluster import cluster
from sdk.compress.weights.prune import prune
from sdk.errors import ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import labelled_noise, small_network

pytestmark = pytest.mark.tensorflow
HOW = Tuning(sparsity=0.8, clusters=8, epochs=10, batch=64, rate=1e-2)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_network()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> Dataset:
    """Smooth noise, labelled with what the network answers."""
    return labelled_noise(tmp_path_factory.mktemp("data") / "noise.npz", graph, 640)


@pytest.fixture(scope="module")
def trained(graph: Graph, dataset: Dataset) -> tuple[Graph, list[State]]:
    states: list[State] = []
    return tune(Executor(graph), dataset, HOW, course=Course(checkpoint=states.append)), states


def arrays(graph: Graph) -> dict[str, np.ndarray]:
    """The graph's numbers, by name."""
    return {t.name: t.data for t in graph.tensors if t.data is not None}


def same(one: Graph, other: Graph) -> bool:
    return write_graph(one) == write_graph(other)


def agreement(graph: Graph, made: Graph, dataset: Dataset) -> float:
    images = dataset.images()
    before, after = (Executor(g)(images).numpy().argmax(axis=1) for g in (graph, made))
    return float((before == after).mean())


def test_it_answers_like_the_original_where_pruning_and_sharing_alone_do_not(
    graph: Graph, dataset: Dataset, trained: tuple[Graph, list[State]]
) -> None:
    alone = cluster(prune(graph, HOW.sparsity), HOW.clusters)
    reached = agreement(graph, trained[0], dataset)
    assert reached > 0.6
    assert reached > agreement(graph, alone, dataset) + 0.15


def test_zeros_and_centroids_are_as_many_as_asked(graph: Graph, trained: tuple[Graph, list[State]]) -> None:
    found = arrays(trained[0])
    pruned = [found["pointwise/weight"], found["classifier/weight"], found["stem/weight"]]
    zeros, count = sum((a == 0).sum() for a in pruned), sum(a.size for a in pruned)
    assert zeros == int(HOW.sparsity * count)
    assert all(np.unique(a).size <= HOW.clusters for a in pruned)
    assert (found["depthwise/weight"] == 0).mean() < 0.1


def test_a_small_layer_that_is_not_pruned_shares_one_centroid_per_eight_weights() -> None:
    made = {}
    for channels in (28, 32):
        student = Student(Executor(small_network(channels=channels)), HOW)
        student.mask(HOW.sparsity)
        student.share()
        made[channels] = np.unique(arrays(student.graph())["depthwise/weight"]).size
    assert made[28] == 9 * 28  # fewer than 256 weights keep their own
    assert 30 <= made[32] <= 9 * 32 // 8


def test_a_run_that_is_resumed_ends_like_one_that_was_not_cut(
    graph: Graph, dataset: Dataset, trained: tuple[Graph, list[State]]
) -> None:
    uncut, states = trained
    assert len(states) == HOW.epochs
    for epoch in (3, 9):  # before weights are shared, and after
        resumed = tune(Executor(graph), dataset, HOW, course=Course(states[epoch - 1]))
        assert same(resumed, uncut)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_run_that_is_resumed_in_the_middle_of_an_epoch_ends_like_one_that_was_not_cut(
    graph: Graph, dataset: Dataset, shift: int
) -> None:
    how = replace(HOW, epochs=5, shift=shift)
    few, states = dataset.take(320), []
    uncut = tune(Executor(graph), few, how, course=Course(checkpoint=states.append, due=lambda: True))
    assert len(states) == 25
    for number in (7, 23):  # before weights are shared, and after
        assert int(states[number]["step"]) > 0
        resumed = tune(Executor(graph), few, how, course=Course(states[number]))
        assert same(resumed, uncut)


def test_single_layers_get_zeros_and_centroids_of_their_own(graph: Graph, dataset: Dataset) -> None:
    numbers = {w.tensor.name: w.tensor_index for w in graph.weights()}
    how = replace(
        HOW,
        epochs=5,
        layer_sparsity={numbers["pointwise/weight"]: 0.9},
        layer_clusters={numbers["classifier/weight"]: 4},
    )
    made = arrays(tune(Executor(graph), dataset.take(128), how))
    pointwise, classifier = (made[n] for n in ("pointwise/weight", "classifier/weight"))
    assert (pointwise == 0).sum() == int(0.9 * pointwise.size)
    assert np.unique(classifier).size <= 4
    assert np.unique(pointwise).size > 4


def test_a_checkpoint_of_something_else_is_refused(graph: Graph, dataset: Dataset) -> None:
    with pytest.raises(ModelError, match="checkpoint"):
        tune(Executor(graph), dataset, HOW, course=Course({"value/1": np.zeros(3)}))
    other = small_network(channels=24)
    states: list[State] = []
    few = replace(HOW, epochs=3)
    tune(Executor(other), dataset.take(64), few, course=Course(checkpoint=states.append))
    with pytest.raises(ModelError, match="checkpoint"):
        tune(Executor(graph), dataset, few, course=Course(states[0]))


def test_labels_are_not_needed(graph: Graph, dataset: Dataset) -> None:
    unlabelled = replace(dataset, all_labels=None)
    made = tune(Executor(graph), unlabelled, replace(HOW, epochs=6, sparsity=0.3, clusters=32))
    assert agreement(graph, made, dataset) > 0.8


@pytest.mark.parametrize(
    "change", [{"clusters": 1}, {"clusters": 300}, {"sparsity": 1.0}, {"epochs": 2}, {"price": -1e-6}]
)
def test_settings_out_of_range_are_refused(graph: Graph, dataset: Dataset, change: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="trained"):
        tune(Executor(graph), dataset, replace(HOW, **change))  # type: ignore[arg-type]


def test_the_search_trains_when_asked_and_the_recipe_names_it(graph: Graph, dataset: Dataset) -> None:
    settings = Settings(effort="train", sparsity=0.5, clusters=16, epochs=4)
    result = compress(graph, dataset, settings)
    assert result.recipe.effort == "train"
    assert result.recipe.hold_out == 5
    assert "checked on 128 images" in result.statement


def test_importance_is_a_row_times_a_column_of_the_mean_squared_gradient() -> None:
    rows, columns = np.array([1.0, 3.0]), np.array([2.0, 4.0, 6.0])
    second = (rows[:, None] * columns).reshape(2, 3, 1, 1).astype(np.float32)
    np.testing.assert_allclose(factored(second), second)
    np.testing.assert_array_equal(factored(np.zeros((2, 3))), np.ones((2, 3)))


def test_a_masked_weight_comes_back_when_it_is_worth_more_than_another(graph: Graph) -> None:
    student = Student(Executor(graph), replace(HOW, sparsity=0.5))
    student.mask(0.5)
    tensor = student.pruned[-1]
    values = student.values[tensor].numpy()
    gone = np.argwhere(student.masks[tensor].numpy() == 0)[0]
    values[tuple(gone)] = 100.0
    student.values[tensor].assign(values)
    student.mask(0.5)
    assert student.masks[tensor].numpy()[tuple(gone)] == 1
    assert student.constants()[tensor][tuple(gone)] == 100.0


def test_shifted_images_keep_their_pixels() -> None:
    images = np.zeros((50, 9, 9, 1), np.float32)
    images[:, 4, 4] = 1
    moved = shifted(images, 2, np.random.default_rng(0).integers(0, 5, (50, 2)))
    assert (moved.sum(axis=(1, 2, 3)) == 1).all()
    rows = moved.sum(axis=(0, 2, 3))
    assert (rows[2:7] > 0).all()
    assert rows.sum() == 50
