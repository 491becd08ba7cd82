"""The table behind docs/sources.md says what happens."""

from __future__ import annotations

from tests.sdk.graph.on_host.sources import table


def test_the_table_of_sources_is_what_happens() -> None:
    assert table.FULL.read_text(encoding="utf-8") == table.table(), (
        "python -m tests.sdk.graph.on_host.sources.table"
    )
