"""Profiles: the record that a board sends, and the runtime's own profiler behind it."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from device_agent.measuring import litert_profiler, profiler
from device_agent.record.profile import KernelTime, Profile, ProfileError, midmean, typical
from device_agent.record.schema import write

PROFILE = Profile(
    model="net",
    tflite_sha256="0" * 64,
    method="runtime",
    kernels=(
        KernelTime("Convolution (NCHW, F32) SPMM", 0, True, 2e-3, 1e-3),
        KernelTime("SOFTMAX", 1, False, 1e-6, 0.0),
    ),
    inferences=10,
    outside_seconds=1e-5,
    profiled_seconds=2.1e-3,
    unprofiled_seconds=2e-3,
    call_seconds=0.0,
    resolution_seconds=1e-6,
    threads=1,
    cpus=(0, 1),
    runtime="ai-edge-litert",
    runtime_version="2.3.0",
    machine="x86_64",
    emulated=False,
)


def test_a_profile_survives_json():
    again = Profile.from_json(json.loads(json.dumps(PROFILE.to_json())))
    assert again == PROFILE
    assert again.kernel_seconds == pytest.approx(2.001e-3)
    assert again.ran_sparse


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": "armlet.profile/3"}, "schema"),
        ({"kernels": [{"name": "x"}]}, "kernels"),
        ({"kernels": [{**write(PROFILE.kernels[0]), "name": "\x1b[2J"}]}, "kernels"),
        ({"kernels": [{**write(PROFILE.kernels[0]), "seconds": -1.0}]}, "kernels"),
        ({"kernels": [write(PROFILE.kernels[0])] * 20_000}, "kernels"),
        ({"method": "guessed"}, "method"),
        ({"inferences": 0}, "inferences"),
        ({"outside_seconds": "0"}, "outside_seconds"),
        ({"unprofiled_seconds": 1e300}, "unprofiled_seconds"),
        ({"tflite_sha256": "no"}, "tflite_sha256"),
        ({"extra": 1}, "unknown fields"),
    ],
)
def test_a_hostile_profile_is_refused_by_the_name_of_its_field(change, named):
    with pytest.raises(ProfileError, match=named):
        Profile.from_json({**PROFILE.to_json(), **change})


def test_a_profile_without_a_field_is_refused():
    record = PROFILE.to_json()
    del record["cpus"]
    with pytest.raises(ProfileError, match="cpus"):
        Profile.from_json(record)


def test_a_profile_of_before_is_still_read():
    assert Profile.from_json({**PROFILE.to_json(), "schema": "armlet.profile/1"}) == PROFILE


def test_the_midmean_is_deaf_to_disturbed_samples_and_finer_than_the_clock():
    samples = [7.0, 8.0, 8.0] * 30 + [1000.0] * 25
    assert midmean(samples) == pytest.approx(7.97, abs=0.01)
    assert midmean([3.0]) == 3.0
    assert midmean([1.0, 2.0, 600.0]) == pytest.approx(201.0)  # of three nothing can be left out


def test_kernels_over_the_typical_inferences_add_up_to_what_those_took():
    """Kernels that vary against each other: medians or least values of each alone would fall short of the whole."""
    rng = np.random.default_rng(0)
    kernels = rng.lognormal(0.0, 0.5, (400, 30))
    wholes = kernels.sum(axis=1)
    chosen = typical(wholes)
    assert len(chosen) == 200
    assert kernels[chosen].mean(axis=0).sum() == pytest.approx(midmean(wholes))
    assert midmean(wholes) == pytest.approx(np.median(wholes), rel=0.01)
    assert np.median(kernels, axis=0).sum() < 0.95 * np.median(wholes)


class FakeModel:
    """Two kernels of 5 and 7 microseconds in an inference of 20; every fifth inference is disturbed."""

    def __init__(self, changing: bool = False) -> None:
        self.count, self.changing, self.now = 0, changing, 0

    def run(self) -> None:
        self.now += 25_000

    def run_without_profiler(self) -> None:
        self.now += 19_000

    def start(self) -> None:
        self.count += 1

    def stop(self) -> list[litert_profiler.ProfilerEvent]:
        disturbed = 100e-6 if self.count % 5 == 0 else 0.0
        second = litert_profiler.ProfilerEvent("Add (ND)", litert_profiler.DELEGATE_OPERATOR, 1, 7e-6)
        return [
            litert_profiler.ProfilerEvent("Invoke", litert_profiler.DEFAULT, 0, 20e-6 + disturbed),
            litert_profiler.ProfilerEvent("TfLiteXNNPackDelegate", litert_profiler.OPERATOR, 0, 15e-6),
            litert_profiler.ProfilerEvent(
                "Clamp (NC)", litert_profiler.DELEGATE_OPERATOR, 0, 5e-6 + disturbed
            ),
            *([] if self.changing and self.count % 2 else [second]),
        ]


def all_turns(model, plain, plan):
    turns = profiler.Turns(model, plain, plan, clock=lambda: model.now)
    while not turns.is_done:
        turns.take()
    return turns.taken()


def test_parts_of_an_inference_add_up_and_a_disturbance_is_left_out():
    model = FakeModel()
    plan = profiler.ProfilePlan(max_inferences=20, max_seconds=100.0)
    taken = all_turns(model, model.run_without_profiler, plan)
    assert [kernel.name for kernel in taken.kernels] == ["Clamp (NC)", "Add (ND)"]
    assert [kernel.seconds for kernel in taken.kernels] == pytest.approx(
        [5.5e-6, 7.5e-6]
    )  # half a step is added back
    assert taken.outside_seconds == pytest.approx(7e-6)
    assert len(taken.profiled) == len(taken.unprofiled) == 25  # one block
    assert midmean(taken.profiled) == pytest.approx(25e-6)
    assert midmean(taken.unprofiled) == pytest.approx(19e-6)


def test_profiled_and_plain_inferences_take_turns_and_the_first_of_a_turn_does_not_count():
    model, turns = FakeModel(), []
    run, plain = model.run, model.run_without_profiler
    model.run = lambda: (turns.append("profiled"), run())
    plan = profiler.ProfilePlan(max_inferences=60, max_seconds=100.0)
    taken = all_turns(model, lambda: (turns.append("plain"), plain()), plan)
    turns = turns[turns.index("plain") :]
    assert turns == (["plain"] * 26 + ["profiled"] * 26) * 3
    assert len(taken.profiled) == 75


def test_inferences_that_differ_are_an_error():
    model = FakeModel(changing=True)
    with pytest.raises(Exception, match="differ"):
        all_turns(model, model.run_without_profiler, profiler.ProfilePlan(4))


@pytest.mark.parametrize("memory_words", [6, 8, 12])
def test_events_are_read_whatever_their_memory_part_measures(memory_words):
    names = [ctypes.create_string_buffer(name) for name in (b"Invoke", b"Clamp (NC)")]
    rows = [
        [ctypes.addressof(name), kind, 99, 1000 + node, *[0] * memory_words, node, 0, 2]
        for node, (name, kind) in enumerate(zip(names, (1, 8), strict=True))
    ]
    raw = (
        np.array(rows, "<u8").tobytes()[:-4] + b"\xa5" * 500
    )  # the padding behind the last field is not written
    events = litert_profiler.read_events(raw, 2)
    assert events == [
        litert_profiler.ProfilerEvent("Invoke", 1, 0, 1000e-6),
        litert_profiler.ProfilerEvent("Clamp (NC)", 8, 1, 1001e-6),
    ]


def called(*arguments: str, stdin: bytes = b"") -> tuple[int, dict]:
    command = [sys.executable, "-m", "device_agent", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=120)
    return done.returncode, json.loads(done.stdout)


def test_the_stock_runtime_names_the_kernels_of_a_model(float_model, tmp_path):
    pytest.importorskip("ai_edge_litert")
    path = tmp_path / "net.tflite"
    path.write_bytes(float_model)
    status, answer = called("profile", str(path), "--max-inferences", "20")
    assert status == 0, answer
    profile = Profile.from_json(answer["profiles"][0])
    assert profile.method == "runtime"
    assert [kernel.delegated for kernel in profile.kernels] == [True]
    assert "F32" in profile.kernels[0].name
    assert profile.inferences == 25
    assert 0 < profile.unprofiled_seconds < 1


def test_models_from_standard_input_are_timed_in_their_order(float_model, int8_model):
    pytest.importorskip("ai_edge_litert")
    sizes = json.dumps([len(float_model), len(int8_model)]).encode() + b"\n"
    status, answer = called("time", "--min-samples", "10", stdin=sizes + float_model + int8_model)
    assert status == 0, answer
    assert [time["samples"] for time in answer["times"]] == [10, 10]
    assert all(0 < time["minimum_seconds"] <= time["seconds"] < 1 for time in answer["times"])
    assert answer["beside"] is None


def test_a_model_is_timed_between_those_from_standard_input(float_model, tmp_path):
    pytest.importorskip("ai_edge_litert")
    path = tmp_path / "net.tflite"
    path.write_bytes(float_model)
    sizes = json.dumps([len(float_model)] * 3).encode() + b"\n"
    status, answer = called(
        "time", "--min-samples", "10", "--beside", str(path), stdin=sizes + 3 * float_model
    )
    assert status == 0, answer
    assert len(answer["times"]) == 3
    assert answer["beside"]["samples"] > 10
    assert 0 < answer["beside"]["minimum_seconds"] <= answer["beside"]["seconds"] < 1


def test_blocks_of_a_model_beside_others_are_spread_evenly():
    class Agent:
        class model:
            inputs = ()
            invoke = staticmethod(lambda: now.append(now[-1] + 50_000_000))

        example_inputs = staticmethod(lambda: None)

    now = [0]
    beside = profiler.Beside(Agent, clock=lambda: now[-1])
    shares = []
    for part in range(1, 11):
        beside.catch_up(part / 10)
        shares.append(now[-1] / 1e9 / profiler.BESIDE_SECONDS)
    assert shares == pytest.approx([part / 10 for part in range(1, 11)], abs=0.07)
    assert beside.times()["seconds"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("stdin", "why"),
    [
        (b"{}\n", "list of sizes"),
        (b"[-1]\n", "too large"),
        (b"[99999999999]\n", "too large"),
        (b"[100]\nabc", "end early"),
        (b"[8]\nnotamodl", "not acceptable|not a|magic|package"),
    ],
)
def test_what_cannot_be_timed_is_named(stdin, why):
    status, answer = called("time", stdin=stdin)
    assert status == 2
    assert re.search(why, json.dumps(answer)), answer
