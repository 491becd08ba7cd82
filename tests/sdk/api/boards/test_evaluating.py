"""`sdk eval` by the task of a model: the same code counts on host and board, on the terminal, in JSON and on a page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from device_agent.record.preprocess import PREPROCESS
from sdk.cli import main
from sdk.graph.writer import write_graph
from tests.sdk.data.colour_network import SIZE, colour_map_network, colour_network, mean_colour_network
from tests.sdk.data.habits import LABELS, pixels
from tests.sdk.graph.answering_graphs import saying

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def data_home(tmp_path_factory: pytest.TempPathFactory, with_runtime) -> Path:
    """Where the local board of these tests lives: it is provisioned once."""
    folder = tmp_path_factory.mktemp("data")
    with_runtime(folder)
    return folder


@pytest.fixture
def evaluated(
    tmp_path: Path, data_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Runs `sdk eval --json` on a model's bytes and arrays; its document."""
    monkeypatch.setenv("XDG_DATA_HOME", str(data_home))
    monkeypatch.setenv("ARMLET_BOARDS", str(tmp_path / "boards"))

    def run(tflite: bytes, arrays: dict[str, np.ndarray], *options: str) -> dict:
        (tmp_path / "net.tflite").write_bytes(tflite)
        np.savez(tmp_path / "d.npz", **arrays)
        given = ["eval", "--board", "local", str(tmp_path / "net.tflite"), "--data", str(tmp_path / "d.npz")]
        assert main([*given, *options, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_classes_are_held_against_the_original(evaluated, tmp_path: Path) -> None:
    (tmp_path / "original.tflite").write_bytes(colour_network(PREPROCESS["tf"]))
    page = tmp_path / "page.html"
    found = evaluated(
        colour_network(PREPROCESS["01"]),
        {"x": pixels(), "y": LABELS},
        *("--preprocess", "tf", "--original", str(tmp_path / "original.tflite"), "--html", str(page)),
    )
    assert [(one["place"], one["name"]) for one in found["reached"]] == [
        ("original", "top-1"),
        ("host", "top-1"),
        ("board", "top-1"),
    ]
    first, second = found["changes"]
    lost = 40 - found["host_top1"]
    assert (first["from"], first["to"], first["only_before"], first["only_after"]) == (
        "original",
        "host",
        lost,
        0,
    )
    assert second["only_before"] == second["only_after"] == 0
    assert np.sum(found["confusion"]) == 40
    assert np.trace(found["confusion"]) == found["board_top1"]
    assert "Confusion matrix" in page.read_text()


def test_all_outputs_are_held_against_each_other_without_labels(evaluated) -> None:
    two = write_graph(saying(8, one=np.arange(4.0).reshape(1, 4), two=np.ones((1, 2, 2, 1))))
    found = evaluated(two, {"x": pixels()}, "--preprocess", "tf")
    assert (found["counted"], found["by_truth"], found["host_top1"]) == ("outputs", False, None)
    assert [one["name"] for one in found["outputs"]] == ["one", "two"]
    assert all(one["largest"] == 0 for one in found["outputs"])


def test_maps_and_values_are_counted_on_the_board(evaluated) -> None:
    maps = np.zeros((40, SIZE, SIZE), np.int64) + LABELS[:, None, None]
    found = evaluated(
        colour_map_network(PREPROCESS["tf"]),
        {"x": pixels(), "y": maps},
        *("--preprocess", "tf", "--task", "segmentation"),
    )
    host, board = found["reached"]
    assert (host["name"], board["place"]) == ("mean IoU", "board")
    assert host["value"] == board["value"] > 0.8
    means = pixels().mean(axis=(1, 2)) / 255
    found = evaluated(mean_colour_network(), {"x": pixels(), "y": means + 0.25}, "--preprocess", "01")
    assert found["reached"][0]["name"] == "mean absolute error"
    assert found["reached"][0]["value"] == pytest.approx(0.25, abs=1e-5)
