"""What strangers wrote reaches a terminal and a page through one gate, which makes what nobody sees visible."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.table import Table
from rich.text import Text

from device_agent.record.visible import visible
from sdk.cli import main
from sdk.commands.output import draw
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.report.page.fill import fill
from sdk.report.terminal.tables import table
from sdk.tools.system.terminal import Terminal
from tests.sdk.graph.small_graphs import small_network

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
BIDI = "\u202egnp.etilft\u2066"
UNSEEN = (*ESCAPE, *BIDI, "\x00", "\x9b", "\u200b", "\u2028")


def no_unseen(text: str) -> None:
    assert not [c for c in text if c != "\n" and not c.isprintable()], ascii(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv/1", "conv/1"),
        ("Größe 網", "Größe 網"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb", "a\\nb"),
        ("\x9b", "\\x9b"),
        ("\udc80", "\\udc80"),
        ("12\N{NO-BREAK SPACE}%", "12\N{NO-BREAK SPACE}%"),
        (None, ""),
    ],
)
def test_what_nobody_sees_is_written_as_its_escape(text: str | None, shown: str):
    assert visible(text) == shown


def test_lines_may_stay_lines_and_a_limit_holds_after_escaping():
    assert visible("a\nb\x1b", lines=True) == "a\nb\\x1b"
    assert visible("\x1b" * 1000, most=10) == "\\x1b\\x1b\\x"


def test_a_table_shows_names_as_they_are_and_drives_no_terminal():
    written = io.StringIO()
    names = Table()
    names.add_column("name", overflow="fold")
    names.add_row(ESCAPE)
    names.add_row("[/] [bold]x[/bold] :smile:")
    Terminal(file=written, width=60).print(names, Text(BIDI))
    no_unseen(written.getvalue())
    assert "\\x1b" in written.getvalue()
    assert "\\u202e" in written.getvalue()
    assert "[/] [bold]x[/bold] :smile:" in written.getvalue()


def hostile_network() -> Graph:
    graph = small_network(size=16)
    tensors = [dataclasses.replace(t, name=f"{ESCAPE}{BIDI}[/]{i}") for i, t in enumerate(graph.tensors)]
    return dataclasses.replace(graph, tensors=tuple(tensors), name=ESCAPE)


def test_a_package_with_escape_sequences_in_its_names_drives_no_terminal(tmp_path, capsys):
    model = tmp_path / "m.tflite"
    model.write_bytes(write_graph(hostile_network()))
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"class {i}\n" for i in range(10)))
    assert main(["pack", str(model), "-o", str(tmp_path / "m.armlet")]) == 0
    assert main(["inspect", str(tmp_path / "m.armlet")]) == 0
    assert main(["compress", str(model), "-o", str(tmp_path / "c.armlet"), "--effort", "none"]) == 0
    assert main(["inspect", str(tmp_path / "c.armlet")]) == 0
    said = capsys.readouterr()
    no_unseen(said.out + said.err)
    assert "\\x1b" in said.out


def test_an_error_about_a_hostile_file_drives_no_terminal(tmp_path, capsys):
    data = tmp_path / "data.npz"
    np.savez(data, **{"x" + ESCAPE: np.zeros(3)})
    model = tmp_path / "m.tflite"
    model.write_bytes(write_graph(small_network(size=16)))
    assert main(["compress", str(model), "-o", str(tmp_path / "c"), "--data", str(data)]) == 2
    no_unseen(capsys.readouterr().err)


def test_a_page_shows_no_character_that_nobody_sees():
    page = fill("<p>{{ name }}</p>", title="t", name="".join(UNSEEN))
    shown = page[page.index("<p>") :]
    no_unseen(shown)
    assert "\\u202e" in shown


def test_what_is_printed_keeps_its_digits_however_narrow_the_terminal_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "40")
    digits, figures = "1,234,567,890", table("Figures", *"abcde")
    figures.add_row(*[digits] * 5)
    draw(figures)
    assert capsys.readouterr().out.count(digits) == 5
