"""The agent as the host calls it: one JSON line on standard output, whatever happens."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from device_agent import __main__ as main_module
from device_agent.errors import AgentError
from device_agent.record.measurement import Measurement
from device_agent.record.release import Release
from device_agent.run import array_input as inputs
from device_agent.run import fresh_process as child
from device_agent.store.store import Store
from device_agent.tensors.tensor import TensorInfo
from device_agent.verbs import table as verbs
from device_agent.verbs.parser import ARGUMENTS, parse
from device_agent.verbs.table import VERBS


class Called:
    """One call of the agent in a process of its own."""

    def __init__(self, *arguments: str, stdin: bytes = b"") -> None:
        command = [sys.executable, "-m", "device_agent", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=120)
        assert done.stdout.count(b"\n") == 1, done
        self.status = done.returncode
        self.answer = json.loads(done.stdout)
        self.stderr = done.stderr.decode()


def install_input(data: bytes, name: str = "net", golden=None, **changes) -> bytes:
    blobs = [data]
    values = {"parts": ((hashlib.sha256(data).hexdigest(), len(data)),)}
    if golden is not None:
        for key, array in zip(("golden_inputs_sha256", "golden_outputs_sha256"), golden, strict=True):
            blobs.append(zlib.compress(npy(array)))
            values[key] = hashlib.sha256(blobs[-1]).hexdigest()
    release = Release(name=name, package_sha256=hashlib.sha256(data).hexdigest(), **{**values, **changes})
    listed = [[hashlib.sha256(blob).hexdigest(), len(blob), 0] for blob in blobs]
    header = {"release": json.loads(release.to_bytes()), "blobs": listed}
    return json.dumps(header).encode() + b"\n" + b"".join(blobs)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_golden_array_is_one_whole_compressed_npy_file_of_bounded_size(monkeypatch):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    infos = [TensorInfo("x", (1, 4), np.dtype(np.float32))]
    np.testing.assert_array_equal(inputs.parse_golden(zlib.compress(npy(array)), infos)[0], array)
    both = inputs.parse_golden(zlib.compress(npy(array) + npy(array.T)), infos)
    np.testing.assert_array_equal(both[1], array.T)
    whole = zlib.compress(npy(array))
    for broken in (b"", npy(array), whole[:-5], whole + b"x", zlib.compress(b"not an array")):
        with pytest.raises(AgentError, match="golden array"):
            inputs.parse_golden(broken, infos)
    with pytest.raises(AgentError, match="at most 64"):
        inputs.parse_golden(zlib.compress(npy(np.zeros((65, 4), np.int8))), infos)
    monkeypatch.setattr(inputs, "MAX_GOLDEN_BYTES", 100)
    with pytest.raises(AgentError, match="at most 100 bytes"):
        inputs.parse_golden(zlib.compress(bytes(101)), infos)


def test_a_golden_blob_of_a_small_model_takes_little_memory():
    """1 MB that became 128 MB, and a list of as many cases."""
    blob = zlib.compress(npy(np.zeros(1 << 26, np.int8)), 9)
    infos = [TensorInfo("x", (1, 4), np.dtype(np.float32))]
    tracemalloc.start()
    try:
        with pytest.raises(AgentError, match="at most 16777216 bytes"):
            inputs.parse_golden(blob, infos)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_an_empty_board_tells_its_status(home):
    called = Called("status")
    assert called.status == 0
    assert called.answer["verb"] == "status"
    assert called.answer["releases"] == []
    assert called.answer["runtime"] in ("ai-edge-litert", "tflite-runtime")


def test_the_smoke_test_names_runtime_and_decoders(home):
    called = Called("smoke")
    assert called.status == 0
    assert "numpy" in called.answer["decode_kernels"]


def test_a_model_is_installed_run_measured_and_replaced(home, float_model, other_model, expected):
    digest = hashlib.sha256(float_model).hexdigest()
    assert Called("missing", stdin=json.dumps([digest]).encode()).answer["missing"] == [digest]

    x = np.random.default_rng(0).random((3, 2, 2, 3), np.float32)
    called = Called(
        "install", stdin=install_input(float_model, golden=(x, expected(x)), golden_tolerance=1e-5)
    )
    assert called.status == 0, called.stderr
    assert called.answer["state"] == "confirmed"
    assert 0 <= called.answer["check"]["largest_difference"] <= 1e-5
    assert Called("missing", stdin=json.dumps([digest]).encode()).answer["missing"] == []
    again = Called(
        "install", stdin=install_input(float_model, golden=(x, expected(x)), golden_tolerance=1e-5)
    )
    assert again.answer["state"] == "unchanged"

    run = Called("run", "net", stdin=npy(x)).answer
    outputs = np.load(io.BytesIO(base64.b64decode(run["outputs_npy_base64"])))
    np.testing.assert_allclose(outputs, expected(x), rtol=1e-6)
    assert (run["count"], run["decode_kernel"], run["outputs_shape"]) == (3, "none", [3, 2, 2, 2])

    assert Called("install", stdin=install_input(other_model)).answer["state"] == "confirmed"
    assert Called("rollback", "net").answer["package_sha256"] == digest
    slot = Called("status").answer["releases"][0]
    assert [event["event"] for event in slot["history"]] == ["confirmed", "confirmed", "rolled back"]
    assert slot["package_bytes"] == len(float_model)


@pytest.mark.parametrize("every_output", [False, True])
def test_cases_of_a_data_set_meet_a_recurrent_model_without_a_state(home, tmp_path, every_output):
    from device_agent.tensors.rows import read_row
    from sdk.graph.writer import write_graph
    from tests.sdk.graph.recurrent_graphs import lstm, samples_of_steps

    (tmp_path / "m.tflite").write_bytes(write_graph(lstm()))
    cases = np.repeat(samples_of_steps(1), 3, axis=0)
    if every_output:
        run = Called("run", str(tmp_path / "m.tflite"), "--all", "--apart", stdin=npy(cases[:, None])).answer
    else:
        run = Called("run", str(tmp_path / "m.tflite"), stdin=npy(cases)).answer
    data = base64.b64decode(run["outputs_npy_base64"])
    outputs = read_row(data, "outputs")[0] if every_output else np.load(io.BytesIO(data))
    assert len(outputs) == 3
    assert np.abs(outputs).max() > 0
    np.testing.assert_array_equal(outputs[1], outputs[0])
    np.testing.assert_array_equal(outputs[2], outputs[0])


def test_a_release_that_runs_is_checked_again_under_another_runtime(home, float_model, expected):
    x = np.ones((1, 2, 2, 3), np.float32)
    sent = install_input(float_model, golden=(x, expected(x)), golden_tolerance=1e-5)
    release = Called("install", stdin=sent).answer["release"]
    digests = json.dumps([hashlib.sha256(float_model).hexdigest()]).encode()
    ask = ("missing", "--name", "net", "--release", release)
    assert Called(*ask, stdin=digests).answer["current"] is True
    (slot_file,) = home.glob("store/slots/net.json")
    slot = json.loads(slot_file.read_text())
    (here,) = slot["checked_under"][release]
    assert here.startswith(("ai-edge-litert ", "tflite-runtime "))
    assert f"numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()}" in here
    # Another version; as an older agent wrote it; and a slot of before this was kept.
    for under in ({release: [here + ".1"]}, {release: here.partition(",")[0]}, {}):
        slot_file.write_text(json.dumps({**slot, "checked_under": under}))
        answer = Called(*ask, stdin=digests).answer
        assert (answer["missing"], answer["current"], answer["recheck"]) == ([], False, True)

    slot_file.write_text(json.dumps({**slot, "checked_under": {release: ["elsewhere"]}}))
    slow = Called("install", "--max-inference-seconds", "1e-12", stdin=sent).answer
    assert slow["state"] == "reverted"
    kept = Store(home / "store").slot("net")
    assert (kept.current, kept.trial) == (release, None)
    assert Called(*ask, stdin=digests).answer["current"] is False

    again = Called("install", "--keep-on-trial", stdin=sent).answer
    assert again["state"] == "unchanged"
    assert again["check"]["largest_difference"] <= 1e-5
    assert Called(*ask, stdin=digests).answer["current"] is True
    kept = Store(home / "store").slot("net")
    assert kept.history[-1]["reason"] == f"checked again under {here}"
    assert kept.checked_under[release] == ("elsewhere", here)  # back there, it need not be checked again


def test_arrays_may_be_files(home, float_model, expected, tmp_path):
    (tmp_path / "m.tflite").write_bytes(float_model)
    x = np.ones((4, 2, 2, 3), np.float32)
    (tmp_path / "x.npy").write_bytes(npy(x))
    arguments = ["--inputs", str(tmp_path / "x.npy"), "--outputs", str(tmp_path / "y.npy")]
    called = Called("run", str(tmp_path / "m.tflite"), *arguments)
    assert "outputs_npy_base64" not in called.answer
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected(x))
    assert not list(tmp_path.glob("*.part"))


def test_models_are_measured_together(home, float_model, other_model, tmp_path):
    paths = []
    for name, data in (("a", float_model), ("b", other_model)):
        (tmp_path / f"{name}.tflite").write_bytes(data)
        paths.append(str(tmp_path / f"{name}.tflite"))
    called = Called("bench", *paths, "--min-samples", "30", "--max-seconds", "1", "--emulated")
    records = [Measurement.from_json(record) for record in called.answer["measurements"]]
    assert [record.model for record in records] == ["a.tflite", "b.tflite"]
    for record in records:
        assert len(record.samples_seconds) == 30
        assert record.emulated
        assert record.init_seconds > 0
        assert record.peak_memory_bytes > 1 << 20
    called = Called(
        "bench", *paths, "--min-samples", "4", "--max-seconds", "0.1", "--emulated", "--no-starts"
    )
    for again in map(Measurement.from_json, called.answer["measurements"]):
        assert len(again.samples_seconds) == 4
        assert again.peak_memory_bytes is again.start_seconds is None


def test_a_call_reads_the_options_of_its_verb_alone():
    options = parse(["--scratch", "0123456789abcdef", "rollback", "net", "--to", "0123"])
    assert (options.verb, options.name, options.to, options.scratch) == (
        "rollback",
        "net",
        "0123",
        "0123456789abcdef",
    )
    assert not hasattr(options, "max_seconds")
    assert set(VERBS) == set(ARGUMENTS)
    for wrong in (["rollback"], ["rollback", "net", "--max-seconds", "1"], ["no-verb"], []):
        with pytest.raises(AgentError, match="called wrongly"):
            parse(wrong)


# -- trial -------------------------------------------------------------------------------------------------------------


def test_golden_outputs_that_do_not_come_out_send_the_release_back(home, float_model, other_model, expected):
    Called("install", stdin=install_input(float_model))
    x = np.ones((1, 2, 2, 3), np.float32)
    called = Called(
        "install", stdin=install_input(other_model, golden=(x, expected(x)), golden_tolerance=1e-5)
    )
    assert called.status == 0
    assert called.answer["state"] == "reverted"
    assert "golden outputs" in called.answer["reason"]
    slot = Called("status").answer["releases"][0]
    assert slot["package_sha256"] == hashlib.sha256(float_model).hexdigest()
    assert slot["trial"] is None
    assert "golden outputs" in slot["history"][-1]["reason"]


def test_a_model_that_does_not_load_is_sent_back(home, float_model):
    Called("install", stdin=install_input(float_model))
    called = Called("install", stdin=install_input(float_model[:8] + bytes(500)))
    assert called.answer["state"] == "reverted"
    assert "refused the model" in called.answer["reason"]


def test_a_release_may_stay_on_trial_until_it_is_confirmed(home, float_model, other_model):
    assert Called("install", stdin=install_input(float_model)).answer["state"] == "confirmed"
    assert Called("install", "--keep-on-trial", stdin=install_input(other_model)).answer["state"] == "trial"
    assert Called("status").answer["releases"][0]["package_sha256"] == hashlib.sha256(float_model).hexdigest()
    assert Called("confirm", "net").answer["package_sha256"] == hashlib.sha256(other_model).hexdigest()


def test_a_health_check_that_crashes_sends_the_release_back(home, float_model, monkeypatch):
    def crash(command, **options):
        return subprocess.CompletedProcess(command, -signal.SIGSEGV, b"", b"")

    monkeypatch.setattr(child.subprocess, "run", crash)
    stdin = io.BytesIO(install_input(float_model))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
    answer, status = main_module.answer(["install"])
    assert status == 0
    assert answer["state"] == "reverted"
    assert "signal 11" in answer["reason"]


def test_a_health_check_that_hangs_sends_the_release_back(home, float_model, monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(child.subprocess, "run", hang)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(install_input(float_model))))
    answer, _ = main_module.answer(["install", "--check-seconds", "3"])
    assert answer["state"] == "reverted"
    assert "did not finish" in answer["reason"]


def test_a_cut_upload_changes_nothing(home, float_model, other_model):
    Called("install", stdin=install_input(float_model))
    called = Called("install", stdin=install_input(other_model)[:-10])
    assert (called.status, called.answer["error"]) == (2, "StoreError")
    assert "cut" in called.answer["what"]
    slot = Called("status").answer["releases"][0]
    assert (slot["package_sha256"], slot["trial"]) == (hashlib.sha256(float_model).hexdigest(), None)


def test_while_another_deploy_holds_the_lock_install_is_refused(home, float_model, monkeypatch):
    monkeypatch.setattr("device_agent.store.store.LOCK_SECONDS", 0.1)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(install_input(float_model))))
    with Store(home / "store").locked():
        answer, status = main_module.answer(["install"])
    assert status == 2
    assert "another deploy" in answer["what"]


def test_a_damaged_store_still_tells_its_status(home, float_model):
    Called("install", stdin=install_input(float_model, "one"))
    Called("install", stdin=install_input(float_model, "two"))
    (home / "store" / "slots" / "one.json").write_text("{")
    for manifest in (home / "store" / "releases").iterdir():
        manifest.write_text("{}")
    one, two = Called("status").answer["releases"]
    assert (one["current"], one["history"][0]["event"]) == (None, "lost")
    assert two["current"] is not None
    assert two["package_sha256"] is None


# -- wrong calls -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "stdin", "word"),
    [
        ([], b"", "verb"),
        (["fly"], b"", "invalid choice"),
        (["run"], b"", "required"),
        (["run", "nothing"], b"", "nothing is deployed"),
        (["run", "/nowhere/x.tflite"], b"", "cannot read"),
        (["run", "a/b", "--threads", "many"], b"", "threads"),
        (["bench", "nothing", "--min-samples", "0"], b"", "nothing to measure"),
        (["bench", "nothing", "--max-seconds", "nan"], b"", "nothing to measure"),
        (["bench", "nothing"], b"", "nothing is deployed"),
        (["missing"], b"", "not JSON"),
        (["missing"], b"{}", "list of SHA-256"),
        (["missing"], b'["../../etc/passwd"]', "not a SHA-256"),
        (["missing"], b"[" * 5000, "not JSON"),
        (["install"], b"[]", "reads a release"),
        (["install"], b'{"release":{},"blobs":[]}', "armlet.release"),
        (["confirm", "../x"], b"", "cannot be the name"),
        (["confirm", "net"], b"", "nothing is on trial"),
        (["rollback", "net"], b"", "no earlier release"),
        (["check", "x"], b"", "not a SHA-256"),
        (["check", "a" * 64], b"", "has no release"),
    ],
)
def test_a_wrong_call_is_one_json_line_and_status_2(home, arguments, stdin, word, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    status = main_module.main(arguments)
    out = capfd.readouterr().out
    assert status == 2
    assert out.count("\n") == 1
    answer = json.loads(out)
    assert set(answer) == {"error", "what", "expected", "found", "hint"}
    assert word in json.dumps(answer)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        npy(np.zeros(3))[:-1],
        npy(np.zeros(3)).replace(b"(3,)", b"(3000000000,)"),
        b"PK\x03\x04",
    ],
)
def test_inputs_that_are_no_array_are_refused(home, float_model, tmp_path, data):
    (tmp_path / "m.tflite").write_bytes(float_model)
    called = Called("run", str(tmp_path / "m.tflite"), stdin=data)
    assert called.status == 2
    assert "npy" in called.answer["what"]


def test_a_pickle_in_the_inputs_is_not_run(home, float_model, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb()], dtype=object), allow_pickle=True)
    (tmp_path / "m.tflite").write_bytes(float_model)
    assert Called("run", str(tmp_path / "m.tflite"), stdin=buffer.getvalue()).status == 2
    assert not (tmp_path / "pwned").exists()


def test_a_defect_is_told_as_such(home, monkeypatch, capfd):
    monkeypatch.setitem(verbs.VERBS, "status", lambda options: 1 / 0)
    assert main_module.main(["status"]) == 2
    captured = capfd.readouterr()
    assert (
        json.loads(captured.out)["what"]
        == "the agent failed unexpectedly: ZeroDivisionError: division by zero"
    )
    assert "Traceback" in captured.err


def test_what_a_runtime_prints_does_not_mix_with_the_answer(home, monkeypatch, capfd):
    def chatty(options):
        os.write(1, b"INFO: from C++\n")
        print("from Python")
        return {}

    monkeypatch.setitem(verbs.VERBS, "status", chatty)
    assert main_module.main(["status"]) == 0
    assert json.loads(capfd.readouterr().out) == {"verb": "status"}


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_when_nobody_is_left_to_listen_the_agent_ends(home, float_model, tmp_path, kind):
    (tmp_path / "m.tflite").write_bytes(float_model)
    ours, theirs = socket.socketpair() if kind == "socket" else map(io.FileIO, os.pipe(), "rw")
    arguments = ["bench", str(tmp_path / "m.tflite"), "--min-samples", "100000000", "--max-seconds", "60"]
    with subprocess.Popen([sys.executable, "-m", "device_agent", *arguments], stdout=theirs) as agent:
        theirs.close()
        time.sleep(1.5)
        assert agent.poll() is None
        ours.close()
        assert agent.wait(10) == 3


def test_an_agent_that_writes_to_a_file_is_left_to_its_work(home, tmp_path):
    with open(tmp_path / "answer", "wb") as file:
        subprocess.run([sys.executable, "-m", "device_agent", "status"], stdout=file, check=True)
    assert json.loads((tmp_path / "answer").read_text())["verb"] == "status"


def test_the_runtime_is_told_as_its_distribution_says_it():
    from importlib.metadata import version

    from device_agent.run.installed import MODULES, installed_runtime
    from device_agent.run.runtime import find_runtime

    identity, _ = find_runtime()
    assert installed_runtime() == f"{identity.name} {identity.version}"
    assert identity.version == version(dict(MODULES)[identity.name.replace("-", "_")])
