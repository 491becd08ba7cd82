"""What a command converted is read by the next one; what may have changed unseen is converted again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdk.graph.on_host import converted_before
from sdk.graph.on_host.converted_before import KIND, Note
from sdk.graph.on_host.sources import convert
from sdk.graph.writer import write_graph
from sdk.tools.system.folders import cache_folder
from tests.sdk.graph.small_graphs import small_network

#: A command that finds no TensorFlow.
WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None
from sdk.cli import program
program()
"""


def keras_file(path: Path, module: str = "keras.layers") -> Path:
    """What looks like a file of Keras 3 with one layer of this module."""
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [{"module": module}]}}
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    path.write_bytes(held.getvalue())
    return path


class Converter:
    """Converts each file to the same model, and counts how often."""

    def __init__(self) -> None:
        self.result = write_graph(small_network())
        self.times = 0
        self.remark = ""

    def __call__(self, path: Path, *, note: Note, **asked: Any) -> bytes:
        self.times += 1
        if self.remark:
            note(self.remark)
        return self.result


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Converter:
    """In the place of TensorFlow, in a process that keeps results in a cache of its own."""
    made = Converter()
    monkeypatch.setattr(convert, "keras_file_bytes", made)
    monkeypatch.setattr(converted_before, "keeps_results", lambda: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


def test_the_next_command_converts_nothing_and_needs_no_tensorflow(
    converter: Converter, tmp_path: Path
) -> None:
    path = keras_file(tmp_path / "net.keras")
    assert convert.tflite_bytes(path) == convert.tflite_bytes(path) == converter.result
    assert converter.times == 1
    arguments = ["convert", str(path), "-o", str(tmp_path / "net.tflite")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net.tflite").read_bytes() == converter.result


def test_a_program_of_a_user_keeps_nothing(
    converter: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converted_before, "keeps_results", lambda: False)
    path = keras_file(tmp_path / "net.keras")
    for _ in range(2):
        convert.tflite_bytes(path)
    assert converter.times == 2
    assert not cache_folder(KIND).exists()


@pytest.mark.parametrize(
    ("asked", "versions"),
    [({"input_shape": (32, 32, 3)}, None), ({}, lambda name: "2.0")],
    ids=["another shape", "another TensorFlow"],
)
def test_what_a_conversion_depends_on_is_converted_again(
    converter: Converter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict,
    versions: Callable[[str], str] | None,
) -> None:
    path = keras_file(tmp_path / "net.keras")
    convert.tflite_bytes(path)
    if versions is not None:
        monkeypatch.setattr(converted_before.metadata, "version", versions)
    convert.tflite_bytes(path, **asked)
    assert converter.times == 2


def test_another_file_of_that_name_is_converted(converter: Converter, tmp_path: Path) -> None:
    path = keras_file(tmp_path / "net.keras")
    convert.tflite_bytes(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("more", "weights")
    convert.tflite_bytes(path)
    assert converter.times == 2


def test_code_of_ones_own_is_run_each_time(converter: Converter, tmp_path: Path) -> None:
    own = keras_file(tmp_path / "own.keras", module="my_layers")
    plain = keras_file(tmp_path / "plain.keras")
    for _ in range(2):
        convert.tflite_bytes(own)
        convert.tflite_bytes(plain, custom_objects=["layers.py:Mine"])
    assert converter.times == 4


def test_a_remark_is_made_each_time(converter: Converter, tmp_path: Path) -> None:
    converter.remark = "the file holds no weights"
    path = keras_file(tmp_path / "net.keras")
    told: list[str] = []
    for _ in range(2):
        convert.tflite_bytes(path, note=told.append)
    assert told == [converter.remark] * 2
