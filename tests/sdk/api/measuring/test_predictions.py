"""`sdk predict` with an engine that is made up: what is said, what is refused, and what one measurement changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sdk
from sdk.api.board_requests import PredictTime
from sdk.api.measuring import predictions
from sdk.api.measuring.predictions import beside_measured, predict_times
from sdk.board.catalogue import load_board
from sdk.cli import main
from sdk.errors import BoardError, DataError
from sdk.explain.run import Report
from sdk.explain.speed.prediction import Prediction
from sdk.explain.speed.predictions import Predictions
from sdk.graph.writer import write_graph
from sdk.report.page import predicted as predicted_page
from sdk.report.page import run as run_page
from sdk.report.summary import summary
from sdk.report.terminal import drawing
from sdk.report.units import seconds_text
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.report import made_up_runs
from tests.sdk.report.made_up_engine import engine, validation
from tests.sdk.report.terminal.test_tables import drawn


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    paths = folder / "small.tflite", folder / "large.tflite"
    for path, size in zip(paths, (64, 96), strict=True):
        path.write_bytes(write_graph(small_network(size=size, channels=32)))
    return paths


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "predict_on", engine())
    monkeypatch.setattr(predictions, "read_validation", validation)


def times(models: Sequence[Path], *boards: str, dram: float = 0.05, **asked: Any) -> Predictions:
    return predict_times(boards or ("rpi4",), models, PredictTime(**asked), engine=engine(dram=dram))


def run_on(board: str, model: Path, path: Path, *, times_as_long: float = 1.2, **changed: Any) -> Path:
    """A run of the first model that took this many times what is predicted."""
    (one,) = times([model], "rpi4").models
    report = made_up_runs.report()
    timed = made_up_runs.measurement("small", times_as_long * one.predicted_seconds)
    timed = replace(timed, tflite_sha256=hashlib.sha256(model.read_bytes()).hexdigest(), **changed)
    record = replace(report.models[0], name="small", measurement=timed, parallel=(), profile=None)
    made = replace(report, board=board, models=(record,), comparisons=(), gaps=(), again=())
    path.write_text(json.dumps(made.to_json()))
    return path


# -- what is said -----------------------------------------------------------------------------------------------------


def test_no_form_of_output_lacks_the_words_that_nothing_was_measured(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, page = tmp_path / "predicted.json", tmp_path / "page.html"
    line = ["predict", str(models[0]), "--board", "rpi4", "--board", "rpi5"]
    tables = tmp_path / "table.csv", tmp_path / "table.md"
    exports = ["--export-csv", str(tables[0]), "--export-markdown", str(tables[1])]
    assert main([*line, "-o", str(kept), *exports]) == 0
    terminal = capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert main(["report", str(kept), "--html", str(page)]) == 0
    again = capsys.readouterr().out
    result = sdk.predict_models(["rpi4", "rpi5"], models[0])
    bench = ["bench", str(models[0]), "--board", "rpi5", "--predict"]
    assert main(bench) == 0
    of_bench = capsys.readouterr().out
    for text in (
        terminal,
        again,
        page.read_text(),
        json.dumps(document),
        result._repr_html_() or "",
        of_bench,
        *(table.read_text() for table in tables),
    ):
        words = " ".join(text.split()).replace("\N{NO-BREAK SPACE}", " ")
        assert "predicted, not measured" in words.lower()
        assert "trusted" not in words.lower()
    assert [one["statement"] for one in document["models"]] == ["predicted, not measured"] * 2
    assert Predictions.from_json(document).models == result.models


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_figure_is_cut_and_each_stands_in_its_own_column(models: tuple[Path, Path], width: int) -> None:
    result = times(models, "rpi4", "rpi5", dram=0.4, threads=(1, "all"))
    text = drawn(drawing.predictions(result, operators=True), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for word in (
        "theory",
        "predicted",
        "likely",
        "measured",
        "DRAM",
        "compute",
        "branches",
        "dispatch",
        "not faster",
    ):
        assert word in " ".join(text.split())
    page = predicted_page.render(result)
    for one in result.models:
        for seconds in (one.theory_seconds, one.predicted_seconds, one.low_seconds):
            assert f'data-value="{seconds!r}"' in page
        assert 'data-field="measured_seconds" data-value=""' in page.replace("\n", "")


def test_memory_that_decides_is_flagged_and_its_interval_is_wider(models: tuple[Path, Path]) -> None:
    plain, bound = times(models[:1]), times(models[:1], dram=0.4)
    (one,), (slow,) = plain.models, bound.models
    assert slow.factors.high / slow.factors.low > one.factors.high / one.factors.low
    assert any("memory decides: small on rpi4 (40 %)" in note for note in bound.notes)
    assert not any("memory decides" in note for note in plain.notes)
    assert f"{seconds_text(slow.predicted_seconds)} !" in drawn(drawing.predictions(bound), 100)
    assert " !" not in drawn(drawing.predictions(plain), 100)
    assert any("issue queues" in note for note in plain.notes)  # what is guessed is said


def test_a_model_without_times_of_operators_says_so(models: tuple[Path, Path]) -> None:
    asked = PredictTime()
    for marks in (True, False):
        found = predict_times(["rpi4"], models[:1], asked, engine=engine(marks=marks))
        said = [note for note in found.notes if "does not take this model" in note]
        assert said == [] if marks else said[0].startswith("small on rpi4: the runtime's profiler")


def test_a_time_far_below_those_of_the_table_says_that_its_interval_may_not_hold(
    models: tuple[Path, Path],
) -> None:
    short = times(models[:1])
    assert short.models[0].prediction.seconds < 0.001
    said = "small on rpi4: no time of the table is below 5.40 ms; whether the interval"
    assert any(note.startswith(said) for note in short.notes)
    long = predict_times(["rpi4"], models[:1], PredictTime(), engine=engine(slower=100.0))
    assert not any("no time of the table" in note for note in long.notes)


def test_several_threads_are_a_bound_and_called_one(models: tuple[Path, Path]) -> None:
    (one,) = times(models[:1], threads=(1, 2, "all")).models
    assert [found.threads for found in one.bounds] == [2, 4]
    assert one.bounds[1].seconds < one.bounds[0].seconds < one.predicted_seconds
    text = drawn(drawing.predictions(times(models[:1], threads="all")), 100)
    assert "Several threads: a bound, no prediction" in text
    with pytest.raises(BoardError, match="at most 4, its Cortex-A72 cores"):
        times(models[:1], threads=8)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("board", "said"),
    [
        ("virtual-arm64", "rpi4"),
        ("virtual-armhf", "emulated"),
        ("local", "sdk bench --board local"),
        ("rpi44", "rpi4"),
    ],
)
def test_what_has_no_core_to_predict_is_refused_and_says_what_to_do(
    models: tuple[Path, Path], board: str, said: str
) -> None:
    with pytest.raises(BoardError) as refused:
        times(models[:1], board)
    assert said in str(refused.value)


def test_a_core_that_is_not_known_is_refused_with_those_that_are(
    models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board("rpi4")
    clusters = (replace(board.clusters[0], core="Cortex-X925"),)
    monkeypatch.setattr(predictions, "load_board", lambda name: replace(board, clusters=clusters))
    with pytest.raises(BoardError, match=r"[Cc]ortex-[Aa]53.*Cortex-X925"):
        times(models[:1], "rpi4")


def test_a_32_bit_system_is_refused(models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    old = replace(load_board("rpi4"), name="old-pi", architecture="armv7l")
    monkeypatch.setattr(predictions, "load_board", lambda name: old)
    with pytest.raises(BoardError, match=r"only 64-bit ARM is predicted.*aarch64"):
        times(models[:1], "old-pi")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--top", "3"], "--top has no effect without pictures"),
        (["--host", "pi"], "--host has no effect without pictures"),
        (["street.png", "other.tflite"], "pictures are shown to one model on one board"),
        (["street.png", "--board", "rpi5"], "pictures are shown to one model on one board"),
        (["street.png", "--calibrate", "run.json"], "--calibrate has no effect with pictures"),
        (["street.png", "-o", "run.json"], "not kept in a file"),
    ],
)
def test_the_two_questions_of_the_verb_are_not_mixed_up(
    models: tuple[Path, Path], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(models[0]), "--board", "rpi4", *more]) == 2
    assert said in capsys.readouterr().err


# -- one measurement --------------------------------------------------------------------------------------------------


def test_one_measured_model_scales_the_others_of_its_board_and_says_where_it_is_from(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    run = run_on("rpi4", models[0], tmp_path / "run.json")
    small, small_on_5, large, large_on_5 = times(models, "rpi4", "rpi5", calibrate=run).models
    plain = times(models, "rpi4").models[1]
    assert large.scale is not None
    assert large.predicted_seconds == pytest.approx(large.scale.taken_over * plain.predicted_seconds)
    # As much of it as the boards of the table say that their networks have in common.
    assert large.scale.in_common == validation().in_common()
    assert 1.0 < large.scale.taken_over == large.scale.factor**large.scale.in_common < large.scale.factor
    assert large.scale.factor == pytest.approx(1.2, rel=0.02)
    assert large.factors.high / large.factors.low < plain.factors.high / plain.factors.low
    assert large.measured_seconds is None
    # The measured model has its time beside it, and is not predicted by itself; the other board is as it was.
    assert small.scale is None
    assert small.measured_seconds == pytest.approx(1.2 * small.predicted_seconds, rel=0.02)
    assert (small_on_5.scale, large_on_5.scale) == (None, None)
    text = " ".join(drawn(drawing.predictions(times(models, "rpi4", calibrate=run)), 200).split())
    assert f"({run})" in text
    assert "small took" in text
    assert f"by {large.scale.taken_over:.3f} (of {large.scale.factor:.3f}, as far as" in text
    assert "2023-11-14" in text  # the day of the measurement


def test_all_measured_models_of_a_run_scale_one_that_was_not_measured(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    third = tmp_path / "third.tflite"
    third.write_bytes(write_graph(small_network(size=80, channels=32)))
    both = Report.from_json(json.loads(run_on("rpi4", models[0], tmp_path / "run.json").read_text()))
    other = run_on("rpi4", models[1], tmp_path / "other.json", times_as_long=1.4)
    both = replace(both, models=(*both.models, *Report.from_json(json.loads(other.read_text())).models))
    (tmp_path / "run.json").write_text(json.dumps(both.to_json()))
    scaled = times((*models, third), "rpi4", calibrate=tmp_path / "run.json").models
    factors = [model.scale and (model.scale.factor, *model.scale.more) for model in scaled]
    # Each is scaled by those that were measured besides it.
    assert factors[0] == pytest.approx((1.4,), rel=0.02)
    assert factors[1] == pytest.approx((1.2,), rel=0.02)
    assert sorted(factors[2] or ()) == pytest.approx((1.2, 1.4), rel=0.02)
    power = 2 * validation().in_common() / (1 + validation().in_common())
    assert scaled[2].predicted_seconds / scaled[2].prediction.seconds == pytest.approx(
        (1.2 * 1.4) ** (power / 2), rel=0.02
    )


@pytest.mark.parametrize(
    ("board", "changed", "said"),
    [
        ("rpi5", {}, "measured on another board"),
        ("rpi4", {"runtime": "tflite-runtime"}, "measured with another runtime.*--runtime tflite-runtime"),
        ("rpi4", {"threads": 4}, "no time of one thread"),
        ("rpi4", {"emulated": True}, "not a measurement"),
        (
            "rpi4",
            {"armlet_operators": 7},
            "another way than is predicted.*7 operators ran in kernels of Armlet",
        ),
        ("rpi4", {"delegate": "none"}, "another way than is predicted.*without XNNPACK"),
    ],
)
def test_a_run_of_another_board_runtime_kernels_or_number_of_threads_is_refused_before_anything_is_predicted(
    models: tuple[Path, Path], tmp_path: Path, board: str, changed: dict[str, Any], said: str
) -> None:
    emulated = changed.pop("emulated", False)
    run = run_on(board, models[0], tmp_path / "run.json", **changed)
    if emulated:
        run.write_text(json.dumps({**json.loads(run.read_text()), "emulated": True}))

    def never(*_: object, **__: object) -> list[Prediction]:
        raise AssertionError("a minute of work for nothing")

    with pytest.raises(DataError, match=said.replace(".*", r"[\s\S]*")):
        predict_times(["rpi4"], models, PredictTime(calibrate=run), engine=never)


def test_a_run_on_slower_cores_of_the_board_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    little = run_on("khadas-vim3", models[0], tmp_path / "run.json", cpus=(0, 1))
    with pytest.raises(DataError, match=r"Cortex-A73 cores, for which [\s\S]*on Cortex-A53 \(CPU 0, 1\)"):
        times(models, "khadas-vim3", calibrate=little)
    for cpus in (
        (2,),
        tuple(range(6)),
        (),
    ):  # on the faster ones, wherever the kernel likes, nothing is known
        run = run_on("khadas-vim3", models[0], tmp_path / "run.json", cpus=cpus)
        assert times(models, "khadas-vim3", calibrate=run).models[1].scale is not None


def test_what_may_not_fit_in_a_measured_run_is_said(models: tuple[Path, Path], tmp_path: Path) -> None:
    def notes(**changed: Any) -> str:
        run = run_on("rpi4", models[0], tmp_path / "run.json", **changed)
        return " ".join(times(models, "rpi4", calibrate=run).notes)

    assert "run.json" not in notes()
    assert "measured with ai-edge-litert 2.1.0, and ai-edge-litert 2.3.0 is predicted" in notes(
        runtime_version="2.1.0"
    )
    assert "run.json is not trusted: " in notes(throttled=True, throttle_reasons=("under-voltage",))
    said = notes(times_as_long=4.0)
    assert "small took 3.99 times what is predicted" in said
    assert "further off than any latency of the table (0.54 to 2.60)" in said
    run = run_on("rpi4", models[0], tmp_path / "run.json", times_as_long=4.0)
    scaled = times(models, "rpi4", calibrate=run)
    scale = scaled.models[1].scale
    assert scale is not None
    assert scale.taken_over == pytest.approx(scale.factor / 2.6 * 2.6**scale.in_common)
    assert Predictions.from_json(scaled.to_json()) == scaled
    text = " ".join(drawn(drawing.predictions(scaled), 200).split())
    assert f"by {scale.taken_over:.3f} (of {scale.factor:.3f}, as far as" in text
    assert "; what lies beyond every latency of the table, whole)" in text


def test_a_model_in_kernels_of_armlet_scales_nothing_beside_one_that_does(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    plain = Report.from_json(json.loads(run_on("rpi4", models[0], tmp_path / "run.json").read_text()))
    own = run_on("rpi4", models[1], tmp_path / "own.json", times_as_long=0.5, armlet_operators=3)
    sparse = replace(Report.from_json(json.loads(own.read_text())).models[0], name="sparse")
    (tmp_path / "run.json").write_text(json.dumps(replace(plain, models=(*plain.models, sparse)).to_json()))
    found = times(models, "rpi4", calibrate=tmp_path / "run.json")
    assert found.models[0].scale is None  # by no other than itself
    assert found.models[1].scale is not None
    assert found.models[1].scale.more == ()
    assert (
        f"sparse of {tmp_path / 'run.json'} scales nothing: 3 operators ran in kernels of Armlet"
        in found.notes
    )


def test_a_run_whose_model_is_not_predicted_says_which_file_is_missing(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    run = run_on("rpi4", models[0], tmp_path / "run.json")
    with pytest.raises(DataError, match=r"nothing in .* is predicted"):
        times(models[1:], "rpi4", calibrate=run)
    # A run that has its own prediction beside its measurement needs no file.
    report = Report.from_json(json.loads(run.read_text()))
    beside = beside_measured(report, load_board("rpi4"), [("small", models[0].read_bytes())])
    run.write_text(json.dumps(beside.to_json()))
    (large,) = times(models[1:], "rpi4", calibrate=run).models
    assert large.scale is not None
    assert large.scale.factor == pytest.approx(1.2, rel=0.02)


# -- beside a measurement ---------------------------------------------------------------------------------------------


def test_a_measured_run_stays_where_nothing_can_be_predicted(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> list[Prediction]:
        raise BoardError("no emulator")

    report = Report.from_json(json.loads(run_on("rpi4", models[0], tmp_path / "run.json").read_text()))
    packages = [("small", models[0].read_bytes())]
    kept = beside_measured(report, load_board("rpi4"), packages, engine=refuse)
    assert kept.models == report.models
    assert kept.notes[-1] == "nothing was predicted: no emulator"


def test_a_model_that_ran_in_kernels_of_armlet_is_predicted_with_them(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def made_up(*given: Any, **options: Any) -> list[Prediction]:
        asked.append(options.get("delegate"))
        return engine()(*given, **options)

    monkeypatch.setattr(predictions, "build_delegate", lambda machine: tmp_path / machine)
    run = run_on("rpi4", models[0], tmp_path / "run.json", armlet_operators=3, runtime_version="2.1.0")
    report = Report.from_json(json.loads(run.read_text()))
    packages = [("small", models[0].read_bytes())]
    beside = beside_measured(report, load_board("rpi4"), packages, engine=made_up)
    assert asked == [tmp_path / "aarch64"]
    assert "small: predicted with the kernels of Armlet, which ran 3 of its operators" in beside.notes
    assert "small: measured with ai-edge-litert 2.1.0, predicted for 2.3.0" in beside.notes
    plain = Report.from_json(json.loads(run_on("rpi4", models[0], tmp_path / "run.json").read_text()))
    notes = beside_measured(plain, load_board("rpi4"), packages, engine=made_up).notes
    assert asked[1:] == [None]
    assert not any("Armlet" in note or "measured with" in note for note in notes)


def test_a_measured_run_has_the_prediction_in_a_column_of_its_own(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    run = run_on("rpi4", models[0], tmp_path / "run.json")
    report = Report.from_json(json.loads(run.read_text()))
    beside = beside_measured(report, load_board("rpi4"), [("small", models[0].read_bytes())])
    found = beside.models[0].predicted
    assert found is not None
    assert Report.from_json(beside.to_json()) == beside
    assert beside.to_json()["models"][0]["predicted"]["statement"] == "predicted, not measured"
    assert "predicted" not in report.to_json()["models"][0]  # runs without it are as they were
    text = drawn(drawing.report(beside), 100)
    assert "predicted: predicted, not measured" in text
    assert "1.20" in text
    page = run_page.render(beside)
    assert "predicted, not measured" in page
    assert f'data-field="predicted_seconds" data-value="{found.seconds!r}"' in page.replace("\n", "")
    (row,) = summary(beside)
    assert (row["predicted_seconds"], row["median_seconds"]) == (
        found.seconds,
        report.models[0].measurement.median,
    )
