"""A board answers about a picture as the model's task says, in pixels of the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdk.cli import main
from sdk.deploy.agent.answers import read_answer
from sdk.deploy.agent.predictions import PredictAnswer
from sdk.errors import RemoteError
from sdk.graph.writer import write_graph
from tests.sdk.graph.answering_graphs import saying, yolo_rows


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_runtime) -> Path:
    """200 x 100 pixels, for a board of this test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with_runtime(tmp_path / "data")
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)).save(path)
    return path


def asked(capsys, model: Path, *more: object) -> tuple[dict, str]:
    """The answer as JSON, and as people see it."""
    assert main(["predict", "--board", "local", str(model), *map(str, more), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert main(["predict", "--board", "local", str(model), *map(str, more)]) == 0
    return document, " ".join(capsys.readouterr().out.split())


@pytest.mark.ssh
def test_a_detector_gives_boxes_of_the_picture(picture: Path, tmp_path: Path, capsys) -> None:
    rows = yolo_rows(64, [0.5, 0.5, 0.5, 0.5, 0.1, 0.9, 0.2])
    model, labels = tmp_path / "net.tflite", tmp_path / "labels.txt"
    model.write_bytes(write_graph(saying(64, out=rows.transpose(0, 2, 1))))
    labels.write_text("cat\ndog\nbird\n")
    package = tmp_path / "net.armlet"
    assert main(["pack", str(model), "-o", str(package), "--labels", str(labels)]) == 0
    capsys.readouterr()
    document, shown = asked(capsys, package, picture)
    (answer,) = document["answers"]
    (box,) = answer["boxes"]
    assert (box["label"], box["box"]) == ("dog", [50.0, 0.0, 150.0, 100.0])
    assert "1 found" in shown
    assert "dog 0.900 50 0 150 100" in shown
    none, shown = asked(capsys, package, picture, "--threshold", 0.95)
    assert none["answers"][0]["boxes"] == []
    assert "0 found" in shown


@pytest.mark.ssh
def test_a_classifier_gives_classes_and_other_models_their_outputs(picture, tmp_path, capsys) -> None:
    model = tmp_path / "net.tflite"
    model.write_bytes(write_graph(saying(32, scores=np.array([[0.1, 0.7, 0.2]]))))
    array = tmp_path / "array.npy"
    np.save(array, np.zeros((32, 32, 3), np.float32))
    document, shown = asked(capsys, model, array, array, "--top", 2)
    assert [[c["index"] for c in answer["top"]] for answer in document["answers"]] == [[1, 2], [1, 2]]
    assert "1 0.7000" in shown
    model.write_bytes(write_graph(saying(32, a=np.zeros((1, 4, 4, 2)), b=np.zeros((1, 7)))))
    document, shown = asked(capsys, model, array)
    assert document["answers"][0]["outputs"] == [[4, 4, 2], [7]]
    assert "4x4x2, 7" in shown


def test_what_is_no_picture_is_told_before_a_board_is_asked(tmp_path: Path, capsys) -> None:
    wrong = tmp_path / "text.jpg"
    wrong.write_text("hello")
    assert main(["predict", "--board", "local", "no-model.tflite", str(wrong)]) == 2
    assert "text.jpg cannot be decoded" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"seconds": 1, "boxes": [{"index": -1, "box": [0, 0, 1, 1]}]},
        {"seconds": 1, "boxes": [{"index": 1, "box": [0, 0, 1]}]},
        {"seconds": 1, "boxes": 3},
        {"seconds": 1, "map": {"shape": [0, 1], "box": [0, 0, 1, 1], "classes": [], "base64": ""}},
        {"seconds": 1, "points": [{"x": "a", "y": 0}]},
    ],
)
def test_a_board_is_not_believed_blindly(answer) -> None:
    with pytest.raises(RemoteError, match="the agent's answer to `predict`"):
        read_answer(PredictAnswer, answer, "predict")


def test_a_label_of_a_board_cannot_drive_a_terminal() -> None:
    said = {"seconds": 1, "boxes": [{"index": 0, "box": [0, 0, 1, 1], "label": "\x1b[2J"}]}
    assert read_answer(PredictAnswer, said, "predict").boxes[0].label == "\\x1b[2J"
