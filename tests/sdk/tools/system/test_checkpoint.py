"""A checkpoint is the old one or the new one, never half of each."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sdk.errors import DataError
from sdk.tools.system.checkpoint import EVERY_SECONDS, Folder, load, save

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


ABOUT = {"model": "abc", "epochs": 4}


def test_a_folder_keeps_the_state_of_every_recipe_and_what_was_decided(tmp_path: Path) -> None:
    first = Folder(tmp_path / "run", ABOUT)
    assert not first.goes_on
    assert first.load("one") is None
    assert first.remember("epochs", 7) == 7
    first.save("one", OLD)
    first.save("two", NEW)
    again = Folder(tmp_path / "run", ABOUT)
    assert again.goes_on
    assert again.remember("epochs", 9) == 7
    loaded = again.load("one")
    assert loaded is not None
    assert int(loaded["epoch"]) == 2
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_state_is_due_when_the_last_one_is_old(tmp_path: Path) -> None:
    now = 0.0
    folder = Folder(tmp_path / "run", ABOUT, clock=lambda: now)
    assert not folder.due()
    now = EVERY_SECONDS
    assert folder.due()
    folder.save("one", OLD)
    assert not folder.due()
    assert EVERY_SECONDS < 60


def test_a_folder_of_another_run_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    Folder(tmp_path / "run", ABOUT).save("one", OLD)
    with pytest.raises(DataError, match=r"is of another training.*epochs 5.*epochs 4"):
        Folder(tmp_path / "run", {**ABOUT, "epochs": 5})


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"about": 3, "decided": {}}'])
def test_a_broken_folder_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(content)
    with pytest.raises(DataError, match="is not a checkpoint"):
        Folder(tmp_path / "run", ABOUT)
