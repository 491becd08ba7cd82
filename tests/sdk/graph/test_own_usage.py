"""Preprocessing and labels by a model's own words, and what becomes of them on the way into a package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdk
from device_agent.package import reader as package
from device_agent.record.usage import Usage
from sdk.cli import main
from sdk.graph.embedded.model_metadata import ModelMetadata, TensorMetadata
from sdk.graph.own_usage import own_usage, usual_preprocess
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Quantization
from sdk.graph.writer import write_graph
from tests.sdk.graph.embedded.made_metadata import labels_file, with_words
from tests.sdk.graph.small_graphs import small_network

LABELS = tuple(f"class {number}" for number in range(10))
TEXT = "\n".join(LABELS) + "\n"
TF = TensorMetadata(content="image", mean=(127.5,), deviation=(127.5,))
SCORES = TensorMetadata(files=(labels_file(),))


def said(graph: Graph) -> tuple[str | None, tuple[str, ...], str]:
    usage, notes = own_usage(graph)
    return usage.preprocess and usage.preprocess.name, usage.labels, " ".join(notes)


@pytest.mark.parametrize(
    ("mean", "deviation", "name"),
    [
        ((127.5,), (127.5,), "tf"),
        ((127.5,) * 3, (127.5,) * 3, "tf"),
        ((0.0,), (255.0,), "01"),
        ((0.0,), (1.0,), "raw"),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "torch"),
        ((127.0,), (128.0,), "mean=127.0:scale=128.0"),
        ((103.939, 116.779, 123.68), (1.0,), "mean=103.939,116.779,123.68:scale=1.0"),
    ],
)
def test_mean_and_deviation_become_the_preprocessing(mean, deviation, name) -> None:
    metadata = ModelMetadata(inputs=(replace(TF, mean=mean, deviation=deviation),))
    assert said(with_words(small_network(), metadata)) == (name, (), "")


@pytest.mark.parametrize(
    ("mean", "deviation"), [((1.0, 2.0), (1.0,)), ((1.0,), (0.0,)), ((1.0,) * 4, (2.0,) * 4)]
)
def test_numbers_that_do_not_fit_the_input_are_told_and_not_used(mean, deviation) -> None:
    metadata = ModelMetadata(inputs=(replace(TF, mean=mean, deviation=deviation),))
    name, _, notes = said(with_words(small_network(), metadata))
    assert name is None
    assert "do not fit" in notes


@pytest.mark.parametrize(("mean", "deviation", "identity"), [(127.5, 127.5, False), (0.0, 1.0, True)])
def test_pixels_of_a_uint8_input_reach_its_whole_range(mean, deviation, identity) -> None:
    """Authors of quantised models often state no normalisation, since pixels go in as they are."""
    graph = small_network()
    quantization = Quantization(np.array([1 / 128], np.float32), np.array([128]))
    tensors = (replace(graph.tensors[0], dtype="UINT8", quantization=quantization), *graph.tensors[1:])
    metadata = ModelMetadata(inputs=(replace(TF, mean=(mean,), deviation=(deviation,)),))
    usage, notes = own_usage(with_words(replace(graph, tensors=tensors), metadata))
    assert usage.preprocess is not None
    stored = usage.preprocess(np.arange(256, dtype=np.uint8)[:, None]) * 128 + 128
    assert np.abs(stored[:, 0] - np.arange(256)).max() <= 1
    assert bool(notes) == identity


@pytest.mark.parametrize(("channels", "name"), [(3, "tf"), (1, None)])
def test_bytes_of_three_channels_are_pixels_and_those_of_one_may_be_sound(channels, name) -> None:
    graph = small_network()
    quantization = Quantization(np.array([1 / 127.5], np.float32), np.array([127]))
    entry = replace(graph.tensors[0], shape=(1, 8, 8, channels), dtype="UINT8", quantization=quantization)
    preprocess = usual_preprocess(replace(graph, tensors=(entry, *graph.tensors[1:])), None)
    assert (preprocess and preprocess(np.array([[0], [255]], np.uint8)).round(2).tolist()) == (
        None if name is None else [[-1.0], [1.0]]
    )
    assert usual_preprocess(graph, None) is None


@pytest.mark.parametrize(
    ("metadata", "files", "labels"),
    [
        (ModelMetadata(outputs=(SCORES,)), {"labels_txt": TEXT}, LABELS),
        (ModelMetadata(files=(labels_file("unknown"),)), {"labels_txt": TEXT}, LABELS),
        (None, {"labels_txt": TEXT, "vocab_txt": "a\nb"}, LABELS),
        (None, {"classes_txt": TEXT, "vocab_txt": "a\nb"}, LABELS),
        (None, {"vocab_txt": "a\nb"}, ()),
        (None, {"meta_txt": str({"names": dict(enumerate(LABELS))})}, LABELS),
        (ModelMetadata(outputs=(SCORES,)), {"labels_txt": "a\x1b[2J\n" + "\n".join(LABELS[1:])}, None),
    ],
)
def test_labels_are_found_wherever_exporters_put_them(metadata, files, labels) -> None:
    found = said(with_words(small_network(), metadata, **files))[1]
    assert found == (("a\\x1b[2J", *LABELS[1:]) if labels is None else labels)


def test_labels_of_another_number_of_classes_are_told_and_not_used() -> None:
    _, labels, notes = said(
        with_words(small_network(), ModelMetadata(outputs=(SCORES,)), labels_txt="a\nb\n")
    )
    assert labels == ()
    assert "2 labels are not used: it gives 10 scores" in notes


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    metadata = ModelMetadata(inputs=(TF,), outputs=(SCORES,))
    path.write_bytes(write_graph(with_words(small_network(), metadata, labels_txt=TEXT)))
    return path


def test_pack_convert_and_compress_keep_all_of_it(model: Path, tmp_path: Path) -> None:
    converted = tmp_path / "c.tflite"
    assert main(["convert", str(model), "-o", str(converted)]) == 0
    original, again = read_graph(model.read_bytes()), read_graph(converted.read_bytes())
    assert (again.metadata, again.attached) == (original.metadata, original.attached)
    for source in (model, converted):
        for command in ("pack", "compress"):
            out = tmp_path / f"{source.stem}-{command}.armlet"
            assert main([command, str(source), "-o", str(out)]) == 0
            decoded = package.unpack(out.read_bytes())
            assert Usage.from_metadata(decoded.package.metadata) == own_usage(original)[0]
            assert read_graph(decoded.tflite).attached == original.attached
    decoded = package.unpack((tmp_path / "net-pack.armlet").read_bytes())
    assert decoded.tflite == model.read_bytes()


def test_what_is_told_goes_before_what_the_model_says(model: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"other {n}" for n in range(10)))
    converted = tmp_path / "c.tflite"
    sdk.convert_model(model, converted, preprocess="raw", labels=names)
    packed = tmp_path / "p.armlet"
    sdk.pack_model(converted, packed)
    usage = Usage.from_metadata(package.read(packed.read_bytes()).metadata)
    assert usage.preprocess is not None
    assert (usage.preprocess.name, usage.labels[0]) == ("raw", "other 0")


def test_a_model_whose_operators_are_not_read_says_the_same(model: Path, tmp_path: Path) -> None:
    """Resource tensors (type 13 of the schema) are not carried by a graph; the words beside it are."""
    graph = read_graph(model.read_bytes())
    tensors = (*graph.tensors[:9], replace(graph.tensors[9], dtype="RESOURCE"), *graph.tensors[10:])
    odd, packed = tmp_path / "odd.tflite", tmp_path / "odd.armlet"
    odd.write_bytes(write_graph(replace(graph, tensors=tensors)))
    sdk.pack_model(odd, packed)
    assert Usage.from_metadata(package.read(packed.read_bytes()).metadata).labels == LABELS


def test_a_lost_file_of_labels_is_told(tmp_path: Path, capsys) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(with_words(small_network(), ModelMetadata(outputs=(SCORES,)))))
    for command in ("pack", "convert", "compress"):
        assert main([command, str(path), "-o", str(tmp_path / "out")]) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "note: the metadata name the file labels.txt, which is not attached to the model" in told


def test_labels_that_no_package_holds_stay_in_the_model_and_that_is_told(tmp_path: Path, capsys) -> None:
    graph = with_words(
        small_network(classes=3000), None, labels_txt="\n".join(f"{n:030}" for n in range(3000))
    )
    path, out = tmp_path / "many.tflite", tmp_path / "many.armlet"
    path.write_bytes(write_graph(graph))
    assert main(["pack", str(path), "-o", str(out)]) == 0
    assert "labels are not used: 99000 bytes do not fit" in " ".join(capsys.readouterr().out.split())
    assert package.unpack(out.read_bytes()).tflite == path.read_bytes()


def test_inspect_shows_what_a_package_says(model: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "net.armlet"
    sdk.pack_model(model, out, task="classes", fit="stretch")
    assert main(["inspect", str(out)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "task classes pixels tf, fitted by stretch labels 10: class 0, class 1, class 2, ..." in told
