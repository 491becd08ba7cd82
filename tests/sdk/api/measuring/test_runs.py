"""Runs that were kept: read again, shown again, and compared with each other as a build server would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.record.measurement import Measurement
from sdk.api.measuring.runs import compare_runs, read_record, read_run, write_run
from sdk.cli import main
from sdk.errors import ArmletError, DataError
from sdk.tools.system.files import FileError
from tests.sdk.report import made_up_runs

EXAMPLES = Path(__file__).parents[4] / "examples"


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
    assert document["answer"] == "slower"
    assert main(["compare", str(old), str(new), "--fail-if-slower", "0.05"]) == 1


def changed(path: Path, change) -> Path:
    """A kept run in which ``change`` was made to every measurement."""
    run = read_run(path)
    models = tuple(
        replace(m, measurement=change(m.measurement), parallel=tuple(map(change, m.parallel)))
        for m in run.models
    )
    write_run(replace(run, models=models), path)
    return path


def test_what_the_noise_may_explain_is_no_failure_but_nobody_can_tell(
    kept, capsys: pytest.CaptureFixture[str]
) -> None:
    # Slower by just over 5 % in the median, but the interval reaches below 5 %.
    old, new = kept("old.json"), kept("new.json", factor=1.049, seed=5)
    result = compare_runs(old, new, limit=0.05)
    assert any(c.measured_speedup < 1 / 1.05 for c in result.comparisons)
    assert result.slower == ()
    assert result.answer == "can't tell"
    assert main(["compare", str(old), str(new), "--json"]) == 4
    [told, _] = json.loads(capsys.readouterr().out)["cannot_tell"]
    assert told["model"] == "narrow"
    assert "another limit" in told["what_would_settle_it"]
    assert main(["compare", str(old), str(new)]) == 4
    assert "narrow, 1 thread: can't tell; " in capsys.readouterr().out


def test_where_more_measuring_would_settle_it_it_is_said_how_much(kept) -> None:
    old, new = kept("old.json"), changed(kept("new.json", seed=5), uneven)
    result = compare_runs(old, new, limit=0.05)
    assert result.answer == "can't tell"
    assert all("--precision" in v.settle for v in result.verdicts)


def uneven(m: Measurement) -> Measurement:
    """Loadings of which every other is 20 % slower, each by itself as quiet as before."""
    each = len(m.samples_seconds) // 10
    return replace(
        m,
        samples_seconds=tuple(s * (1.1 if i // each % 2 else 0.92) for i, s in enumerate(m.samples_seconds)),
    )


@pytest.mark.parametrize(
    ("disturbance", "words"),
    [
        (lambda m: replace(m, throttled=True), "throttled"),
        (lambda m: replace(m, during=(), frequency_before_hz=1.8e9, frequency_after_hz=0.9e9), "clock fell"),
    ],
)
def test_a_disturbed_run_cannot_fail_a_build(kept, disturbance, words: str) -> None:
    old, new = kept("old.json"), changed(kept("new.json", factor=1.2, seed=5), disturbance)
    result = compare_runs(old, new, limit=0.05)
    assert result.answer == "can't tell"
    assert all(words in v.settle for v in result.verdicts)


def test_a_noisy_run_cannot_fail_a_build_by_what_its_noise_explains(kept) -> None:
    def noisy(m: Measurement) -> Measurement:
        slow = (s * (1.4 if i % 3 == 0 else 1.1) for i, s in enumerate(m.samples_seconds))
        return replace(m, samples_seconds=tuple(slow))

    old = kept("old.json")
    result = compare_runs(old, changed(kept("new.json", seed=5), noisy), limit=0.05)
    assert all(c.measured_high < 1 / 1.05 for c in result.comparisons)
    assert result.answer == "can't tell"
    assert all("new run is noisy" in v.settle for v in result.verdicts)
    slower = compare_runs(old, changed(kept("slow.json", factor=3.0, seed=5), noisy), limit=0.05)
    assert [c.candidate for c in slower.slower] == ["narrow", "narrow"]


def test_runs_of_one_loading_say_so_where_they_do_not_settle_it(kept) -> None:
    def as_before(m: Measurement) -> Measurement:
        return replace(m, turns=())

    old, new = kept("old.json"), changed(kept("new.json", seed=5), as_before)
    result = compare_runs(old, new, limit=0.05)
    assert result.answer == "can't tell"
    assert all("one loading" in v.settle for v in result.verdicts)
    much = changed(kept("much.json", factor=1.2, seed=5), as_before)
    assert compare_runs(old, much, limit=0.05).answer == "slower"


def test_a_run_of_the_schemas_before_is_read_and_compared(kept) -> None:
    path = kept("old.json")
    document = json.loads(path.read_text())
    del document["again"]
    for model in document["models"]:
        for timed in (model["measurement"], *model["parallel"]):
            del timed["turns"]
            timed["schema"] = "armlet.measurement/3"
    document["comparisons"] = []
    path.write_text(json.dumps({**document, "schema": "armlet.report/1"}))
    assert read_run(path).models[0].measurement.turns == ()
    assert compare_runs(path, kept("new.json", factor=1.3)).answer == "slower"


def test_what_the_self_test_of_a_run_could_not_tell_is_no_failure(kept) -> None:
    old, new = kept("old.json"), kept("new.json", factor=1.04, seed=5)
    assert compare_runs(old, new, limit=0.01).answer == "slower"
    run = read_run(new)
    again = tuple(map(uneven, run.models[0].measurements))
    write_run(replace(run, again=again), new)
    result = compare_runs(old, new, limit=0.01)
    assert all(c.smallest_told > 0.05 for c in result.comparisons)
    assert result.answer == "can't tell"
    assert any("cannot be told there" in v.settle for v in result.verdicts)


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
    with pytest.raises(ArmletError, match="`sdk bench -o`, `sdk tune -o` or `sdk predict -o`"):
        read_record(path)


def grown(path: Path, factor: float) -> Path:
    """A kept run whose packages are larger by that."""
    run = read_run(path)
    models = tuple(replace(m, package_bytes=round(m.package_bytes * factor)) for m in run.models)
    write_run(replace(run, models=models), path)
    return path


def test_a_package_that_became_larger_fails_where_sizes_count(
    kept, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = kept("old.json"), grown(kept("new.json", seed=5), 1.1)
    assert main(["compare", str(old), str(new)]) == 0
    capsys.readouterr()
    assert main(["compare", str(old), str(new), "--fail-if-larger", "2%", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [one["model"] for one in document["larger"]] == ["wide", "narrow"]
    assert main(["compare", str(old), str(new), "--fail-if-larger", "2%"]) == 1
    assert "10.0 % larger" in capsys.readouterr().out
    assert main(["compare", str(old), str(new), "--fail-if-larger", "20%"]) == 0


@pytest.mark.parametrize(("change", "status"), [({}, 0), ({"factor": 1.3}, 1), ({"grown": 1.1}, 1)])
def test_the_workflow_of_the_examples_fails_a_slower_or_larger_model(
    kept, tmp_path: Path, change: dict, status: int
) -> None:
    """Its last step, run as GitHub runs it."""
    yaml = pytest.importorskip("yaml", reason="no PyYAML, which the site's generator brings")
    workflow = yaml.safe_load((EXAMPLES / "github-workflow.yml").read_text())
    steps = workflow["jobs"]["speed"]["steps"]
    measuring = " ".join(step.get("run", "") for step in steps)
    assert "-o before.json" in measuring
    assert "-o after.json" in measuring
    kept("before.json")
    after = kept("after.json", seed=5, **{k: v for k, v in change.items() if k != "grown"})
    if "grown" in change:
        grown(after, change["grown"])
    scripts = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": scripts, "PYTHONPATH": str(EXAMPLES.parent)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps[-1]["run"]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
