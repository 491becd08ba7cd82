"""Names in tables: short, and told apart."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from sdk.report.terminal.drawing import report as draw_report
from sdk.report.terminal.tables import short_name, short_names, table
from sdk.report.units import bytes_text, seconds_text
from tests.sdk.report import made_up_runs


def drawn(what: RenderableType, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, markup=False, emoji=False).print(what)
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_figure_of_a_report_is_cut_and_no_line_is_too_long(width: int):
    run = made_up_runs.report()
    text = drawn(draw_report(run), width)
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    lines = " ".join(text.split())
    for model in run.models:
        assert bytes_text(model.package_bytes) in text
        for timed in model.measurements:
            for seconds in (timed.minimum, timed.median, timed.p99):
                assert seconds_text(seconds) in text
    assert "verdict" in lines


def test_a_table_that_does_not_fit_is_a_list_of_all_its_cells():
    made = table("Title", "model", "one", "two", "<three")
    made.add_row("first", "11.5 ms", "22.5 ms", "x" * 20)
    made.add_row("second", "33.5 ms", "44.5 ms", "y" * 20)
    beside, below = drawn(made, 80), drawn(made, 36)
    for cell in ("first", "11.5 ms", "22.5 ms", "x" * 20, "second", "y" * 20, "one", "three", "Title"):
        assert cell in beside
        assert cell in below
    assert len(beside.splitlines()) < len(below.splitlines())


def test_names_that_end_alike_are_told_apart_by_number_and_by_what_differs():
    names = [f"model/block_{n}/relu6_1/Relu6" for n in range(13)] + ["model/logits"]
    shorts = short_names(names)
    assert len(set(shorts)) == len(names)
    assert all(len(short) <= 14 for short in shorts)
    assert shorts[0] == "1 …lock_0"[:2] + short_name("model/block_0", 12)
    assert shorts[-1] == "model/logits"


def test_equal_names_differ_by_their_numbers():
    assert short_names(["same/name/again", "same/name/again"]) == ["1 " + short_name("same", 12), "2 same"]


def test_plain_names_stay():
    assert short_names(["conv", "fc"]) == ["conv", "fc"]
    assert short_names([]) == []
