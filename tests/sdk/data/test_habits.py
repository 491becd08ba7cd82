"""The page on data says what happens to data as people have them, and it is what happens."""

from __future__ import annotations

from tests.sdk.data import habits

MAKE = "python -m tests.sdk.data.habits writes the tables"


def test_the_table_of_habits_is_what_happens() -> None:
    assert len(habits.HABITS) > 50
    assert habits.FULL.read_text(encoding="utf-8") == habits.table(), MAKE


def test_the_page_sums_it_up() -> None:
    text = habits.PAGE.read_text(encoding="utf-8")
    assert text.partition(habits.HEAD)[2].partition(habits.END)[0].strip() == habits.summary().strip(), MAKE
