"""A deploy over real SSH that is cut anywhere: the old release or the new one runs, and nothing else is left."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
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

from sdk.board.ssh.connection import SshConnection
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.deploy.provision.provisioning import provision
from sdk.errors import ConnectionFailed, RemoteError
from sdk.package.pack import pack
from tests.sdk.board.ssh.wire import Wire
from tests.sdk.graph.small_graphs import host_outputs, images

ssh = pytest.mark.ssh


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
                    leaving.close()

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
    command, store = local_agent.command, local_server.home / ".armlet" / "store"
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
        (slot,) = local_agent.status().releases
        assert slot.package_sha256 in current, message
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
    command = local_agent.command
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
from sdk.board.ssh.connection import connect
from sdk.deploy.agent.remote_agent import RemoteAgent
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
    arguments = [*(str(login[name]) for name in names), str(tmp_path / "new"), *local_agent.command]
    with subprocess.Popen(
        [sys.executable, "-c", DEPLOY_AND_SAY_SO, *arguments], stdout=subprocess.PIPE
    ) as host:
        assert host.stdout.readline() == b"connected\n"
        time.sleep(delay)
        host.kill()
    (slot,) = local_agent.status().releases
    assert slot.package_sha256 in {
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
    starts = local_server.home / ".armlet" / "store" / "starts"  # from one of which it would run all the same
    shutil.rmtree(starts, ignore_errors=True)
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
