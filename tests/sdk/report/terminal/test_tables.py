"""Names in tables: short, and told apart."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from sdk.report.terminal import tables
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


@pytest.mark.parametrize("width", [60, 80, 200])
@given(data=st.data())
@settings(max_examples=40)
def test_no_cell_of_a_number_is_cut_or_parted_from_its_unit(width: int, data: st.DataObject):
    figures = st.builds(
        "{} {}".format, st.integers(0, 10**7), st.sampled_from(["µs", "kB", "GFLOP/s", "- 12.5 ms", "%"])
    )
    columns = data.draw(st.lists(st.sampled_from(["time", "a longer head", "~text"]), min_size=1, max_size=9))
    made = table(None, "name", *columns)
    rows = [
        [data.draw(st.text("abc ", max_size=60) if c == "~text" else figures) for c in columns]
        for _ in range(3)
    ]
    for number, row in enumerate(rows):
        made.add_row(f"model {number}", *row)
    text = drawn(made, width)
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            assert column == "~text" or cell in text


def test_a_mark_before_the_name_stays_with_it():
    made = table(None, " ", "<variant", "time", "another", "a third")
    made.add_row("*", "dense", *["11.25 ms"] * 3)
    made.add_row("", "sparse", *["22.25 ms"] * 3)
    assert drawn(made, 30).splitlines()[0].rstrip() == "* dense"
    assert "sparse" in [line.rstrip() for line in drawn(made, 30).splitlines()]


def test_every_table_is_one_that_fits():
    """rich's own would cut cells on a narrow terminal; its grids have none that are cut."""
    for path in Path(tables.__file__).parent.glob("*.py"):
        assert not re.search(r"(?<![\w.])Table\(", path.read_text(encoding="utf-8").replace("(Table)", "")), (
            path
        )


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
