"""Results are kept as they were, as many as are used, and only where that can be done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdk.tools.system.folders import cache_folder
from sdk.tools.system.keeping import MOST_RESULTS, keep, kept


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder("kind")


def test_a_result_is_what_was_kept() -> None:
    assert kept("kind", "one") is None
    keep("kind", "one", b"first")
    assert kept("kind", "one") == b"first"
    keep("kind", "one", b"")
    assert kept("kind", "one") == b""


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:10], lambda data: b""])
def test_a_damaged_result_is_none(cache: Path, damage) -> None:
    keep("kind", "one", b"all of it")
    (cache / "one").write_bytes(damage((cache / "one").read_bytes()))
    assert kept("kind", "one") is None


def test_those_that_were_not_used_for_longest_go(cache: Path) -> None:
    for number in range(MOST_RESULTS):
        keep("kind", str(number), b"result")
        os.utime(cache / str(number), (number, number))
    assert kept("kind", "0") == b"result"
    keep("kind", "new", b"result")
    assert {path.name for path in cache.iterdir()} == {"0", "new", *map(str, range(2, MOST_RESULTS))}


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the place of the folder")
    keep("kind", "one", b"result")
    assert kept("kind", "one") is None
