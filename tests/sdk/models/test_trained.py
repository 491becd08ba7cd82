"""The demo's networks as the project carries them, against the record that their training wrote."""

from __future__ import annotations

import hashlib
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest

from sdk import models
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.explain.theory import operator_costs
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.models import digits
from sdk.models.demo import network_arguments
from sdk.models.train_digits import augment, evaluate, record_conditions
from tests.sdk.models.training import training_record

pytestmark = pytest.mark.skipif(find_spec("sklearn") is None, reason="the digits come with scikit-learn")
DEMO = models.demo_models()


@pytest.fixture(scope="module")
def splits() -> dict[str, digits.Samples]:
    return digits.load_splits()


def test_both_networks_together_stay_below_2_mb() -> None:
    assert [model.name for model in DEMO] == ["mobilenet_v1", "shufflenet_v1"]
    assert sum(model.path.stat().st_size for model in DEMO) < 2_000_000


def test_the_theoretical_speed_up_is_about_that_of_the_full_size_networks() -> None:
    large, small = (models.describe(model.name, **network_arguments(model.name)).macs for model in DEMO)
    assert large / small == pytest.approx(569 / 140, rel=0.1)


@pytest.mark.parametrize("model", DEMO, ids=lambda model: model.name)
def test_the_files_are_those_of_the_record(model: models.DemoModel) -> None:
    entry = training_record()["models"][model.name]
    data = model.path.read_bytes()
    assert entry["file"] == model.path.name
    assert entry["bytes"] == len(data)
    assert entry["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("model", DEMO, ids=lambda model: model.name)
def test_the_files_hold_the_networks_of_the_zoo(model: models.DemoModel) -> None:
    entry = training_record()["models"][model.name]
    network = models.describe(model.name, **network_arguments(model.name))
    graph = read_graph(model.path.read_bytes())
    assert sum(cost.macs for cost in operator_costs(graph)) == network.macs == entry["macs"]
    assert network.parameters == entry["parameters"]
    assert graph.tensors[graph.inputs[0]].shape == (1, *network.input.shape)
    kinds = Counter(operator.kind for operator in graph.operators)
    assert kinds["CONV_2D"] == sum(layer.kind == "conv" for layer in network.layers)


@pytest.mark.parametrize("model", DEMO, ids=lambda model: model.name)
def test_held_out_accuracy_is_the_recorded_one_and_at_least_98_percent(
    model: models.DemoModel, splits: dict[str, digits.Samples]
) -> None:
    entry = training_record()["models"][model.name]
    result = evaluate(model.path.read_bytes(), splits["test"])
    assert (result.correct, result.samples) == (entry["correct"]["test"], 359)
    assert result.accuracy >= 0.98


@pytest.mark.parametrize("model", DEMO, ids=lambda model: model.name)
def test_pruning_and_clustering_without_data_cost_at_most_one_point(
    model: models.DemoModel, splits: dict[str, digits.Samples]
) -> None:
    # 3 of 359 digits are 0.8 points, 4 would be 1.1.
    entry = training_record()["models"][model.name]
    compressed = write_graph(apply(read_graph(model.path.read_bytes()), Recipe(sparsity=0.7, clusters=32)))
    assert evaluate(compressed, splits["test"]).correct >= entry["correct"]["test"] - 3


@pytest.mark.parametrize("model", DEMO, ids=lambda model: model.name)
def test_the_shipped_weights_are_not_pruned_already(model: models.DemoModel) -> None:
    weights = [weight.array for weight in read_graph(model.path.read_bytes()).weights()]
    zeros = sum(int((array == 0).sum()) for array in weights)
    assert zeros < 0.01 * sum(array.size for array in weights)


def test_the_record_names_the_data_and_versions_it_was_made_with(splits: dict[str, digits.Samples]) -> None:
    record = training_record()
    now = record_conditions(splits, record["training"]["epochs"])
    assert record["data"] == now["data"]
    assert record["training"] == now["training"]
    assert set(record["versions"]) == set(now["versions"])


def test_augmented_digits_keep_their_range_and_depend_on_the_seed_alone() -> None:
    small = digits.load_splits()["train"].small[:5]
    first, again, other = (augment(small, np.random.RandomState(seed), 32) for seed in (1, 1, 2))
    assert first.shape == (5, 32, 32, 3)
    assert first.dtype == np.float32
    assert first.min() >= -1
    assert first.max() <= 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_augmentation_without_chance_draws_the_digit_as_it_is() -> None:
    class NoChance(np.random.RandomState):
        def uniform(self, low: float, high: float, size: object) -> np.ndarray:  # type: ignore[override]
            return np.full(size, (low + high) / 2)  # type: ignore[call-overload]

    samples = digits.load_splits()["train"]
    plain = digits.normalise(digits.upsample(samples.small[:4], 32))
    drawn = augment(samples.small[:4], NoChance(), 32)[..., 0]
    # In the outer half pixel the one repeats the edge and the other fades to the background.
    inside = np.s_[:, 2:-2, 2:-2]
    assert np.abs(plain[inside] - drawn[inside]).max() < 0.01
