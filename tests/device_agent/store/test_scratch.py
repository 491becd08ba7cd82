"""What is deployed to be measured is gone afterwards, and what a board runs does not change for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_agent.errors import StoreError
from device_agent.store import scratch
from device_agent.store.store import Store
from tests.device_agent.store.test_store import SHARED, install

TOKEN = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_measurement_leaves_slots_and_history_as_they_were(folder: Path) -> None:
    store = Store(folder)
    good = install(store, [SHARED, b"good"])
    bad = install(store, [SHARED, b"bad"])
    store.rollback("net", "worse at night")
    with store.locked():
        store.collect()
    before = store.slot_path("net").read_bytes()
    place = Store(folder, TOKEN)
    measured = install(place, [SHARED, b"bad"])
    assert measured.id == bad.id
    assert place.current("net").id == bad.id
    assert store.current("net").id == good.id
    with store.locked():
        store.collect()  # another deploy, meanwhile
    assert place.read_package(place.current("net")) == SHARED + b"bad"
    with place.locked():
        place.discard()
        place.collect()
    assert store.slot_path("net").read_bytes() == before
    assert store.read_package(store.current("net")) == SHARED + b"good"
    assert not (folder / "scratch").exists()
    assert sorted(path.name for path in store.blobs.folder.iterdir()) == sorted(good.blobs)


def test_what_the_board_runs_is_known_in_a_scratch_place(folder: Path) -> None:
    store = Store(folder)
    good = install(store, [SHARED, b"good"])
    store.begin_trial(good.id)
    store.confirm("net", 0.25, "here")
    place = Store(folder, TOKEN)
    place.adopt("net", "0" * 64)
    assert place.slot("net").current is None
    place.adopt("net", good.id)
    slot = place.slot("net")
    assert (slot.current, slot.history, slot.before) == (good.id, (), ())
    assert slot.checked_under[good.id] == ("here",)
    store.adopt("other", good.id)  # the board's own slots adopt nothing
    assert store.slot("other").current is None


def test_a_place_whose_host_was_cut_off_goes_in_time(folder: Path) -> None:
    store = Store(folder)
    good = install(store, [b"good"])
    ends = f"from device_agent.store.store import Store; Store({str(folder)!r}, {TOKEN!r})"
    subprocess.run([sys.executable, "-c", ends], check=True)
    old = folder / "scratch" / TOKEN
    os.utime(old, (time.time() - 2 * scratch.ABANDONED_SECONDS,) * 2)
    in_use = Store(folder, "f" * 16)
    for place in (folder / "scratch").iterdir():
        os.utime(place, (0, 0))
    with store.locked():
        store.collect()
    assert [path.name for path in (folder / "scratch").iterdir()] == ["f" * 16]
    assert in_use.names() == ()
    assert store.current("net").id == good.id


def test_a_damaged_slot_of_a_place_stands_in_nobodys_way(folder: Path) -> None:
    store = Store(folder)
    install(store, [b"one"])
    place = Store(folder, TOKEN)
    install(place, [b"two"], "other")
    place.slot_path("other").write_bytes(b"")
    with store.locked():
        assert store.collect() > 0
    assert store.read_package(store.current("net")) == b"one"


@pytest.mark.parametrize("token", ["", "../slots", "0123", "0" * 65, "0123456789ABCDEF"])
def test_a_token_names_a_folder_and_nothing_else(folder: Path, token: str) -> None:
    with pytest.raises(StoreError, match="names no scratch place"):
        Store(folder, token)
