"""Defaults that do no harm: each layer becomes as coarse as the outputs allow, and a recipe says how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sdk.compress.recipes.harmless import MOST_NOISE, MOST_OTHER_ANSWERS, harmless
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.compress.recipes.targets import Settings, compress
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph, Weight
from sdk.tools.progress import silent
from tests.sdk.compress.weights.test_left_alone import behind_dequantize
from tests.sdk.graph.small_graphs import small_network

PLAIN = Recipe(sparsity=0.0, clusters=0)


class ByExecutor:
    """Judges without a runtime, and counts what it judged."""

    late = False

    def __init__(self, graph: Graph, probes: int = 100) -> None:
        self.probes, self.judged = probes, 0
        self.images = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)
        self.before = self._scores(graph)

    def _scores(self, graph: Graph) -> np.ndarray:
        executor = Executor(graph)
        return np.asarray(executor(self.images, wanted=executor.scores))

    def noise(self, graph: Graph) -> float:
        """Of the scores."""
        self.judged += 1
        apart = self._scores(graph) - self.before
        return float(np.square(apart).sum() / np.square(self.before).sum())

    quick = unseen = noise

    def other_answers(self, graph: Graph) -> float:
        """None."""
        return 0.0


@pytest.fixture(scope="module")
def graph() -> Graph:
    graph, rng = small_network(channels=32), np.random.default_rng(1)
    stem, bias = graph.tensors[1].data, graph.tensors[2].data
    assert stem is not None
    assert bias is not None
    # Channels as far apart in size as folded batch norm leaves them.
    sizes = np.exp(rng.normal(0, 1.2, 32)).astype(np.float32)
    return graph.with_data({1: stem * sizes[:, None, None, None], 2: bias * sizes})


def test_all_layers_become_coarse_and_the_outputs_stay(graph: Graph) -> None:
    judge = ByExecutor(graph)
    recipe = harmless(graph, PLAIN, (None, None), judge, silent)
    made = apply(graph, recipe)
    assert {name for name, _ in recipe.layers} == {w.tensor.name for w in graph.weights()}
    assert MOST_NOISE / 10 < judge.noise(made) <= MOST_NOISE
    for before, after in zip(graph.weights(), made.weights(), strict=True):
        assert len(np.unique(after.array)) < len(np.unique(before.array))
    assert Recipe.from_toml(recipe.to_toml()) == recipe


class Strict:
    """A judge that no change of some layers passes."""

    probes, late = 100, False

    def __init__(self, graph: Graph, layers: Sequence[Weight]) -> None:
        self.judge, self.layers = ByExecutor(graph), layers

    def noise(self, changed: Graph) -> float:
        """Infinite where one of the layers changed."""
        same = all(np.array_equal(changed.tensors[w.tensor_index].data, w.array) for w in self.layers)
        return self.judge.noise(changed) if same else float("inf")

    quick = unseen = noise

    def other_answers(self, graph: Graph) -> float:
        """None."""
        return 0.0


def test_a_layer_that_ruins_the_outputs_is_left_alone(graph: Graph) -> None:
    first = next(graph.weights())
    recipe = harmless(graph, PLAIN, (None, None), Strict(graph, [first]), silent)
    assert first.tensor.name not in dict(recipe.layers)
    assert len(recipe.layers) > 1


def test_what_saves_little_stays_exact_and_that_is_said(graph: Graph) -> None:
    smallest = min(graph.weights(), key=lambda weight: weight.array.size)
    others = [weight for weight in graph.weights() if weight.tensor_index != smallest.tensor_index]
    judge = Strict(graph, others)
    assert dict(harmless(graph, PLAIN, (None, None), judge, silent).layers).keys() == {smallest.tensor.name}
    made = compress(graph, settings=Settings(harmless=True, judge=judge))
    assert made.recipe.layers == ()
    assert made.graph.tensors[smallest.tensor_index].data is smallest.tensor.data
    assert "the weights stay exact: coarser ones would change the answers to save" in made.statement


def test_inputs_that_nothing_was_chosen_on_keep_the_outputs_too(graph: Graph) -> None:
    judge = ByExecutor(graph)

    class Lucky(ByExecutor):
        """Saw inputs that are four times less noisy than others."""

        def noise(self, changed: Graph) -> float:
            """A quarter."""
            return judge.noise(changed) / 4

        quick = noise

        def unseen(self, changed: Graph) -> float:
            """On the others."""
            return judge.noise(changed)

    recipe = harmless(graph, PLAIN, (None, None), Lucky(graph), silent)
    assert MOST_NOISE / 10 < judge.noise(apply(graph, recipe)) <= MOST_NOISE


def test_a_classifier_keeps_its_answers_even_where_little_noise_would_change_them(graph: Graph) -> None:
    class Torn(ByExecutor):
        """Its classes are so close that a tenth of the usual noise changes as many answers as may change."""

        def other_answers(self, changed: Graph) -> float:
            """Grows with the root of the noise."""
            return MOST_OTHER_ANSWERS * float(np.sqrt(self.noise(changed) / (MOST_NOISE / 10)))

    judge = Torn(graph)
    recipe = harmless(graph, PLAIN, (None, None), judge, silent)
    assert recipe.layers
    assert judge.other_answers(apply(graph, recipe)) <= MOST_OTHER_ANSWERS
    assert MOST_NOISE / 100 < judge.noise(apply(graph, recipe)) <= MOST_NOISE / 10


def test_other_answers_that_were_asked_for_leave_the_limit_of_noise_where_it_is(graph: Graph) -> None:
    class Lost(ByExecutor):
        """Half of the answers are others, whatever is done."""

        def other_answers(self, changed: Graph) -> float:
            """Half."""
            return 0.5

    judge = Lost(graph)
    asked = judge.noise(apply(graph, Recipe(sparsity=0.3, clusters=0)))
    recipe = harmless(graph, PLAIN, (0.3, None), judge, silent)
    assert judge.noise(apply(graph, recipe)) <= asked + MOST_NOISE


def test_few_trials_do_for_many_layers(graph: Graph) -> None:
    judge = ByExecutor(graph, probes=2)
    recipe = harmless(graph, PLAIN, (None, None), judge, silent)
    assert judge.judged <= 2 + 10
    assert judge.noise(apply(graph, recipe)) <= MOST_NOISE


def test_a_size_is_met_with_as_little_harm_as_may_be(graph: Graph) -> None:
    judge = ByExecutor(graph)
    usual = compress(graph, settings=Settings(harmless=True, judge=judge))
    target = usual.curve[0].package_bytes * 7 // 10
    small = compress(graph, settings=Settings(harmless=True, judge=judge, target_bytes=target))
    size = small.curve[-1].package_bytes
    assert small.target_met
    assert 0.9 * target < size <= target
    hardly = compress(graph, settings=Settings(target_bytes=target))
    assert judge.noise(small.graph) < judge.noise(hardly.graph)


def test_late_no_more_is_tried_than_is_needed(graph: Graph) -> None:
    judge = ByExecutor(graph)
    judge.late = True
    recipe = harmless(graph, PLAIN, (None, None), judge, silent)
    assert judge.judged <= 1 + 4
    assert judge.noise(apply(graph, recipe)) <= MOST_NOISE


@pytest.mark.parametrize("asked", [(0.5, None), (None, 8)])
def test_what_was_asked_for_is_obeyed(graph: Graph, asked) -> None:
    made = apply(graph, harmless(graph, PLAIN, asked, ByExecutor(graph), silent))
    pointwise = next(w.array for w in made.weights() if w.tensor.name == "pointwise/weight")
    if asked[0] is not None:
        assert np.mean(pointwise == 0) == pytest.approx(0.5, abs=0.2)
        assert np.mean(pointwise == 0) >= 0.5
    else:
        assert len(np.unique(pointwise)) <= 8


def test_without_a_runtime_all_layers_count_alike(graph: Graph) -> None:
    recipe = harmless(graph, PLAIN, (None, None), None, silent)
    assert ByExecutor(graph).noise(apply(graph, recipe)) < 0.1


def test_halves_become_floats_only_where_channels_have_steps(graph: Graph) -> None:
    halves = behind_dequantize(graph)
    recipe = harmless(halves, PLAIN, (None, None), None, silent)
    made = apply(halves, recipe)
    by_channel = {name for name, layer in recipe.layers if layer.channel_step}
    left = {t.name for t in made.tensors if t.dtype == "FLOAT16"}
    assert by_channel
    assert left == {t.name for t in halves.tensors if t.dtype == "FLOAT16"} - by_channel
    assert sum(op.kind == "DEQUANTIZE" for op in made.operators) == len(left)
