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

from device_agent import release as release_module
from device_agent import store as store_module
from device_agent.errors import StoreError
from device_agent.release import Release, check_name
from device_agent.store import Store

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
        missing = store.missing(release.blobs)
        store.receive(io.BytesIO(b"".join(sent[d] for d in missing)), [(d, len(sent[d])) for d in missing])
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
    assert store.missing(release_of([SHARED, b"new head"]).blobs) == (sha(b"new head"),)


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
        store.receive(io.BytesIO(b"xyz"), [(sha(b"abc"), 3)])
    assert everything_in(store.folder) == set()


def test_of_a_cut_transfer_the_whole_blobs_stay(store):
    blobs = [(sha(data), len(data)) for data in (b"first", b"second", b"third")]
    with pytest.raises(StoreError, match="cut"):
        store.receive(io.BytesIO(b"firstsecondth"), blobs)
    assert store.missing([digest for digest, _ in blobs]) == (sha(b"third"),)
    assert all(not name.endswith(".tmp") for name in everything_in(store.folder))


def test_a_blob_that_has_rotted_counts_as_missing_and_is_not_read(store):
    install(store, [b"one", b"two"])
    (store.folder / "blobs" / sha(b"two")).write_bytes(b"twO")
    assert store.missing([sha(b"one"), sha(b"two")]) == (sha(b"two"),)
    with pytest.raises(StoreError, match="damaged"):
        store.read_package(store.current("net"))
    install(store, [b"one", b"two"])
    assert store.read_package(store.current("net")) == b"onetwo"


def test_a_release_whose_blobs_are_not_there_is_refused(store):
    with pytest.raises(StoreError, match="lacks blobs"):
        store.add_release(release_of([b"never sent"]))


def test_parts_that_do_not_make_the_package_are_refused(store):
    store.put_blob(b"one")
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


# -- cut anywhere ------------------------------------------------------------------------------------------------------


class Cut(BaseException):
    """The power goes, or the process is killed: nothing after it runs."""


class FailingOs:
    """``os``, whose call number ``fail_at`` of those that change the disk does not happen; with ``error`` it
    fails and life goes on, without it is a cut, after which no call happens any more.

    ``lose_unsynced``: what was written and not synced is gone, as after a power cut.
    """

    CHANGES = ("open", "write", "fsync", "replace", "unlink", "pwrite", "ftruncate")

    def __init__(self, fail_at: int | None, error: int | None = None, lose_unsynced: bool = False) -> None:
        self.calls = 0
        self._fail_at = fail_at
        self._error = error
        self._lose = lose_unsynced
        self._dead = False
        self._unsynced: set[str] = set()
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str):
        real = getattr(os, name)
        if name not in self.CHANGES:
            return real

        def call(*arguments, **options):
            number, self.calls = self.calls, self.calls + 1
            if self._dead:
                raise Cut
            if number == self._fail_at:
                if self._error is not None:
                    raise OSError(self._error, os.strerror(self._error))
                self._dead = True
                if self._lose:
                    for path in self._unsynced:
                        if os.path.exists(path):
                            os.truncate(path, 0)
                raise Cut
            return self._note(name, arguments, real(*arguments, **options))

        return call

    def _note(self, name, arguments, answer):
        if name == "open":
            self._paths[answer] = str(arguments[0])
            if arguments[1] & os.O_CREAT and not str(arguments[0]).endswith("lock"):
                self._unsynced.add(str(arguments[0]))
        elif name == "fsync":
            self._unsynced.discard(self._paths[arguments[0]])
        elif name == "replace" and str(arguments[0]) in self._unsynced:
            self._unsynced.remove(str(arguments[0]))
            self._unsynced.add(str(arguments[1]))
        return answer


OLD, NEW = [SHARED, b"old head"], [SHARED, b"new head", b"another part"]


def count_calls(folder: Path, monkeypatch) -> int:
    store = Store(folder)
    install(store, OLD)
    counting = FailingOs(None)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "os", counting)
        install(store, NEW)
    return counting.calls


@pytest.mark.parametrize("lose_unsynced", [False, True], ids=["killed", "power cut"])
def test_cut_at_every_step_the_old_or_the_new_release_runs(folder, monkeypatch, lose_unsynced):
    steps = count_calls(folder / "count", monkeypatch)
    assert steps > 20
    outcomes = {"old": 0, "new": 0}
    for step in range(steps):
        store = Store(folder / str(step))
        old = install(store, OLD)
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "os", FailingOs(step, lose_unsynced=lose_unsynced))
            with pytest.raises(Cut):
                install(store, NEW)
        again = Store(folder / str(step))
        current = again.current("net")
        package = again.read_package(current)
        assert package in (b"".join(OLD), b"".join(NEW)), step
        outcomes["old" if current == old else "new"] += 1
        # The next deploy succeeds, and after it nothing is left that does not belong.
        new = install(again, NEW)
        assert again.current("net") == new
        assert everything_in(again.folder) == {
            f"releases/{new.id}.json",
            *([f"releases/{old.id}.json"] if again.slot("net").previous else []),
            *(
                f"blobs/{digest}"
                for digest in (new.blobs if not again.slot("net").previous else new.blobs + old.blobs)
            ),
            "slots/net.json",
        }
        assert again.slot("net").previous in (old.id, None)
    assert outcomes["old"] > outcomes["new"] > 0
    print(f"{steps} points of a deploy were cut: {outcomes}")


@pytest.mark.parametrize("error", [28, 30, 5], ids=["ENOSPC", "EROFS", "EIO"])
def test_an_error_of_the_disk_at_every_step_is_named_and_harmless(folder, monkeypatch, error):
    steps = count_calls(folder / "count", monkeypatch)
    failures: list[str] = []
    for step in range(steps):
        store = Store(folder / str(step))
        install(store, OLD)
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "os", FailingOs(step, error=error))
            try:
                install(store, NEW)
            except StoreError as failure:
                failures.append(str(failure))
        assert store.read_package(store.current("net")) in (b"".join(OLD), b"".join(NEW))
        new = install(store, NEW)
        assert store.current("net") == new
    assert all(os.strerror(error) in failure for failure in failures)
    assert len(failures) >= steps - 2  # noting who holds the lock may fail


def test_the_hint_says_what_to_do_about_a_full_disk(store, monkeypatch):
    monkeypatch.setattr(store_module, "os", FailingOs(0, error=28))
    with pytest.raises(StoreError, match="free some space"):
        store.put_blob(b"x")


def test_a_clock_that_jumps_back_breaks_nothing(store, monkeypatch):
    install(store, OLD)
    monkeypatch.setattr(release_module, "time", SimpleNamespace(time=lambda: 0.0))
    new = install(store, NEW)
    assert store.current("net") == new
