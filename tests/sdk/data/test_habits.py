"""The table of data as people have them says what happens to each, and it is what happens."""

from __future__ import annotations

from tests.sdk.data import habits

MAKE = "python -m tests.sdk.data.habits writes the table"


def test_the_table_of_habits_is_what_happens() -> None:
    assert len(habits.HABITS) > 50
    assert habits.FULL.read_text(encoding="utf-8") == habits.table(), MAKE
