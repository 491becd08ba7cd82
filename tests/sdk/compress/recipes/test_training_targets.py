"""Training toward a size or a loss: few trainings, each nearer to what was asked."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from device_agent.record.intervals import Interval
from sdk.compress.recipes import targets
from sdk.compress.recipes.attempts import Attempts, Point
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.recipes.targets import Settings, compress
from sdk.errors import DataError
from sdk.graph.dataset import Dataset
from sdk.graph.records import Graph
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
        result = compress(graph, dataset, Settings(effort="train", epochs=4, target_bytes=target))
        assert result.target_met
        assert len(result.curve) <= 3
        assert {point.recipe.effort for point in result.curve} == {"train"}
        sizes[target] = min(p.package_bytes for p in result.curve), result.recipe.sparsity
        assert 0.85 * target <= sizes[target][0] <= target
    assert sizes[2000][1] > sizes[3400][1]


def stand_in(monkeypatch: pytest.MonkeyPatch, lost: Callable[[float], float]) -> list[float]:
    """In place of trainings: a loss that follows from the share of weights that stays. Returns the shares tried."""
    tried: list[float] = []

    def run(self: Attempts, recipe: Recipe, watch: object = None) -> Point:
        kept = 1 - recipe.sparsity
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
    assert tried[:2] == pytest.approx([0.1, 0.1 / targets.KEPT_STEP], abs=1e-3)
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
    assert len(tried) == targets.MAX_RUNS


@pytest.mark.tensorflow
def test_a_time_that_is_too_short_for_three_epochs_is_refused(graph: Graph, dataset: Dataset) -> None:
    end = time.monotonic() + 0.01
    with pytest.raises(DataError, match="too short to train"):
        compress(graph, dataset, Settings(effort="train", seconds_left=lambda: end - time.monotonic()))
