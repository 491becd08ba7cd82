"""A run for other tools: rows, CSV, Markdown, a data frame."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

import sdk
from sdk.cli import main
from sdk.errors import DataError
from sdk.explain.run import Report
from sdk.report.summary import COLUMNS, as_csv, as_markdown, summary
from tests.sdk.report import made_up_runs


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


def test_a_run_is_a_data_frame(report: Report) -> None:
    pytest.importorskip("pandas")
    frame = sdk.load_run(report)
    assert list(frame.columns) == list(COLUMNS)
    assert frame.model.tolist() == [m.name for m in report.models for _ in m.measurements]
