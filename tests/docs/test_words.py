"""The words of pages, help texts, messages and docstrings: the field's own, subject first. What reads as translated is
not written again."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "device_agent" / "package" / "PACKAGE_FORMAT.md",
]
SOURCES = sorted(path for package in ("sdk", "device_agent") for path in (ROOT / package).rglob("*.py"))
#: Held to one phrase: the data of tests may say anything else.
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))

_UNITS = r"bits?|bytes|instructions|milliseconds|MACs|centroids|GFLOP/s|GB/s|nats"
_THINGS = r"weight|inference|layer|byte|second|image|model|class|core|channel|symbol|thread|section|tensor"
#: A phrase, and what to write.
BANNED = {
    rf"\b(?:{_UNITS}) an? (?:{_THINGS})\b(?! (?:retires|takes|learns|has|is|holds))": "per",
    r"\b(?:instructions|operations|milliseconds) an? (?:cycle|inference)\b(?! (?:retires|takes))": "per",
    r"\b(?:one|a) [a-z]+ a (?:line|row|thread|layer|record)\b(?! (?:is|that|of))": "per",
    r"\bwho(?:m)?ever\b": "who, those who, or the thing itself",
    r"\bdo(?:es)? not tell\b(?! (?:the|them))": "not reported, is unknown, leaves it open",
    r"\bby who may\b|\bnobody who may\b": "an allowed signer, an allowed key",
    r"\btakes? no turns\b": "not at the same time",
    r"\bfor the asking\b": "optional",
    r"\banew\b|\blikewise\b|\bof ours\b|\bsuch as it is\b": "again, also, our, as it is",
    r"\bhence\b|\bthereof\b|\btherein\b|\bwhereupon\b|\bupon\b": "so, of it, in it, on",
    r"\bwhat is [a-z ]{2,30} is what\b": "say the thing",
    r"\bthe same [a-z]+ as well as\b": "and",
    r"\bin the moment\b": "now",
    r"\bactual(?:ly)? (?:there|here)\b": "there",
    r"\bso-called\b": "the name alone",
    r"\bplease\b": "an order",
    r"(?<!there )\b(?:is|are|was|were) no (?!longer|more|better|less|larger|smaller|further|other)": "is not a",
    r"\bheld against\b": "compared with",
    r"(?<!why )(?<!how )\bso many\b(?! (?:\w+ )?that\b)": "this many",
    r"\bsays? what is right\b": "right answers",
    r"\bwho logs in\b": "this user, the user of the board",
    r"\bgone back to\b": "rolled back to",
    r"\basked for with a record\b": "with the options as a record",
    r"\bnobody has at hand\b": "that are not connected",
    r"^What (?:became|becomes|came|is said|is known|is done)\b": "the thing itself: the change of, the metadata of",
    r"\bsimply\b|\beasily\b|\bjust\b(?! (?:after|before|now|as|below|above))": "nothing",
}


@functools.cache
def lines() -> tuple[tuple[str, str], ...]:
    """Where a line of prose stands, and the line: pages without their code, and every text in the sources."""
    return (*_prose(), *_texts())


def _prose() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = re.sub(
            r"^```.*?^```", lambda m: "\n" * m[0].count("\n"), page.read_text("utf-8"), flags=re.S | re.M
        )
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{page.relative_to(ROOT)}:{number}", line


def _texts() -> Iterator[tuple[str, str]]:
    """Docstrings, help texts and messages: a text over several lines is one, so that no phrase hides in a break."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                yield f"{source.relative_to(ROOT)}:{node.lineno}", " ".join(node.value.split())


@pytest.mark.parametrize("pattern", BANNED)
def test_a_banned_phrase_is_nowhere(pattern: str) -> None:
    found = re.compile(pattern, re.I)
    places = [f"{where}: {match[0]}" for where, line in lines() if (match := found.search(line))]
    assert not places, f"write {BANNED[pattern]}:\n" + "\n".join(places)


def test_tests_say_no_whoever() -> None:
    found = re.compile(r"\bwho(?:m)?ever\b|_whoever_", re.I)
    assert not [str(path) for path in TESTS if found.search(path.read_text("utf-8"))]


def test_texts_of_the_sources_are_looked_at() -> None:
    known = {where.partition(":")[0] for where, _ in lines()}
    assert {"README.md", "sdk/api/file_requests.py", "device_agent/errors.py"} <= known
