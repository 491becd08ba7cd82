"""`sdk data check` shows what would be used, and what is there twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sdk
from sdk.cli import main
from sdk.data.duplicates import first_of_each, without_shared
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.sdk.data import habits
from tests.sdk.data.colour_network import colour_network


def test_classes_notes_and_candidates_are_told_and_nine_samples_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    habits.folder()(tmp_path / "data")
    (tmp_path / "net.tflite").write_bytes(colour_network(habits.TF.preprocess))
    (tmp_path / "labels.txt").write_text("0 red\n1 green\n2 blue\n3 yellow\n")
    sheet = tmp_path / "sheet.png"
    words = ["data", "check", tmp_path / "data", "--for", tmp_path / "net.tflite"]
    words += ["--labels", tmp_path / "labels.txt", "--sheet", sheet]
    assert main([*map(str, words), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["samples"] == 40
    assert [(one["label"], one["samples"]) for one in told["classes"]] == [(n, 10) for n in habits.NAMES]
    assert told["preprocess"] in {one["name"] for one in told["candidates"] if one["accuracy_percent"] == 100}
    assert told["preprocess_why"]
    with Image.open(sheet) as picture:
        assert min(picture.size) > 3 * 180
    assert main([*map(str, words)]) == 0
    text = capsys.readouterr().out
    assert "yellow" in text
    assert "preprocessing" in text


def test_without_a_model_classes_are_as_the_data_call_them(tmp_path: Path) -> None:
    habits.folder()(tmp_path)
    found = sdk.check_data(tmp_path)
    assert [one.label for one in found.classes] == sorted(habits.NAMES)
    assert found.preprocess == ""


def test_samples_that_are_there_twice_are_told_and_kept_apart(tmp_path: Path) -> None:
    pixels = habits.pixels()
    labels = habits.LABELS.copy()
    np.savez(tmp_path / "d.npz", x_train=pixels, y_train=labels, x_test=pixels[30:], y_test=labels[30:])
    told = " ".join(sdk.check_data(tmp_path / "d.npz").notes)
    assert "10 of 10 test samples are among the training samples" in told
    np.savez(tmp_path / "e.npz", x=np.concatenate([pixels, pixels[:3]]), y=np.append(labels, [0, 1, 3]))
    told = " ".join(sdk.check_data(tmp_path / "e.npz").notes)
    assert "3 samples are duplicates" in told
    assert "1 samples are in several classes at once" in told
    twice = sdk.load_dataset(tmp_path / "e.npz", input_shape=(8, 8, 3), preprocess="raw")
    once, note = first_of_each(twice)
    assert len(once) == 40
    assert "3 images" in note
    rest, note = without_shared(once.subset(np.arange(10)), once)
    assert rest is not None
    assert len(rest) == 30
    assert "10 of 40 images to check on" in note
    assert without_shared(once, once)[0] is None


def test_a_model_that_leaves_its_input_open_is_read_as_other_commands_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    habits.folder()(tmp_path / "data")
    model, data = tmp_path / "net.tflite", str(tmp_path / "data")
    graph = read_graph(colour_network(habits.TF.preprocess))
    entry = replace(graph.tensors[0], shape=(1, 1, 1, 3), shape_signature=(-1, -1, -1, 3))
    model.write_bytes(write_graph(replace(graph, tensors=(entry, *graph.tensors[1:]))))
    (tmp_path / "labels.txt").write_text("0 red\n1 green\n2 blue\n3 yellow\n")
    said = ["--for", str(model), "--input-shape", "8x8x3", "--labels", str(tmp_path / "labels.txt")]
    assert main(["data", "check", data, *said, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input_shape"] == [8, 8, 3]
    assert main(["data", "check", data, *said, "--signature", "serving_default"]) == 2
    assert "has no signatures to choose from" in capsys.readouterr().err
    assert main(["data", "check", data, *said[2:]]) == 2
    assert "expected --for MODEL" in " ".join(capsys.readouterr().err.split())
    model.write_bytes(colour_network(habits.TF.preprocess))
    sdk.pack_model(model, tmp_path / "net.armlet")
    assert main(["data", "check", data, "--for", str(tmp_path / "net.armlet"), *said[2:]]) == 2
    assert "is a package" in capsys.readouterr().err
