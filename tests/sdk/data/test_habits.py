"""The page on data says what happens to data as people have them, and it is what happens."""

from __future__ import annotations

from tests.sdk.data import habits


def test_the_table_of_habits_is_what_happens() -> None:
    text = habits.PAGE.read_text(encoding="utf-8")
    written = text.partition(habits.HEAD)[2].partition(habits.END)[0].strip().splitlines()
    found = habits.table().strip().splitlines()
    assert len(found) > 50
    assert written == found, "python -m tests.sdk.data.habits writes the table"
