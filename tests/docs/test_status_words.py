"""The status words of deploys, histories and fleets stand in one table, and no other word is used."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from sdk.deploy.agent import answers
from sdk.deploy.fleet import rollout
from sdk.report.terminal import fleet

ROOT = Path(__file__).parents[2]


def table() -> dict[str, set[str]]:
    """Word -> what it is of, from docs/deploy.md."""
    text = (
        (ROOT / "docs" / "deploy.md").read_text("utf-8").partition("### Status words")[2].partition("###")[0]
    )
    rows = re.findall(r"^\| ([a-z ,]+) \| ([a-z, ]+) \|", text, re.M)[1:]
    return {word: set(of.split(", ")) for words, of in rows for word in words.split(", ")}


def said_of(kind: str) -> set[str]:
    return {word for word, of in table().items() if kind in of}


def test_the_words_of_a_deploy() -> None:
    (state,) = [entry for entry in fields(answers.InstallAnswer) if entry.name == "state"]
    assert said_of("deploy") == set(state.metadata["limits"]["choices"])


def test_the_words_of_a_history() -> None:
    said = (ROOT / "device_agent" / "record" / "release.py").read_text("utf-8")
    (listed,) = re.findall(r"Each a dict: event \((.*?)\)", said, re.S)
    events = set(re.findall(r'"([a-z ]+)"', listed))
    sources = [path.read_text("utf-8") for path in (ROOT / "device_agent" / "store").glob("*.py")]
    written = {word for text in sources for word in re.findall(r"\.after\(\s*\"([a-z ]+)\"", text)}
    assert written <= events
    assert said_of("history") == events


def test_the_words_of_a_fleet() -> None:
    states = {value for name, value in vars(rollout).items() if name.isupper() and isinstance(value, str)}
    assert said_of("fleet") == states
    assert said_of("rollout") == {*fleet._ENDS}  # noqa: SLF001 - what each end is called
