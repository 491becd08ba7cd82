"""Runs that were kept: read again, shown again, and held against each other as a build server would."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sdk.api.measuring.runs import compare_runs, read_record, read_run, write_run
from sdk.cli import main
from sdk.errors import ArmletError, DataError
from sdk.tools.system.files import FileError
from tests.sdk.report import made_up_runs


@pytest.fixture
def kept(tmp_path: Path):
    """Writes a run and gives its path."""

    def keep(name: str, **options) -> Path:
        path = tmp_path / name
        write_run(made_up_runs.report(**options), path)
        return path

    return keep


def test_a_kept_run_is_read_again_as_it_was(kept) -> None:
    assert read_run(kept("run.json")) == made_up_runs.report()


def test_the_same_speed_is_no_failure(kept, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = kept("old.json"), kept("new.json", seed=5)
    assert main(["compare", str(old), str(new)]) == 0
    assert "none slower by more than 5.0 %" in capsys.readouterr().out


def test_a_model_that_became_slower_fails_with_status_1_and_its_name(
    kept, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = kept("old.json"), kept("new.json", factor=1.2, seed=5)
    assert main(["compare", str(old), str(new), "--fail-if-slower", "5%", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["slower"] == [{"model": "narrow", "threads": 1}, {"model": "narrow", "threads": 4}]
    assert document["limit"] == 0.05
    assert main(["compare", str(old), str(new), "--fail-if-slower", "25%"]) == 0
    assert main(["compare", str(old), str(new), "--fail-if-slower", "0.05"]) == 1


def test_what_the_noise_may_explain_is_no_failure(kept) -> None:
    # Slower by just over 5 % in the median, but the interval reaches below 5 %.
    old, new = kept("old.json"), kept("new.json", factor=1.049, seed=5)
    result = compare_runs(old, new, limit=0.05)
    assert any(c.measured_speedup < 1 / 1.05 for c in result.comparisons)
    assert result.slower == ()


def test_other_boards_models_and_threads_are_told(kept, tmp_path: Path) -> None:
    old = kept("old.json")
    changed = made_up_runs.report()
    other = replace(
        changed.models[1],
        measurement=replace(changed.models[1].measurement, tflite_sha256="9" * 64),
        parallel=(),
    )
    new = tmp_path / "new.json"
    write_run(replace(changed, board="rpi5", models=(changed.models[0], other)), new)
    warnings = compare_runs(old, new).warnings
    assert "another board: rpi4 and rpi5" in warnings
    assert "narrow: another model of that name" in warnings
    assert "narrow on 4 threads is only in the old run" in warnings


def test_runs_without_a_common_model_cannot_be_compared(kept) -> None:
    with pytest.raises(DataError, match="no model in common"):
        compare_runs(kept("old.json"), kept("new.json", names=("a", "b")))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schema": "armlet.report/1"}', b"[" * 100_000])
def test_what_is_no_run_is_one_clear_error(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(data)
    assert main(["report", str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_file_without_an_end_is_refused_before_it_fills_the_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["report", "/dev/zero"]) == 2
    assert "too large" in capsys.readouterr().err


def test_a_run_of_another_version_says_so_and_what_to_do(kept, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept("run.json")
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "schema": "armlet.report/9"}))
    assert main(["report", str(path)]) == 2
    told = capsys.readouterr().err
    assert "armlet.report/9" in told
    assert "version" in told
    document["models"][0]["measurement"]["schema"] = "armlet.measurement/9"
    path.write_text(json.dumps(document))
    assert main(["report", str(path)]) == 2
    assert "armlet.measurement/9" in capsys.readouterr().err


def test_a_profile_too_long_to_be_aligned_is_refused(kept) -> None:
    path = kept("run.json")
    document = json.loads(path.read_text())
    model = document["models"][0]
    model["costs"] = model["costs"][:1] * 5000
    model["profile"]["kernels"] = model["profile"]["kernels"][:1] * 5000
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="pairs"):
        read_run(path)


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no file .*missing\.json"):
        read_run(tmp_path / "missing.json")


def test_report_writes_a_page_and_shows_the_run_on_80_columns(
    kept, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = tmp_path / "run.html"
    assert main(["report", str(kept("run.json")), "--html", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for words in ("promised by theory", "Where it went: narrow, 1 thread", "narrow, 4 threads", "measured"):
        assert words in shown


@pytest.mark.parametrize("text", [None, "{"])
def test_a_file_that_holds_no_record_is_told_which_commands_write_one(tmp_path, text):
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ArmletError, match="`sdk bench -o` or `sdk tune -o`"):
        read_record(path)
