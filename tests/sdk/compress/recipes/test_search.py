"""A search with Optuna moves layers against each other, ends what leads nowhere, and is shared by several machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdk.api.files.studies import open_study
from sdk.compress.recipes import search as searching
from sdk.compress.recipes.attempts import Attempts, Point
from sdk.compress.recipes.check import Checker
from sdk.compress.recipes.overall_progress import Journey
from sdk.compress.recipes.recipe import LayerRecipe, Recipe, apply
from sdk.compress.recipes.search import CHECK_STEP, Hopeless, Race, Space
from sdk.compress.recipes.targets import Settings, TargetResult, compress
from sdk.errors import DataError
from sdk.graph.dataset import Dataset
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import labelled_noise, small_network

pytestmark = pytest.mark.tensorflow
POINTWISE, CLASSIFIER = "pointwise/weight", "classifier/weight"


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_network(channels=32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> Dataset:
    return labelled_noise(tmp_path_factory.mktemp("data") / "labelled.npz", graph, 160)


def searched(graph: Graph, dataset: Dataset, study: Any = None, **settings: Any) -> tuple[TargetResult, Any]:
    study = study or open_study()
    return compress(graph, dataset, Settings(study=study, **settings)), study


def test_the_space_has_the_start_in_its_middle_and_moves_layers_against_each_other(graph: Graph) -> None:
    start = Recipe(sparsity=0.8, clusters=16)
    sizes = {w.tensor.name: w.array.size for w in graph.weights()}
    space = Space.around(graph, start, dict.fromkeys(sizes, 0.2))
    same = LayerRecipe(sparsity=0.8, clusters=16)
    assert dict(space.at(space.middle()).layers) == {POINTWISE: same, CLASSIFIER: same}
    moved = dict(
        space.at({**space.middle(), f"kept of {POINTWISE}": 1.0, f"bits of {CLASSIFIER}": 1.0}).layers
    )
    assert moved[POINTWISE].sparsity < 0.8 < moved[CLASSIFIER].sparsity
    assert (moved[POINTWISE].clusters, moved[CLASSIFIER].clusters) == (16, 32)
    kept = sum((1 - layer.sparsity) * sizes[name] for name, layer in moved.items())
    assert kept == pytest.approx(0.2 * (sizes[POINTWISE] + sizes[CLASSIFIER]), rel=1e-3)


def test_prices_of_layers_are_relative_and_every_layer_has_one(graph: Graph) -> None:
    start = Recipe(sparsity=0, clusters=0, effort="calibrate", price=1e-6)
    names = [w.tensor.name for w in graph.weights()]
    space = Space.around(graph, start, dict.fromkeys(names, 1.0))
    assert [layer for layer, _ in space.at(space.middle()).layers] == names
    assert {own.price for _, own in space.at(space.middle()).layers} == {1.0}
    every = {name: value + 1.0 if name != "all" else value for name, value in space.middle().items()}
    assert {own.price for _, own in space.at(every).layers} == {1.0}
    trained = Space.around(graph, replace(start, effort="train", price=0.0, begin=1e-6), space.kept)
    dearer = trained.at({**trained.middle(), "all": 0.2})
    assert (dearer.price, dearer.begin) == (0.0, pytest.approx(1.149e-6))
    assert {own.price for _, own in dearer.layers} == {1.0}


@pytest.mark.parametrize(("effort", "limit", "trials"), [("none", 25.0, 5), ("calibrate", 30.0, 1)])
def test_a_limit_of_the_loss_is_kept_in_no_more_bytes_than_before_and_the_recipe_replays_to_the_same_bytes(
    graph: Graph, dataset: Dataset, effort: str, limit: float, trials: int
) -> None:
    plain = compress(graph, dataset, Settings(effort=effort, max_loss=limit))
    result, study = searched(graph, dataset, effort=effort, max_loss=limit, trials=trials)
    assert len(study.trials) == trials + 1  # the start, too
    assert plain.target_met
    assert result.target_met
    assert point_of(result).package_bytes <= point_of(plain).package_bytes
    replayed = apply(graph, Recipe.from_toml(result.recipe.to_toml()), dataset=dataset)
    assert write_graph(replayed) == write_graph(result.graph)


@pytest.mark.parametrize(("effort", "trials"), [("none", 5), ("calibrate", 1)])
def test_a_size_is_kept_with_answers_that_are_no_worse_than_before(
    graph: Graph, dataset: Dataset, effort: str, trials: int
) -> None:
    usual = point_of(compress(graph, dataset, Settings(effort=effort))).package_bytes
    plain = compress(graph, dataset, Settings(effort=effort, target_bytes=usual - 200, max_loss=None))
    result, _ = searched(graph, dataset, effort=effort, target_bytes=usual - 200, trials=trials)
    assert plain.target_met
    assert result.target_met
    assert point_of(result).package_bytes <= usual - 200
    before, after = (Checker(graph, dataset)(one.graph).divergence_nats for one in (plain, result))
    assert after <= before * 1.05


def point_of(result: TargetResult) -> Point:
    return next(p for p in result.curve if p.recipe == result.recipe)


def test_in_memory_the_same_seed_gives_the_same_trials(graph: Graph, dataset: Dataset) -> None:
    (first, one), (second, two) = (
        searched(graph, dataset, effort="none", max_loss=8.0, trials=2) for _ in range(2)
    )
    assert [t.params for t in one.trials] == [t.params for t in two.trials]
    assert write_graph(first.graph) == write_graph(second.graph)


def test_a_trial_ends_early_when_it_is_too_large_or_answers_worse_on_the_same_images(
    graph: Graph, dataset: Dataset
) -> None:
    def race(value: float, **limits: Any) -> Race:
        study = open_study()
        attempts = Attempts(graph, None, dataset, "none", Settings(**limits), 0, Journey(lambda *step: None))
        first = study.ask()
        first.report(1.0, CHECK_STEP + 8)
        first.set_user_attr("package_bytes", 900)
        study.tell(first, value)
        return Race(attempts, study, study.ask())

    sized = race(5.0, target_bytes=1000)
    sized.bits(7999.0)
    sized.package(1000)
    for hopeless in (lambda: sized.bits(8001.0), lambda: sized.package(1001)):
        with pytest.raises(Hopeless):
            hopeless()
    accurate = race(5.0, max_loss=1.0)
    with pytest.raises(Hopeless):
        accurate.package(901)  # the best is smaller, and good enough
    race(1001.0, max_loss=1.0).package(901)  # the best is not good enough yet
    accurate.check(8, 1.4)
    accurate.check(16, 9.0)  # there the best was not looked at
    with pytest.raises(Hopeless):
        race(5.0, max_loss=1.0).check(8, 1.6)


def test_a_training_is_searched_too(graph: Graph, dataset: Dataset) -> None:
    result, study = searched(
        graph, dataset, effort="train", sparsity=0.5, clusters=16, epochs=3, max_loss=90.0, trials=1
    )
    assert len(study.trials) == 2
    assert result.recipe.effort == "train"
    layers = dict(
        Space.around(graph, result.recipe, study.user_attrs["kept"]).at(study.trials[1].params).layers
    )
    assert set(layers) == {POINTWISE, CLASSIFIER}


@pytest.mark.parametrize("kind", ["sqlite:///{}/study.db", "journal:{}/study.log"])
def test_a_second_machine_goes_on_from_the_start_and_the_best_of_the_first(
    tmp_path: Path, graph: Graph, dataset: Dataset, kind: str
) -> None:
    storage = kind.format(tmp_path)
    settings = {"effort": "none", "max_loss": 25.0}
    first, _ = searched(graph, dataset, open_study(storage, "one"), trials=2, **settings)
    second, study = searched(graph, dataset, open_study(storage, "one"), trials=1, **settings)
    assert len(study.trials) == 4
    assert len(second.curve) <= 2  # no start of its own: the trial, and the best if another machine made that
    best = min(first.curve, key=lambda p: p.package_bytes if p.lost.high <= 25 else 1e9)
    assert len(write_graph(second.graph)) > 0
    assert min(p.package_bytes for p in second.curve) <= best.package_bytes
    with pytest.raises(DataError, match=r"(?s)another search.*max_loss"):
        searched(graph, dataset, open_study(storage, "one"), trials=1, effort="none", max_loss=12.0)
    searched(graph, dataset, open_study(storage, "two"), trials=1, effort="none", max_loss=12.0)


def test_a_trial_that_is_interrupted_is_no_result(
    graph: Graph, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study()

    def interrupt(*arguments: Any) -> Callable[[], None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "Race", interrupt)
    with pytest.raises(KeyboardInterrupt):
        searched(graph, dataset, study, effort="none", max_loss=8.0, trials=2)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL"]


def test_a_search_ends_with_its_time(graph: Graph, dataset: Dataset) -> None:
    clock = iter(range(1000, -10_000, -50))
    settings = {"effort": "none", "max_loss": 8.0, "seconds_left": lambda: float(next(clock))}
    _, study = searched(graph, dataset, **settings)
    assert 1 <= len(study.trials) < 20


def test_a_search_without_images_or_with_a_storage_that_cannot_be_opened_is_refused(graph: Graph) -> None:
    with pytest.raises(DataError, match="accuracy to be measured"):
        compress(graph, settings=Settings(study=open_study()))
    for storage in ("nonsense://somewhere", "sqlite:////nowhere/at/all/x.db", "no url"):
        with pytest.raises(DataError, match="cannot be opened"):
            open_study(storage)
