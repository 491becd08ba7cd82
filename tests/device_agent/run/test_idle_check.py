"""A start is read whole when nobody else wants the machine; one that is damaged is dropped, told and made again."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from device_agent import __main__ as main_module
from device_agent.errors import AgentError
from device_agent.run import idle_check, quick_start_making
from device_agent.run.agent import Agent
from device_agent.run.loaded import LoadedModel
from device_agent.store import quick_starts as starts
from device_agent.store.store import Store
from tests.device_agent.store.deploying import deploy, package

pytest.importorskip("ai_edge_litert", reason="tflite-runtime has no cache of packed weights in a file")


@pytest.fixture
def store(home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One release, ``net``, with its start, which is always worth it."""
    monkeypatch.setattr(quick_start_making, "WORTH", 1e9)
    store = Store(home / "store")
    release = deploy(store, package(size=32), "net")
    LoadedModel.of_release(store, release, warm=False).keep_start(store, release)
    return store


def make(store: Store):
    return lambda release: LoadedModel.of_release(store, release, warm=False).keep_start(store, release)


def weights(store: Store) -> Path:
    [path] = store.starts.glob("*/" + starts.WEIGHTS)
    return path


def flip(path: Path) -> None:
    """One bit in the middle; the file keeps its size and its time."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def look(store: Store, **options) -> str:
    return idle_check.look(store, "net", make(store), **options)


def test_a_whole_start_is_read_once_and_not_again_for_a_while(store: Store) -> None:
    assert look(store, recent=0.0) == "whole"
    assert look(store) == "recent"
    os.utime(weights(store).with_name(starts.RECORD), (0, 0))
    assert look(store) == "whole"
    assert look(store) == "recent"


def test_a_clock_that_was_ahead_keeps_no_start_from_being_read(store: Store) -> None:
    record = weights(store).with_name(starts.RECORD)
    os.utime(record, (time.time() + 1e8,) * 2)
    assert look(store) == "whole"


def test_where_there_is_no_start_there_is_nothing_to_read(store: Store) -> None:
    starts.remove(weights(store).parent)
    assert look(store) == "none"


def test_a_flipped_bit_is_found_told_and_mended(store: Store) -> None:
    flip(weights(store))
    damaged = weights(store).read_bytes()
    assert look(store, recent=0.0) == "mended"
    assert weights(store).read_bytes() != damaged
    assert starts.is_whole(weights(store).parent)
    event = store.slot("net").history[-1]
    assert (event["event"], event["release"]) == ("mended", store.current("net").id)
    assert "damaged on the disk" in event["reason"]
    assert look(store, recent=0.0) == "whole"


def test_a_start_that_cannot_be_made_again_is_dropped(store: Store) -> None:
    flip(weights(store))

    def fail(release) -> None:
        raise AgentError("too little of the disk is free for it")

    assert idle_check.look(store, "net", fail, recent=0.0) == "dropped"
    assert LoadedModel.load("net", store=store).start == "cold"


def test_an_agent_that_runs_from_it_loads_again_with_its_next_call(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(idle_check, "begin", lambda home, name: asked.append(name))
    monkeypatch.setattr("device_agent.run.agent._SETTLED_SECONDS", 0.0)
    with Agent("net") as agent:
        assert (agent.model.start, asked) == ("warm", ["net"])
        first = agent.model
        x = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
        before = first.predict(x)
        agent.predict(x[0], preprocessed=True)
        assert agent.model is first
        flip(weights(store))
        assert look(store, recent=0.0) == "mended"
        agent.predict(x[0], preprocessed=True)
        assert agent.model is not first
        assert agent.reloads == 1
        np.testing.assert_array_equal(agent.model.predict(x), before)


def test_two_that_begin_at_once_do_not_both_read(store: Store) -> None:
    record = weights(store).with_name(starts.RECORD)
    with open(record, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert look(store, recent=0.0) == "recent"


def test_the_process_that_reads_gives_way_to_all_others(store: Store, home: Path) -> None:
    code = (
        "import os; from device_agent.run.idle_check import be_idle; be_idle();"
        "print(os.nice(0), os.sched_getscheduler(0) == getattr(os, 'SCHED_IDLE', None))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == "19"
    if sys.platform == "linux":
        assert told.split()[1] == "True"


def test_the_verb_answers_what_it_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device_agent.verbs.deploying.be_idle", lambda: None)
    assert main_module.answer(["look", "net"]) == ({"verb": "look", "name": "net", "start": "recent"}, 0)


def test_what_begins_it_does_not_wait(store: Store, home: Path) -> None:
    record = weights(store).with_name(starts.RECORD)
    os.utime(record, (0, 0))
    begun = time.monotonic()
    idle_check.begin(home, "net")
    assert time.monotonic() - begun < 1.0
    end = time.monotonic() + 60.0
    while record.stat().st_mtime == 0 and time.monotonic() < end:
        time.sleep(0.05)
    assert record.stat().st_mtime > 0
