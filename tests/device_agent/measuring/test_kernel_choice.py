"""A deploy chooses the kernels of a release by time; the slot keeps them, and every load uses them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from device_agent import __main__ as main_module
from device_agent.errors import AgentError
from device_agent.measuring import kernel_choice
from device_agent.record.release import KernelChoice, Slot
from device_agent.run.agent import Agent
from device_agent.run.kernels import delegate
from device_agent.run.loaded import LoadedModel
from device_agent.run.runtime import Model
from device_agent.store import scratch
from device_agent.store.store import Store
from device_agent.verbs import release_setup
from tests.device_agent.run.kernels.layers_with_zeros import classifier, sparse_matrix
from tests.device_agent.verbs.test_health import install

pytestmark = pytest.mark.usefixtures("c_delegate")

ZEROS = classifier([sparse_matrix(200, 300, 0.05), sparse_matrix(10, 200, 0.05)])
FULL = classifier([sparse_matrix(20, 30, 1.0, values=None)])


def clock_of(plain: float, ours: float):
    """A clock by which the two that take turns take these seconds."""
    steps = itertools.cycle([0.0, plain, 0.0, ours])
    now = [0.0, 0]

    def clock() -> float:
        if now[1]:  # the first look is at the beginning
            now[0] += next(steps)
        now[1] = 1
        return now[0]

    return clock


def measured(monkeypatch: pytest.MonkeyPatch, plain: float, ours: float) -> KernelChoice:
    monkeypatch.setattr(kernel_choice, "MAX_SECONDS", -1.0)  # one round, whose steps the clock knows
    model = Model(ZEROS)
    model.set_input(np.ones((1, 300), np.float32))
    return kernel_choice.measure(model, lambda: Model(ZEROS, kernels="armlet"), clock=clock_of(plain, ours))


def test_the_clearly_faster_is_chosen(monkeypatch):
    chosen = measured(monkeypatch, plain=2.0, ours=1.0)
    assert (chosen.kernels, chosen.operators) == ("armlet", 2)
    assert "1e+03 ms instead of 2e+03 ms" in chosen.reason


def test_what_is_hardly_faster_is_not(monkeypatch):
    chosen = measured(monkeypatch, plain=1.0, ours=0.97)
    assert (chosen.kernels, chosen.operators) == ("runtime", 0)
    assert (chosen.runtime_seconds, chosen.armlet_seconds) == (1.0, pytest.approx(0.97))


def test_a_model_without_zeros_keeps_the_runtime():
    model = Model(FULL)
    chosen = kernel_choice.measure(model, lambda: Model(FULL, kernels="armlet"))
    assert chosen == KernelChoice(reason="no layer has zeros enough for the kernels of Armlet")


def test_other_answers_are_not_taken():
    wrong = classifier([1.01 * sparse_matrix(200, 300, 0.05), sparse_matrix(10, 200, 0.05)])
    model = Model(ZEROS)
    model.set_input(np.ones((1, 300), np.float32))
    chosen = kernel_choice.measure(model, lambda: Model(wrong, kernels="armlet"))
    assert chosen.kernels == "runtime"
    assert "give other answers than the runtime" in chosen.reason


def test_a_delegate_that_fails_is_left_out_with_the_reason():
    def fail() -> Model:
        raise AgentError("it gave up")

    assert kernel_choice.measure(Model(ZEROS), fail) == KernelChoice(reason="not used: it gave up")


def test_an_emulated_board_is_not_timed():
    model = Model(ZEROS)
    model.set_input(np.ones((1, 300), np.float32))  # memory that nobody wrote may hold what is not a number
    chosen = kernel_choice.measure(model, lambda: Model(ZEROS, kernels="armlet"), times_count=False)
    assert (chosen.kernels, chosen.runtime_seconds, chosen.undecided) == ("runtime", None, 2)


def deployed(home, monkeypatch, library, **environment: str) -> tuple[Store, dict]:
    """The network, deployed with the library where the health check's process finds it; what was prepared."""
    with monkeypatch.context() as during:
        for name, value in {delegate.VARIABLE: str(library), **environment}.items():
            during.setenv(name, value)
        answer = install(during, ZEROS)
    return Store(home / "store"), answer["check"]["prepared"]


def test_a_deploy_keeps_its_choice_and_the_agent_follows(home, monkeypatch, c_delegate):
    store, told = deployed(home, monkeypatch, c_delegate, **{delegate.CHOICE_VARIABLE: "armlet"})
    slot = store.slot("net")
    assert slot.kernels[slot.current].to_json() == told["kernels"]
    assert told["kernels"]["reason"].startswith("asked for; 2 operators in kernels of Armlet: ")
    assert told["start"]["kept"] is False
    starts = slot.kernels[slot.current].starts
    assert starts.float_bytes == 4 * (200 * 300 + 10 * 200) > 5 * starts.packed_bytes > 0
    assert min(starts.armlet_start_seconds, starts.runtime_start_seconds) > 0.0
    assert min(starts.armlet_peak_bytes, starts.runtime_peak_bytes) > 1 << 20
    with Agent("net") as agent, Agent("net", kernels="runtime") as plain:
        assert len(agent.model.model.armlet_operators()) == 2
        assert plain.model.model.armlet_operators() == ()
        row = np.random.default_rng(0).standard_normal(300).astype(np.float32)
        ours, theirs = (one.run(row[None]) for one in (agent, plain))
        np.testing.assert_allclose(ours["y"], theirs["y"], rtol=1e-5, atol=1e-5)


def on_an_emulated_board(home, monkeypatch, c_delegate, *seconds: str) -> tuple[Store, dict, int]:
    """The network, deployed where times say nothing, and what is answered to predicted ones."""
    monkeypatch.setenv(delegate.VARIABLE, str(c_delegate))
    told = install(monkeypatch, ZEROS, "--emulated")
    assert told["check"]["prepared"]["kernels"]["undecided"] == 2
    options = [f"--runtime-seconds={seconds[0]}", f"--armlet-seconds={seconds[1]}", "--predicted-for=rpi4"]
    answer, status = main_module.answer(["choose-kernels", "net", told["release"], *options])
    return Store(home / "store"), answer, status


def test_where_times_say_nothing_predicted_ones_decide_and_the_agent_follows(home, monkeypatch, c_delegate):
    store, answer, status = on_an_emulated_board(home, monkeypatch, c_delegate, "0.003", "0.001")
    assert status == 0
    slot = store.slot("net")
    chosen = slot.kernels[slot.current]
    assert answer == {"verb": "choose-kernels", **chosen.to_json()}
    assert (chosen.kernels, chosen.operators, chosen.undecided) == ("armlet", 2, 0)
    assert chosen.reason == ("2 operators in kernels of Armlet: 1 ms instead of 3 ms, predicted for rpi4")
    assert not any(store.starts.iterdir())  # of the runtime's kernels, which do not run any more
    with Agent("net") as agent:
        assert len(agent.model.model.armlet_operators()) == 2
    _, status = main_module.answer(
        [
            "choose-kernels",
            "net",
            slot.current,
            "--runtime-seconds=1",
            "--armlet-seconds=2",
            "--predicted-for=x",
        ]
    )
    assert status != 0  # it is decided


def test_predicted_times_that_gain_little_keep_the_runtime(home, monkeypatch, c_delegate):
    store, answer, _ = on_an_emulated_board(home, monkeypatch, c_delegate, "0.003", "0.0029")
    assert (answer["kernels"], answer["predicted_for"]) == ("runtime", "rpi4")
    assert store.slot("net").kernels_of(store.slot("net").current) == "runtime"


def test_seconds_that_are_none_choose_nothing(home, monkeypatch, c_delegate):
    store, _, status = on_an_emulated_board(home, monkeypatch, c_delegate, "nan", "nan")
    assert status != 0
    assert store.slot("net").kernels[store.slot("net").current].undecided == 2


def test_kernels_that_do_not_load_any_more_are_done_without(home, monkeypatch, c_delegate):
    store, _ = deployed(home, monkeypatch, c_delegate, **{delegate.CHOICE_VARIABLE: "armlet"})
    delegate.use("/nowhere/delegate.so")
    try:
        with pytest.warns(UserWarning, match="net: the kernels that its deploy chose are not used"):
            loaded = LoadedModel.of_release(store, store.current("net"))
        assert loaded.model.armlet_operators() == ()
        assert "do not load" in loaded.kernels_reason
        with pytest.raises(delegate.KernelsUnavailable):
            LoadedModel.of_release(store, store.current("net"), kernels="armlet")
    finally:
        delegate.use(str(c_delegate))


def test_left_to_the_agent_a_deploy_times_both(home, monkeypatch, c_delegate):
    _, told = deployed(home, monkeypatch, c_delegate)
    assert told["kernels"]["runtime_seconds"] > 0.0
    assert told["kernels"]["armlet_seconds"] > 0.0
    faster = told["kernels"]["armlet_seconds"] < 0.95 * told["kernels"]["runtime_seconds"]
    assert told["kernels"]["kernels"] == ("armlet" if faster else "runtime")
    assert (told["kernels"]["starts"] is not None) == faster


def test_starts_that_cannot_be_measured_do_not_fail_a_deploy(home, monkeypatch, c_delegate):
    """A release whose process takes more than half of the free memory is not started twice beside itself."""
    monkeypatch.setattr(release_setup, "read_available_memory", lambda: 0)
    assert release_setup.measure_starts(Store(home / "store"), None) is None
    monkeypatch.setattr(release_setup, "read_available_memory", lambda: None)
    monkeypatch.setattr(release_setup, "call_child", lambda *_: {"armlet_packed_bytes": 3})
    store, _ = deployed(home, monkeypatch, c_delegate, **{delegate.CHOICE_VARIABLE: "runtime"})
    assert release_setup.measure_starts(store, store.current("net")) is None


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({delegate.CHOICE_VARIABLE: "runtime"}, "the runtime's were asked for"),
        ({delegate.VARIABLE: "/nowhere/delegate.so"}, "not used: the kernels of Armlet do not load; "),
        ({scratch.VARIABLE: "0123456789abcdef"}, "the runtime's are measured where no others are asked for"),
    ],
)
def test_the_runtimes_kernels_run_where_others_cannot_or_shall_not(
    home, monkeypatch, c_delegate, environment, reason
):
    _, told = deployed(home, monkeypatch, c_delegate, **environment)
    assert told["kernels"]["kernels"] == "runtime"
    assert told["kernels"]["reason"].startswith(reason)


def test_an_unknown_choice_is_refused(monkeypatch):
    monkeypatch.setenv(delegate.CHOICE_VARIABLE, "fastest")
    with pytest.raises(delegate.KernelsUnavailable, match="unknown kernels; expected auto, runtime, armlet"):
        LoadedModel(ZEROS)


def test_a_slot_of_before_names_no_kernels():
    slot = Slot("net", "a" * 64)
    assert slot.kernels_of("a" * 64) == "runtime"
    record = slot.to_json()
    record.pop("kernels")

    assert Slot.from_bytes(json.dumps(record).encode(), "net").kernels == {}
