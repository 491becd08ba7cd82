"""`sdk eval --layers`: which layer loses it, on the host and between host and board."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sdk
from sdk.cli import main
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A network, the same with few values in its second layer, and images."""
    network: Graph = small_network()
    weight = list(network.weights())[1]
    coarse = (np.sign(weight.array) * np.float32(np.abs(weight.array).mean())).astype(np.float32)
    (tmp_path / "one.tflite").write_bytes(write_graph(network))
    (tmp_path / "two.tflite").write_bytes(write_graph(network.with_data({weight.tensor_index: coarse})))
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8))
    return tmp_path / "one.tflite", tmp_path / "two.tflite", tmp_path / "d.npz"


def test_the_layer_that_changed_is_named(models: tuple[Path, Path, Path]) -> None:
    one, two, data = models
    found = sdk.compare_layers(one, two, data, preprocess="tf")
    first = found.layers[0]
    (second,) = [one for one in found.layers if one.weights.endswith((" 1 values", " 2 values"))]
    assert first.decibel == 150.0
    assert second.added == max(layer.added for layer in found.layers)
    assert second.kind in found.advice[0]
    assert "more bits there" in found.advice[0]
    assert sdk.compare_layers(one, one, data, preprocess="tf").advice == ()


def test_the_page_has_a_bar_for_each_operator(
    models: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, data = map(str, models)
    page = tmp_path / "page.html"
    given = ["eval", "--layers", one, two, "--data", data, "--preprocess", "tf", "--html", str(page)]
    assert main(given) == 0
    said = capsys.readouterr().out
    assert "what adds most noise" in said
    layers = sdk.compare_layers(one, two, data, preprocess="tf").layers
    assert page.read_text().count("<rect") in (len(layers), 2 * len(layers))


def test_layers_need_images_and_no_other_model(
    models: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, data = map(str, models)
    assert main(["eval", "--layers", one, two]) != 0
    assert "--data" in capsys.readouterr().err
    assert main(["eval", one, "--layers", one, two, "--data", data]) != 0
    assert "a MODEL is given beside --layers" in capsys.readouterr().err
    assert main(["eval", "--data", data]) != 0
    assert "--layers ORIGINAL COMPRESSED" in capsys.readouterr().err


@pytest.mark.ssh
def test_board_and_host_are_compared(
    models: tuple[Path, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    with_runtime,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    with_runtime(tmp_path / "home")
    monkeypatch.setenv("ARMLET_BOARDS", str(tmp_path / "boards"))
    one, two, data = map(str, models)
    given = ["eval", "--layers", one, two, "--data", data, "--preprocess", "tf", "--board", "local"]
    assert main([*given, "--limit", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["board"], found["samples"]) == ("local", 2)
    assert all(layer["board_decibel"] > 60 for layer in found["layers"])
    assert main(["status", "--board", "local", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["slots"] == []
