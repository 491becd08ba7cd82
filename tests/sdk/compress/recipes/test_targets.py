"""What a user asks for is met, or the answer says that it is not; and it always says how accuracy was checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdk.compress.recipes.recipe import Recipe, apply
from sdk.compress.recipes.targets import Settings, TargetResult, compress, replay
from sdk.compress.solve.whole_channels.choice import macs_of
from sdk.data.loading import load_dataset
from sdk.errors import DataError, ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack
from tests.sdk.graph.small_graphs import labelled, small_network


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_network(channels=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> Path:
    """200 images, labelled with what the network answers, so that its own accuracy is 100 %."""
    path = tmp_path_factory.mktemp("data")
    images, labels = labelled(graph, 200)
    np.savez(path / "labelled.npz", x=images, y=labels)
    np.savez(path / "plain.npz", x=images)
    return path


def load(folder: Path, name: str) -> Dataset:
    return load_dataset(folder / name, input_shape=(8, 8, 3), preprocess="tf")


def size(result: TargetResult) -> int:
    return len(pack.pack(write_graph(result.graph)))


def test_without_data_nothing_is_claimed(graph: Graph) -> None:
    result = compress(graph)
    assert result.recipe == Recipe()
    assert "not checked" in result.statement
    assert write_graph(result.graph) == write_graph(apply(graph, result.recipe))


def test_without_data_a_size_is_met_by_pruning_more(graph: Graph) -> None:
    usual = size(compress(graph))
    result = compress(graph, settings=Settings(target_bytes=usual - 400))
    assert result.target_met
    assert size(result) <= usual - 400
    assert result.recipe.sparsity > Recipe().sparsity
    assert len(result.curve) > 2


def test_a_size_that_nothing_reaches_is_said_to_be_missed(graph: Graph) -> None:
    result = compress(graph, settings=Settings(target_bytes=100))
    assert not result.target_met


def test_a_loss_without_data_is_refused(graph: Graph) -> None:
    with pytest.raises(DataError, match="measured"):
        compress(graph, settings=Settings(max_loss=1.0))
    with pytest.raises(DataError, match="images"):
        compress(graph, settings=Settings(effort="calibrate"))


def test_an_unknown_effort_or_number_of_clusters_is_refused(graph: Graph, folder: Path) -> None:
    with pytest.raises(ModelError, match="effort"):
        compress(graph, settings=Settings(effort="heroic"))
    with pytest.raises(ModelError, match="clusters"):
        compress(graph, load(folder, "plain.npz"), Settings(clusters=2))


@pytest.mark.tensorflow
def test_with_images_it_calibrates_checks_on_those_kept_back_and_can_be_replayed(
    graph: Graph, folder: Path
) -> None:
    data = load(folder, "labelled.npz")
    result = compress(graph, data)
    assert result.recipe.effort == "calibrate"
    (point,) = result.curve
    assert point.package_bytes == size(result)
    assert point.accuracy_percent is not None
    assert point.accuracy_percent > 80
    assert "40 images of labelled kept back" in result.statement
    assert "top-1 100.00 %" in result.statement
    assert write_graph(apply(graph, result.recipe, dataset=data)) == write_graph(result.graph)


@pytest.mark.tensorflow
def test_without_labels_the_originals_answers_are_what_counts(graph: Graph, folder: Path) -> None:
    result = compress(graph, load(folder, "plain.npz"), check=load(folder, "plain.npz"))
    assert "no labels" in result.statement
    assert "of their own" in result.statement
    assert result.curve[0].accuracy_percent is None
    assert result.curve[0].agreement_percent is not None
    assert result.recipe.hold_out == 0


@pytest.mark.tensorflow
def test_a_size_is_met_by_a_dearer_bit(graph: Graph, folder: Path) -> None:
    data = load(folder, "plain.npz")
    usual = size(compress(graph, data))
    result = compress(graph, data, Settings(target_bytes=usual - 120))
    assert result.target_met
    assert size(result) <= usual - 120
    assert result.recipe.price > result.curve[0].recipe.price


@pytest.mark.tensorflow
def test_a_loss_is_kept_and_the_smallest_package_that_keeps_it_is_taken(graph: Graph, folder: Path) -> None:
    data = load(folder, "labelled.npz")
    result = compress(graph, data, Settings(max_loss=25.0))
    assert result.target_met
    assert result.lost is not None
    assert result.lost.high <= 25.0
    assert size(result) == next(p.package_bytes for p in result.curve if p.recipe == result.recipe)
    assert len(result.curve) > 1
    assert "confirmed on 50 images" in result.statement
    assert "chosen on 50 others" in result.statement


@pytest.mark.tensorflow
def test_a_search_stops_before_its_time_is_over(graph: Graph, folder: Path) -> None:
    clock = iter(range(100, -100, -30))  # every reading is 30 seconds later
    settings = Settings(max_loss=25.0, seconds_left=lambda: float(next(clock)))
    assert len(compress(graph, load(folder, "labelled.npz"), settings).curve) == 2


@pytest.mark.tensorflow
def test_few_images_are_all_calibrated_on_and_that_is_said(graph: Graph, folder: Path) -> None:
    few = load(folder, "plain.npz").take(30)
    assert "not checked" in compress(graph, few).statement
    with pytest.raises(DataError, match="too few"):
        compress(graph, few, Settings(max_loss=1.0))


@pytest.mark.tensorflow
def test_a_replay_is_checked_again_on_what_the_recipe_held_out_and_says_so(
    graph: Graph, folder: Path
) -> None:
    dataset = load(folder, "labelled.npz")
    made = compress(graph, dataset, Settings(effort="calibrate"))
    again = replay(graph, made.recipe, dataset)
    assert size(again) == size(made)
    assert again.statement == f"a recipe was replayed, and {made.statement}"
    assert "40 images" in again.statement


@pytest.mark.tensorflow
def test_a_replay_without_images_says_that_nothing_was_checked(graph: Graph, folder: Path) -> None:
    assert replay(graph, Recipe()).statement == "accuracy was not checked: no data were given"
    few = load(folder, "labelled.npz").take(40)
    everything = compress(graph, few, Settings(effort="calibrate")).recipe
    assert "kept no images back" in replay(graph, everything, few).statement
    other = load(folder, "labelled.npz").subset(range(40, 140))
    assert "on 100 images" in replay(graph, everything, few, check=other).statement


@pytest.mark.tensorflow
@pytest.mark.parametrize("effort", ["calibrate", "train"])
def test_whole_channels_go_first_and_a_replay_takes_the_same(graph: Graph, folder: Path, effort: str) -> None:
    data = load(folder, "labelled.npz").take(80)
    result = compress(graph, data, Settings(effort=effort, channels=0.3, sparsity=0.5, epochs=3))
    assert result.recipe.channels == 0.3
    assert macs_of(result.graph) <= 0.7 * macs_of(graph)
    again = apply(graph, Recipe.from_toml(result.recipe.to_toml()), dataset=data)
    assert write_graph(again) == write_graph(result.graph)


@pytest.mark.tensorflow
def test_a_target_of_work_is_met_by_whole_channels(graph: Graph, folder: Path) -> None:
    data, most = load(folder, "labelled.npz").take(80), int(0.8 * macs_of(graph))
    result = compress(graph, data, Settings(target_macs=most))
    assert 0.6 * most < macs_of(result.graph) <= most
    assert compress(graph, data, Settings(target_macs=10 * most)).recipe.channels == 0
    fitting = compress(graph, data, Settings(fits=lambda g: macs_of(g) <= most))
    assert macs_of(fitting.graph) <= most
    with pytest.raises(DataError, match="whole channels"):
        compress(graph, None, Settings(target_macs=most))


def test_whole_channels_need_images(graph: Graph) -> None:
    with pytest.raises(DataError, match="whole channels are chosen by what they do on images"):
        compress(graph, None, Settings(channels=0.3))
    with pytest.raises(DataError, match="this recipe is to take out whole channels"):
        apply(graph, Recipe(channels=0.3))
