"""The words of the documentation: the field's own, subject first. What reads as translated is not written again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_UNITS = r"bits?|bytes|instructions|milliseconds|MACs|centroids|GFLOP/s|GB/s|nats"
_THINGS = r"weight|inference|layer|byte|second|image|model|class|core|channel|symbol|thread|section|tensor"
#: A phrase, and what to write.
BANNED = {
    rf"\b(?:{_UNITS}) an? (?:{_THINGS})\b(?! (?:retires|takes|learns|has|is|holds))": "per",
    r"\bwhoever\b": "who, those who, or the thing itself",
    r"\bwhat is [a-z ]{2,30} is what\b": "say the thing",
    r"\bthe same [a-z]+ as well as\b": "and",
    r"\bin the moment\b": "now",
    r"\bactual(?:ly)? (?:there|here)\b": "there",
    r"\bso-called\b": "the name alone",
    r"\bplease\b": "an order",
    r"\bsimply\b|\beasily\b|\bjust\b(?! (?:after|before|now|as))": "nothing",
}


def found(pattern: str) -> Iterator[str]:
    for page in PAGES:
        text = re.sub(
            r"^```.*?^```", lambda m: "\n" * m[0].count("\n"), page.read_text("utf-8"), flags=re.S | re.M
        )
        for number, line in enumerate(text.splitlines(), 1):
            if match := re.search(pattern, line, re.I):
                yield f"{page.relative_to(ROOT)}:{number}: {match[0]}"


@pytest.mark.parametrize("pattern", BANNED)
def test_a_banned_phrase_is_nowhere(pattern: str) -> None:
    places = list(found(pattern))
    assert not places, f"write {BANNED[pattern]}:\n" + "\n".join(places)
