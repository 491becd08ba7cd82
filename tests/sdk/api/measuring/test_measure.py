"""Profiles, gaps, calibration and accuracy over real SSH to the local board."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sdk.api.measuring import measure as measuring
from sdk.api.measuring.bench import bench_models
from sdk.api.measuring.measure import calibration_path, known_peaks, load_calibration
from sdk.board.catalogue import load_board
from sdk.cli import main
from sdk.deploy.provision import wheels
from sdk.errors import DataError, RemoteError
from sdk.explain.breakdown import DISTURBANCE, dispatch_seconds
from sdk.explain.run import Report
from sdk.graph.writer import write_graph
from sdk.report.conditions import accounted_text
from tests.sdk.board.machine import this_machine
from tests.sdk.graph.small_graphs import small_network

ssh = pytest.mark.ssh


@pytest.fixture(scope="module")
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the local board of these tests lives: it is provisioned once a runtime."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def private_board(tmp_path: Path, data_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local board of these tests' own, without calibrations; the test's folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(data_home))
    monkeypatch.setenv("ARMLET_BOARDS", str(tmp_path / "boards"))
    return tmp_path


@pytest.fixture
def models(private_board: Path) -> list[Path]:
    paths = []
    for name, channels in (("wide", 64), ("narrow", 24)):
        paths.append(private_board / f"{name}.tflite")
        paths[-1].write_bytes(write_graph(small_network(size=64, channels=channels)))
    return paths


def need(runtime: str) -> None:
    here = this_machine()
    wanted = wheels.RUNTIMES[runtime]
    if wheels.why_not(wanted, here) is not None or wheels.cached_environment(wanted, here) is None:
        pytest.skip(f"{runtime} is not in the cache: run `sdk board fetch local --all-runtimes`")


@ssh
@pytest.mark.parametrize(
    ("runtime", "method"), [("ai-edge-litert", "runtime"), ("tflite-runtime", "isolated")]
)
def test_the_gap_of_a_real_run_adds_up_with_either_runtime(
    models: list[Path], runtime: str, method: str
) -> None:
    need(runtime)
    report = bench_models("local", models, runtime=runtime, threads=(1, 2), samples=50, seconds=0.5)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    for model in report.models:
        assert [m.threads for m in model.measurements] == [1, 2]
        assert model.profile is not None
        assert model.profile.method == method
        subject = model.subject()
        assert subject is not None
        operators = subject.operators()
        assert sum(t.seconds for t in operators) == pytest.approx(model.profile.kernel_seconds)
        multiplying = [t for t in operators if t.cost.macs]
        assert all(t.kernels for t in multiplying)  # nothing that multiplies is lost
    assert [(c.candidate, c.threads) for c in report.comparisons] == [("narrow", 1), ("narrow", 2)]
    assert [gap.threads for gap in report.gaps] == [1, 2]
    check_gaps(report)


def check_gaps(report: Report) -> None:
    for gap, comparison in zip(report.gaps, report.comparisons, strict=True):
        assert gap.measured_speedup == pytest.approx(comparison.measured_speedup)
        assert gap.theoretical_speedup == pytest.approx(comparison.theoretical_speedup)
        total = gap.promised_seconds + sum(part.seconds for part in gap.parts)
        assert total == pytest.approx(gap.measured_seconds)
        explained = sum(part.candidate_seconds for part in gap.parts if part.name != DISTURBANCE)
        assert explained == pytest.approx(gap.accounted * gap.measured_seconds)


@ssh
@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
def test_a_report_says_so_where_operators_and_dispatch_do_not_add_up_to_the_median(
    private_board: Path, runtime: str
) -> None:
    """On a busy machine they do not; tests/sdk/explain/test_gap.py has both cases from made-up times, and
    benchmarks/speed/gap_adds_up.py measures how near a quiet machine comes."""
    need(runtime)
    paths = []
    for name, size in (("large", 128), ("small", 64)):
        paths.append(private_board / f"{name}.tflite")
        paths[-1].write_bytes(write_graph(small_network(size=size, channels=64)))
    report = bench_models("local", paths, runtime=runtime, threads=1, samples=50, seconds=0.3)
    (gap,) = report.gaps
    off = max(abs(1 - gap.accounted), abs(1 - gap.baseline_accounted))
    said = accounted_text(gap)
    assert gap.adds_up == (off <= 0.05)
    assert ("disturbed by more than 5 %" in said) == (off > 0.05)
    for model, share in zip(report.models, (gap.baseline_accounted, gap.accounted), strict=True):
        subject = model.subject()
        assert subject is not None
        assert model.profile is not None
        timed = model.profile.kernel_seconds + dispatch_seconds(subject)
        assert timed / model.measurement.median == pytest.approx(share)


@ssh
def test_bench_keeps_a_run_that_report_turns_into_a_page(
    models: list[Path], private_board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, page = private_board / "run.json", private_board / "run.html"
    arguments = ["--board", "local", *map(str, models), "--samples", "50", "--seconds", "0.3", "-o", str(run)]
    assert main(["bench", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(run.read_text())
    assert main(["report", str(run), "--html", str(page), "--json"]) == 0
    assert "Where it went" in page.read_text()
    assert "narrow against wide" in page.read_text()
    assert main(["compare", str(run), str(run)]) == 0


@ssh
def test_a_board_that_was_calibrated_is_held_against_its_own_figures(
    models: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert known_peaks(load_board("local"), 1) is None
    assert main(["board", "calibrate", "--board", "local", "--json"]) == 0
    calibration = load_calibration("local", 1)
    assert calibration is not None
    assert json.loads(capsys.readouterr().out) == calibration.to_json()
    assert 1e8 < calibration.flop_per_second < 1e13
    assert 1e8 < calibration.memory_bytes_per_second < 1e13
    assert 0 < calibration.call_seconds < 1e-3
    report = bench_models("local", models, samples=30, seconds=0.3)
    assert report.peaks == calibration.peaks()


def test_a_broken_calibration_is_named(private_board: Path) -> None:
    path = calibration_path("local", 1)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(DataError, match="calibrate local"):
        load_calibration("local", 1)


def test_the_peaks_of_a_board_file_stand_in_for_a_calibration() -> None:
    board = load_board("rpi4")
    peaks = known_peaks(board, 1)
    assert peaks is not None
    assert peaks.flop_per_second == board.peak_operations_per_second(1)
    assert peaks.clock_hz == 1.8e9
    assert "rpi4" in peaks.source


@ssh
def test_eval_counts_the_same_answers_on_host_and_board(
    models: list[Path], private_board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    data = private_board / "data.npz"
    pixels = rng.integers(0, 256, (40, 64, 64, 3), np.uint8)
    np.savez(data, x=pixels, y=rng.integers(0, 10, 40))
    arguments = [
        "eval",
        "--board",
        "local",
        str(models[1]),
        "--data",
        str(data),
        "--limit",
        "30",
        "--preprocess",
        "tf",
        "--json",
    ]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["samples"] == 30
    assert document["agree"] == 30
    assert document["board_top1"] == document["host_top1"]
    assert document["board_top1"] <= document["board_top5"] == document["host_top5"]
    assert document["board_seconds"] > 0


@ssh
def test_a_runtime_without_its_profiler_is_timed_operator_by_operator(
    models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("ai-edge-litert")

    def no_profiler(*_, **__):
        raise RemoteError("the agent's `profile` failed: this runtime has no profiler")

    monkeypatch.setattr(measuring, "profile_models", no_profiler)
    report = bench_models("local", models, runtime="ai-edge-litert", samples=30, seconds=0.3)
    assert [model.profile.method for model in report.models if model.profile] == ["isolated", "isolated"]

    monkeypatch.setattr(measuring, "time_models", no_profiler)
    report = bench_models("local", models, runtime="ai-edge-litert", samples=30, seconds=0.3)
    assert [model.profile for model in report.models] == [None, None]
    assert any(note.startswith("operators were not timed") for note in report.notes)
    assert len(report.comparisons) == 1
