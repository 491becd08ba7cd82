"""What a board answers is checked before it is believed: a board that lies gets one named error."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest

from sdk.api.results import SlotStatus
from sdk.board.ssh.command import Completed
from sdk.deploy.agent.answers import CheckAnswer, Prepared, read_answer
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.errors import RemoteError
from sdk.report.terminal import drawing
from tests.sdk.graph.small_graphs import images


class Scripted:
    """A fake connection whose every command gives the same answer."""

    address = "pi@board"

    def __init__(self, stdout: bytes, status: int = 0, stderr: bytes = b"") -> None:
        self.answer = (status, stdout, stderr)

    def run(self, argv, **options) -> Completed:
        return Completed(tuple(argv), *self.answer)


class Asked:
    """A fake connection that answers each verb as it is told."""

    address = "pi@board"

    def __init__(self, **answers: dict[str, object]) -> None:
        self.answers = answers
        self.agent = RemoteAgent(self, ["agent"])

    def run(self, argv, **options) -> Completed:
        answer = {"verb": argv[1], **self.answers[argv[1]]}
        return Completed(tuple(argv), 0, json.dumps(answer).encode(), b"")


def answering(value: object, status: int = 0) -> RemoteAgent:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return RemoteAgent(Scripted(data, status, b"Traceback\nboom"), ["agent"])


def npy(array: np.ndarray, pickled: bool = False) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"[]", b"3", b"\xff", b"[" * 5000, b'{"verb":NaN}', b'{"verb":"stat']
)
def test_what_is_no_answer_is_told_with_what_the_agent_printed(data):
    with pytest.raises(RemoteError, match="no answer") as caught:
        answering(data).status()
    assert "boom" in caught.value.found


def test_an_error_of_the_agent_keeps_its_parts_and_loses_its_escapes():
    error = {"error": "StoreError", "what": "no\x1b[2J", "expected": "x", "found": "y" * 9999, "hint": None}
    with pytest.raises(RemoteError, match="`status` failed") as caught:
        answering(error, status=2).status()
    assert str(caught.value).isprintable()
    assert (caught.value.expected, caught.value.hint) == ("x", None)
    assert len(caught.value.found) <= 300


GOOD_RUN = {
    "verb": "run",
    "seconds": 0.1,
    "tflite_sha256": "a" * 64,
    "decode_seconds": 0.0,
    "decode_kernel": "c",
    "outputs_npy_base64": npy(np.zeros((1, 10), np.float32)),
    "runtime": "x",
    "runtime_version": "1",
}


def test_a_good_answer_to_run_is_taken():
    assert answering(GOOD_RUN).run("m", images(1)).outputs.shape == (1, 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"verb": "bench"},
        {"seconds": -1},
        {"seconds": "0.1"},
        {"seconds": True},
        {"seconds": None},
        {"tflite_sha256": "../../x"},
        {"decode_kernel": "gpu"},
        {"decode_kernel": []},
        {"outputs_npy_base64": None},
        {"outputs_npy_base64": "!"},
        {"outputs_npy_base64": npy(np.zeros((2, 10), np.float32))},
        {"outputs_npy_base64": npy(np.zeros((1, 10), np.float64))},
        {"outputs_npy_base64": npy(np.array([{}], dtype=object), pickled=True)},
        {"outputs_npy_base64": base64.b64encode(b"PK\x03\x04").decode()},
        {"outputs_npy_base64": base64.b64encode(b"\x93NUMPY\x01\x00").decode()},
    ],
)
def test_an_answer_to_run_that_is_something_else_is_refused(changes):
    with pytest.raises(RemoteError):
        answering({**GOOD_RUN, **changes}).run("m", images(1))


@pytest.mark.parametrize(
    "answer",
    [
        {"verb": "bench"},
        {"verb": "bench", "measurements": []},
        {"verb": "bench", "measurements": [{}]},
        {"verb": "bench", "measurements": [1, 2]},
        {"verb": "bench", "measurements": {"0": {}}},
    ],
)
def test_an_answer_to_bench_that_is_something_else_is_refused(answer):
    with pytest.raises(RemoteError):
        answering(answer).bench(["m"])


SLOT = {"name": "a", "current": None, "previous": None, "trial": None, "package_sha256": None, "package_bytes": None,
        "older": (), "threads": None, "history": []}  # fmt: skip
EVENT = {"event": "confirmed", "release": None, "reason": "", "unix_seconds": 0.0}


@pytest.mark.parametrize(
    "slot",
    [None, {}, {**SLOT, "name": "../x"}, {**SLOT, "current": "x"}, {**SLOT, "history": None},
     {**SLOT, "history": [1]}, {**SLOT, "history": [{"event": "x", "release": "y"}]}, {**SLOT, "package_bytes": "1"},
     {**SLOT, "threads": [1]}, {**SLOT, "current": "a" * 64, "threads": {"a" * 64: 2}},
     {**SLOT, "current": "a" * 64, "threads": {"a" * 64: {"threads": "2"}}},
     {**SLOT, "older": None}, {**SLOT, "older": ["x"]}, {**SLOT, "older": ["a" * 64] * 65},
     {**SLOT, "history": [{**EVENT, "unix_seconds": 10**400}]}, {**SLOT, "history": [{**EVENT, "unix_seconds": "1"}]}],
)  # fmt: skip
def test_a_status_that_is_something_else_is_refused(slot):
    assert [s.name for s in answering({"verb": "status", "releases": [SLOT]}).status().releases] == ["a"]
    with pytest.raises(RemoteError):
        answering({"verb": "status", "releases": [slot]}).status()


@pytest.mark.parametrize(
    ("was_current", "words"),
    [
        (True, "in the board's present environment"),
        (False, "went back"),
        (None, "went back"),
        ("yes", "was_current"),
    ],
)
def test_a_release_that_fails_where_it_runs_already_is_told_apart_from_a_new_one(was_current, words):
    answer = {"state": "reverted", "reason": "the golden outputs do not come out\x1b[2J"}
    if was_current is not None:
        answer["was_current"] = was_current
    with pytest.raises(RemoteError, match=words) as caught:
        Asked(missing={"missing": []}, install=answer).agent.deploy(b"TFL3", "net")
    assert was_current == "yes" or "golden outputs" in caught.value.found
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("now", [-1e9, 0, 4e9, 1e15])
def test_a_clock_that_says_something_odd_stops_no_status(now):
    slot = {**SLOT, "history": [{**EVENT, "unix_seconds": now}]}
    (answer,) = answering({"verb": "status", "releases": [slot]}).status().releases
    assert SlotStatus.from_answer(answer).history[0].when


@pytest.mark.parametrize("missing", [None, "abc", [1], ["a" * 64]])
def test_a_board_cannot_ask_for_what_is_not_part_of_the_package(missing):
    with pytest.raises(RemoteError):
        answering({"verb": "missing", "missing": missing}).deploy(b"x", "m")


def test_the_threads_of_a_slot_are_those_of_its_current_release():
    choices = {"a" * 64: {"threads": 3, "samples_seconds": {}, "reason": ""}, "b" * 64: {"threads": 2}}
    slot = {**SLOT, "current": "a" * 64, "previous": "b" * 64, "threads": choices}
    (answer,) = answering({"verb": "status", "releases": [slot]}).status().releases
    assert SlotStatus.from_answer(answer).threads == 3


THREADS = {"threads": 2, "samples_seconds": {"1": [0.2]}, "reason": "medians\x1b[2J"}
START = {"kept": True, "bytes": 100, "cold_seconds": 0.2, "warm_seconds": 0.01}


def prepared(answer: object) -> Prepared | None:
    """What a board prepared, as a deploy tells of it."""
    found = read_answer(CheckAnswer, {"prepared": answer}, "install").prepared
    return found and found.prepared()


def test_what_a_board_prepared_is_told_in_printable_words():
    told = prepared({"threads": THREADS, "start": START})
    assert (told.threads, told.start_bytes, told.start_seconds, told.cold_start_seconds) == (
        2,
        100,
        0.01,
        0.2,
    )
    assert told.threads_reason.isprintable()
    assert prepared(None) is None
    refused = prepared({"threads": THREADS, "start": {"reason": "disk full"}})
    assert (refused.start_bytes, refused.start_reason) == (None, "disk full")


def test_what_kernels_take_beside_the_runtime_alone_is_told():
    starts = {
        "packed_bytes": 12_000_000,
        "float_bytes": 235_000_000,
        "armlet_start_seconds": 0.31,
        "runtime_start_seconds": 0.52,
        "armlet_peak_bytes": 82_000_000,
        "runtime_peak_bytes": 527_000_000,
    }
    kernels = {"kernels": "armlet", "reason": "38 operators", "starts": starts}
    told = prepared({"threads": THREADS, "start": {"reason": "none kept"}, "kernels": kernels})
    assert told.to_json()["kernels_starts"] == starts
    assert drawing.kernel_starts_text(told.kernels_starts) == (
        "starts in 310 ms instead of 520 ms (cold), takes 82.0 MB of memory instead of 527 MB; "
        "weights 12.0 MB instead of 235 MB"
    )
    silent = {**starts, "armlet_peak_bytes": None, "runtime_peak_bytes": None}
    told = prepared({"threads": THREADS, "start": {}, "kernels": {**kernels, "starts": silent}})
    assert "memory" not in drawing.kernel_starts_text(told.kernels_starts)
    with pytest.raises(RemoteError, match="float_bytes"):
        prepared(
            {"threads": THREADS, "start": {}, "kernels": {**kernels, "starts": {**starts, "float_bytes": -1}}}
        )


@pytest.mark.parametrize(
    "answer",
    [
        1,
        [],
        {"threads": THREADS},
        {"start": START},
        {"threads": {}, "start": START},
        {"threads": {"threads": 0}, "start": START},
        {"threads": {"threads": "2"}, "start": START},
        {"threads": THREADS, "start": {**START, "warm_seconds": -1}},
        {"threads": THREADS, "start": {**START, "bytes": "many"}},
    ],
)
def test_preparations_that_are_something_else_are_refused(answer):
    with pytest.raises(RemoteError):
        prepared(answer)
