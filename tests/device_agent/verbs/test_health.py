"""The health check: right outputs, not absurdly slow, and small enough; the reason is kept."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from device_agent import __main__ as main_module
from device_agent.run.conditions import read_available_memory
from device_agent.store.store import Store
from device_agent.verbs import deploying as deploy_verbs
from device_agent.verbs import health
from tests.device_agent.verbs.test_main import install_input

GOOD = {"inference_seconds": 0.2, "peak_memory_bytes": 100 << 20, "available_memory_bytes": 400 << 20}


@pytest.mark.parametrize(
    ("changes", "limits", "words"),
    [
        ({}, {}, ""),
        ({}, {"old_seconds": 0.02}, ""),
        ({}, {"old_seconds": 0.0199}, "at most 10 times the 0.0199 s of the release before"),
        ({"inference_seconds": 0.099}, {"old_seconds": 1e-6}, ""),
        ({}, {"max_seconds": 0.2}, ""),
        ({}, {"max_seconds": 0.19}, "an inference took 0.2 s; expected at most 0.19 s"),
        ({"available_memory_bytes": 99 << 20}, {}, "took 100 MB of memory; expected at most the 99 MB free"),
        ({}, {"max_memory_bytes": 50 << 20}, "expected at most the 50 MB allowed"),
        ({"available_memory_bytes": 99 << 20}, {"max_memory_bytes": 200 << 20}, ""),
        ({"available_memory_bytes": None}, {}, ""),
        ({"peak_memory_bytes": None}, {"max_memory_bytes": 1}, ""),
    ],
)
def test_what_may_not_run_is_said_with_both_numbers(changes, limits, words):
    reason = health.unfit({**GOOD, **changes}, **limits)
    assert words in reason
    assert bool(reason) == bool(words)


def install(monkeypatch, data: bytes, *options: str) -> dict:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(install_input(data))))
    answer, status = main_module.answer(["install", *options])
    assert status == 0, answer
    return answer


def test_a_check_times_the_release_and_tells_its_memory(home, float_model, monkeypatch):
    answer = install(monkeypatch, float_model)
    assert 0 < answer["check"]["inference_seconds"] < 1
    assert answer["check"]["peak_memory_bytes"] > 1 << 20
    slot = Store(home / "store").slot("net")
    assert slot.inference_seconds == {slot.current: answer["check"]["inference_seconds"]}


def test_a_release_that_is_absurdly_slower_is_sent_back_with_its_reason(
    home, float_model, other_model, monkeypatch
):
    old = install(monkeypatch, float_model)["release"]
    slow = {**GOOD, "inference_seconds": 2.0, "available_memory_bytes": None}
    monkeypatch.setattr(deploy_verbs, "check_in_child", lambda *_: (slow, ""))
    answer = install(monkeypatch, other_model)
    assert answer["state"] == "reverted"
    slot = Store(home / "store").slot("net")
    assert slot.current == old
    assert "times the" in slot.history[-1]["reason"]
    assert set(slot.inference_seconds) == {old}


@pytest.mark.parametrize("option", ["--max-inference-seconds=1e-9", "--max-memory-bytes=1000"])
def test_limits_that_the_host_gives_are_kept(home, float_model, monkeypatch, option):
    answer = install(monkeypatch, float_model, option)
    assert answer["state"] == "reverted"
    assert "expected at most" in answer["reason"]


def test_a_release_that_waits_on_trial_is_timed_too(home, float_model, other_model, monkeypatch):
    install(monkeypatch, float_model)
    waiting = install(monkeypatch, other_model, "--keep-on-trial")["release"]
    main_module.answer(["confirm", "net"])
    slot = Store(home / "store").slot("net")
    assert slot.current == waiting
    assert set(slot.inference_seconds) == {slot.current, slot.previous}


def test_a_slot_from_before_there_were_times_is_read(home, float_model, monkeypatch):
    install(monkeypatch, float_model)
    path = home / "store" / "slots" / "net.json"
    record = json.loads(path.read_text())
    for key in ("inference_seconds", "checked_under", "older", "keep"):
        del record[key]
    path.write_text(json.dumps(record))
    slot = Store(home / "store").slot("net")
    assert (slot.inference_seconds, slot.checked_under, slot.older, slot.keep) == ({}, {}, (), 2)


def test_free_memory_is_read_where_the_kernel_tells_it(tmp_path: Path):
    assert read_available_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  8000 kB\nMemAvailable:    2000 kB\n")
    assert read_available_memory(tmp_path) == 2000 * 1024
