"""Any name becomes one that boards take; no two names become the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.record.release import NAME, Release
from sdk.package.release import prepare, release_name

ODD = [
    "模型",
    "图像",
    "modèle été",
    "modele ete",
    "my model (1)",
    "my-model-1",
    "my model 1",
    "-net",
    "net",
    ".hidden",
    "hidden",
    "net v1.2;rm -rf",
    "a" * 100,
    "a" * 101,
    "",
    "../../etc/passwd",
    "\udcff\udcfe",
]


def test_names_that_look_alike_to_a_board_are_told_apart() -> None:
    names = [release_name(name) for name in ODD]
    assert len(set(names)) == len(ODD)
    assert all(NAME.fullmatch(name) for name in names)


@pytest.mark.parametrize("name", ["net", "mobilenet_v1-1.0.224", "A" * 64, "7"])
def test_a_plain_name_stays(name) -> None:
    assert release_name(name) == name


@pytest.mark.parametrize(
    ("name", "begins"), [("modèle été", "modele-ete-"), ("my model (1)", "my-model-1-"), ("模型", "model-")]
)
def test_what_can_be_read_of_a_name_stays_readable(name, begins) -> None:
    found = release_name(name)
    assert found.startswith(begins)
    assert len(found) == len(begins) + 8


def test_both_ways_to_store_a_name_in_a_file_system_are_one_name() -> None:
    assert release_name(unicodedata.normalize("NFD", "modèle")) == release_name("modèle")


@given(st.text(max_size=90))
def test_any_text_has_a_name_that_names_itself(text) -> None:
    name = release_name(text)
    assert NAME.fullmatch(name)
    assert release_name(name) == name


def test_what_people_call_a_model_travels_where_its_name_does_not_say_it() -> None:
    odd = prepare(b"model", release_name("模型"), title="模型")
    assert odd.record.title == "模型"
    assert Release.from_bytes(odd.manifest) == odd.record
    assert prepare(b"model", "net", title="net").id == prepare(b"model", "net").id
    hostile = prepare(b"model", release_name("a\x1b[2J"), title="a\x1b[2J")
    assert hostile.record.title == "a\\x1b[2J"
    # A release that was given a name of its own does not take that of the file.
    assert prepare(b"model", "chosen", title="模型").record.title is None
