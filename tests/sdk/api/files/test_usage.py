"""What a model's images and classes are travels with it, from the first command to the board's answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sdk
from device_agent import Agent
from device_agent.package import reader as package
from device_agent.record.usage import Usage
from sdk.api.files.usage import USAGE_METADATA, usage_of, with_usage
from sdk.cli import main
from sdk.compress.board_form.mirror import mirror
from sdk.errors import DataError
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

LABELS = [f"class {number}" for number in range(10)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(small_network()))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n\n", encoding="utf-8")
    return path


def stated(path: Path) -> Usage:
    return Usage.from_metadata(package.read(path.read_bytes()).metadata)


@pytest.mark.parametrize("command", ["pack", "compress"])
def test_a_command_that_makes_a_package_puts_preprocessing_and_labels_into_it(
    model, labels, tmp_path, command
):
    out = tmp_path / "net.armlet"
    told = ["--preprocess", "torch", "--labels", str(labels)]
    assert main([command, str(model), "-o", str(out), *told]) == 0
    usage = stated(out)
    assert usage.preprocess is not None
    assert (usage.preprocess.name, list(usage.labels), usage.flip) == ("torch", LABELS, ())
    answer = Agent(out).predict(np.zeros((20, 30, 3), np.uint8))
    assert answer.label == LABELS[answer.index]


def test_what_convert_was_told_survives_in_the_tflite_to_every_package(model, labels, tmp_path):
    converted, packed, compressed = (tmp_path / name for name in ("c.tflite", "p.armlet", "q.armlet"))
    told = ["--preprocess", "mean=1:scale=2", "--labels", str(labels)]
    assert main(["convert", str(model), "-o", str(converted), *told]) == 0
    sdk.pack_model(converted, packed)
    sdk.compress_model(converted, compressed)
    for path in (packed, compressed):
        assert stated(path).preprocess.mean == (1.0,)
        assert list(stated(path).labels) == LABELS
    sdk.pack_model(converted, packed, preprocess="tf")
    assert stated(packed).preprocess.name == "tf"


def test_a_package_of_which_nothing_is_known_says_nothing(model, tmp_path):
    sdk.pack_model(model, tmp_path / "a.armlet")
    sdk.compress_model(model, tmp_path / "b.armlet")
    assert stated(tmp_path / "a.armlet") == stated(tmp_path / "b.armlet") == Usage()


def test_images_that_were_calibrated_on_say_how_they_were_preprocessed(model, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "data.npz", x=images)
    with pytest.raises(
        DataError, match="the preprocessing of the network is not known"
    ):  # random images tell nothing
        sdk.compress_model(model, tmp_path / "a.armlet", data=tmp_path / "data.npz")
    made = sdk.compress_model(model, tmp_path / "a.armlet", data=tmp_path / "data.npz", preprocess="01")
    assert stated(tmp_path / "a.armlet").preprocess.name == made.preprocess == "01"
    assert made.preprocess_why == "as it was given"


def test_a_mirrored_network_says_so_in_its_package(model, tmp_path):
    path = tmp_path / "mirrored.tflite"
    path.write_bytes(write_graph(mirror(small_network())))
    sdk.pack_model(path, tmp_path / "m.armlet", preprocess="tf")
    sdk.pack_model(model, tmp_path / "p.armlet", preprocess="tf")
    assert stated(tmp_path / "m.armlet").flip == ("height", "width")
    image = np.random.default_rng(0).integers(0, 256, (31, 17, 3), np.uint8)
    plain, mirrored = (Agent(tmp_path / name).predict(image) for name in ("p.armlet", "m.armlet"))
    np.testing.assert_allclose(mirrored.outputs[0], plain.outputs[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"one\n", "10 labels, one for each score; found 1"),
        (b"a\n\nb\n", "line 2 empty"),
        (b"\xff\xe9", "UTF-8"),
    ],
)
def test_labels_that_are_not_those_of_the_model_are_refused_and_nothing_is_written(
    model, tmp_path, capsys, text, what
):
    (tmp_path / "labels.txt").write_bytes(text)
    out = tmp_path / "net.armlet"
    assert main(["pack", str(model), "-o", str(out), "--labels", str(tmp_path / "labels.txt")]) == 2
    assert what in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_tflite_with_broken_usage_is_refused_by_name():
    graph = with_usage(small_network(), Usage(labels=tuple(LABELS)))
    assert usage_of(read_graph(write_graph(graph))).labels == tuple(LABELS)
    for raw in (b"{", b"[]", b'{"labels": 3}'):
        broken = read_graph(write_graph(type(graph)(**{**vars(graph), "metadata": ((USAGE_METADATA, raw),)})))
        with pytest.raises(DataError):
            usage_of(broken)
