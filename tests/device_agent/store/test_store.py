"""The store: what is in it is whole, and what ran before still runs, wherever it is cut."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from device_agent.errors import StoreError
from device_agent.record import release as release_module
from device_agent.record.release import Release, check_name
from device_agent.store import durable
from device_agent.store.blobs import WORTH_KEEPING_BYTES
from device_agent.store.store import Store

SHARED = b"the part that both have" * 100


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def release_of(parts: list[bytes], name: str = "net", **changes) -> Release:
    values = {
        "name": name,
        "package_sha256": sha(b"".join(parts)),
        "parts": tuple((sha(part), len(part)) for part in parts),
    }
    return Release(**{**values, **changes})


def install(store: Store, parts: list[bytes], name: str = "net", confirm: bool = True) -> Release:
    """What the verb does, without its health check."""
    release = release_of(parts, name)
    with store.locked():
        sent = {sha(part): part for part in parts}
        missing = store.blobs.missing(release.blobs)
        store.blobs.receive(
            io.BytesIO(b"".join(sent[d] for d in missing)), [(d, len(sent[d]), 0) for d in missing]
        )
        store.begin_trial(store.add_release(release))
        if confirm:
            store.confirm(name)
        store.collect()
    return release


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where the machine has such a place: thousands of syncs to a disk would take minutes."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture
def store(folder: Path) -> Store:
    return Store(folder / "store")


def everything_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "lock"}


# -- what it does -----------------------------------------------------------------------------------------------------


def test_a_release_is_joined_from_its_parts(store):
    release = install(store, [b"one", b"two", b"one"])
    assert store.read_package(store.current("net")) == b"onetwoone"
    assert store.current("net") == release


def test_only_parts_that_are_not_there_are_missing(store):
    install(store, [SHARED, b"old head"])
    assert store.blobs.missing(release_of([SHARED, b"new head"]).blobs) == (sha(b"new head"),)


def test_files_are_private(store):
    install(store, [b"one"])
    for path in store.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_release_on_trial_does_not_run_until_it_is_confirmed(store):
    old = install(store, [b"old"])
    new = install(store, [b"new"], confirm=False)
    assert store.current("net") == old
    store.confirm("net")
    assert store.current("net") == new
    assert store.slot("net").previous == old.id


def test_a_trial_that_fails_leaves_the_old_release_and_its_reason(store):
    old = install(store, [b"old"])
    install(store, [b"new"], confirm=False)
    slot = store.revert("net", "the golden outputs do not come out")
    assert (slot.current, slot.trial) == (old.id, None)
    assert slot.history[-1]["event"] == "reverted"
    assert slot.history[-1]["reason"] == "the golden outputs do not come out"


def test_a_trial_that_was_interrupted_is_told_in_the_history(store):
    install(store, [b"old"])
    interrupted = install(store, [b"new"], confirm=False)
    install(store, [b"newer"])
    events = [(event["event"], event["release"]) for event in store.slot("net").history]
    assert ("reverted", interrupted.id) in events


def test_going_back_makes_the_previous_release_the_current_one(store):
    old = install(store, [b"old"])
    install(store, [b"new"])
    assert store.rollback("net").current == old.id
    with pytest.raises(StoreError, match="no earlier release"):
        store.rollback("net")


def test_as_many_releases_are_kept_as_was_asked_for_and_each_can_be_gone_back_to(store):
    first = install(store, [b"0"])
    store.keep("net", 4)
    later = [install(store, [SHARED, b"%d" % number]) for number in range(1, 6)]
    kept = [release.id for release in reversed(later[-4:])]
    assert list(store.slot("net").releases) == kept
    assert {path.stem for path in (store.folder / "releases").iterdir()} == set(kept)
    assert store.blobs.missing(first.blobs) == first.blobs
    assert store.rollback("net").current == kept[1]
    slot = store.rollback("net", to=kept[3])
    assert (slot.current, slot.before) == (kept[3], ())
    with pytest.raises(StoreError, match="no earlier release"):
        store.rollback("net")


def test_going_back_to_the_middle_keeps_what_was_there_before_it(store):
    install(store, [b"0"])
    store.keep("net", 4)
    one, two, _ = (install(store, [b"%d" % number]) for number in range(1, 4))
    slot = store.rollback("net", to=two.id)
    assert (slot.current, slot.previous, len(slot.older)) == (two.id, one.id, 1)
    store.collect()
    assert len(list((store.folder / "releases").iterdir())) == 3


def test_a_release_that_comes_again_stands_once(store):
    one = install(store, [b"1"])
    store.keep("net", 3)
    two = install(store, [b"2"])
    install(store, [b"1"])
    slot = store.slot("net")
    assert (slot.current, slot.before) == (one.id, (two.id,))


def test_fewer_to_keep_lets_the_oldest_go_at_once(store):
    install(store, [b"0"])
    store.keep("net", 5)
    for number in range(1, 5):
        install(store, [b"%d" % number])
    assert len(store.slot("net").releases) == 5
    store.keep("net", 2)
    store.collect()
    assert len(list((store.folder / "releases").iterdir())) == 2


@pytest.mark.parametrize("keep", [0, 1, -1, 65, True, "2", None])
def test_a_number_of_releases_that_cannot_be_kept_is_refused(store, keep):
    install(store, [b"0"])
    with pytest.raises(StoreError, match="cannot be kept"):
        store.keep("net", keep)


def test_a_damaged_release_is_not_gone_back_to_and_another_one_is_named(store):
    old = install(store, [b"0"])
    store.keep("net", 3)
    rotten, new = install(store, [b"1"]), install(store, [b"2"])
    (store.folder / "blobs" / sha(b"1")).write_bytes(b"X")
    with pytest.raises(StoreError, match="is damaged") as caught:
        store.rollback("net")
    assert old.id[:12] in str(caught.value)
    assert store.current("net") == new
    assert store.rollback("net", to=old.id).current == old.id
    assert rotten.id not in store.slot("net").releases


def test_an_earlier_manifest_that_is_damaged_keeps_nothing_from_being_removed(store):
    install(store, [b"0"])
    install(store, [b"1"])
    (store.folder / "releases" / f"{store.slot('net').previous}.json").write_bytes(b"{")
    assert store.collect() > 0
    assert everything_in(store.folder) == {
        f"releases/{store.slot('net').current}.json",
        f"blobs/{sha(b'1')}",
        "slots/net.json",
    }


def test_the_same_refusal_again_is_one_event(store):
    install(store, [b"0"])
    for reason in ("not signed", "not signed", "not by an allowed signer", "not signed"):
        store.refused("net", "0" * 64, reason)
    events = [(event["event"], event["reason"]) for event in store.slot("net").history]
    assert events == [
        ("confirmed", ""),
        ("refused", "not signed"),
        ("refused", "not by an allowed signer"),
        ("refused", "not signed"),
    ]


def test_a_first_release_can_be_taken_back_where_that_is_asked_for(store):
    install(store, [b"first"])
    slot = store.rollback("net", "the rollout was stopped", or_to_nothing=True)
    assert (slot.current, slot.previous, slot.history[-1]["event"]) == (None, None, "rolled back")
    with pytest.raises(StoreError, match="nothing is deployed"):
        store.current("net")
    assert install(store, [b"first"]) == store.current("net")


def test_names_have_releases_of_their_own(store):
    one, two = install(store, [b"one"], "one"), install(store, [b"two"], "two")
    assert store.names() == ("one", "two")
    assert (store.current("one"), store.current("two")) == (one, two)
    with pytest.raises(StoreError, match="nothing is deployed under the name three"):
        store.current("three")


def test_what_nothing_refers_to_is_removed(store):
    for number in range(5):
        install(store, [SHARED, f"head {number}".encode()])
    left = everything_in(store.folder)
    assert (
        len([name for name in left if name.startswith("blobs/")]) == 3
    )  # shared, current head, previous head
    assert len([name for name in left if name.startswith("releases/")]) == 2


def test_history_does_not_grow_for_ever(store, monkeypatch):
    monkeypatch.setattr(release_module, "MAX_HISTORY", 4)
    for number in range(7):
        install(store, [str(number).encode()])
    assert len(store.slot("net").history) == 4


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a b", "-x", "x" * 65, "a\n", "ü", "$(id)", None, 3]
)
def test_a_hostile_name_is_refused(name):
    with pytest.raises(StoreError, match="cannot be the name"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "mobilenet_v1-1.0", "x" * 64, "0"])
def test_an_ordinary_name_is_taken(name):
    assert check_name(name) == name


def test_a_blob_that_arrives_damaged_is_refused(store):
    with pytest.raises(StoreError, match="arrived damaged"):
        store.blobs.receive(io.BytesIO(b"xyz"), [(sha(b"abc"), 3, 0)])
    assert everything_in(store.folder) == set()


def test_of_a_cut_transfer_the_whole_blobs_stay(store):
    blobs = [(sha(data), len(data), 0) for data in (b"first", b"second", b"third")]
    with pytest.raises(StoreError, match="cut"):
        store.blobs.receive(io.BytesIO(b"firstsecondth"), blobs)
    assert store.blobs.missing([digest for digest, _, _ in blobs]) == (sha(b"third"),)
    assert all(not name.endswith((".tmp", ".part")) for name in everything_in(store.folder))


def test_a_blob_that_has_rotted_counts_as_missing_and_is_not_read(store):
    install(store, [b"one", b"two"])
    (store.folder / "blobs" / sha(b"two")).write_bytes(b"twO")
    assert store.blobs.missing([sha(b"one"), sha(b"two")]) == (sha(b"two"),)
    with pytest.raises(StoreError, match="damaged"):
        store.read_package(store.current("net"))
    install(store, [b"one", b"two"])
    assert store.read_package(store.current("net")) == b"onetwo"


def test_a_release_whose_blobs_are_not_there_is_refused(store):
    with pytest.raises(StoreError, match="lacks blobs"):
        store.add_release(release_of([b"never sent"]))


def test_parts_that_do_not_make_the_package_are_refused(store):
    store.blobs.put(b"one")
    release = release_of([b"one"], package_sha256=sha(b"other"))
    store.add_release(release)
    with pytest.raises(StoreError, match="do not make its package"):
        store.read_package(release)


MANIFEST = json.loads(release_of([b"one"]).to_bytes())


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "armlet.release/2"},
        {"name": "../../etc/passwd"},
        {"package_sha256": "x"},
        {"parts": []},
        {"parts": [["a" * 64, -1]]},
        {"parts": [["a" * 64, 1 << 40]]},
        {"parts": [["../../../etc/passwd", 3]]},
        {"parts": [["a" * 64, True]]},
        {"parts": None},
        {"golden_inputs_sha256": "a" * 64},
        {"golden_tolerance": -1},
        {"golden_tolerance": None},
        {"golden_tolerance": float("nan")},
    ],
)
def test_a_manifest_that_is_wrong_is_refused(changes):
    with pytest.raises(StoreError):
        Release.from_bytes(json.dumps({**MANIFEST, **changes}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"nonsense", b"null", b'{"schema":'])
def test_a_manifest_that_is_not_one_is_refused(data):
    with pytest.raises(StoreError):
        Release.from_bytes(data)


def test_a_manifest_survives_its_bytes():
    release = release_of([b"one", b"two"], golden_inputs_sha256="a" * 64, golden_outputs_sha256="b" * 64)
    assert Release.from_bytes(release.to_bytes()) == release


def test_a_manifest_with_a_flipped_bit_is_not_believed(store):
    release = install(store, [b"one"])
    path = store.folder / "releases" / f"{release.id}.json"
    path.write_bytes(path.read_bytes().replace(b'"net"', b'"nat"'))
    with pytest.raises(StoreError, match="damaged"):
        store.current("net")


def test_a_slot_that_cannot_be_read_does_not_stop_the_next_deploy(store):
    install(store, [b"one"])
    (store.folder / "slots" / "net.json").write_text("{")
    with pytest.raises(StoreError):
        store.current("net")
    new = install(store, [b"two"])
    assert store.current("net") == new
    assert store.slot("net").history[0]["event"] == "lost"


# -- two at once -------------------------------------------------------------------------------------------------------


def _hold(folder: str, ready, release) -> None:
    with Store(folder).locked():
        ready.set()
        release.wait(30)


def test_a_second_deploy_waits_or_is_refused_clearly(store):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(store.folder), ready, release))
    other.start()
    try:
        assert ready.wait(30)
        start = time.monotonic()
        with pytest.raises(StoreError, match="another deploy") as caught, store.locked(wait_seconds=0.2):
            pass
        assert time.monotonic() - start < 5
        assert str(other.pid) in caught.value.found
    finally:
        release.set()
        other.join(30)
    with store.locked(wait_seconds=0.2):
        pass


def test_the_lock_of_a_process_that_was_killed_is_free(store):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(store.folder), ready, release))
    other.start()
    assert ready.wait(30)
    other.kill()
    other.join(30)
    with store.locked(wait_seconds=5):
        pass


def test_the_hint_says_what_to_do_about_a_full_disk(store, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(durable, "os", SimpleNamespace(**{**vars(os), "write": full}))
    with pytest.raises(StoreError, match="free some space"):
        store.blobs.put(b"x")
    assert everything_in(store.folder) == set()


# -- in several goes ---------------------------------------------------------------------------------------------------

LARGE = bytes(range(256)) * 1024


@pytest.mark.parametrize("arrived", [1, 1 << 14, 100_000, len(LARGE) - 1])
def test_a_cut_transfer_goes_on_inside_a_blob(store, arrived):
    digest = sha(LARGE)
    with pytest.raises(StoreError, match="cut"):
        store.blobs.receive(io.BytesIO(LARGE[:arrived]), [(digest, len(LARGE), 0)])
    assert store.blobs.missing([digest]) == (digest,)
    (offset, beginning) = store.blobs.partial([digest]).get(digest, (0, sha(b"")))
    assert offset == (arrived if arrived >= WORTH_KEEPING_BYTES else 0)
    assert beginning == sha(LARGE[:offset])
    store.blobs.receive(io.BytesIO(LARGE[offset:]), [(digest, len(LARGE), offset)])
    assert store.blobs.read(digest) == LARGE
    assert everything_in(store.folder) == {f"blobs/{digest}"}


def test_a_beginning_that_has_rotted_is_not_built_on(store):
    digest = sha(LARGE)
    with pytest.raises(StoreError, match="cut"):
        store.blobs.receive(io.BytesIO(LARGE[:100_000]), [(digest, len(LARGE), 0)])
    part = store.folder / "blobs" / f"{digest}.part"
    part.write_bytes(b"X" + part.read_bytes()[1:])
    assert store.blobs.partial([digest])[digest] != (100_000, sha(LARGE[:100_000]))
    with pytest.raises(StoreError, match="arrived damaged"):
        store.blobs.receive(io.BytesIO(LARGE[100_000:]), [(digest, len(LARGE), 100_000)])
    assert everything_in(store.folder) == set()
    store.blobs.receive(io.BytesIO(LARGE), [(digest, len(LARGE), 0)])
    assert store.blobs.read(digest) == LARGE


def test_a_slot_that_holds_another_name_is_damaged_and_the_next_deploy_mends_it(store):
    release = install(store, [b"one"])
    path = store.slot_path("net")
    path.write_bytes(path.read_bytes().replace(b'"name": "net"', b'"name": "Net"'))
    with pytest.raises(StoreError, match="slot net is damaged"):
        store.current("net")
    install(store, [b"one"])
    assert store.current("net") == release


def test_a_beginning_that_is_gone_is_told(store):
    digest = sha(LARGE)
    with pytest.raises(StoreError, match="is gone"):
        store.blobs.receive(io.BytesIO(LARGE[10:]), [(digest, len(LARGE), 10)])


def test_what_was_begun_and_is_not_needed_any_more_is_removed(store):
    with pytest.raises(StoreError, match="cut"):
        store.blobs.receive(io.BytesIO(LARGE[:100_000]), [(sha(LARGE), len(LARGE), 0)])
    install(store, [b"something else"])
    assert not [name for name in everything_in(store.folder) if name.endswith(".part")]


def test_a_blob_that_is_sent_twice_is_refused(store):
    with pytest.raises(StoreError, match="sent twice"):
        store.blobs.receive(io.BytesIO(b"xx"), [(sha(b"x"), 1, 0)] * 2)
