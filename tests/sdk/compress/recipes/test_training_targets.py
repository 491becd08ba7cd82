"""Training toward a size or a loss: few trainings, each nearer to what was asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from device_agent.record.intervals import Interval
from sdk.compress.recipes import trained
from sdk.compress.recipes.attempts import Attempts, Point
from sdk.compress.recipes.budget import MAX_RUNS
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.compress.recipes.targets import Settings, compress
from sdk.compress.train.moving import moves_borne
from sdk.compress.weights.selection import select_weights
from sdk.data.loading import load_dataset
from sdk.errors import DataError
from sdk.graph.dataset import Dataset
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.package import pack
from tests.sdk.graph.small_graphs import labelled_noise, small_network


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_network(channels=48)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> Dataset:
    return labelled_noise(tmp_path_factory.mktemp("data") / "noise.npz", graph, 400)


@pytest.mark.tensorflow
def test_a_size_is_met_by_as_many_weights_as_fit_into_it(graph: Graph, dataset: Dataset) -> None:
    sizes = {}
    for target in (2000, 3400):
        settings = Settings(effort="train", epochs=4, target_bytes=target, clusters=32)
        result = compress(graph, dataset, settings)
        assert result.target_met
        pruned = [p for p in result.curve if p.recipe.effort == "train"]
        assert len(pruned) <= 3
        last = min(pruned, key=lambda p: abs(p.package_bytes - target))
        sizes[target] = last.package_bytes, last.recipe.sparsity
        assert 0.85 * target <= sizes[target][0] <= 1.15 * target
    assert sizes[2000][1] > sizes[3400][1]


def stand_in(monkeypatch: pytest.MonkeyPatch, lost: Callable[[float], float]) -> list[float]:
    """In place of trainings: a loss that follows from the share of weights that stays. Returns the shares tried."""
    tried: list[float] = []

    def run(self: Attempts, recipe: Recipe, watch: object = None) -> Point:
        kept = 1 - recipe.sparsity
        if recipe.effort == "train" and not recipe.begin:
            tried.append(kept)
        points = Interval(lost(kept), lost(kept), lost(kept))
        point = Point(recipe, int(100_000 * kept), None, 100 - lost(kept), 100.0, 0.0, points)
        self.keep(self.graph, point)
        return point

    monkeypatch.setattr(Attempts, "run", run)
    return tried


@pytest.mark.tensorflow
def test_the_least_weights_that_keep_a_loss_are_walked_to_and_then_bisected(
    graph: Graph, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = stand_in(monkeypatch, lambda kept: 0.0 if kept > 0.045 else 30.0)
    result = compress(graph, dataset, Settings(effort="train", max_loss=10.0))
    assert tried[:2] == pytest.approx([0.1, 0.1 / trained.KEPT_STEP], abs=1e-3)
    assert tried[2] < 0.045 < tried[3] < tried[1]
    assert result.target_met
    assert result.recipe.sparsity == pytest.approx(1 - min(k for k in tried if k > 0.045))


@pytest.mark.tensorflow
def test_where_a_tenth_of_the_weights_loses_too_much_more_of_them_stay(
    graph: Graph, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = stand_in(monkeypatch, lambda kept: 0.0 if kept > 0.3 else 30.0)
    result = compress(graph, dataset, Settings(effort="train", max_loss=10.0))
    assert tried[0] < tried[1] < tried[2]
    assert result.target_met
    assert 0.3 < 1 - result.recipe.sparsity < 0.45


@pytest.mark.tensorflow
def test_a_loss_that_no_training_keeps_is_said_to_be_missed(
    graph: Graph, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = stand_in(monkeypatch, lambda kept: 50.0)
    result = compress(graph, dataset, Settings(effort="train", max_loss=10.0))
    assert not result.target_met
    assert len(tried) == MAX_RUNS


@pytest.mark.tensorflow
def test_a_time_that_is_too_short_for_three_epochs_is_refused(graph: Graph, dataset: Dataset) -> None:
    end = time.monotonic() + 0.01
    with pytest.raises(DataError, match="too short to train"):
        compress(graph, dataset, Settings(effort="train", seconds_left=lambda: end - time.monotonic()))


@pytest.mark.tensorflow
def test_a_training_begins_with_what_calibration_found_and_is_never_worse_at_its_size(
    graph: Graph, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "WORTH_WINNING", -100.0)
    wanted = Settings(effort="train", epochs=3, target_bytes=2400, if_worth=True)
    result = compress(graph, dataset, wanted)
    assert result.target_met
    calibrated = [p for p in result.curve if p.recipe.effort == "calibrate" and p.package_bytes <= 2400]
    refined = [p for p in result.curve if p.recipe.begin]
    assert len(refined) == 1
    assert refined[0].recipe.begin in {p.recipe.price for p in calibrated}
    assert refined[0].package_bytes <= 2400
    taken = next(p for p in result.curve if p.recipe == result.recipe)
    assert taken.lost is not None
    assert all(p.lost is not None and taken.lost.value <= p.lost.value for p in [*calibrated, *refined])
    assert "calibration" in result.statement
    again = apply(graph, Recipe.from_toml(refined[0].recipe.to_toml()), dataset=dataset)
    assert len(pack.pack(write_graph(again))) == refined[0].package_bytes


@pytest.mark.tensorflow
def test_a_training_that_begins_with_a_calibration_keeps_a_least_share_of_zeros_in_each_layer(
    graph: Graph, dataset: Dataset
) -> None:
    zeros = {}
    for least in (0.0, 0.7):
        recipe = Recipe(
            sparsity=least, clusters=0, effort="train", epochs=3, samples=len(dataset), begin=1e-9
        )
        made = apply(graph, Recipe.from_toml(recipe.to_toml()), dataset=dataset)
        zeros[least] = [float(np.mean(one.array == 0)) for one in select_weights(made, skip_first=True)]
    assert min(zeros[0.7]) >= 0.7 - 0.01
    assert max(zeros[0.0]) < 0.7


@pytest.mark.tensorflow
def test_a_size_with_a_sparsity_begins_with_a_calibration_that_keeps_it_and_trains_at_it_once(
    graph: Graph, dataset: Dataset
) -> None:
    wanted = Settings(effort="train", epochs=3, target_bytes=2400, sparsity=0.6)
    result = compress(graph, dataset, wanted)
    efforts = [(p.recipe.effort, p.recipe.begin > 0) for p in result.curve]
    assert efforts.count(("train", True)) == 1
    assert efforts.count(("train", False)) == 1
    assert all(p.recipe.sparsity == 0.6 for p in result.curve)
    assert result.target_met
    weights = np.concatenate([one.array.ravel() for one in select_weights(result.graph)])
    assert np.mean(weights == 0) >= 0.59


@pytest.mark.tensorflow
def test_where_calibration_loses_nothing_no_training_begins(graph: Graph, dataset: Dataset) -> None:
    result = compress(graph, dataset, Settings(effort="train", epochs=3, target_bytes=9000, if_worth=True))
    assert {p.recipe.effort for p in result.curve} == {"calibrate"}
    assert "not trained" in result.statement


class Answering:
    """Says which half of an image is brighter: left or right, or upper or lower."""

    scores = 0

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def __call__(self, images: np.ndarray, wanted: int) -> np.ndarray:
        first, second = np.split(images, 2, axis=self.axis)
        return np.stack([first.mean(axis=(1, 2, 3)), second.mean(axis=(1, 2, 3))], axis=1)


@pytest.mark.parametrize(("axis", "mirrored"), [(1, True), (2, False)])
def test_images_are_mirrored_only_where_they_stay_what_they_are(
    tmp_path: Path, axis: int, mirrored: bool
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (60, 16, 16, 3), np.uint8)
    labels = np.arange(60) % 2
    for image, label in zip(images, labels, strict=True):
        np.split(image, 2, axis=axis - 1)[label][:] += 100
    np.savez(tmp_path / "halves.npz", x=images, y=labels)
    data = load_dataset(tmp_path / "halves.npz", input_shape=(16, 16, 3), preprocess="01")
    flip, shift = moves_borne(Answering(axis), data)  # type: ignore[arg-type]
    assert flip is mirrored
    assert shift == 1
