"""A recipe is a file that gives the same bytes again, or says why it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdk.compress.recipes.recipe import Recipe, apply, split
from sdk.data.loading import load_dataset
from sdk.errors import DataError, ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    coarse = np.random.default_rng(0).integers(0, 255, (60, 4, 4, 3))
    images = coarse.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", x=images)
    return load_dataset(tmp_path / "noise.npz", input_shape=(8, 8, 3), preprocess="tf")


CALIBRATE = Recipe(sparsity=0.0, clusters=0, effort="calibrate", price=1e-6, samples=60, hold_out=5)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(0.123456789, "global", 0), CALIBRATE])
def test_a_recipe_survives_its_file(recipe: Recipe) -> None:
    assert Recipe.from_toml(recipe.to_toml()) == recipe


@pytest.mark.parametrize(
    "text", ["", "[recipe", "[other]\nclusters = 3", '[recipe]\nclusters = "many"', "[recipe]\ncolour = 1"]
)
def test_what_is_no_recipe_is_named(text: str) -> None:
    with pytest.raises(ModelError, match="recipe"):
        Recipe.from_toml(text)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('int8 = "false"', "the recipe: int8; expected true or false; found 'false'"),
        ("epochs = 3.9", "the recipe: epochs; expected a whole number from 0; found 3.9"),
        ("clusters = true", "the recipe: clusters; expected a whole number from 0; found true"),
        ("sparsity = 1.5", "the recipe: sparsity; expected a number from 0 to 1; found 1.5"),
        ("sparsity = nan", "the recipe: sparsity; expected a number from 0 to 1; found nan"),
        ("samples = -1", "the recipe: samples; expected a whole number from 0; found -1"),
        ("block = 0", "the recipe: block; expected a whole number from 1; found 0"),
        ("price = 1.0", "the recipe: price; expected 0 <= price < 1; found 1.0"),
        ('scope = "model"', "the recipe: scope; expected one of layer, global; found 'model'"),
        ('made_up = "\\u001b[2J"', "the recipe: made_up; expected printable text"),
        ("ranks = { a = 2.5 }", "the recipe: ranks: a; expected a whole number from 1; found 2.5"),
        ("layers = 3", "the recipe: layers; expected a table; found 3"),
        ('layers.a.clusters = "4"', "the recipe: layers: a: clusters; expected a whole number"),
        (
            "layers.a.colour = 1",
            "the recipe: layers: a: colour; expected only channel_step, clusters, multiple, places, price, sparsity, "
            "step",
        ),
        (f"seed = {'9' * 5000}", "the recipe is not TOML"),
        (f"ranks = {'[' * 5000}", "the recipe is not TOML"),
    ],
)
def test_an_entry_that_is_something_else_is_refused_by_its_name(entry: str, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        Recipe.from_toml(f"[recipe]\n{entry}\n")
    assert says in str(caught.value)


def test_an_unknown_effort_is_refused() -> None:
    with pytest.raises(ModelError, match="effort"):
        Recipe.from_toml('[recipe]\neffort = "much"')


def test_a_recipe_without_data_prunes_and_shares() -> None:
    graph = apply(small_network(), Recipe(sparsity=0.5, clusters=8))
    for weight in graph.weights():
        if weight.tensor.name in ("pointwise/weight", "classifier/weight"):
            assert (weight.array == 0).mean() == 0.5
            assert np.unique(weight.array).size <= 8


def test_progress_counts_up_to_the_end() -> None:
    seen: list[tuple[str, int, int]] = []
    apply(small_network(), Recipe(), lambda *step: seen.append(step))
    assert seen[0][1] == 0
    assert seen[-1][1] == seen[-1][2]


@pytest.mark.tensorflow
def test_a_replay_on_the_same_images_gives_the_same_bytes(dataset: Dataset) -> None:
    again = Recipe.from_toml(CALIBRATE.to_toml())
    first = write_graph(apply(small_network(), CALIBRATE, dataset=dataset))
    assert write_graph(apply(small_network(), again, dataset=dataset)) == first
    assert write_graph(apply(small_network(), replace(again, price=2e-6), dataset=dataset)) != first


@pytest.mark.tensorflow
def test_a_replay_on_other_images_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="other images"):
        apply(small_network(), replace(CALIBRATE, data_sha256="0" * 64), dataset=dataset)
    with pytest.raises(DataError, match="no data"):
        apply(small_network(), CALIBRATE)


def test_held_out_samples_are_apart_and_spread_over_the_set(dataset: Dataset) -> None:
    kept, apart = split(dataset, 50, 5)
    assert apart is not None
    assert (len(kept), len(apart)) == (40, 10)
    assert not set(kept.indices) & set(apart.indices)
    assert split(dataset, 1000, 0)[1] is None
