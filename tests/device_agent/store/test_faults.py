"""Whatever breaks, wherever in a deploy: the old release answers, the next deploy succeeds, nothing is left over."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from device_agent import __main__ as main_module
from device_agent.errors import StoreError
from device_agent.record.release import Release
from device_agent.store import blobs, durable
from device_agent.store import store as store_module
from device_agent.store.store import Store
from device_agent.verbs import deploying as deploy_verbs
from tests.device_agent.store.faults import FaultyOs, disk_error, kill, power_cut

SHARED = b"the part that both have" * 10
OLD, NEW = [SHARED, b"old head" * 10], [SHARED, b"new head" * 10, b"another part" * 10]
BEFORE = [[b"what was there before both"], [SHARED, b"and before that"], [b"the first of all"]]
#: Releases that the board keeps; one more was deployed, so that every deploy lets one go.
KEEP = 4

CUTS = {
    "SIGKILL of the agent": kill,
    "power cut, data lost": power_cut(data=True, names=False),
    "power cut, names lost": power_cut(data=False, names=True),
    "power cut, both lost": power_cut(data=True, names=True),
}
DISK_ERRORS = {name: disk_error(getattr(errno, name)) for name in ("ENOSPC", "EROFS", "EIO")}

#: Every point that any test here tried; the last test tells.
tried: Counter[str] = Counter()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Board:
    """An agent's folder, and the host that deploys to it by the agent's own verbs."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self._monkeypatch = monkeypatch

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    def call(self, *arguments: str, stdin: bytes = b"") -> tuple[dict, int]:
        self._monkeypatch.setenv("ARMLET_HOME", str(self.home))
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return main_module.answer(arguments)

    def deploy(self, parts: list[bytes], spoil: Callable[[bytes], bytes] = bytes) -> dict:
        """As the host does: asks what is missing, sends that, from where an earlier transfer was cut."""
        sent = {sha(part): part for part in parts}
        answer, status = self.call("missing", stdin=json.dumps(list(sent)).encode() + b"\n")
        assert status == 0, answer
        listed, payload = [], b""
        for digest in answer["missing"]:
            size, beginning = answer["partial"].get(digest, (0, ""))
            offset = size if sha(sent[digest][:size]) == beginning else 0
            listed.append([digest, len(sent[digest]), offset])
            payload += sent[digest][offset:]
        release = Release("net", sha(b"".join(parts)), tuple((sha(part), len(part)) for part in parts))
        header = json.dumps({"release": json.loads(release.to_bytes()), "blobs": listed}).encode()
        return self.call("install", f"--keep={KEEP}", stdin=header + b"\n" + spoil(payload))[0]

    def runs(self) -> bytes:
        return self.store.read_package(self.store.current("net"))

    def survived(self, where: str) -> None:
        """The old or the new release runs; the next deploy succeeds; nothing is left that nobody refers to."""
        assert self.runs() in (b"".join(OLD), b"".join(NEW)), where
        answer = self.deploy(NEW)
        assert answer.get("state") in ("confirmed", "unchanged"), (where, answer)
        assert self.runs() == b"".join(NEW), where
        self.is_clean(where)
        back = self.store.slot("net").before
        assert len(back) == KEEP - 1, where
        assert all(self.store.read_package(self.store.release(r)) for r in back), where

    def is_clean(self, where: str) -> None:
        store = self.store
        with store.locked(0.0):
            slot = store.slot("net")
        releases = [store.release(r) for r in slot.releases]
        expected = {f"releases/{r.id}.json" for r in releases}
        expected |= {f"blobs/{digest}" for r in releases for digest in r.blobs}
        files = {str(p.relative_to(store.folder)) for p in store.folder.rglob("*") if p.is_file()}
        assert files == expected | {"lock", "slots/net.json"}, where
        assert slot.trial is None


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
def board(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """A board on which OLD runs, and whose models are always healthy."""
    healthy = {"inference_seconds": 0.01, "peak_memory_bytes": None, "available_memory_bytes": None}
    monkeypatch.setattr(deploy_verbs, "check_in_child", lambda *_: (healthy, ""))
    monkeypatch.setattr(blobs, "WORTH_KEEPING_BYTES", 16)
    board = Board(folder / "first", monkeypatch)
    for parts in (*reversed(BEFORE), OLD):
        assert board.deploy(parts)["state"] == "confirmed"
    return board


def again(board: Board, monkeypatch: pytest.MonkeyPatch, name: str) -> Board:
    """The same board, before anything happened to it."""
    home = board.home.with_name(name)
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(board.home, home)
    return Board(home, monkeypatch)


def break_os(patch: pytest.MonkeyPatch, faulty: FaultyOs) -> FaultyOs:
    for module in (store_module, blobs, durable):
        patch.setattr(module, "os", faulty)
    return faulty


def count_calls(board: Board, monkeypatch: pytest.MonkeyPatch) -> int:
    counted = again(board, monkeypatch, "count")
    with monkeypatch.context() as patch:
        faulty = break_os(patch, FaultyOs())
        assert counted.deploy(NEW)["state"] == "confirmed"
    return faulty.calls


def in_a_process(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch, faulty: FaultyOs) -> int:
    """Works in a process of its own, whose ``os`` is ``faulty``; the signal that ended it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child touches no thread of ours
        child = os.fork()
    if child == 0:
        try:
            break_os(monkeypatch, faulty)
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kind", CUTS)
def test_cut_at_every_call_of_the_store(board, monkeypatch, kind):
    steps = count_calls(board, monkeypatch)
    assert steps > 40
    outcomes = Counter()
    for step in range(steps):
        cut = again(board, monkeypatch, "cut")
        faulty = FaultyOs(step, CUTS[kind])
        assert in_a_process(lambda cut=cut: cut.deploy(NEW), monkeypatch, faulty) == signal.SIGKILL
        outcomes["new" if cut.runs() == b"".join(NEW) else "old"] += 1
        cut.survived(f"{kind} at call {step}")
    assert outcomes["old"] > outcomes["new"] > 0
    tried[kind] += steps


@pytest.mark.parametrize("kind", CUTS)
def test_going_back_cut_at_every_call_leaves_a_release_that_runs(board, monkeypatch, kind):
    target = board.store.slot("net").before[1]
    packages = [board.runs(), board.store.read_package(board.store.release(target))]
    rollback = ("rollback", "net", f"--to={target[:12]}")
    counted = again(board, monkeypatch, "count")
    with monkeypatch.context() as patch:
        faulty = break_os(patch, FaultyOs())
        assert counted.call(*rollback)[0]["current"] == target
    for step in range(faulty.calls):
        cut = again(board, monkeypatch, "cut")
        faulty_now = FaultyOs(step, CUTS[kind])
        assert in_a_process(lambda cut=cut: cut.call(*rollback), monkeypatch, faulty_now) == signal.SIGKILL
        assert cut.runs() in packages, f"{kind} at call {step} of going back"
        assert cut.deploy(NEW)["state"] == "confirmed"
        cut.is_clean(f"{kind} at call {step} of going back")
    tried[f"{kind}, going back"] += faulty.calls


@pytest.mark.parametrize("kind", DISK_ERRORS)
def test_an_error_of_the_disk_at_every_call_is_named_and_harmless(board, monkeypatch, kind):
    steps = count_calls(board, monkeypatch)
    named = 0
    for step in range(steps):
        failing = again(board, monkeypatch, "failing")
        with monkeypatch.context() as patch:
            break_os(patch, FaultyOs(step, DISK_ERRORS[kind]))
            answer = failing.deploy(NEW)
        if "error" in answer:
            named += 1
            assert os.strerror(getattr(errno, kind)) in json.dumps(answer), (step, answer)
            assert answer["error"] == "StoreError" or "agent could not finish" in answer["what"]
        failing.survived(f"{kind} at call {step}")
    # What may fail and not stop a deploy: noting who holds the lock.
    assert named >= steps - 4
    tried[kind] += steps


def test_the_stream_cut_after_every_byte_goes_on_from_there(board, monkeypatch):
    length = sum(map(len, NEW[1:]))
    for arrived in range(0, length, 3):
        cut = again(board, monkeypatch, "stream")
        assert "cut" in cut.deploy(NEW, spoil=lambda payload, n=arrived: payload[:n])["what"]
        assert cut.runs() == b"".join(OLD)
        sent: list[int] = []
        answer = cut.deploy(NEW, spoil=lambda payload, sent=sent: sent.append(len(payload)) or payload)
        assert answer["state"] == "confirmed"
        assert sent[0] <= length - arrived + blobs.WORTH_KEEPING_BYTES
        cut.is_clean(f"stream cut after {arrived} bytes")
    tried["stream cut"] += len(range(0, length, 3))


def test_a_bit_that_flips_on_the_way_is_found(board, monkeypatch):
    length = sum(map(len, NEW[1:]))
    for position in range(0, length, 5):
        flipped = again(board, monkeypatch, "flipped")

        def spoil(payload: bytes, position: int = position) -> bytes:
            return payload[:position] + bytes([payload[position] ^ 1]) + payload[position + 1 :]

        assert "arrived damaged" in flipped.deploy(NEW, spoil)["what"]
        flipped.survived(f"bit flipped on the way at {position}")
    tried["bit flipped on the way"] += len(range(0, length, 5))


def test_a_bit_that_flips_on_the_disk_is_found_and_repaired(board, monkeypatch):
    files = [p for p in (board.home / "store").rglob("*") if p.is_file() and p.name != "lock"]
    for file in files:
        for position in range(0, file.stat().st_size, 11):
            rotten = again(board, monkeypatch, "rotten")
            path = rotten.home / file.relative_to(board.home)
            data = bytearray(path.read_bytes())
            data[position] ^= 1 << position % 8
            path.write_bytes(bytes(data))
            with contextlib.suppress(StoreError):  # an error with a name, or what was deployed; nothing else
                assert rotten.runs() in [b"".join(parts) for parts in (OLD, *BEFORE)]
            answer = rotten.deploy(OLD)
            assert answer.get("state") in ("confirmed", "unchanged"), (file.name, position, answer)
            assert rotten.runs() == b"".join(OLD)
            answer = rotten.deploy(NEW)
            assert answer.get("state") == "confirmed", (file.name, position, answer)
            assert rotten.runs() == b"".join(NEW)
            tried["bit flipped on the disk"] += 1


def clock(now: Callable[[], float]) -> SimpleNamespace:
    """Stands in for the module ``time``: another time of day, the same seconds."""
    return SimpleNamespace(time=now, monotonic=time.monotonic, sleep=time.sleep)


@pytest.mark.parametrize("now", [0.0, -1e9, 4e9, 1e15])
def test_a_clock_that_jumps_breaks_nothing(board, monkeypatch, now):
    counted = again(board, monkeypatch, "clock")
    calls: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "time", clock(lambda: calls.append(0) or 1e9))
        counted.deploy(NEW)
    assert calls
    for jump in range(len(calls) + 1):
        jumping = again(board, monkeypatch, "clock")
        ticks = iter([1e9] * jump)
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "time", clock(lambda ticks=ticks: next(ticks, now)))
            assert jumping.deploy(NEW)["state"] == "confirmed"
            assert jumping.call("status")[1] == 0
        jumping.survived(f"clock at {now}")
        tried["clock jump"] += 1


def test_the_count_of_points_is_told(capsys):
    if len(tried) < len(CUTS) + len(DISK_ERRORS):
        pytest.skip("the tests of this file did not all run")
    with capsys.disabled():
        print(f"\na deploy was broken at {sum(tried.values())} points: {dict(tried)}")
    assert sum(tried.values()) > 500
