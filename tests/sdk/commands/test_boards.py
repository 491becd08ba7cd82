"""deploy and bench over real SSH to the local board, as a script would call them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sdk
from sdk.cli import main
from sdk.compress.recipes.recipe import Recipe, apply
from sdk.explain.run import Report
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.models import digits
from sdk.models.demo import demo_models
from sdk.package.pack import pack
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.models.training import training_record

pytestmark = pytest.mark.ssh


@pytest.fixture
def private_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local board of this test's own, with nothing on it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def ready_board(private_board: Path, with_runtime: Callable[..., None]) -> Path:
    """The same with a runtime on it."""
    with_runtime(private_board / "data")
    return private_board


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_second_deploy_sends_nothing_and_a_changed_head_sends_little(
    private_board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = private_board / "small.tflite"
    graph = small_network(size=32, channels=64, classes=40)
    model.write_bytes(write_graph(graph))
    first = answer(capsys, "deploy", "--board", "local", model)
    assert first["state"] == "confirmed"
    assert first["sent_bytes"] > 0
    assert first["provisioned_bytes"] > 1_000_000
    assert first["largest_difference"] < 1e-3

    again = answer(capsys, "deploy", "--board", "local", model)
    assert again["state"] == "unchanged"
    assert again["sent_bytes"] == again["provisioned_bytes"] == 0

    head = list(graph.weights())[-1]
    model.write_bytes(write_graph(graph.with_data({head.tensor_index: head.array + 1})))
    changed = answer(capsys, "deploy", "--board", "local", model)
    assert changed["state"] == "confirmed"
    assert 0 < changed["sent_bytes"] < first["sent_bytes"]
    assert changed["provisioned_bytes"] == 0


def test_bench_measures_both_models_and_compares_them(
    ready_board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for name, channels in (("wide", 64), ("narrow", 16)):
        path = ready_board / f"{name}.tflite"
        path.write_bytes(write_graph(small_network(size=32, channels=channels)))
        paths.append(path)
    document = answer(capsys, "bench", "--board", "local", *paths, "--samples", 50, "--seconds", 0.3)
    report = Report.from_json(document)
    assert [m.name for m in report.models] == ["wide", "narrow"]
    for model in report.models:
        assert len(model.measurement.samples_seconds) >= 50
        assert model.measurement.minimum <= model.measurement.median <= model.measurement.p99
    # One thread and all of them are two answers; a machine of one core has only one.
    cores = len(report.models[0].measurement.cpus)
    assert [c.threads for c in report.comparisons] == list(dict.fromkeys((1, cores)))
    comparison = report.comparisons[0]
    wide, narrow = report.models
    assert comparison.theoretical_speedup == pytest.approx(wide.macs / narrow.macs)
    assert comparison.measured_speedup == pytest.approx(wide.measurement.median / narrow.measurement.median)
    assert comparison.measured_low <= comparison.measured_speedup <= comparison.measured_high
    assert report.to_json() == document


def test_a_model_that_is_given_twice_is_refused(private_board: Path) -> None:
    path = private_board / "same.tflite"
    path.write_bytes(write_graph(small_network()))
    with pytest.raises(sdk.ArmletError, match="same name"):
        sdk.bench_models("local", [path, path])


def test_packages_of_one_model_are_told_apart_by_their_files(ready_board: Path) -> None:
    paths = []
    for seed, name in enumerate(("plain", "pruned")):
        paths.append(ready_board / f"{name}.armlet")
        paths[-1].write_bytes(pack(write_graph(small_network(seed)), metadata={"name": "same"}))
    report = sdk.bench_models("local", paths, threads=1, samples=20, seconds=0.2, profile=False)
    assert [model.name for model in report.models] == ["plain", "pruned"]


def test_the_original_accuracy_is_the_one_that_training_stated() -> None:
    from sdk.graph.on_host.evaluate import predict, top1

    record = training_record()
    held_out = digits.load_splits()["test"]
    for model in demo_models():
        right = top1(predict(model.path.read_bytes(), held_out.inputs())) == held_out.labels
        stated = json.dumps(record)
        assert str(int(np.sum(right))) in stated


def test_compressing_the_demos_models_twice_gives_the_same_bytes() -> None:
    for model in demo_models():
        graph = read_graph(model.path.read_bytes())
        assert write_graph(apply(graph, Recipe())) == write_graph(apply(graph, Recipe()))
