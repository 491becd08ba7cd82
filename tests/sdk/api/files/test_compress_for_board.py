"""``compress --for`` makes what the board runs fastest: pairs of weights, flipped images, int8; all of it to replay."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

import sdk
from device_agent.package import reader as package_format
from device_agent.run.loaded import LoadedModel
from sdk.api.files import predicted_cost
from sdk.api.files.golden import golden_pair
from sdk.board.description.records import Board
from sdk.compress.board_form.sparse_path import sparse_path
from sdk.compress.board_form.specialise import Specialised
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.weights.prune import prune
from sdk.errors import DataError, ModelError
from sdk.graph.on_host.evaluate import predict
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.report.terminal.drawing import compressed as draw
from tests.device_agent.run.kernels.layers_with_zeros import Images
from tests.sdk.compress.layered_graphs import small_mobilenet

SIZE = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tflite as TensorFlow pads it: one row at the bottom, one column at the right."""
    path = tmp_path_factory.mktemp("models") / "mobilenet.tflite"
    path.write_bytes(write_graph(small_mobilenet(SIZE)))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    coarse = np.random.default_rng(0).integers(0, 255, (120, 8, 8, 3))
    np.savez(path, x=coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8))
    return path


def decoded(path: Path) -> package_format.Unpacked:
    return package_format.unpack(path.read_bytes())


def pairs(graph: Graph) -> list[np.ndarray]:
    """Of each 1x1 convolution, which weights of a pair of output channels are used: (pairs, 2, in)."""
    return [
        w.array.reshape(-1, 2, w.array.shape[-1]) != 0
        for w in graph.weights()
        if w.layer == "convolution 1x1" and w.tensor.is_dense_array and len(w.array) % 2 == 0
    ]


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


def test_a_board_with_sparse_kernels_gets_pairs_and_the_recipe_gives_the_same_bytes(
    model: Path, tmp_path: Path
) -> None:
    made = sdk.compress_model(
        model, tmp_path / "a.armlet", sparsity=0.8, board="rpi4", save_recipe=tmp_path / "r.toml"
    )
    assert (made.block, made.form) == (2, "sparse")
    used = pairs(read_graph(decoded(tmp_path / "a.armlet").tflite))
    assert used
    assert all((u.any(axis=1) == u.all(axis=1)).all() for u in used)
    assert "block = 2" in (tmp_path / "r.toml").read_text()
    again = sdk.compress_model(model, tmp_path / "b.armlet", recipe=tmp_path / "r.toml", board="rpi4")
    assert (tmp_path / "b.armlet").read_bytes() == (tmp_path / "a.armlet").read_bytes()
    assert again.block == 2


def test_fours_go_to_the_kernels_of_armlet_and_it_is_shown_which_layers(model: Path, tmp_path: Path) -> None:
    large = Images(24, 24, 16)
    chain = tmp_path / "chain.tflite"
    chain.write_bytes(large.model(large.convolve(large.convolve(0, 64, 3, keep=1.0), 64, 3, keep=1.0)))
    made = sdk.compress_model(chain, tmp_path / "a.armlet", sparsity=0.9, board="rpi4", block=4)
    assert (made.block, made.form) == (4, "armlet")
    assert {one["runs_in"] for one in made.kernels} == {"Armlet"}
    assert all(one["armlet"] < one["dense"] for one in made.kernels)
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(draw(made))
    assert f"layers with zeros: {len(made.kernels)} in Armlet" in console.export_text()
    pairs = sdk.compress_model(model, tmp_path / "b.armlet", sparsity=0.9, board="rpi4")
    assert {one["runs_in"] for one in pairs.kernels} <= {"runtime", "runtime, sparse"}


def test_fours_are_proposed_where_they_would_take_clearly_less() -> None:
    made = Images(24, 24, 16)
    graph = read_graph(made.model(made.convolve(made.convolve(0, 64, 3, keep=1.0), 64, 3, keep=1.0)))
    recipe = Recipe(sparsity=0.8)
    special = Specialised(prune(graph, 0.8), "dense", ())
    (note,) = predicted_cost.fours_would_pay(graph, special, recipe)
    assert note.startswith("--block 4 at the same sparsity would take about ")
    assert predicted_cost.fours_would_pay(graph, special, replace(recipe, block=4)) == ()
    assert predicted_cost.fours_would_pay(graph, special, replace(recipe, int8=True)) == ()
    assert predicted_cost.fours_would_pay(graph, None, recipe) == ()


def test_where_nothing_runs_sparse_single_weights_go(model: Path, tmp_path: Path) -> None:
    assert sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.8).block == 1
    assert sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.8, board="local").block == 1
    assert sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.05, board="rpi4").block == 1
    asked = sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.8, block=4)
    assert asked.block == 4
    with pytest.raises(ModelError, match="block"):
        sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.8, block=0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("effort", ["calibrate", "train"])
def test_fours_survive_calibration_and_training(model: Path, data: Path, tmp_path: Path, effort: str) -> None:
    given = {"effort": effort, "data": data, "preprocess": "tf", "sparsity": 0.8, "epochs": 3, "clusters": 16}
    sdk.compress_model(model, tmp_path / "a.armlet", block=4, **given)
    layers = [
        w for w in read_graph(decoded(tmp_path / "a.armlet").tflite).weights() if w.layer != "depthwise"
    ]
    assert {layer.layer for layer in layers} >= {"convolution 1x1", "convolution", "fully connected"}
    for layer in layers:
        rows = layer.array.reshape(len(layer.array), -1)
        used = rows[: len(rows) // 4 * 4].reshape(-1, 4, rows.shape[1]) != 0
        assert (used.any(axis=1) == used.all(axis=1)).mean() > 0.99  # a solved weight may round to zero


@pytest.mark.tensorflow
def test_pairs_survive_calibration(model: Path, data: Path, tmp_path: Path) -> None:
    arguments = {
        "effort": "calibrate",
        "data": data,
        "preprocess": "tf",
        "sparsity": 0.8,
        "clusters": 16,
        "board": "rpi4",
    }
    made = sdk.compress_model(model, tmp_path / "a.armlet", save_recipe=tmp_path / "r.toml", **arguments)
    assert (made.block, made.form) == (2, "sparse")
    used = pairs(read_graph(decoded(tmp_path / "a.armlet").tflite))
    assert all((u.any(axis=1) == u.all(axis=1)).all() for u in used)
    sdk.compress_model(
        model, tmp_path / "b.armlet", recipe=tmp_path / "r.toml", data=data, preprocess="tf", board="rpi4"
    )
    assert (tmp_path / "b.armlet").read_bytes() == (tmp_path / "a.armlet").read_bytes()


def test_the_agent_flips_the_image_that_a_mirrored_package_wants_flipped(model: Path, tmp_path: Path) -> None:
    plain, mirrored = tmp_path / "plain.armlet", tmp_path / "mirrored.armlet"
    sdk.compress_model(model, plain, sparsity=0.8, block=2)
    made = sdk.compress_model(
        model, mirrored, sparsity=0.8, board="rpi4", save_tflite=tmp_path / "alone.tflite"
    )
    assert "mirror" in {p["name"] for p in made.passes if p["applied"]}
    unpacked = decoded(mirrored)
    assert unpacked.package.metadata["input"]["flip"] == ["height", "width"]
    assert "REVERSE_V2" not in [op.kind for op in read_graph(unpacked.tflite).operators]
    batch = images(5)
    with LoadedModel.load(plain) as before, LoadedModel.load(mirrored) as after:
        expected = before.predict(batch)
        np.testing.assert_allclose(after.predict(batch), expected, atol=1e-5)
        np.testing.assert_allclose(after.predict(batch[0]), expected[0], atol=1e-5)
        assert np.abs(after.predict(batch[:, ::-1, ::-1]) - expected).max() > 1e-3
    # The host's answers, and the file for other runtimes, which flips by itself.
    np.testing.assert_allclose(predict(unpacked.tflite, batch), expected, atol=1e-5)
    np.testing.assert_allclose(predict((tmp_path / "alone.tflite").read_bytes(), batch), expected, atol=1e-5)
    golden = golden_pair(mirrored.read_bytes())
    with LoadedModel.load(mirrored) as agent:
        for case, answer in zip(golden.inputs[0], golden.outputs[0], strict=True):  # as the graph takes them
            np.testing.assert_allclose(agent.model.run(case), answer, atol=golden.limits[0].largest)


def test_a_mirrored_tflite_that_is_packed_as_it_is_says_so_too(model: Path, tmp_path: Path) -> None:
    sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.8, board="rpi4")
    (tmp_path / "b.tflite").write_bytes(decoded(tmp_path / "a.armlet").tflite)
    from sdk.api.files.packing import pack_model

    pack_model(tmp_path / "b.tflite", tmp_path / "b.armlet")
    assert decoded(tmp_path / "b.armlet").package.metadata["input"]["flip"] == ["height", "width"]


def test_a_mirrored_model_is_not_calibrated_on_images_that_are_not(
    model: Path, data: Path, tmp_path: Path
) -> None:
    sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.8, board="rpi4")
    (tmp_path / "b.tflite").write_bytes(decoded(tmp_path / "a.armlet").tflite)
    with pytest.raises(ModelError, match="mirrored"):
        sdk.compress_model(tmp_path / "b.tflite", tmp_path / "c.armlet", data=data)


@pytest.mark.tensorflow
@pytest.mark.parametrize("board", [None, "rpi5"])
def test_int8_is_small_close_to_the_original_and_replayed_to_the_same_bytes(
    model: Path, data: Path, tmp_path: Path, board: str | None
) -> None:
    made = sdk.compress_model(
        model,
        tmp_path / "a.armlet",
        data=data,
        preprocess="tf",
        int8=True,
        board=board,
        save_recipe=tmp_path / "r.toml",
    )
    assert made.int8
    assert made.accuracy is not None
    assert made.accuracy.samples == 24  # every fifth of 120, which the ranges were not taken from
    assert made.accuracy.compressed_correct >= 20
    graph = read_graph(decoded(tmp_path / "a.armlet").tflite)
    weights = list(graph.weights())
    assert {w.array.dtype for w in weights} == {np.dtype(np.int8)}
    per_channel = {w.tensor.quantization.scales.size for w in weights if w.layer == "convolution 1x1"}
    assert min(per_channel) > 1
    # Eight bits a weight are an upper bound: the symbols are Huffman coded.
    assert made.package_bytes < len(decoded(tmp_path / "a.armlet").tflite)
    sdk.compress_model(
        model, tmp_path / "b.armlet", recipe=tmp_path / "r.toml", data=data, preprocess="tf", board=board
    )
    assert (tmp_path / "b.armlet").read_bytes() == (tmp_path / "a.armlet").read_bytes()


@pytest.mark.tensorflow
def test_int8_says_whether_the_loss_that_was_allowed_is_kept(model: Path, data: Path, tmp_path: Path) -> None:
    solved = sdk.compress_model(
        model, tmp_path / "a.armlet", data=data, preprocess="tf", int8=True, max_loss=50.0
    )
    assert solved.target_met
    assert (solved.effort, solved.int8) == ("calibrate", True)
    plain = sdk.compress_model(
        model,
        tmp_path / "a.armlet",
        data=data,
        preprocess="tf",
        int8=True,
        effort="none",
        sparsity=0.97,
        max_loss=0.0,
    )
    assert not plain.target_met
    assert any("plain 8-bit numbers" in note for note in plain.notes)


def test_int8_tells_no_accuracy_on_images_that_it_learned_from(model: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), np.uint8)
    np.savez(
        tmp_path / "few.npz", x=np.concatenate([images, images])
    )  # what is there twice is not a test either
    made = sdk.compress_model(
        model, tmp_path / "a.armlet", data=tmp_path / "few.npz", preprocess="tf", int8=True
    )
    assert made.accuracy is None
    assert "all 30 images are used for learning" in made.statement
    few = {"data": tmp_path / "few.npz", "preprocess": "tf", "int8": True, "max_loss": 1.0}
    with pytest.raises(DataError, match="expected at least 100 images; found 30") as refused:
        sdk.compress_model(model, tmp_path / "a.armlet", **few)
    assert "--effort none" in (refused.value.hint or "")
    limited = sdk.compress_model(model, tmp_path / "a.armlet", effort="none", **few)
    assert limited.images == 15  # half are learned from where a loss is limited
    assert not limited.target_met  # so few carry no such limit


@pytest.mark.tensorflow
def test_int8_weights_are_solved_with_a_price_of_bits(model: Path, data: Path, tmp_path: Path) -> None:
    made = sdk.compress_model(
        model,
        tmp_path / "a.armlet",
        data=data,
        preprocess="tf",
        int8=True,
        effort="calibrate",
        board="rpi5",
        save_recipe=tmp_path / "r.toml",
    )
    assert made.int8
    assert made.effort == "calibrate"
    assert made.lost is not None
    weights = list(read_graph(decoded(tmp_path / "a.armlet").tflite).weights())
    assert {w.array.dtype for w in weights} == {np.dtype(np.int8)}
    # A price of bits leaves few numbers, and the quantiser takes them as they are.
    assert np.mean([len(np.unique(w.array)) for w in weights]) < 60
    sdk.compress_model(
        model, tmp_path / "b.armlet", recipe=tmp_path / "r.toml", data=data, preprocess="tf", board="rpi5"
    )
    assert (tmp_path / "b.armlet").read_bytes() == (tmp_path / "a.armlet").read_bytes()


def test_int8_without_images_or_that_is_to_be_trained_is_refused(
    model: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="images"):
        sdk.compress_model(model, tmp_path / "a.armlet", int8=True)
    with pytest.raises(ModelError, match="nothing leads to a size"):
        sdk.compress_model(
            model,
            tmp_path / "a.armlet",
            data=data,
            preprocess="tf",
            int8=True,
            effort="none",
            target_bytes=1000,
        )
    with pytest.raises(ModelError, match="int8"):
        sdk.compress_model(
            model, tmp_path / "a.armlet", data=data, preprocess="tf", int8=True, effort="train"
        )
    assert not (tmp_path / "a.armlet").exists()


def test_predicted_milliseconds_decide_between_the_forms_where_they_are_asked_for(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower_sparse(boards: Sequence[Board], tflite: bytes, **asked: object) -> list[SimpleNamespace]:
        assert (boards[0].name, asked["runtime"]) == ("rpi3", "ai-edge-litert")
        return [SimpleNamespace(seconds=0.02 if sparse_path(read_graph(tflite)).hinted else 0.01)]

    monkeypatch.setattr(predicted_cost, "predict_on", slower_sparse)
    counted = sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.8, board="rpi3")
    made = sdk.compress_model(model, tmp_path / "a.armlet", sparsity=0.8, board="rpi3", predict=True)
    assert (counted.form, made.form) == ("sparse", "dense")
    assert made.passes[-1]["reason"] == "predicted, not measured: 20 ms sparse, 10 ms dense"
    for more in ({}, {"board": "rpi3", "target_bytes": 10_000}):
        with pytest.raises(ModelError, match="--for BOARD, and without --target-size"):
            sdk.compress_model(model, tmp_path / "a.armlet", predict=True, **more)  # type: ignore[arg-type]


@pytest.mark.tensorflow
def test_a_model_in_8_bits_is_solved_on_its_own_grid_and_replayed(
    model: Path, data: Path, tmp_path: Path
) -> None:
    sdk.compress_model(
        model, tmp_path / "q.armlet", data=data, preprocess="tf", int8=True, save_tflite=tmp_path / "q.tflite"
    )
    asked = {"data": data, "preprocess": "tf"}
    made = sdk.compress_model(
        tmp_path / "q.tflite", tmp_path / "a.armlet", save_recipe=tmp_path / "r.toml", **asked
    )
    assert made.effort == "calibrate"
    assert made.reach.left_alone == ()
    assert made.accuracy is not None  # by the model that was packed
    assert made.package_bytes < 0.8 * (tmp_path / "q.armlet").stat().st_size
    graph = read_graph(decoded(tmp_path / "a.armlet").tflite)
    assert {w.array.dtype for w in graph.weights()} == {np.dtype(np.int8)}
    original = read_graph((tmp_path / "q.tflite").read_bytes())
    assert [op.kind for op in graph.operators] == [op.kind for op in original.operators]
    sdk.compress_model(tmp_path / "q.tflite", tmp_path / "b.armlet", recipe=tmp_path / "r.toml", **asked)
    assert (tmp_path / "b.armlet").read_bytes() == (tmp_path / "a.armlet").read_bytes()
    with pytest.raises(ModelError, match="8 bits already"):
        sdk.compress_model(tmp_path / "q.tflite", tmp_path / "c.armlet", effort="train", **asked)
