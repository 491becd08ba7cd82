"""A checkpoint is the old one or the new one, never half of each."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sdk.checkpoint import load, save
from sdk.errors import DataError

OLD = {"value/3": np.arange(4.0), "epoch": np.array(2)}
NEW = {"value/3": np.arange(5.0), "epoch": np.array(3)}


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    assert load(path) is None
    save(path, OLD)
    save(path, NEW)
    loaded = load(path)
    assert loaded is not None
    assert loaded.keys() == NEW.keys()
    np.testing.assert_array_equal(loaded["value/3"], NEW["value/3"])
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_one_stays_when_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.npz"
    save(path, OLD)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        save(path, NEW)
    loaded = load(path)
    assert loaded is not None
    assert int(loaded["epoch"]) == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not an archive"])
def test_a_broken_one_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"run\.npz"):
        load(path)
