"""A run for other tools: rows, CSV, Markdown, a data frame."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

import sdk
from sdk.api.board_requests import PredictTime
from sdk.api.measuring.measure import open_model
from sdk.api.measuring.predictions import predict_one
from sdk.board.catalogue import load_board
from sdk.cli import main
from sdk.errors import DataError
from sdk.explain.run import Report
from sdk.explain.speed.prediction import PARTS
from sdk.explain.speed.predictions import Predictions, bound
from sdk.graph.writer import write_graph
from sdk.report.summary import COLUMNS, PREDICTED_COLUMNS, as_csv, as_markdown, summary
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.report import made_up_runs
from tests.sdk.report.made_up_engine import engine


@pytest.fixture(scope="module")
def report() -> Report:
    return made_up_runs.report()


def test_csv_holds_every_figure_at_full_precision(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(report))))
    timed = [(m, t) for m in report.models for t in m.measurements]
    assert len(rows) == len(timed)
    for row, (model, t) in zip(rows, timed, strict=True):
        assert tuple(row) == COLUMNS
        assert row["model"] == model.name
        assert float(row["median_seconds"]) == t.median
        assert int(row["threads"]) == t.threads
    told = [row["measured_speedup"] for row in rows if row["measured_speedup"]]
    assert [float(v) for v in told] == [c.measured_speedup for c in report.comparisons]


def test_markdown_has_a_line_per_model_and_threads(report: Report) -> None:
    lines = as_markdown(report).splitlines()
    assert len(lines) == 2 + sum(len(m.measurements) for m in report.models)
    assert len({line.count("|") for line in lines}) == 1


def test_names_of_strangers_break_no_table_and_start_no_formula(report: Report) -> None:
    models = tuple(replace(m, name="=cmd|' /C calc'!A0\n|x|") for m in report.models)
    hostile = replace(report, models=models, gaps=(), comparisons=())
    assert all(row["model"].startswith("'=") for row in csv.DictReader(io.StringIO(as_csv(hostile))))
    assert len(as_markdown(hostile).splitlines()) == 2 + sum(len(m.measurements) for m in models)


def test_no_time_of_an_emulator_is_exported(report: Report) -> None:
    for row in summary(replace(report, emulated=True)):
        assert not [name for name in COLUMNS if name.endswith("_seconds") and row[name] is not None]
        assert row["verdict"] == "emulated"


def test_the_command_writes_both_and_refuses_other_records(report: Report, tmp_path: Path, capsys) -> None:
    sdk.write_run(report, tmp_path / "run.json")
    files = ["--export-csv", str(tmp_path / "r.csv"), "--export-markdown", str(tmp_path / "r.md")]
    assert main(["report", str(tmp_path / "run.json"), *files]) == 0
    assert (tmp_path / "r.csv").read_bytes().decode() == as_csv(report)
    assert (tmp_path / "r.md").read_text() == as_markdown(report)
    with pytest.raises(DataError, match="no table"):
        sdk.write_tables(object(), csv=tmp_path / "x.csv")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def predicted() -> Predictions:
    model = open_model("=net|", write_graph(small_network(size=64)))
    boards = [load_board(name) for name in ("rpi4", "rpi5")]
    found = predict_one(boards, model, PredictTime(), engine=engine())
    bounded = [replace(one, bounds=tuple(bound(one.prediction, n) for n in (1, 4))) for one in found]
    return Predictions(tuple(bounded), "a table", 45, 0.1, 0.05)


def test_predictions_have_a_row_per_model_board_and_threads_that_says_what_they_are(
    predicted: Predictions,
) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(predicted))))
    assert [(row["board"], row["threads"]) for row in rows] == [
        (board, threads) for board in ("rpi4", "rpi5") for threads in ("1", "4")
    ]
    assert {(tuple(row), row["statement"]) for row in rows} == {
        (PREDICTED_COLUMNS, "predicted, not measured")
    }
    alone, bounded = rows[:2]
    one = predicted.models[0]
    assert float(alone["predicted_seconds"]) == one.predicted_seconds
    assert sum(float(alone[f"{name}_seconds"]) for name in PARTS) == pytest.approx(one.predicted_seconds)
    assert alone["measured_seconds"] == alone["bound_seconds"] == bounded["predicted_seconds"] == ""
    assert float(bounded["bound_seconds"]) == one.bounds[1].seconds
    assert alone["model"].startswith("'=")


def test_predictions_in_markdown_say_that_nothing_was_measured(predicted: Predictions) -> None:
    head, _, first, bounded, *_ = as_markdown(predicted).splitlines()
    assert "predicted, not measured" in head
    assert "at least" in bounded
    assert "at least" not in first
    assert len({line.replace("\\|", "").count("|") for line in as_markdown(predicted).splitlines()}) == 1


def test_the_command_exports_predictions(predicted: Predictions, tmp_path: Path) -> None:
    sdk.write_run(predicted, tmp_path / "p.json")
    files = ["--export-csv", str(tmp_path / "p.csv"), "--export-markdown", str(tmp_path / "p.md")]
    assert main(["report", str(tmp_path / "p.json"), *files]) == 0
    assert (tmp_path / "p.csv").read_bytes().decode() == as_csv(predicted)
    assert (tmp_path / "p.md").read_text() == as_markdown(predicted)


def test_a_run_is_a_data_frame(report: Report) -> None:
    pytest.importorskip("pandas")
    frame = sdk.load_run(report)
    assert list(frame.columns) == list(COLUMNS)
    assert frame.model.tolist() == [m.name for m in report.models for _ in m.measurements]
