"""Biases corrected on images that nobody took: the means come back, and a recipe replays it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.recipes.recipe import Recipe, apply
from sdk.compress.recipes.targets import Settings, compress
from sdk.compress.solve.synthetic_images import COUNT, correct_biases
from sdk.compress.weights.prune import prune
from sdk.errors import ModelError
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.made_up.photographs import photographs
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network


@pytest.fixture(scope="module")
def graph() -> Graph:
    return small_network(channels=32)


def test_photographs_are_like_photographs_in_what_layers_see_first() -> None:
    images = photographs((64, 48, 3), 16)
    assert images.shape == (16, 64, 48, 3)
    assert 0 <= images.min() < 20 < 235 < images.max() <= 255
    assert images.mean() == pytest.approx(115, abs=20)
    # Neighbouring pixels and the channels of one pixel go together.
    assert np.corrcoef(images[:, :, 1:].ravel(), images[:, :, :-1].ravel())[0, 1] > 0.65
    assert np.corrcoef(images[..., 0].ravel(), images[..., 1].ravel())[0, 1] > 0.7
    np.testing.assert_array_equal(images, photographs((64, 48, 3), 16))


@pytest.mark.tensorflow
def test_the_means_of_the_scores_are_the_originals_again(graph: Graph) -> None:
    changed = prune(graph, 0.7)
    made = correct_biases(graph, changed, "tf")
    images = photographs((8, 8, 3), COUNT) / 127.5 - 1
    means = [Executor(g)(images).numpy().mean(axis=0) for g in (graph, changed, made)]
    assert np.abs(means[1] - means[0]).max() > 0.05
    np.testing.assert_allclose(means[2], means[0], atol=2e-3)
    kept = [w.array for w in made.weights()]
    for array, weight in zip(kept, changed.weights(), strict=True):
        np.testing.assert_array_equal(array, weight.array)


def test_a_network_of_grey_images_is_refused(graph: Graph) -> None:
    grey = replace(graph.tensors[0], shape=(1, 8, 8, 1))
    with pytest.raises(ModelError, match="other inputs"):
        correct_biases(replace(graph, tensors=(grey, *graph.tensors[1:])), graph, "01")


@pytest.mark.tensorflow
def test_a_recipe_names_both_and_replays_to_the_same_bytes(graph: Graph) -> None:
    made = compress(graph, settings=Settings(equalise=True, made_up="tf"))
    again = Recipe.from_toml(made.recipe.to_toml())
    assert again == made.recipe
    assert again.equalise
    assert again.made_up == "tf"
    assert write_graph(apply(graph, again)) == write_graph(made.graph)
    assert "not checked" in made.statement
