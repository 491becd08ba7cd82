"""Training from the command line: a run that was cut or killed goes on, and only as the run that it was."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sdk
from sdk.cli import main
from sdk.graph.writer import write_graph
from sdk.tools.system import checkpoint
from tests.sdk.graph.small_graphs import small_network

pytestmark = pytest.mark.tensorflow


REPOSITORY = Path(__file__).parents[4]


class Cut(Exception):
    """Stands for a kill at a moment of the test's choice."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.tflite"
    path.write_bytes(write_graph(small_network()))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "data.npz"
    np.savez(path, x=rng.integers(0, 256, (64, 8, 8, 3), np.uint8), y=rng.integers(0, 10, 64))
    return path


@contextlib.contextmanager
def cut_when_saved_twice() -> Iterator[None]:
    """What saves a state for the second time is cut."""
    saved, save = [], checkpoint.save

    def cut(path: Path, state: dict[str, np.ndarray]) -> None:
        save(path, state)
        saved.append(path)
        if len(saved) == 2:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", cut)
        yield


def test_a_training_that_was_cut_goes_on_to_the_same_package(tmp_path: Path, model: Path, data: Path) -> None:
    def train(name: str, **changes: float) -> bytes:
        settings = {"sparsity": 0.5, "clusters": 8, "epochs": 4, **changes}
        sdk.compress_model(model, tmp_path / name, effort="train", data=data, preprocess="tf", **settings)
        return (tmp_path / name).read_bytes()

    whole = train("whole.armlet")
    assert not (tmp_path / "whole.armlet.checkpoint").exists()

    with cut_when_saved_twice(), pytest.raises(Cut):
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


def test_a_training_by_a_recipe_goes_on_too(tmp_path: Path, model: Path, data: Path) -> None:
    sdk.compress_model(
        model, tmp_path / "first.armlet", effort="train", data=data, preprocess="tf", epochs=4,
        sparsity=0.5, clusters=8, save_recipe=tmp_path / "r.toml",
    )  # fmt: skip
    stages: list[tuple[str, int]] = []

    def replay() -> None:
        stages.clear()
        sdk.compress_model(
            model, tmp_path / "again.armlet", data=data, preprocess="tf", recipe=tmp_path / "r.toml",
            progress=lambda stage, done, total: stages.append((stage, done)),
        )  # fmt: skip

    with cut_when_saved_twice(), pytest.raises(Cut):
        replay()
    assert min(done for stage, done in stages if stage == "train") == 0
    replay()
    assert min(done for stage, done in stages if stage == "train") > 0
    assert not (tmp_path / "again.armlet.checkpoint").exists()
    assert (tmp_path / "again.armlet").read_bytes() == (tmp_path / "first.armlet").read_bytes()


def command(model: Path, data: Path, output: Path, *more: str) -> list[str]:
    settings = ["--effort", "train", "--sparsity", "0.5", "--clusters", "8", *more]
    return [
        *(
            sys.executable,
            "-m",
            "sdk.cli",
            "compress",
            str(model),
            "-o",
            str(output),
            "--data",
            str(data),
            "--preprocess",
            "tf",
        ),
        *settings,
    ]


def wait_for(there: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the training has saved a state; fails when the process ends before."""
    until = time.monotonic() + 120
    while not list(there.glob("*.npz")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_in_the_middle_leaves_a_state_that_the_same_command_goes_on_from(
    tmp_path: Path, model: Path, data: Path, end: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "small.armlet"
    folder = tmp_path / "small.armlet.checkpoint"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    # So many epochs that it is never finished by then; the second command has the same number.
    words = command(model, data, output, "--epochs", "3000")
    process = subprocess.Popen(
        words,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in the background has them ignore it, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(folder, process)
    process.send_signal(end)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if end is signal.SIGINT else -end)
    if end is signal.SIGINT:
        assert b"small.armlet.checkpoint keeps the training: the same command goes on from it" in errors
    assert not output.exists()
    (saved,) = folder.glob("*.npz")
    state = checkpoint.load(saved)
    assert state is not None
    assert int(state["epoch"]) >= 1

    # The same words again, in this process, which has TensorFlow already.
    save = checkpoint.save

    def cut_after_an_epoch(path: Path, later: dict[str, np.ndarray]) -> None:
        save(path, later)
        if int(later["epoch"]) > int(state["epoch"]):
            raise Cut

    monkeypatch.setattr(checkpoint, "save", cut_after_an_epoch)
    with pytest.raises(Cut):
        main(words[3:])
    later = checkpoint.load(saved)
    assert later is not None
    assert int(later["epoch"]) > int(state["epoch"])
    # From where it was, not from the start: Adam has counted on.
    assert int(later["adam/count"]) > int(state["adam/count"])


def test_a_disk_that_is_full_ends_the_training_with_the_state_before_and_a_way_on(
    tmp_path: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    fsync = os.fsync

    def full_after_a_while(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 4:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_a_while)
    with pytest.raises(sdk.ArmletError, match=r"(?s)No space left.*goes on from"):
        sdk.compress_model(model, tmp_path / "a.armlet", effort="train", data=data, preprocess="tf", epochs=5)
    (saved,) = (tmp_path / "a.armlet.checkpoint").glob("*.npz")
    assert checkpoint.load(saved) is not None
