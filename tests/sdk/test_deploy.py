"""Deploying over real SSH, end to end: only what is missing travels, and the old release survives everything."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from device_agent import package as package_format
from sdk.connection import Completed, SshConnection
from sdk.deploy import RemoteAgent
from sdk.errors import ConnectionFailed, DataError, RemoteError
from sdk.pack import pack
from sdk.prepared import Golden, prepare, split
from sdk.provision import provision
from sdk.wheels import RUNTIMES
from tests.sdk.conftest import cached_environment
from tests.sdk.small_graphs import small_network
from tests.sdk.wire import Wire

ssh = pytest.mark.ssh


@pytest.fixture
def agent(server, any_environment):
    """The agent of either server, with an empty store."""
    with server.connect() as opened:
        ready = provision(opened, runtime=any_environment.runtime)
        opened.run(["rm", "-rf", str(server.home / ".armlet" / "store")])
        yield RemoteAgent(opened, ready.command)


@pytest.fixture
def local_agent(local_server, any_environment):
    """The agent of the local board, with an empty store."""
    with local_server.connect() as opened:
        ready = provision(opened, runtime=any_environment.runtime)
        opened.run(["rm", "-rf", str(local_server.home / ".armlet" / "store")])
        yield RemoteAgent(opened, ready.command)


@pytest.fixture(scope="session")
def network() -> bytes:
    """The parts of a MobileNet, once each, on 8x8 images."""
    return small_network(channels=64, classes=40).write()


@pytest.fixture(scope="session")
def network_with_another_head() -> bytes:
    graph = small_network(channels=64, classes=40)
    head = list(graph.weights())[-1]
    return graph.with_data({head.tensor_index: head.array[::-1].copy()}).write()


@pytest.fixture(scope="session")
def package(network) -> bytes:
    return pack(network, metadata={"name": "small"})


def host_outputs(tflite: bytes, inputs: np.ndarray) -> np.ndarray:
    from sdk.evaluate import predict

    return predict(tflite, inputs)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 8, 8, 3), np.float32)


# -- the way it should go -------------------------------------------------------------------------------------------


@ssh
def test_a_package_is_deployed_run_and_measured_with_both_runtimes(
    server, environment, network, package, c_kernel
):
    with server.connect() as opened:
        ready = provision(opened, runtime=environment.runtime, kernel=c_kernel.read_bytes())
        agent = RemoteAgent(opened, ready.command)
        x = images(20)
        expected = host_outputs(network, x)
        deployed = agent.deploy(package, "small", golden=Golden(x[:2], expected[:2], 1e-4))
        assert deployed.state in ("confirmed", "unchanged")
        for kernel in ("c", "numpy"):
            run = agent.run("small", x, kernel=kernel)
            np.testing.assert_allclose(run.outputs, expected, atol=1e-5)
            assert run.decode_kernel == kernel
            assert run.tflite_sha256 == hashlib.sha256(network).hexdigest()
            assert (run.runtime, run.count) == (environment.runtime, 20)
        agent.deploy(network, "plain")
        records = agent.bench(["small", "plain"], min_samples=50, max_seconds=1.0, emulated=True)
        for record, name in zip(records, ("small", "plain"), strict=True):
            assert (record.model, record.runtime, record.emulated) == (name, environment.runtime, True)
            assert record.tflite_sha256 == hashlib.sha256(network).hexdigest()
            assert len(record.samples_seconds) == 50
        assert records[0].decode_kernel == "c"
        assert records[0].package_sha256 == hashlib.sha256(package).hexdigest()
        assert records[1].package_sha256 is None


@ssh
def test_the_same_again_sends_nothing(agent, package):
    first = agent.deploy(package, "small")
    assert (first.state, first.sent_bytes) == ("confirmed", len(package))
    again = agent.deploy(package, "small")
    assert (again.state, again.sent_bytes, again.release) == ("unchanged", 0, first.release)


@ssh
def test_the_same_under_another_runtime_is_checked_again_before_it_is_called_unchanged(
    server, network, package
):
    x = images(2)
    golden = Golden(x, host_outputs(network, x), 1e-4)
    environments = [cached_environment(name) for name in RUNTIMES]
    with server.connect() as opened:
        agents = [
            RemoteAgent(opened, provision(opened, runtime=environment.runtime).command)
            for environment in environments
        ]
        opened.run(["rm", "-rf", str(server.home / ".armlet" / "store")])
        assert agents[0].deploy(package, "small", golden=golden).state == "confirmed"
        begun: list[str] = []
        prepared = prepare(package, "small", golden=golden)
        other = agents[1].install(prepared, before_install=lambda: begun.append("told"))
        assert (other.state, other.sent_bytes, begun) == ("unchanged", 0, [])
        assert other.largest_difference is not None
        again = agents[1].deploy(package, "small", golden=golden)
        assert (again.state, again.largest_difference) == ("unchanged", None)


@ssh
def test_the_same_again_costs_one_call_and_less_than_4_kb(agent, monkeypatch):
    many = pack(small_network(channels=64, classes=40).write())
    x = images(1)
    golden = Golden(x, host_outputs(package_format.unpack(many).tflite, x), 1e-4)
    agent.deploy(many, "small", golden=golden)
    calls: list[tuple[str, int]] = []
    run = agent._connection.run

    def counting(argv, *, stdin=b"", **options):
        calls.append((argv[-5], sum(map(len, argv)) + len(stdin)))
        return run(argv, stdin=stdin, **options)

    monkeypatch.setattr(agent._connection, "run", counting)
    assert agent.deploy(many, "small", golden=golden).state == "unchanged"
    ((verb, sent),) = calls
    assert verb == "missing"
    assert sent < 4096


@ssh
def test_a_retrained_head_sends_the_head(agent, network, network_with_another_head):
    first, second = pack(network), pack(network_with_another_head)
    agent.deploy(first, "small")
    deployed = agent.deploy(second, "small")
    assert deployed.state == "confirmed"
    head = max(len(a) for a in split(second) if a not in split(first))
    assert head <= deployed.sent_bytes < len(second) / 2


@ssh
def test_status_tells_what_runs_and_what_happened(agent, network, network_with_another_head):
    agent.deploy(network, "small")
    agent.deploy(network_with_another_head, "small")
    agent.rollback("small", "the new head is worse")
    (slot,) = agent.status()["releases"]
    assert slot["package_sha256"] == hashlib.sha256(network).hexdigest()
    assert slot["package_bytes"] == len(network)
    assert [event["event"] for event in slot["history"]] == ["confirmed", "confirmed", "rolled back"]
    assert slot["history"][-1]["reason"] == "the new head is worse"


@ssh
def test_a_release_may_wait_on_trial(local_agent, network, network_with_another_head):
    local_agent.deploy(network, "small")
    assert local_agent.deploy(network_with_another_head, "small", keep_on_trial=True).state == "trial"
    assert local_agent.status()["releases"][0]["package_sha256"] == hashlib.sha256(network).hexdigest()
    confirmed = local_agent.confirm("small")
    assert confirmed["package_sha256"] == hashlib.sha256(network_with_another_head).hexdigest()


@ssh
def test_many_inputs_go_in_batches(local_agent, network, monkeypatch):
    monkeypatch.setattr("sdk.deploy.BATCH_BYTES", 10_000)
    x = images(40)
    local_agent.deploy(network, "small")
    told: list[tuple[int, int]] = []
    run = local_agent.run("small", x, progress=lambda stage, done, total: told.append((done, total)))
    np.testing.assert_allclose(run.outputs, host_outputs(network, x), atol=1e-5)
    assert told == [(n, 40) for n in range(0, 40, 13)]


def test_parts_joined_are_the_package(package, network):
    for data in (package, network, bytes(3 << 20)):
        assert b"".join(split(data)) == data
    table = package_format.read_table(package)
    assert len(split(package)) >= len(table.sections)
    assert [len(part) for part in split(bytes(3 << 20))] == [1 << 20] * 3


# -- what goes wrong --------------------------------------------------------------------------------------------------


@ssh
def test_golden_outputs_that_do_not_come_out_leave_the_old_release(agent, network, network_with_another_head):
    agent.deploy(network, "small")
    x = images(2)
    with pytest.raises(RemoteError, match="went back") as caught:
        agent.deploy(network_with_another_head, "small", golden=Golden(x, host_outputs(network, x), 1e-4))
    assert "golden outputs" in caught.value.found
    np.testing.assert_allclose(agent.run("small", x).outputs, host_outputs(network, x), atol=1e-5)


@ssh
def test_a_damaged_package_is_tried_and_sent_back(agent, package):
    agent.deploy(package, "small")
    damaged = bytearray(package)
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(RemoteError, match="went back"):
        agent.deploy(bytes(damaged), "small")
    assert agent.status()["releases"][0]["package_sha256"] == hashlib.sha256(package).hexdigest()


@ssh
def test_what_is_no_model_is_tried_and_sent_back(local_agent):
    with pytest.raises(RemoteError, match="went back"):
        local_agent.deploy(b"hello" * 100, "small")
    (slot,) = local_agent.status()["releases"]
    assert (slot["current"], slot["trial"]) == (None, None)


@ssh
@pytest.mark.parametrize("name", ["", "../x", "a b", "-rf", "$(touch pwned)", "x" * 65])
def test_a_hostile_name_does_not_reach_the_board(local_agent, network, name):
    with pytest.raises(RemoteError, match="cannot be the name"):
        local_agent.deploy(network, name)


@pytest.mark.parametrize("name", ["--help", "/etc/passwd", "$(touch pwned)", ""])
def test_no_verb_takes_what_is_no_name(name):
    unreachable = RemoteAgent(None, [])
    for call in (
        lambda: unreachable.run(name, images(1)),
        lambda: unreachable.bench(["good", name]),
        lambda: unreachable.confirm(name),
        lambda: unreachable.rollback(name),
    ):
        with pytest.raises(RemoteError, match="cannot be the name"):
            call()


@ssh
def test_a_model_that_is_not_there_is_named(local_agent):
    with pytest.raises(RemoteError, match="could not run: nothing is deployed under the name nothing"):
        local_agent.run("nothing", images(1))


@ssh
def test_inputs_of_a_wrong_shape_are_refused_by_the_model(local_agent, network):
    local_agent.deploy(network, "small")
    with pytest.raises(RemoteError, match="wrong shape") as caught:
        local_agent.run("small", np.zeros((2, 9, 9, 3), np.float32))
    assert caught.value.expected == "1x8x8x3"
    with pytest.raises(DataError):
        local_agent.run("small", np.zeros((0, 8, 8, 3), np.float32))


def kill_when_seen(word: str, home: Path, delay: float) -> threading.Thread:
    """Kills the agent's process that runs ``word`` for the board at ``home``, ``delay`` seconds after it appears."""

    def look() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    arguments = (entry / "cmdline").read_bytes().split(b"\0")
                    environment = (entry / "environ").read_bytes()
                except OSError:
                    continue
                is_agent = arguments[0].endswith(b"python3") and {b"device_agent", word.encode()} <= set(
                    arguments
                )
                if is_agent and str(home).encode() in environment:
                    time.sleep(delay)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(entry.name), signal.SIGKILL)
                    return
            time.sleep(0.005)

    thread = threading.Thread(target=look)
    thread.start()
    return thread


@ssh
@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.6])
def test_an_agent_that_is_killed_leaves_the_old_release_and_the_next_deploy_succeeds(
    local_agent, local_server, network, network_with_another_head, delay
):
    local_agent.deploy(network, "small")
    killer = kill_when_seen("install", local_server.home, delay)
    with contextlib.suppress(RemoteError):  # where the kill comes too late, the deploy has succeeded
        local_agent.deploy(network_with_another_head, "small")
    killer.join()
    x = images(3)
    outputs = local_agent.run("small", x).outputs
    assert any(
        np.allclose(outputs, host_outputs(model, x), atol=1e-5)
        for model in (network, network_with_another_head)
    )
    assert local_agent.deploy(network_with_another_head, "small").state in ("confirmed", "unchanged")
    np.testing.assert_allclose(
        local_agent.run("small", x).outputs, host_outputs(network_with_another_head, x), atol=1e-5
    )
    names = {p.name for p in (local_server.home / ".armlet" / "store" / "blobs").iterdir()}
    assert not [name for name in names if name.endswith(".tmp")]


@ssh
def test_an_agent_that_is_killed_while_it_measures_is_told_in_one_line(agent, server, network):
    agent.deploy(network, "small")
    killer = kill_when_seen("bench", server.home, 1.0)
    with pytest.raises(RemoteError, match=r"killed|no answer"):
        agent.bench(["small"], min_samples=10**6, max_seconds=60.0)
    killer.join()


@ssh
def test_a_host_that_goes_away_leaves_the_old_release(
    openssh_server, any_environment, network, network_with_another_head
):
    with openssh_server.connect() as opened:
        ready = provision(opened, runtime=any_environment.runtime)
        RemoteAgent(opened, ready.command).deploy(network, "small")
    for after in (0, 1000, 5000):
        with openssh_server.connect() as leaving:

            def leave(count: int, leaving=leaving, after=after) -> None:
                if count >= after:
                    leaving._client.close()

            original = leaving.run

            def run(argv, original=original, leave=leave, **options):
                return original(argv, **({**options, "sent": leave} if "install" in argv else options))

            leaving.run = run
            with pytest.raises((ConnectionFailed, RemoteError)):
                RemoteAgent(leaving, ready.command).deploy(network_with_another_head + bytes(after), "small")
    with openssh_server.connect() as back:
        agent = RemoteAgent(back, ready.command)
        x = images(1)
        outputs = agent.run("small", x).outputs
        assert any(
            np.allclose(outputs, host_outputs(m, x), atol=1e-5) for m in (network, network_with_another_head)
        )
        assert agent.deploy(network, "small").state in ("confirmed", "unchanged")


def processes_of(home: Path) -> list[int]:
    """Agents that run for the board at ``home``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_agent = b"device_agent" in (entry / "cmdline").read_bytes().split(b"\0")
            if is_agent and str(home).encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def is_clean(home: Path) -> None:
    """No agent runs there, nobody holds the lock, and every blob is one that a release needs."""
    end = time.monotonic() + 10
    while processes_of(home) and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes_of(home)
    store = home / ".armlet" / "store"
    with open(store / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not [p.name for p in store.rglob("*") if p.suffix in (".tmp", ".part")]


@ssh
def test_a_connection_cut_at_each_message_of_a_deploy_leaves_a_release_that_runs(
    local_server, local_agent, network, network_with_another_head
):
    old, new = pack(network), pack(network_with_another_head)
    current = {hashlib.sha256(package).hexdigest() for package in (old, new)}
    command, store = local_agent._command, local_server.home / ".armlet" / "store"
    local_agent.deploy(old, "small")
    kept = store.with_name("store-before")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(store, kept)

    def deploy_over(wire: Wire) -> None:
        with wire, local_server.connect(**wire.login()) as cuttable:
            wire.count_from_here()
            RemoteAgent(cuttable, command).deploy(new, "small")

    whole = Wire(local_server)
    deploy_over(whole)
    failed = 0
    for message in range(whole.messages):
        # The agent of the connection before notices that nobody listens, and ends.
        end = time.monotonic() + 10
        while processes_of(local_server.home) and time.monotonic() < end:
            time.sleep(0.02)
        shutil.rmtree(store)
        shutil.copytree(kept, store)
        try:
            deploy_over(Wire(local_server, cut_at_message=message))
        except (ConnectionFailed, RemoteError):
            failed += 1
        (slot,) = local_agent.status()["releases"]
        assert slot["package_sha256"] in current, message
        if message % 4 == 0:
            assert local_agent.deploy(new, "small").state in ("confirmed", "unchanged"), message
            is_clean(local_server.home)
    shutil.rmtree(kept)
    assert failed >= whole.messages * 0.8  # the goodbyes need not arrive
    # Whichever of the two the last cut left running.
    assert local_agent.deploy(new, "small").state in ("confirmed", "unchanged")
    is_clean(local_server.home)
    assert (
        local_agent.run("small", images(1)).tflite_sha256
        == hashlib.sha256(network_with_another_head).hexdigest()
    )
    print(f"a deploy was cut at each of {whole.messages} messages: {failed} did not finish")


@ssh
def test_a_cut_transfer_goes_on_inside_a_part(local_server, local_agent):
    noise = np.random.default_rng(0).bytes(
        900_000
    )  # one part, of no model: the board sends it back in the end
    command = local_agent._command
    wire = Wire(local_server, cut_after=600_000, hold_seconds=2.0)
    with (
        wire,
        local_server.connect(**wire.login()) as cuttable,
        pytest.raises((ConnectionFailed, RemoteError)),
    ):
        RemoteAgent(cuttable, command).deploy(noise, "noise")
    told: list[int] = []
    with pytest.raises(RemoteError, match="went back"):
        local_agent.deploy(noise, "noise", progress=lambda stage, done, total: told.append(total))
    assert 200_000 < told[0] < 600_000
    is_clean(local_server.home)


DEPLOY_AND_SAY_SO = """
import sys
from sdk.connection import connect
from sdk.deploy import RemoteAgent
host, port, user, key, known_hosts, alias, package, *command = sys.argv[1:]
with connect(host, port=int(port), user=user, key=key, known_hosts=known_hosts, host_key_alias=alias, config=None) as c:
    print("connected", flush=True)
    RemoteAgent(c, command).deploy(open(package, "rb").read(), "small")
"""


@ssh
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.5, 0.8])
def test_a_host_that_is_killed_leaves_a_release_that_runs_and_nothing_else(
    local_server, local_agent, network, network_with_another_head, tmp_path, delay
):
    local_agent.deploy(network, "small")
    (tmp_path / "new").write_bytes(network_with_another_head)
    login = local_server.login
    names = ("host", "port", "user", "key", "known_hosts", "host_key_alias")
    arguments = [*(str(login[name]) for name in names), str(tmp_path / "new"), *local_agent._command]
    with subprocess.Popen(
        [sys.executable, "-c", DEPLOY_AND_SAY_SO, *arguments], stdout=subprocess.PIPE
    ) as host:
        assert host.stdout.readline() == b"connected\n"
        time.sleep(delay)
        host.kill()
    (slot,) = local_agent.status()["releases"]
    assert slot["package_sha256"] in {
        hashlib.sha256(m).hexdigest() for m in (network, network_with_another_head)
    }
    assert local_agent.deploy(network_with_another_head, "small").state in ("confirmed", "unchanged")
    is_clean(local_server.home)


@ssh
def test_a_blob_that_rotted_on_the_board_is_sent_again(local_agent, local_server, package):
    local_agent.deploy(package, "small")
    blob = max(
        (local_server.home / ".armlet" / "store" / "blobs").iterdir(), key=lambda path: path.stat().st_size
    )
    data = bytearray(blob.read_bytes())
    data[0] ^= 1
    blob.write_bytes(bytes(data))
    with pytest.raises(RemoteError, match="damaged"):
        local_agent.run("small", images(1))
    repaired = local_agent.deploy(package, "small")
    assert repaired.sent_bytes == len(data)
    assert local_agent.run("small", images(1)).count == 1


@ssh
def test_of_two_deploys_at_once_both_end_well_or_one_is_refused(server, any_environment, network):
    with server.connect() as one, server.connect() as two:
        command = provision(one, runtime=any_environment.runtime).command
        outcomes: list[object] = []

        def deploy(connection: SshConnection, name: str) -> None:
            try:
                outcomes.append(RemoteAgent(connection, command).deploy(network, name).state)
            except RemoteError as error:
                outcomes.append(str(error))

        threads = [threading.Thread(target=deploy, args=pair) for pair in ((one, "first"), (two, "second"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(
            outcome in ("confirmed", "unchanged") or "another deploy" in str(outcome) for outcome in outcomes
        )
        assert {"confirmed", "unchanged"} & set(outcomes)


# -- a board that lies ------------------------------------------------------------------------------------------------


class Scripted:
    """A fake connection whose every command gives the same answer."""

    address = "pi@board"

    def __init__(self, stdout: bytes, status: int = 0, stderr: bytes = b"") -> None:
        self.answer = (status, stdout, stderr)

    def run(self, argv, **options) -> Completed:
        return Completed(tuple(argv), *self.answer)


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
    with pytest.raises(RemoteError, match="could not status") as caught:
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
        "history": []}  # fmt: skip


@pytest.mark.parametrize(
    "slot",
    [None, {}, {**SLOT, "name": "../x"}, {**SLOT, "current": "x"}, {**SLOT, "history": None},
     {**SLOT, "history": [1]}, {**SLOT, "history": [{"event": "x", "release": "y"}]}, {**SLOT, "package_bytes": "1"}],
)  # fmt: skip
def test_a_status_that_is_something_else_is_refused(slot):
    assert answering({"verb": "status", "releases": [SLOT]}).status()["releases"] == [SLOT]
    with pytest.raises(RemoteError):
        answering({"verb": "status", "releases": [slot]}).status()


@pytest.mark.parametrize("missing", [None, "abc", [1], ["a" * 64]])
def test_a_board_cannot_ask_for_what_is_not_part_of_the_package(missing):
    with pytest.raises(RemoteError):
        answering({"verb": "missing", "missing": missing}).deploy(b"x", "m")
