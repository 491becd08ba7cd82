"""Converters have an environment of their own: made whole or not at all, found afterwards, asked for by name."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from sdk.errors import ModelError
from sdk.graph.on_host.sources import elsewhere, environments
from sdk.graph.on_host.sources.environments import CONVERTERS, Converter, install, python_for

METADATA = "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "armlet" / "converters"


def test_an_environment_is_made_whole_or_not_at_all(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small.py", "")
        for name, text in (("METADATA", METADATA), ("WHEEL", WHEEL), ("RECORD", "small.py,,\n")):
            archive.writestr(f"small-1.0.dist-info/{name}", text)
    absent = str(tmp_path / "absent-1.0-py3-none-any.whl")
    monkeypatch.setitem(CONVERTERS, "small", Converter("small", ((absent,),), ("small",), "1 kB"))
    with pytest.raises(ModelError, match=r"small cannot be installed.*absent"):
        install("small")
    assert list(cache.iterdir()) == []
    with pytest.raises(ModelError, match=r"not installed.*sdk tools install small"):
        python_for("small", Path("m"))
    folder = install("small", instead=[str(wheel)])
    assert [entry.name for entry in cache.iterdir()] == ["small"]
    assert python_for("small", Path("m")) == str(folder / "bin" / "python")


def test_what_is_not_installed_says_how(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"sdk tools install torch .*pip install 'armlet\[torch\]'"):
        python_for("torch", tmp_path / "model.pt2")
    with pytest.raises(ModelError, match=r"sdk tools install onnx \(2.6 GB\); it works offline"):
        python_for("onnx", tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="no converter caffe; expected onnx, torch"):
        install("caffe")


def test_the_environment_that_runs_is_taken_where_it_has_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.importlib.util, "find_spec", lambda name: object())
    assert python_for("torch", Path("model.pt2")) == sys.executable


def fake(folder: Path, script: str) -> str:
    """A program in the place of the interpreter: sh -c of ``script``, $1 the child, $2 the model, $3 the output."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo 'noise\nARMLET: operators Foo, which it lacks | Replace them.' >&2; exit 1",
            "found operators Foo",
        ),
        (
            "echo 'Traceback (most recent call last):\n  x\nValueError: the cause' >&2; exit 1",
            "found the cause",
        ),
        ("exit 0", "found no reason given"),
    ],
)
def test_a_failure_is_told_in_a_line_and_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    monkeypatch.setattr(elsewhere, "python_for", lambda name, path: fake(tmp_path, script))
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x")
    with pytest.raises(ModelError, match=told) as caught:
        elsewhere.onnx_bytes(model)
    assert "\n" not in str(caught.value)
    assert "model.onnx.txt" in str(caught.value)


def test_shapes_of_a_program_are_those_that_it_was_exported_with(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Export it again"):
        elsewhere.torch_program_bytes(tmp_path / "m.pt2", input_shape=(8, 8, 3))
