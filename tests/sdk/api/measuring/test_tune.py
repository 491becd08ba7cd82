"""`sdk tune` measures every variant on the board, keeps the accuracy asked for, and deploys what is fastest."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device_agent.package.reader import unpack
from sdk.api.measuring import tune
from sdk.board.catalogue import load_board
from sdk.cli import main
from sdk.deploy.provision import wheels
from sdk.errors import BoardError, DataError
from sdk.explain.run import PredictedTime
from sdk.explain.speed.prediction import Prediction
from sdk.explain.tuning import Candidate, Tuned, choose, front
from sdk.graph.on_host.evaluate import predict, top1
from sdk.graph.writer import write_graph
from sdk.report.page import tuned as tuned_page
from sdk.report.terminal import drawing
from sdk.tools.progress import silent
from tests.sdk.board.machine import this_machine
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.report.made_up_engine import engine
from tests.sdk.report.made_up_runs import measurement
from tests.sdk.report.terminal.test_tables import drawn

ON_LOCAL = ("--board", "local")
SIZE = 16


def counted(variant: str, instructions: int, lost: float = 0.0, **more: object) -> Candidate:
    form = "dense" if variant == "float" else "sparse"
    known = {"package_bytes": 1000, "runtime": "ai-edge-litert", "runtime_version": "2.3.0", "threads": 1}
    return Candidate(variant, form, points_lost=lost, instructions=instructions, **{**known, **more})  # type: ignore[arg-type]


def timed(variant: str, seconds: float, spread: float, threads: int = 1, lost: float = 0.0) -> Candidate:
    samples = np.random.default_rng(0).normal(seconds, spread, 200).clip(seconds / 10)
    record = replace(
        measurement(variant, seconds), samples_seconds=tuple(samples.tolist()), turns=(), threads=threads
    )
    return replace(counted(variant, 0, lost, threads=threads), instructions=None, measurement=record)


def test_the_fastest_within_the_budget_is_chosen_and_all_are_ranked() -> None:
    many = [
        counted("float", 100),
        counted("90 %", 30, 4.0),
        counted("80 %", 50, 0.9),
        counted("70 %", 70, 0.1),
    ]
    ranked, best = choose(many, 1.0)
    assert [c.variant for c in ranked] == ["90 %", "80 %", "70 %", "float"]
    assert ranked[best or 0].variant == "80 %"
    assert choose(many, 5.0)[1] == 0
    assert choose([counted("90 %", 30, 4.0)], 1.0)[1] is None


def test_the_front_is_what_no_other_beats_in_size_work_and_loss() -> None:
    assert front([(1, 5, 0.0), (2, 4, 0.0), (2, 5, 0.0), (1, 5, 1.0), (3, 1, 2.0), (1, 5, 0.0)]) == (
        *(True, True, False, False, True, True),
    )
    assert front([]) == ()


def test_what_a_measurement_cannot_tell_apart_is_decided_by_accuracy_threads_and_size() -> None:
    ranked, best = choose([timed("a", 1.00e-3, 2e-4, lost=0.5), timed("b", 1.01e-3, 2e-4, lost=0.0)], 1.0)
    assert ranked[best or 0].variant == "b"
    ranked, best = choose([timed("a", 1.00e-3, 2e-4, threads=4), timed("b", 1.01e-3, 2e-4)], 1.0)
    assert ranked[best or 0].threads == 1
    # So noisy that the intervals meet, but a fifth slower all the same.
    ranked, best = choose([timed("a", 1.0e-3, 8e-3, lost=0.5), timed("b", 1.2e-3, 8e-3)], 1.0)
    assert ranked[best or 0] is ranked[0]
    # Instructions are exact: a percent is a percent.
    assert choose([counted("a", 1000, 0.5), counted("b", 1030)], 1.0)[1] == 0


def predicted(variant: str, seconds: float, lost: float = 0.0) -> Candidate:
    time = PredictedTime(
        seconds, 0.9 * seconds, 1.3 * seconds, "Cortex-A53", "ai-edge-litert", "2.3.0", False, False
    )
    return replace(counted(variant, round(1e9 / seconds), lost), predicted=time)


def test_predicted_times_decide_where_instructions_say_the_opposite() -> None:
    ranked, best = choose([predicted("float", 0.020), predicted("80 %", 0.012, 0.5)], 1.0)
    assert [c.variant for c in ranked] == ["80 %", "float"]  # which executes more instructions
    assert best == 0
    # Nearer than two predictions can be told apart: the more accurate one.
    assert choose([predicted("a", 0.0200, 0.5), predicted("b", 0.0205)], 1.0)[1] == 1


def test_an_emulated_board_ranks_by_predicted_time_and_says_so_or_why_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session: Any = SimpleNamespace(
        board=load_board("virtual-arm64"),
        provisioned=SimpleNamespace(runtime="ai-edge-litert", runtime_version="2.3.0"),
    )
    lost: Any = SimpleNamespace(
        points_lost=0.0, points_interval=(0.0, 0.1), before_text="90 %", after_text="90 %", verdict="alike"
    )
    tflite = write_graph(small_network(size=SIZE))
    variants: list[Any] = [
        SimpleNamespace(name="float", form="dense", package=b"x", tflite=tflite, lost=lost)
    ]
    monkeypatch.setattr(tune, "predict_on", engine())
    (one,), board, notes = tune.cost_emulated([session], variants, [], silent)
    assert (board, notes) == ("rpi4", [])
    assert one.predicted is not None
    assert one.instructions
    table = Tuned("net", "virtual-arm64", True, 1.0, "images", 100, (one,), (), 0, predicted_for=board)
    assert Tuned.from_json(table.to_json()) == table
    for shown in (drawn(drawing.tuned(table), 100), tuned_page.render(table)):
        assert "the time of one thread on rpi4, predicted, not measured" in " ".join(shown.split())
    assert "median" not in drawn(drawing.tuned(table), 100)

    def refuse(*_: object, **__: object) -> list[Prediction]:
        raise BoardError("no emulator")

    monkeypatch.setattr(tune, "predict_on", refuse)
    monkeypatch.setattr(
        tune.instructions, "count_inference", lambda *_, **__: SimpleNamespace(instructions=7)
    )
    (one,), board, notes = tune.cost_emulated([session], variants, [], silent)
    assert (one.predicted, one.instructions, board) == (None, 7, "")
    assert notes == ["ranked by instructions, since no time is predicted: no emulator"]


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(small_network(size=SIZE, channels=32)))
    return path


@pytest.fixture
def data(tmp_path: Path, model: Path) -> Path:
    """Images with the labels that the network itself gives them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (150, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    labels = top1(predict(model.read_bytes(), images.astype(np.float32) / 127.5 - 1))
    path = tmp_path / "data.npz"
    np.savez(path, x=images, y=labels)
    return path


def runtimes() -> set[str]:
    """That tests can have here without a download."""
    here = this_machine()
    return {
        name
        for name, wanted in wheels.RUNTIMES.items()
        if wheels.why_not(wanted, here) is None and wheels.cached_environment(wanted, here) is not None
    }


@pytest.mark.ssh
@pytest.mark.tensorflow
def test_on_the_local_board_every_runtime_and_thread_count_is_measured_and_the_best_runs_afterwards(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, data: Path
) -> None:
    usable = runtimes()
    if "ai-edge-litert" not in usable:
        pytest.skip("ai-edge-litert is not in the cache: run `sdk board fetch local --all-runtimes`")
    only = [] if usable >= set(wheels.RUNTIMES) else ["--runtime", "ai-edge-litert"]
    kept, package = tmp_path / "tuned.json", tmp_path / "best.armlet"
    arguments = [
        model,
        "--data",
        data,
        "--preprocess",
        "tf",
        "--max-loss",
        5,
        "--threads",
        "1,2",
        "--seconds",
        0.1,
        "--samples",
        40,
        *only,
    ]
    found = answer(capsys, "tune", *ON_LOCAL, *arguments, "--inferences", 12, "-o", kept, "--keep", package)
    tuned = Tuned.from_json(json.loads(kept.read_text()))
    assert json.loads(json.dumps(tuned.to_json())) == found
    assert not tuned.emulated
    measured = {(c.variant, c.runtime, c.threads) for c in tuned.candidates}
    expected = ["ai-edge-litert"] if only else list(wheels.RUNTIMES)
    forms = [f"{v}{less}" for v in ("float", "int8", "dynamic int8") for less in ("", ", 25 % less work")]
    assert measured == {
        (v, r, n) for v in (*forms, "float16", "small int8") for r in expected for n in (1, 2)
    }
    costs = [c.cost for c in tuned.candidates]
    assert costs == sorted(costs)
    assert tuned.winner.points_lost <= 5
    assert all(
        c.measurement is not None and len(c.measurement.samples_seconds) >= 6 for c in tuned.candidates
    )
    # How each starts is measured in the first round and kept.
    assert all(c.measurement and c.measurement.start_seconds for c in tuned.candidates)
    # No sparse kernels here, and the table says so for each share of zeros.
    assert [one.variant for one in tuned.left_out] == [
        "float, 70 % zero",
        "float, 80 % zero",
        "float, 90 % zero",
    ]
    assert "skip no zeros" in tuned.left_out[0].reason
    # The winner runs, under the model's name, and nothing else is left of the measurement.
    status = answer(capsys, "status", *ON_LOCAL)
    assert [slot["name"] for slot in status["slots"]] == ["net"]
    assert status["slots"][0]["current"] == tuned.release
    assert status["runtime"] == tuned.winner.runtime
    assert unpack(package.read_bytes()).package.metadata["name"] == "net"
    # The table again, from the file.
    assert main(["report", str(kept)]) == 0
    assert f"{tuned.winner.variant} on {tuned.winner.runtime}" in " ".join(capsys.readouterr().out.split())
    page = tmp_path / "tuned.html"
    assert main(["report", str(kept), "--html", str(page)]) == 0
    cells = figures(page.read_text())
    assert [float(v) for v in cells["cost"]] == costs
    assert [float(v) for v in cells["points_lost"]] == [c.points_lost for c in tuned.candidates]


@pytest.mark.ssh
@pytest.mark.tensorflow
def test_a_dry_run_leaves_nothing_on_the_board(
    capsys: pytest.CaptureFixture[str], model: Path, data: Path
) -> None:
    if "ai-edge-litert" not in runtimes():
        pytest.skip("ai-edge-litert is not in the cache: run `sdk board fetch local --all-runtimes`")
    fast = [
        "--threads",
        1,
        "--seconds",
        0.1,
        "--inferences",
        9,
        "--runtime",
        "ai-edge-litert",
        "--samples",
        40,
        "--channels",
        "none",
    ]
    found = answer(
        capsys,
        "tune",
        *ON_LOCAL,
        model,
        "--data",
        data,
        "--preprocess",
        "tf",
        "--max-loss",
        5,
        *fast,
        "--no-deploy",
    )
    assert found["release"] == ""
    assert {c["variant"] for c in found["candidates"]} == {
        "float",
        "float16",
        "int8",
        "small int8",
        "dynamic int8",
    }
    assert answer(capsys, "status", *ON_LOCAL)["slots"] == []
    assert (
        main(
            [
                "tune",
                *ON_LOCAL,
                str(model),
                "--data",
                str(data),
                "--preprocess",
                "tf",
                "--max-loss",
                "-200",
                *map(str, fast),
            ]
        )
        == 2
    )
    assert "no variant keeps the accuracy" in capsys.readouterr().err
    assert answer(capsys, "status", *ON_LOCAL)["slots"] == []


def test_too_few_images_are_refused_before_a_board_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    np.savez(tmp_path / "few.npz", x=np.zeros((5, SIZE, SIZE, 3), np.uint8))
    arguments = [
        "tune",
        "--board",
        "rpi4",
        str(model),
        "--data",
        str(tmp_path / "few.npz"),
        "--preprocess",
        "tf",
        "--max-loss",
        "1",
    ]
    assert main(arguments) == 2
    assert "too few images" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [{"schema": "other"}, {"candidates": []}, {"candidates": [{}]}, {"chosen": 7}]
)
def test_a_table_that_was_not_written_by_tune_is_refused(change: dict) -> None:
    good = Tuned("net", "local", True, 1.0, "images", 10, (counted("float", 5),), (), 0)
    record = json.loads(json.dumps(good.to_json()))
    assert Tuned.from_json(record) == good
    with pytest.raises(DataError, match="tune"):
        Tuned.from_json({**record, **change})


def figures(page: str) -> dict[str, list[str]]:
    """Field -> raw values, in the order of the page."""
    found: dict[str, list[str]] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            known = dict(attributes)
            if field := known.get("data-field"):
                found.setdefault(field, []).append(str(known.get("data-value")))

    Reader().feed(page)
    return found
