"""Which effort is taken where the user leaves it open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdk
from sdk.api.files.efforts import TRAINED_IMAGES, strongest
from sdk.compress.recipes import budget
from sdk.data.loading import load_dataset
from sdk.graph.dataset import Dataset
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import naming_its_class, small_network


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    images = np.zeros((TRAINED_IMAGES, 8, 8, 3), np.uint8)
    np.savez(path / "plain.npz", x=images)
    np.savez(path / "labelled.npz", x=images, y=np.arange(len(images)) % 10)
    return path


def load(folder: Path, name: str) -> Dataset:
    return load_dataset(folder / name, input_shape=(8, 8, 3), preprocess="tf")


def pace(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """An epoch takes so long."""
    monkeypatch.setattr(budget, "seconds_per_epoch", lambda *arguments: seconds)


def test_without_images_nothing_is_learned(graph: Graph) -> None:
    assert strongest(graph, None) == ("none", "no images were given")


def test_an_operator_that_cannot_be_run_leaves_the_effort_without_data(graph: Graph, folder: Path) -> None:
    odd = replace(
        graph, operators=(replace(graph.operators[0], kind="CUSTOM", custom_code="Odd"), *graph.operators[1:])
    )
    effort, why = strongest(odd, load(folder, "labelled.npz"))
    assert effort == "none"
    assert "Odd" in why


@pytest.mark.tensorflow
def test_what_shows_only_when_it_runs_leaves_the_effort_without_data(graph: Graph, folder: Path) -> None:
    """An operator that is known, but not in this form."""
    uneven = graph.operators[1].with_options(strideW=2)
    odd = replace(graph, operators=(graph.operators[0], uneven, *graph.operators[2:]))
    effort, why = strongest(odd, load(folder, "labelled.npz"))
    assert effort == "none"
    assert "DEPTHWISE_CONV_2D" in why
    assert "1x2" in why
    assert "\n" not in why


def test_answers_that_no_training_learns_are_calibrated_on(graph: Graph, folder: Path) -> None:
    effort, why = strongest(replace(graph, outputs=(9,)), load(folder, "labelled.npz"))
    assert effort == "calibrate"
    assert "scores" in why


def test_few_images_are_calibrated_on(graph: Graph, folder: Path) -> None:
    effort, why = strongest(graph, load(folder, "labelled.npz"), samples=TRAINED_IMAGES - 1)
    assert effort == "calibrate"
    assert "1,999 images with labels" in why


def test_many_images_with_labels_are_trained_on_where_all_epochs_fit_half_an_hour(
    graph: Graph, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace(monkeypatch, 59.0)
    assert strongest(graph, load(folder, "labelled.npz"), epochs=30)[0] == "train"
    pace(monkeypatch, 61.0)
    effort, why = strongest(graph, load(folder, "labelled.npz"), epochs=30)
    assert effort == "calibrate"
    assert "30 min" in why


def test_images_without_labels_are_trained_on_where_a_time_budget_is_named(
    graph: Graph, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace(monkeypatch, 1.0)
    plain = load(folder, "plain.npz")
    effort, why = strongest(graph, plain)
    assert effort == "calibrate"
    assert "time budget" in why
    assert strongest(graph, plain, seconds=600)[0] == "train"


def test_a_budget_needs_to_hold_ten_epochs_not_all(
    graph: Graph, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace(monkeypatch, 1.0)
    labelled = load(folder, "labelled.npz")
    assert strongest(graph, labelled, epochs=30, seconds=12)[0] == "train"
    assert strongest(graph, labelled, epochs=30, seconds=11)[0] == "calibrate"


def test_what_no_host_could_do_in_time_is_not_measured_first(
    graph: Graph, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*arguments: object) -> float:
        raise AssertionError("the pace was measured")

    monkeypatch.setattr(budget, "seconds_per_epoch", measured)
    assert strongest(graph, load(folder, "labelled.npz"), epochs=10**9)[0] == "calibrate"


@pytest.mark.tensorflow
def test_a_class_number_is_calibrated_by_the_scores_that_it_is_chosen_by(graph: Graph, folder: Path) -> None:
    chosen = naming_its_class(graph)
    effort, why = strongest(chosen, load(folder, "labelled.npz"))
    assert effort == "calibrate"
    assert "scores" in why
    assert Executor(chosen).answers == Executor(graph).answers


@pytest.mark.tensorflow
def test_its_weights_are_those_of_the_network_that_gives_the_scores(tmp_path: Path) -> None:
    plain = small_network()
    np.savez(
        tmp_path / "data.npz", x=np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    )
    made = {}
    for name, one in (("scores", plain), ("class", naming_its_class(plain))):
        (tmp_path / f"{name}.tflite").write_bytes(write_graph(one))
        result = sdk.compress_model(
            tmp_path / f"{name}.tflite",
            tmp_path / f"{name}.armlet",
            data=tmp_path / "data.npz",
            preprocess="tf",
            sparsity=0.5,
            clusters=16,
            save_tflite=tmp_path / f"{name}-made.tflite",
        )
        assert result.effort == "calibrate"
        made[name] = read_graph((tmp_path / f"{name}-made.tflite").read_bytes())
    for one, other in zip(made["scores"].weights(), made["class"].weights(), strict=True):
        np.testing.assert_array_equal(one.array, other.array)
