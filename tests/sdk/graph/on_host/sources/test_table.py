"""docs/sources.md says what happens."""

from __future__ import annotations

from tests.sdk.graph.on_host.sources import table


def test_the_table_of_sources_is_what_happens() -> None:
    text = table.PAGE.read_text(encoding="utf-8")
    assert f"{table.HEAD}\n{table.table()}\n{table.END}" in text, (
        "python -m tests.sdk.graph.on_host.sources.table"
    )
