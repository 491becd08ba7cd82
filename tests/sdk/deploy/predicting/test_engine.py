"""Predictions of the catalogue's boards: what the plugin counted becomes records, and the rest is refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdk.board.catalogue import load_board
from sdk.board.emulation.plugin import last_error
from sdk.deploy.predicting import engine
from sdk.deploy.predicting.engine import SMALL, predict_on, read_result, target_of
from sdk.errors import BoardError
from sdk.graph.writer import write_graph
from tests.sdk.board.emulated import need_counting, need_runtime
from tests.sdk.graph.small_graphs import small_network

COUNTED = {
    "compute": 10e6,
    "l1": 2e6,
    "l2": 1e6,
    "dram": 5e6,
    "branch": 1e6,
    "dispatch": 1e6,
    "dram_bytes": 9_000_000,
}


def told(boards: int = 1, **changed: Any) -> str:
    """What the plugin writes."""
    entries = [{"name": str(i), "cycles": 20e6, **COUNTED} for i in range(boards)]
    counts = {
        "instructions": 30_000_000,
        "unknown": 10,
        "an_unknown": 7,
        "branches": 1,
        "boards": entries,
        **changed,
    }
    return json.dumps(counts) + "\nb 4096 10 20\nend\n"


def prepared(monkeypatch: pytest.MonkeyPatch, replayed: Callable[..., tuple[str, str, str]]) -> None:
    """Nothing is emulated: ``replayed`` stands for the run."""
    monkeypatch.setattr(engine, "run_replayed", replayed)
    monkeypatch.setattr(engine, "prefix", lambda *a, **k: None)
    monkeypatch.setattr(engine, "unpacked", lambda environment: "site")
    environment = SimpleNamespace(runtime="ai-edge-litert", runtime_version="2.3.0")
    monkeypatch.setattr(engine, "runtime_environment", lambda *a, **k: environment)


def test_every_board_of_the_catalogue_that_has_a_64_bit_core_can_be_predicted():
    for name in ("rpi3", "rpi4", "rpi5", "jetson-nano", "khadas-vim3", "orangepi5", "orin-nano", "imx8mp"):
        target = target_of(load_board(name))
        assert target.timed.clock_hz == target.cluster.clock_ghz.value * 1e9
    little = target_of(load_board("khadas-vim3"), "cortex-a53")
    assert little.timed.core.title == "Cortex-A53"


def test_memory_answers_as_late_as_the_boards_file_says():
    figures = target_of(load_board("rpi4")).timed.core.figures
    assert (figures["dram_latency"].value, figures["dram_latency"].kind) == (154, "measured")
    unknown = target_of(replace(load_board("rpi4"), memory_latency_nanoseconds=None))
    assert unknown.timed.core.figures["dram_latency"].kind == "estimated"


def test_boards_that_do_not_say_enough_are_refused():
    with pytest.raises(BoardError, match="cannot be predicted"):
        target_of(load_board("virtual-arm64"))
    with pytest.raises(BoardError, match="memcpy_gigabytes_per_second"):
        target_of(replace(load_board("rpi4"), memcpy_gigabytes_per_second=None))
    with pytest.raises(BoardError, match="Cortex-A76"):
        target_of(load_board("rpi4"), "Cortex-A76")


def test_what_was_counted_becomes_a_record_of_each_board(monkeypatch: pytest.MonkeyPatch):
    runs: list[str] = []

    def replayed(machine: str, core: Any, *_: Any, boards: str, marks: Any) -> tuple[str, str, str]:
        runs.append(core.name)
        return told(boards.count("\nboard ")), "", "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."

    prepared(monkeypatch, replayed)
    boards = [load_board(name) for name in ("rpi4", "rpi5", "rpi3", "imx8mp")]
    predictions = predict_on(boards, write_graph(small_network()))
    assert sorted(runs) == ["cortex-a53", "cortex-a72", "cortex-a76"]  # two boards share a core
    assert [p.board for p in predictions] == ["rpi4", "rpi5", "rpi3", "imx8mp"]
    assert predictions[0].milliseconds == pytest.approx(20e6 / 1.8e9 * 1e3)
    assert predictions[0].dram_share == pytest.approx(0.25)
    assert {a.name for a in predictions[0].estimated} >= {"mispredict"}
    assert predictions[0].from_json(predictions[0].to_json()) == predictions[0]


def test_runs_of_different_cores_share_the_processors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "processors", lambda: 2)
    both, said = threading.Barrier(2, timeout=30), []

    def replayed(*_: Any, boards: str, marks: Any) -> tuple[str, str, str]:
        both.wait()  # neither ends before the other has begun
        return told(boards.count("\nboard ")), "", "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."

    prepared(monkeypatch, replayed)
    boards = [load_board(name) for name in ("rpi5", "rpi4")]
    found = predict_on(boards, write_graph(small_network()), progress=lambda *at: said.append(at))
    assert [one.board for one in found] == ["rpi5", "rpi4"]
    assert [at[1:] for at in said] == [(0, 2), (1, 2), (2, 2)]
    assert {at[0] for at in said} == {"replay an inference on Cortex-A76, Cortex-A72"}


def test_a_run_that_fails_drops_those_that_did_not_begin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "processors", lambda: 1)
    began: list[str] = []

    def replayed(machine: str, core: Any, *_: Any, boards: str, marks: Any) -> tuple[str, str, str]:
        began.append(core.name)
        if core.name != began[0]:
            time.sleep(0.5)  # so that the rest has not begun by the time the first one's failure is known
        raise BoardError("the emulated program failed", expected="status 0", found="139")

    prepared(monkeypatch, replayed)
    boards = [load_board(name) for name in ("rpi3", "rpi4", "rpi5", "jetson-nano")]
    with pytest.raises(BoardError, match="139"):
        predict_on(boards, write_graph(small_network()))
    assert 1 <= len(set(began)) <= 2  # of four


@pytest.mark.parametrize("runs", [True, False])
def test_what_the_runtimes_profiler_does_not_take_is_predicted_without_names(
    monkeypatch: pytest.MonkeyPatch, runs: bool
):
    guests: list[str] = []

    def replayed(_: str, __: Any, ___: Any, program: Any, *, boards: str, marks: Any) -> tuple[str, str, str]:
        guests.append(Path(program[2]).name)
        if guests[-1] == "guest_profile.py" or not runs:
            raise BoardError("the emulated program failed", found=guests[-1])
        return told(boards.count("\nboard ")), "", "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."

    prepared(monkeypatch, replayed)
    if runs:
        (one,) = predict_on([load_board("rpi4")], write_graph(small_network()))
        assert (one.cycles, one.operators, one.kernels) == (20e6, (), ())
    else:
        with pytest.raises(BoardError, match=r"guest_inference\.py"):
            predict_on([load_board("rpi4")], write_graph(small_network()))
    assert guests == ["guest_profile.py", "guest_inference.py"]


@pytest.mark.parametrize(("instructions", "runs"), [(200_000, 2), (SMALL, 1)])
def test_the_profiler_of_the_runtime_takes_no_time_of_a_small_network(
    monkeypatch: pytest.MonkeyPatch, instructions: int, runs: int
):
    looks = "c 0 0 0\nc 1000 10 15000000\nc 2000 20 30000000\n"
    guests: list[str] = []

    def replayed(_: str, __: Any, ___: Any, program: Any, *, boards: str, marks: Any) -> tuple[str, str, str]:
        guests.append(Path(program[2]).name)
        xnnpack = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
        if guests[-1] == "guest_profile.py":
            said = json.dumps([["Convolution", 1e-6], ["Softmax", 1e-6]])
            return looks + told(instructions=instructions, unknown=0), said, xnnpack
        return told(instructions=20_000, unknown=0), "", xnnpack

    prepared(monkeypatch, replayed)
    (one,) = predict_on([load_board("rpi4")], write_graph(small_network()))
    assert guests == ["guest_profile.py", "guest_inference.py"][:runs]
    assert one.instructions == (20_000 if runs == 2 else instructions)
    # Operators have their names and shares, and take no longer together than the whole.
    assert [(o.name, o.cycles) for o in one.operators] == [("Convolution", 10e6), ("Softmax", 10e6)]
    assert one.kernels == (("Convolution", 0.5), ("Softmax", 0.5))


def test_a_model_of_several_subgraphs_has_the_dtype_of_all_its_weights(monkeypatch: pytest.MonkeyPatch):
    graph = small_network()
    monkeypatch.setattr(engine, "read_subgraphs", lambda tflite: (replace(graph, tensors=()), graph))
    prepared(monkeypatch, lambda *_, boards, marks: (told(), "", "XNNPACK delegate"))
    (one,) = predict_on([load_board("rpi4")], b"")
    assert one.dtype == "float32"


def test_the_reason_of_a_failed_run_is_no_message_of_its_end():
    said = "Traceback (most recent call last):\nRuntimeError: no such operator\nINFO: goodbye\n\n"
    assert last_error(said) == "RuntimeError: no such operator"
    assert last_error("INFO: goodbye\n") == last_error("") == "no message"


def test_a_replay_that_broke_off_or_understood_too_little_is_refused():
    with pytest.raises(BoardError, match="did not end"):
        read_result(told().replace("end\n", ""))
    with pytest.raises(BoardError, match=r"no cost.*0x00000007"):
        read_result(told(unknown=3_000_000))


def test_a_small_network_on_two_cores_is_ordered_as_the_cores_are():
    need_counting()
    need_runtime("ai-edge-litert")
    model = write_graph(small_network(size=32, channels=64, classes=40))
    slow, fast = predict_on([load_board("rpi3"), load_board("rpi5")], model)
    assert slow.seconds > 2 * fast.seconds
    assert fast.parts.total == pytest.approx(fast.cycles)
    assert [o.name.split()[0] for o in fast.operators] == [o.name.split()[0] for o in slow.operators]
    assert len(fast.operators) >= 4
    assert sum(share for _, share in fast.kernels) == pytest.approx(
        sum(o.cycles for o in fast.operators) / fast.cycles
    )
    assert sum(o.cycles for o in fast.operators) == pytest.approx(fast.cycles, rel=0.5)
