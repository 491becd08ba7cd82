"""A network without some of its channels learns what the original computes, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdk.compress.recipes import distilled as recipes_distilled
from sdk.compress.recipes.attempts import Settings
from sdk.compress.recipes.distilled import distilled, narrowed_before
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.compress.recipes.targets import compress
from sdk.compress.solve import whitening
from sdk.compress.solve.calibrate import solved_layers, with_biases
from sdk.compress.solve.whole_channels.narrowing import Narrowed, narrow
from sdk.compress.train.distilling import Distillation, Hint, _Distilled, batch_size, changed, well_seen
from sdk.compress.train.student import Course, State
from sdk.data.loading import load_dataset
from sdk.errors import DataError, ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.tools.progress import silent
from tests.sdk.compress.layered_graphs import small_mobilenet, small_shufflenet
from tests.sdk.compress.solve.whole_channels.test_narrowing import images
from tests.sdk.graph.small_graphs import small_network

pytestmark = pytest.mark.tensorflow
COUNT = 96


def pixels(samples: range) -> np.ndarray:
    """Smooth random images (n, 16, 16, 3) uint8, another for every number."""
    return np.clip(60 * images(samples) + 128, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("data") / "smooth.npz"
    np.savez(path, x=pixels(range(COUNT)))
    return load_dataset(path, input_shape=(16, 16, 3), preprocess="tf")


def error(graph: Graph, other: Graph) -> float:
    """The squared error of the answers to images that nobody learned from."""
    fresh = pixels(range(1000, 1128)).astype(np.float32) / 127.5 - 1
    one, two = (Executor(g)(fresh).numpy() for g in (graph, other))
    return float(np.square(one - two).mean())


@pytest.fixture(scope="module", params=[small_mobilenet, small_shufflenet])
def pair(request: pytest.FixtureRequest, dataset: Dataset) -> tuple[Graph, Narrowed]:
    graph = with_biases(request.param(16))
    return graph, narrow(graph, dataset, 0.3, 0, silent)


def test_no_epoch_changes_nothing_but_roundings(pair: tuple[Graph, Narrowed], dataset: Dataset) -> None:
    graph, narrowed = pair
    made = distilled(narrowed, graph, dataset, 0, 0, Course())
    assert error(made, narrowed.graph) < 1e-6 * max(error(graph, narrowed.graph), 1e-3)


def test_answers_to_fresh_images_come_nearer_to_the_originals(
    pair: tuple[Graph, Narrowed], dataset: Dataset
) -> None:
    graph, narrowed = pair
    steps: list[tuple[int, int]] = []
    made = distilled(
        narrowed, graph, dataset, 200, 0, Course(progress=lambda _, done, whole: steps.append((done, whole)))
    )
    assert error(graph, made) < 0.92 * error(graph, narrowed.graph)
    assert [t.shape for t in made.tensors] == [t.shape for t in narrowed.graph.tensors]
    assert steps[0] == (0, 400)
    assert steps[-1] == (400, 400)


def test_tensors_of_one_name_are_no_hints(pair: tuple[Graph, Narrowed], dataset: Dataset) -> None:
    graph, narrowed = pair
    nameless = [
        replace(g, tensors=tuple(replace(t, name="same") for t in g.tensors)) for g in (graph, narrowed.graph)
    ]
    made = distilled(replace(narrowed, graph=nameless[1]), nameless[0], dataset, 100, 0, Course())
    assert error(graph, made) < error(graph, narrowed.graph)  # by the answers alone


def test_a_recipe_distils_and_does_it_again(dataset: Dataset) -> None:
    graph = small_mobilenet(16)
    recipe = Recipe(
        sparsity=0.0, clusters=0, effort="calibrate", price=1e-5, channels=0.3, distill_epochs=2,
        samples=COUNT, data_sha256=dataset.digest(),
    )  # fmt: skip
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    once, again = (write_graph(apply(graph, recipe, dataset=dataset)) for _ in range(2))
    assert once == again
    assert once != write_graph(apply(graph, replace(recipe, distill_epochs=0), dataset=dataset))


def test_images_are_parts_of_themselves_and_mirrored() -> None:
    rising = np.broadcast_to(np.arange(32, dtype=np.float32)[None, None, :, None], (64, 32, 32, 1)).copy()
    rising += np.arange(32, dtype=np.float32)[None, :, None, None] * 100
    assert (changed(rising, Distillation(1), 0).numpy() == rising).all()
    flipped = changed(rising, Distillation(1, flip=True), 0).numpy()
    mirrored = np.array([np.allclose(a, b[:, ::-1], atol=1e-2) for a, b in zip(flipped, rising, strict=True)])
    same = np.array([np.allclose(a, b, atol=1e-2) for a, b in zip(flipped, rising, strict=True)])
    assert (mirrored ^ same).all()
    assert 16 < mirrored.sum() < 48
    parts = changed(rising, Distillation(1, crops=True), 3).numpy()
    assert parts.shape == rising.shape
    assert parts.min() >= 0
    assert parts.max() <= rising.max()
    middle = parts[:, 16, 16:18, 0]
    across = 31 * (middle[:, 1] - middle[:, 0])  # columns of the picture that are shown, in the middle
    assert (across > 0).all()  # none is mirrored
    assert 0.65 * 31 < across.min() < 0.85 * 31
    assert 31 < across.max() < 1.3 * 31


def test_a_run_that_is_resumed_ends_like_one_that_was_not_cut(
    pair: tuple[Graph, Narrowed], dataset: Dataset
) -> None:
    graph, narrowed = pair
    states: list[State] = []
    uncut = distilled(
        narrowed, graph, dataset, 4, 0, Course(checkpoint=lambda s: states.append(dict(s)), due=lambda: True)
    )
    assert "step" not in states[0]  # what was solved, before anything was learned
    assert [int(state["step"]) for state in states[1:]] == list(range(8))
    for state in (states[0], states[5]):
        resumed = distilled(narrowed_before(state), graph, dataset, 4, 0, Course(state))
        for one, other in zip(resumed.tensors, uncut.tensors, strict=True):
            assert (one.data is None) == (other.data is None)
            assert one.data is None or np.allclose(one.data, other.data, atol=1e-4)
    with pytest.raises(ModelError, match="the checkpoint is not of this training"):
        narrowed_before({"step": np.array(3)})
    with pytest.raises(ModelError, match="the checkpoint is not of this training"):
        distilled(narrowed, graph, dataset, 4, 0, Course({"step": np.array(3)}))


@pytest.mark.parametrize("by_recipe", [False, True])
def test_a_command_that_was_cut_goes_on(
    by_recipe: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sdk
    from sdk.tools.system import checkpoint

    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    (tmp_path / "m.tflite").write_bytes(write_graph(small_mobilenet(16)))
    np.savez(tmp_path / "x.npz", x=pixels(range(COUNT)))
    asked: dict[str, Any] = {"channels": 0.3, "distill_epochs": 6}
    if by_recipe:
        recipe = Recipe(sparsity=0.0, clusters=0, effort="none", samples=COUNT, **asked)
        (tmp_path / "r.toml").write_text(recipe.to_toml())
        asked = {"recipe": tmp_path / "r.toml"}
    seen: list[tuple[str, int]] = []

    def run(cut_at: int) -> None:
        def progress(stage: str, done: int, total: int) -> None:
            seen.append((stage, done))
            if stage == "distil" and done == cut_at:
                raise KeyboardInterrupt

        sdk.compress_model(
            tmp_path / "m.tflite",
            tmp_path / "m.armlet",
            progress=progress,
            data=tmp_path / "x.npz",
            preprocess="tf",
            **asked,
        )

    with pytest.raises(KeyboardInterrupt):
        run(9)
    assert any(stage == "solve" for stage, _ in seen)
    assert (tmp_path / "m.armlet.checkpoint").exists()
    seen.clear()
    run(-1)
    assert next(done for stage, done in seen if stage == "distil") == 8
    assert not any(stage == "solve" for stage, _ in seen)
    left = {path.name for path in tmp_path.iterdir()} - {"r.toml"}
    assert left == {"m.armlet", "m.tflite", "x.npz"}


def ten_seconds_an_epoch(monkeypatch: pytest.MonkeyPatch, budget: float) -> Settings:
    """Settings with this budget, by a clock that steps of a training turn by five seconds, two of them an epoch."""
    now, learn = [0.0], _Distilled.learn

    def timed(self: _Distilled, images: Any, rate: float, step: int, steps: int) -> None:
        now[0] += 5.0
        learn(self, images, rate, step, steps)

    monkeypatch.setattr(_Distilled, "learn", timed)
    return Settings(channels=0.3, distill_epochs=50, seconds_left=lambda: budget - now[0])


@pytest.mark.parametrize("int8", [False, True])
def test_half_of_the_time_is_distilled_for_and_the_recipe_says_how_long(
    int8: bool, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = replace(ten_seconds_an_epoch(monkeypatch, 110.0), int8=int8)
    made = compress(small_mobilenet(16), dataset, wanted)
    assert made.recipe.distill_epochs == 4  # four steps were timed, and of 90 seconds half is left to it
    monkeypatch.undo()
    again = apply(small_mobilenet(16), made.recipe, dataset=dataset)
    assert write_graph(again) == write_graph(made.graph)


def test_no_time_for_an_epoch_is_said(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ten_seconds_an_epoch(monkeypatch, 39.0)
    with pytest.raises(DataError, match="the time is too short to distil"):
        compress(small_mobilenet(16), dataset, wanted)
    plenty = ten_seconds_an_epoch(monkeypatch, 1e6)
    short = replace(plenty, distill_epochs=2)
    assert compress(small_mobilenet(16), dataset, short).recipe.distill_epochs == 2


def test_an_int8_model_is_distilled_too(dataset: Dataset) -> None:
    wanted = Settings(int8=True, channels=0.3, distill_epochs=2)
    assert compress(small_mobilenet(16), dataset, wanted).recipe.distill_epochs == 2


def test_wide_layers_learn_in_parts(
    pair: tuple[Graph, Narrowed], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, narrowed = pair
    monkeypatch.setattr(whitening, "MOST_COLUMNS", 8)
    made = distilled(narrowed, graph, dataset, 0, 0, Course())
    assert error(made, narrowed.graph) < 1e-6 * max(error(graph, narrowed.graph), 1e-3)
    made = distilled(narrowed, graph, dataset, 200, 0, Course())
    assert error(graph, made) < 0.92 * error(graph, narrowed.graph)


def test_what_images_show_seldom_is_not_learned_by_heart() -> None:
    graph = small_mobilenet(16)
    hints = [Hint(t, t) for operator in graph.operators for t in operator.outputs]
    map_of_32, answers = (
        next(hint for hint in hints if graph.tensors[hint.original].shape == shape)
        for shape in ((1, 4, 4, 32), (1, 10))
    )
    assert well_seen([map_of_32, answers], graph, 80) == [map_of_32, answers]
    assert well_seen([map_of_32, answers], graph, 79) == [map_of_32]
    assert well_seen([map_of_32, answers], graph, 15) == [map_of_32, answers]  # nothing else is there


def test_the_first_layers_stay_as_solved_where_they_hold_few_weights(
    pair: tuple[Graph, Narrowed], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, narrowed = pair
    monkeypatch.setattr(recipes_distilled, "FIRST_WEIGHTS", 0.5)
    made = distilled(narrowed, graph, dataset, 4, 0, Course())
    layers = solved_layers(narrowed.graph)
    sizes = np.cumsum([layer.weight.tensor.elements for layer in layers])
    for layer, size in zip(layers, sizes, strict=True):
        weight = layer.weight.tensor_index
        same = np.array_equal(made.tensors[weight].data, narrowed.graph.tensors[weight].data)
        assert same == (size <= 0.5 * sizes[-1])


def test_networks_of_many_values_learn_in_smaller_batches() -> None:
    small, large = (small_network(size=side, channels=32) for side in (8, 2048))
    assert batch_size(small) == 64
    assert 1 <= batch_size(large) < 8


def test_the_option_needs_channels_to_go_and_is_told(tmp_path: Path) -> None:
    import sdk

    model = tmp_path / "m.tflite"
    model.write_bytes(write_graph(small_mobilenet(16)))
    np.savez(tmp_path / "x.npz", x=pixels(range(COUNT)))
    with pytest.raises(ModelError, match="--distill-epochs has no effect here"):
        sdk.compress_model(model, tmp_path / "m.armlet", data=tmp_path / "x.npz", distill_epochs=3)
    made = sdk.compress_model(
        model,
        tmp_path / "m.armlet",
        data=tmp_path / "x.npz",
        preprocess="tf",
        channels=0.3,
        distill_epochs=2,
    )
    assert "what whole channels left learned from the original's layers for 2 epochs" in made.notes
    assert made.macs[1] <= 0.7 * made.macs[0]
    met = sdk.compress_model(
        model,
        tmp_path / "m.armlet",
        data=tmp_path / "x.npz",
        preprocess="tf",
        target_macs=made.macs[0],
        distill_epochs=2,
    )
    assert "nothing was distilled: the target of work is met with all channels" in met.notes
    assert met.macs[1] == met.macs[0]


def test_a_recipe_of_channels_alone_is_judged_by_the_images_that_it_was_given(tmp_path: Path) -> None:
    import sdk

    (tmp_path / "m.tflite").write_bytes(write_graph(small_mobilenet(16)))
    np.savez(tmp_path / "x.npz", x=pixels(range(COUNT)))
    recipe = Recipe(
        sparsity=0.0, clusters=0, effort="none", channels=0.3, distill_epochs=2, samples=COUNT
    )  # fmt: skip
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    made = sdk.compress_model(
        tmp_path / "m.tflite",
        tmp_path / "m.armlet",
        data=tmp_path / "x.npz",
        check=tmp_path / "x.npz",
        preprocess="tf",
        recipe=tmp_path / "r.toml",
    )
    assert made.outputs is None  # of made-up inputs
    assert made.accuracy is not None
    assert made.macs[1] <= 0.7 * made.macs[0]
