"""What a file is, is told by its bytes; every other kind gets its name and the next step, and nothing of it is run."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import pytest

from sdk.errors import ModelError
from sdk.graph.on_host.sources.convert import convert, tflite_bytes
from sdk.graph.on_host.sources.kinds import kind_of
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network


class Evil:
    """Who unpickles this writes a file."""

    def __reduce__(self) -> tuple[object, tuple[list[str]]]:
        return subprocess.run, (["touch", "/tmp/armlet-test-was-unpickled"],)


def zipped(entries: Mapping[str, bytes | str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def torch_pickle(*globals_: str) -> bytes:
    """A pickle of protocol 2 that names these, as "module name"."""
    return b"\x80\x02" + b"".join(b"c" + one.replace(" ", "\n").encode() + b"\n0" for one in globals_) + b"}."


STATE = torch_pickle("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage")
MODULE = torch_pickle("torchvision.models.mobilenetv2 MobileNetV2", "torch._utils _rebuild_tensor_v2")
ONNX = bytes.fromhex("08081207") + b"pytorch" + b"\x1a\x052.4.0" + b":\x10\n\x01x\x12\x01y" + b'"\x04Relu'
FROZEN = bytes.fromhex("0a12") + b"\n\x01x\x12\x0bPlaceholder*\x00" + b"\x22\x03\x08\xaa\x13"
TORCH_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + MODULE

OTHERS = {
    "frozen.pb": (FROZEN, "frozen TensorFlow 1 graph", "from_frozen_graph"),
    "saved_model.pb": (b"\x08\x01\x12\x0a\x0a\x08\x12\x06\x0a\x04serv", "saved_model.pb of a SavedModel", "folder"),
    "graph.onnx": (ONNX, "ONNX model", ""),
    "weights.pth": (zipped({"w/data.pkl": STATE, "w/version": "3", "w/data/0": b"\0" * 64}), "state dict", "export"),
    "whole.pt": (zipped({"m/data.pkl": MODULE, "m/version": "3"}), "class torchvision.*MobileNetV2", "export"),
    "old.pth": (TORCH_OLD, "class torchvision.*MobileNetV2", "torch.export.save"),
    "script.pt": (
        zipped({"m/data.pkl": MODULE, "m/constants.pkl": b"", "m/code/__torch__.py": ""}),
        "TorchScript",
        "export",
    ),
    "lit.ckpt": (
        zipped({"a/data.pkl": b"\x80\x02}X\x19\x00\x00\x00pytorch-lightning_version0."}),
        "Lightning",
        "load_from_checkpoint",
    ),
    "program.pt2": (zipped({"p/archive_format": "pt2", "p/models/model.json": "{}"}), "PyTorch program", ""),
    "hand.task": (zipped({"hand.tflite": b"x"}), "holds hand.tflite", "unzip"),
    "arrays.npz": (zipped({"a.npy": b"\x93NUMPY"}), "numpy arrays", "data"),
    "any.zip": (zipped({"read.me": "x"}), "zip file, which holds read.me", "Unpack"),
    "cut.keras": (zipped({"config.json": "x" * 500})[:300], "cut off", "again"),
    "model.mnn": (b"\x18\0\0\0\0\0\x12\0\x28\0", "MNN model", "ONNX"),
    "net.param": (b"7767517\n75 83\nInput data", "ncnn", "ONNX"),
    "lfs.tflite": (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa", "git-lfs", "git lfs pull"),
    "page.tflite": (b"\n<!DOCTYPE html><html>", "HTML", "again"),
    "denied.tflite": (b"<?xml version='1.0'?><Error>AccessDenied", "XML", "again"),
    "model.xml": (b"<?xml version='1.0'?>\n<net name='m' version='11'><layers>", "OpenVINO", "ONNX"),
    "model.tflite.gz": (b"\x1f\x8b\x08\0\0\0", "gzip", "gunzip"),
    "model.json": (b'{"modelTopology": {}}', "TensorFlow.js", "tensorflowjs_converter"),
    "config.json": (json.dumps({"class_name": "Functional", "config": {}}).encode(), "without weights", "load_weights"),
    "model.safetensors": ((32).to_bytes(8, "little") + b'{"a":{}}' + b" " * 24, "safetensors", "load_file"),
    "empty.tflite": (b"", "empty file", "again"),
    "zeros.tflite": (bytes(4096), "zeros", "again"),
    "cat.png": (b"\x89PNG\r\n\x1a\n", "PNG picture", "predict"),
    "forest.pkl": (pickle.dumps(OrderedDict(a=Evil())), "a pickle", "run code"),
    "text.txt": (b"hello, world", "starts with b'hello", ""),
    "some.armlet": (b"\x89ARMLET\n", "Armlet package", "deployed"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_kind_is_named_with_the_next_step(tmp_path: Path, name: str) -> None:
    data, words, step = OTHERS[name]
    path = tmp_path / name
    path.write_bytes(data)
    if kind_of(path).reader in ("onnx", "torch"):
        assert words in kind_of(path).words
        return
    assert not kind_of(path).reader
    with pytest.raises(ModelError, match=words) as caught:
        tflite_bytes(path)
    assert step in (caught.value.hint or "")
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/armlet-test-was-unpickled").exists()


def test_half_a_tflite_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "half.tflite"
    whole = write_graph(small_network())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="broken"):
        convert(path)


def test_folders_say_what_is_missing(tmp_path: Path) -> None:
    for name, files, words in [
        ("versions", ["1/saved_model.pb"], "SavedModels.*versions/1"),
        ("checkpoint", ["checkpoint", "model.index"], "checkpoint"),
        ("js", ["model.json"], "TensorFlow.js"),
        ("unpacked", ["config.json", "model.weights.h5"], "unpacked"),
        ("other", ["a.tflite"], "without saved_model.pb.*other/a.tflite"),
    ]:
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(b"x")
        with pytest.raises(ModelError, match=words):
            tflite_bytes(tmp_path / name)


def test_hdf5_files_are_told_apart(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "file.h5"
    for attributes, reader, words in [
        ({"model_config": "{}", "keras_version": "2.15.0"}, "keras 2", ""),
        ({"model_config": "{}", "keras_version": "3.1.0"}, "keras", ""),
        ({"layer_names": ["a"]}, "", "weights, without the network"),
        ({}, "", "without a Keras model"),
    ]:
        with h5py.File(path, "w") as file:
            file.attrs.update(attributes)
        assert kind_of(path).reader == reader
        assert words in kind_of(path).words
    path.write_bytes(path.read_bytes()[:100])
    assert "cut off" in kind_of(path).words


def test_keras_archives_say_their_version(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    for version, reader in [("2.15.0", "keras 2"), ("3.5.0", "keras")]:
        metadata = json.dumps({"keras_version": version})
        path.write_bytes(zipped({"config.json": "{}", "metadata.json": metadata, "model.weights.h5": b""}))
        assert kind_of(path).reader == reader
