"""Commands that take a model as it is read it as `sdk convert` does: a shape, a signature, code of its own layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.package.reader import unpack
from sdk.api.boards.deploying import package_of
from sdk.api.file_requests import Opening, PackedOnTheWay
from sdk.api.files.compressing import compress_model
from sdk.api.files.opening import openings
from sdk.errors import ModelError
from sdk.graph.on_host.evaluate import predict
from sdk.tools.progress import silent
from tests.sdk.graph.on_host.sources.test_saved_models import saved, spec

CODE = ("layers.py:Mine",)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file of each kind that options can be about; only their first bytes are looked at."""
    found = {"package": tmp_path / "m.armlet", "tflite": tmp_path / "m.tflite", "folder": tmp_path / "saved"}
    found["package"].write_bytes(b"\x89ARMLET\nrest")
    found["tflite"].write_bytes(b"\0\0\0\0TFL3rest")
    found["folder"].mkdir()
    (found["folder"] / "saved_model.pb").write_bytes(b"x")
    (found["folder"] / "variables").mkdir()
    return found


def test_of_several_models_each_option_reaches_those_that_it_suits(files: dict[str, Path]) -> None:
    said = Opening(input_shape=(8, 8, 3), signature="b")
    assert openings([files["package"], files["tflite"], files["folder"]], said) == [
        PackedOnTheWay(),
        PackedOnTheWay(input_shape=(8, 8, 3)),
        PackedOnTheWay(input_shape=(8, 8, 3), signature="b"),
    ]


@pytest.mark.parametrize(
    ("kind", "said", "told"),
    [
        ("package", Opening(input_shape=(8, 8, 3)), "is a package, which says all this itself"),
        ("package", Opening(signature="b"), "is a package, which says all this itself"),
        ("tflite", Opening(signature="b"), "has no signatures to choose from; expected a SavedModel"),
        ("tflite", Opening(custom_objects=CODE), "no layers of custom code; expected a Keras file"),
        ("folder", Opening(custom_objects=CODE), "no layers of custom code; expected a Keras file"),
    ],
)
def test_an_option_that_suits_no_model_is_refused(
    files: dict[str, Path], kind: str, said: Opening, told: str
) -> None:
    (packing,) = openings([files[kind]], said)
    with pytest.raises(ModelError, match=told):
        package_of(files[kind], silent, packing=packing)


@pytest.mark.tensorflow
def test_one_of_several_signatures_is_compressed_and_packed(tmp_path: Path) -> None:
    def scaled(factor: float) -> Any:
        kernel = np.full((4, 4), factor / 4, np.float32)
        return (lambda x: {"y": x @ kernel}, [spec(None, 4)])

    path = saved(tmp_path / "two", {"twice": scaled(2), "thrice": scaled(3)})
    x = np.ones((1, 4), np.float32)
    _, package = package_of(path, silent, packing=PackedOnTheWay(signature="thrice"))
    assert predict(unpack(package).tflite, x).tolist() == [[3, 3, 3, 3]]
    written = tmp_path / "m.armlet"
    compress_model(path, written, signature="twice", sparsity=0.0, clusters=0, allow_unchanged=True)
    assert predict(unpack(written.read_bytes()).tflite, x).tolist() == [[2, 2, 2, 2]]
