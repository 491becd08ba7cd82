"""What a deploy makes ready besides: it is kept, used by the agent, and never costs the deploy itself."""

from __future__ import annotations

import json
import os
from argparse import Namespace

import pytest

from device_agent.errors import AgentError, StoreError
from device_agent.measuring import threads
from device_agent.record.release import Slot
from device_agent.run import quick_start_making
from device_agent.run.agent import Agent
from device_agent.run.loaded import LoadedModel
from device_agent.store.store import Store
from device_agent.verbs import deploying as deploy_verbs
from device_agent.verbs import release_setup as prepare
from tests.device_agent.store.deploying import begin, deploy, package
from tests.device_agent.verbs.test_health import install

DATA = package(size=32)


def prepared(home, *, emulated: bool = False) -> tuple[dict, Store]:
    store = Store(home / "store")
    release = deploy(store, DATA)
    agent = LoadedModel.of_release(store, release, warm=False)
    return prepare.prepare(store, release, agent, emulated=emulated), store


def test_a_deploy_answers_how_the_release_starts_and_with_how_many_threads(home, monkeypatch):
    answer = install(monkeypatch, DATA)
    told = answer["check"]["prepared"]
    slot = Store(home / "store").slot("net")
    assert slot.threads[slot.current].to_json() == told["threads"]
    assert slot.threads_of(slot.current) == told["threads"]["threads"] >= 1
    measured = told["threads"]["samples_seconds"]
    assert all(taken for taken in measured.values())
    assert set(measured) in (set(), {str(n) for n in threads.candidates(len(os.sched_getaffinity(0)))})
    assert told["start"]["kept"] or told["start"]["reason"]
    assert not (home / "store/passed.json").exists()


def test_an_emulated_board_runs_one_thread_and_says_why(home):
    told, _ = prepared(home, emulated=True)
    assert told["threads"] == {
        "threads": 1,
        "samples_seconds": {},
        "reason": "not measured: times of an emulated board say nothing",
    }


def test_a_deploy_does_not_wait_for_more_inferences_of_a_model_that_takes_long(home):
    store = Store(home / "store")
    release = deploy(store, DATA)
    agent = LoadedModel.of_release(store, release, warm=False)
    told = prepare.prepare(store, release, agent, emulated=False, inference_seconds=60.0)
    assert told["threads"]["threads"] == 1
    assert "60 s" in told["threads"]["reason"]
    assert told["start"]["kept"] is False


def test_a_measurement_that_fails_leaves_one_thread(home, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AgentError("the runtime gave up")

    monkeypatch.setattr(threads, "measure", fail)
    told, _ = prepared(home)
    assert told["threads"]["threads"] == 1
    assert "gave up" in told["threads"]["reason"]


def test_a_full_disk_costs_the_quick_start_and_not_the_deploy(home, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(quick_start_making, "build", full)
    told, store = prepared(home)
    assert told["start"]["kept"] is False
    assert told["start"]["reason"]
    assert store.current("net")


def test_a_release_whose_preparation_ends_the_process_has_passed_all_the_same(home, monkeypatch):
    store = Store(home / "store")
    with store.locked():
        release = begin(store, DATA)

    def crashes(arguments: list[str], limit: float) -> dict:
        findings = {"release": release.id, "inference_seconds": 0.1}
        with open(arguments[arguments.index("--passed") + 1], "w") as file:
            json.dump(findings, file)
        raise AgentError("`check` crashed", found="signal 4")

    monkeypatch.setattr(deploy_verbs, "call_child", crashes)
    options = Namespace(emulated=False, check_seconds=10.0)
    found, reason = deploy_verbs.check_in_child(store, release.id, options)
    assert (found, reason) == ({"release": release.id, "inference_seconds": 0.1}, "")
    assert not (store.folder / "passed.json").exists()
    # What another release left there says nothing of this one.
    found, reason = deploy_verbs.check_in_child(store, "0" * 64, options)
    assert found is None
    assert "signal 4" in reason


def test_an_agent_runs_as_many_threads_as_were_chosen_unless_it_is_told(home):
    store = Store(home / "store")
    with store.locked():
        release = begin(store, DATA)
        store.remember_threads(
            "net", {"threads": 2, "samples_seconds": {"1": [0.2], "2": [0.1]}, "reason": ""}
        )
        store.confirm("net")
    before = os.sched_getaffinity(0)
    with Agent("net") as agent:
        assert (agent.release, agent.model.model.threads) == (release.id, 2)
    with Agent("net", threads=1) as agent:
        assert agent.model.model.threads == 1
    assert os.sched_getaffinity(0) == before
    assert Slot("net").threads_of(release.id) == 1


@pytest.mark.parametrize(
    "choice", [{}, {"threads": 0}, {"threads": "2"}, {"threads": True}, {"threads": 1 << 20}]
)
def test_a_choice_of_threads_that_is_none_is_refused(home, choice):
    store = Store(home / "store")
    with store.locked():
        begin(store, DATA)
        with pytest.raises(StoreError, match="threads"):
            store.remember_threads("net", choice)
