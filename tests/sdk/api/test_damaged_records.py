"""Kept records that were damaged at any field: one error with its name, or a record that can be shown."""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from device_agent.measuring.soak import Reading
from device_agent.record.intervals import Turn
from device_agent.record.measurement import Measurement
from device_agent.record.release import Release, Slot, ThreadChoice
from device_agent.record.soak import SoakTurn
from device_agent.run.conditions import Conditions
from sdk.api.board_requests import PredictTime
from sdk.api.measuring.measure import open_model
from sdk.api.measuring.predictions import predict_one
from sdk.api.measuring.size_suite import SizeRow, SizeRun
from sdk.api.measuring.suites import SuiteRow, SuiteRun
from sdk.board.catalogue import load_board
from sdk.cli import main
from sdk.errors import ArmletError
from sdk.explain.run import Report
from sdk.explain.soaking.memory import plan_memory
from sdk.explain.soaking.run import SoakReport
from sdk.explain.speed.calibration import Calibration
from sdk.explain.speed.predictions import Predictions, Scale, bound
from sdk.explain.tuning import Candidate, LeftOut, Tuned
from sdk.graph.writer import write_graph
from sdk.report.page import predicted as predicted_page
from sdk.report.page import run as run_page
from sdk.report.page import soak as soak_page
from sdk.report.page import tuned as tuned_page
from sdk.report.terminal import drawing
from tests.device_agent.measuring.test_soak import record as soak_record
from tests.sdk.graph.small_graphs import small_network
from tests.sdk.report import made_up_runs
from tests.sdk.report.made_up_engine import engine


def short(measurement: Measurement) -> Measurement:
    """The same with few samples, so that it is quickly read."""
    few = measurement.samples_seconds[:20]
    return replace(
        measurement,
        samples_seconds=few,
        warmup_seconds=few[:2],
        during=measurement.during[:2],
        turns=(Turn(0, 0, 0.0, 10), Turn(1, 0, 1.0, 10)),
    )


def a_run() -> Report:
    run = made_up_runs.report()
    models = [
        replace(m, measurement=short(m.measurement), parallel=tuple(short(p) for p in m.parallel))
        for m in run.models
    ]
    return replace(run, models=tuple(models), again=models[0].measurements)


def a_tuning() -> Tuned:
    timed = short(made_up_runs.measurement("net", 0.01))
    dense = Candidate("float", "dense", 1000, 0.0, "ai-edge-litert", "2.3.0", 1, measurement=timed)
    int8 = replace(dense, variant="int8", form="int8", threads=2, points_lost=-0.5)
    left_out = (LeftOut("90 %", "it loses 3 points"),)
    return Tuned("net", "local", False, 1.0, "images", 100, (int8, dense), left_out, 0)


def some_predictions() -> Predictions:
    tflite = write_graph(small_network())
    boards = [load_board(name) for name in ("rpi4", "rpi5")]
    asked = PredictTime(runtime="ai-edge-litert")
    one, other = predict_one(boards, open_model("net", tflite), asked, engine=engine())
    scale = Scale(
        1.1, "net", "rpi4", "ai-edge-litert 2.3.0", "run.json", 0.011, 0.01, 1.7e9, False, False, ("noisy",)
    )
    one = replace(one, scale=scale, measured_seconds=0.011, bounds=(bound(one.prediction, 4),))
    return Predictions((one, replace(other, costs=other.costs[:1])), "a table", 45, 0.1, 0.05, notes=("so",))


def a_soak() -> SoakReport:
    turns = [
        SoakTurn(
            number % 2, float(number), 10, 0.01, 0.1, 1.5e9, 60.0, 3.0, ("throttled",) if number > 8 else ()
        )
        for number in range(12)
    ]
    idle = (Reading(Conditions(40.0, 1.5e9, "ondemand", (), None), 2.0),)
    plan = plan_memory(small_network())
    return SoakReport("rpi5", "Raspberry Pi 5", soak_record(turns, idle), (plan, None), ("a note",))


def a_suite() -> SuiteRun:
    rows = (
        SuiteRow("wide", "32x32", 1, 1000, 0.1, 1.0, 1.0),
        SuiteRow("narrow", "32x32", 1, 10, 0.01, 100.0, 10.0, 0.2),
    )
    return SuiteRun("made-up", "nobody", (("32x32", a_run()),), rows)


def a_table_of_sizes() -> SizeRun:
    return SizeRun("made-up", "nobody", (SizeRow("net", (("pruned", 40),), 10, 100, 100, 12),), "a note")


def a_calibration() -> Calibration:
    return Calibration("rpi4", 1, 1e10, 2e10, 3e9, 1e-6, "ai-edge-litert", "2.3.0", "aarch64", 1.7e9, 1.8e9)


def a_slot() -> Slot:
    return Slot(
        "net",
        current="a" * 64,
        previous="b" * 64,
        older=("c" * 64,),
        inference_seconds={"a" * 64: 0.1},
        checked_under={"a" * 64: ("ai-edge-litert 2.3.0",)},
        threads={"a" * 64: ThreadChoice(2, {1: (0.2,), 2: (0.1,)}, "medians")},
        history=({"event": "confirmed", "release": "a" * 64, "reason": "", "unix_seconds": 1.7e9},),
    )


def a_release() -> Release:
    return Release("net", "a" * 64, (("b" * 64, 10),), "c" * 64, "d" * 64, 0.5, "e" * 64)


def read_release(document: Any) -> Release:
    return Release.from_bytes(json.dumps(document).encode())


def read_slot(document: Any) -> Slot:
    return Slot.from_bytes(json.dumps(document).encode(), "net")


Reader = Callable[[Any], Any]
RECORDS: dict[str, tuple[Callable[[], Any], Reader]] = {
    "run": (a_run, Report.from_json),
    "tuning": (a_tuning, Tuned.from_json),
    "soak": (a_soak, SoakReport.from_json),
    "predictions": (some_predictions, Predictions.from_json),
    "suite": (a_suite, SuiteRun.from_json),
    "sizes": (a_table_of_sizes, SizeRun.from_json),
    "calibration": (a_calibration, Calibration.from_json),
    "slot": (a_slot, read_slot),
    "release": (a_release, read_release),
}

LACKING = object()
LONG = [None] * 100_000
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3.9, -0.5, 1e300, 1e-300, math.nan, math.inf, 10**30, int("9" * 4000)),
    *(
        "",
        "x",
        "false",
        "\x1b[2J",
        "\u202etxt",
        "x" * 100_000,
        [],
        [1],
        ["\x1b"],
        LONG,
        {},
        {"a": 1},
        LACKING,
    ),
]

Way = tuple[Any, ...]


def ways(document: Any, here: Way = ()) -> Iterator[Way]:
    """The ways to every field, and to the first two items of every list."""
    inner = document.items() if isinstance(document, dict) else ()
    if isinstance(document, list):
        inner = list(enumerate(document))[:2]
    for key, value in inner:
        yield (*here, key)
        yield from ways(value, (*here, key))


def damaged(document: Any, way: Way, value: Any) -> Any:
    """A copy with another value there, or with none."""
    copy = dict(document) if isinstance(document, dict) else list(document)
    if len(way) > 1:
        copy[way[0]] = damaged(document[way[0]], way[1:], value)
    elif value is LACKING:
        del copy[way[0]]
    else:
        copy[way[0]] = value
    return copy


def as_document(record: Any) -> Any:
    """A record as its file has it."""
    if isinstance(record, Release | Slot):
        return json.loads(record.to_bytes())
    return json.loads(json.dumps(record.to_json()))


def show(record: Any) -> None:
    """On a terminal and as a page."""
    console = Console(file=io.StringIO(), width=100)
    if isinstance(record, Tuned):
        console.print(drawing.tuned(record))
        tuned_page.render(record)
    elif isinstance(record, Report):
        console.print(drawing.report(record, operators=True))
        run_page.render(record)
    elif isinstance(record, Predictions):
        console.print(drawing.predictions(record, operators=True))
        predicted_page.render(record)
    elif isinstance(record, SuiteRun):
        console.print(drawing.suite(record))
    elif isinstance(record, SoakReport):
        console.print(drawing.soaked(record))
        soak_page.render(record)
    elif isinstance(record, SizeRun):
        console.print(drawing.size_suite(record))


@pytest.mark.parametrize("name", RECORDS)
def test_whatever_field_is_damaged_there_is_one_error_or_a_record_that_is_read_and_shown(name: str) -> None:
    make, read = RECORDS[name]
    document = as_document(make())
    assert as_document(read(document)) == document
    draw = random.Random(name)
    taken: list[Any] = []
    found = list(ways(document))
    for way in found:
        # Long records get a sample of what may be wrong with each of their fields, short ones all of it.
        for value in VALUES if len(found) < 60 else draw.sample(VALUES, 3):
            told, record = outcome(read, damaged(document, way, value))
            assert told.isprintable(), (way, value)
            assert len(told) < 700, (way, value)
            if not told:
                again = as_document(record)
                assert as_document(read(again)) == again, (way, value)
                taken.append(record)
    for record in draw.sample(taken, min(6, len(taken))):
        show(record)


def outcome(read: Reader, document: Any) -> tuple[str, Any]:
    """What the error says, else "" and the record."""
    try:
        return "", read(document)
    except ArmletError as error:
        return str(error), None


# -- as a person meets it ---------------------------------------------------------------------------------------------

DIGITS = "9" * 5000
#: What was done to the file -> how its text is changed.
DAMAGE: dict[str, Callable[[str], str]] = {
    "another type": lambda text: text.replace('"threads": 1', '"threads": "1"'),
    "half a thread": lambda text: text.replace('"threads": 1', '"threads": 1.5'),
    "NaN": lambda text: text.replace('"init_seconds": 0.012', '"init_seconds": NaN'),
    "a number without an end": lambda text: text.replace('"init_seconds": 0.012', '"init_seconds": 1e999'),
    "a negative number": lambda text: text.replace('"threads": 1', '"threads": -1'),
    "an unknown field": lambda text: text.replace('"threads": 1', '"colour": "red", "threads": 1'),
    "a field less": lambda text: text.replace('"decode_kernel": "c", ', ""),
    "escape codes": lambda text: text.replace('"aarch64"', '"\\u001b[2J\\u001b]0;owned\\u0007"'),
    "another direction": lambda text: text.replace('"aarch64"', '"\\u202eaarch64"'),
    "5,000 digits": lambda text: text.replace('"threads": 1', f'"threads": {DIGITS}', 1),
    "a long list": lambda text: text.replace('"cpus": [', '"cpus": [' + "0, " * 1_000_000, 1),
    "a deep list": lambda text: text.replace('"cpus": [', '"cpus": [' + "[" * 100_000, 1),
    "the other half": lambda text: text[len(text) // 2 :],
    "the first half": lambda text: text[: len(text) // 2],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["run", "tuning"])
def test_report_of_a_damaged_file_is_one_error_with_exit_status_2(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept.json"
    whole = json.dumps(RECORDS[name][0]().to_json())
    path.write_text(whole)
    assert main(["report", str(path)]) == 0
    assert capsys.readouterr().out
    broken = DAMAGE[damage](whole)
    assert broken != whole
    path.write_text(broken)
    assert main(["report", str(path)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert all(line.isprintable() for line in shown.err.splitlines())
    assert len(shown.err) < 1000


@pytest.mark.parametrize("damage", ["another type", "escape codes"])
def test_compare_of_a_damaged_file_is_one_error_with_exit_status_2(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(a_run().to_json()))
    new.write_text(DAMAGE[damage](old.read_text()))
    for pair in ((old, new), (new, old)):
        assert main(["compare", *map(str, pair)]) == 2
        shown = capsys.readouterr()
        assert (shown.out, shown.err[:7]) == ("", "error: ")
