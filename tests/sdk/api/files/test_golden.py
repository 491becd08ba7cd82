"""The answers of the host that boards are compared with: made once, remembered, made again where that is of no use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sdk.api.files import golden
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

MODEL = write_graph(small_network())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "armlet" / "golden"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows whenever a pair is really made."""
    count: list[int] = []
    real = golden.golden_pair
    monkeypatch.setattr(golden, "golden_pair", lambda model: count.append(len(model)) or real(model))
    return count


def same(one: golden.Golden, other: golden.Golden) -> bool:
    pairs = zip((*one.inputs, *one.outputs), (*other.inputs, *other.outputs), strict=True)
    arrays = all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)
    return arrays and one.limits == other.limits and len(one.alternatives) == len(other.alternatives)


def test_the_same_model_is_run_once(cache, made):
    first = golden.remembered_golden(MODEL)
    assert same(first, golden.remembered_golden(MODEL))
    assert same(first, golden.golden_pair(MODEL))
    assert len(made) == 2  # the last of them by this test
    golden.remembered_golden(write_graph(small_network(seed=1)))
    assert len(made) == 3


def test_another_runtime_makes_another_pair(cache, made, monkeypatch):
    golden.remembered_golden(MODEL)
    monkeypatch.setattr(golden.metadata, "version", lambda name: "99.0")
    golden.remembered_golden(MODEL)
    assert len(made) == 2


@pytest.mark.parametrize("rot", [b"", b"PK", b"nonsense" * 100, None])
def test_a_memory_that_has_rotted_is_made_again(cache, made, rot):
    right = golden.remembered_golden(MODEL)
    (file,) = cache.iterdir()
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] if rot is None else rot)
    assert same(right, golden.remembered_golden(MODEL))
    assert len(made) == 2
    assert file.read_bytes() == data


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, made, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert golden.remembered_golden(MODEL).outputs[0].size


def test_the_oldest_are_forgotten(cache, made, monkeypatch):
    monkeypatch.setattr(golden, "MAX_REMEMBERED", 2)
    for seed in range(3):
        golden.remembered_golden(write_graph(small_network(seed=seed)))
        for age, path in enumerate(sorted(cache.iterdir(), key=lambda p: p.stat().st_mtime)):
            os.utime(path, (1e9 + age, 1e9 + age))
    assert len(list(cache.iterdir())) == 2
    golden.remembered_golden(write_graph(small_network(seed=2)))
    assert len(made) == 3
