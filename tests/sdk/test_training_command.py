"""Training from the command line: a run that was cut goes on, and only as the run that it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sdk
from sdk import checkpoint
from tests.sdk.small_graphs import small_network

pytestmark = pytest.mark.tensorflow


class Cut(Exception):
    """Stands for a kill."""


def test_a_training_that_was_cut_goes_on_to_the_same_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = tmp_path / "small.tflite", tmp_path / "data.npz"
    model.write_bytes(small_network().write())
    rng = np.random.default_rng(0)
    np.savez(data, x=rng.integers(0, 256, (64, 8, 8, 3), np.uint8), y=rng.integers(0, 10, 64))

    def train(name: str, **changes: float) -> bytes:
        settings = {"sparsity": 0.5, "clusters": 8, "epochs": 4, **changes}
        sdk.compress_model(model, tmp_path / name, effort="train", data=data, **settings)
        return (tmp_path / name).read_bytes()

    whole = train("whole.armlet")
    assert not (tmp_path / "whole.armlet.checkpoint").exists()

    saved, save = [], checkpoint.save

    def cut_after_two(path: Path, state: dict) -> None:
        save(path, state)
        saved.append(path)
        if len(saved) == 2:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", cut_after_two)
        with pytest.raises(Cut):
            train("cut.armlet")
    assert (tmp_path / "cut.armlet.checkpoint").exists()
    assert not (tmp_path / "cut.armlet").exists()

    # What does not train leaves it alone.
    sdk.compress_model(model, tmp_path / "cut.armlet", effort="none")
    assert (tmp_path / "cut.armlet.checkpoint").exists()

    with pytest.raises(sdk.ArmletError, match="is of another training"):
        train("cut.armlet", sparsity=0.6)
    assert train("cut.armlet") == whole
    assert not (tmp_path / "cut.armlet.checkpoint").exists()
