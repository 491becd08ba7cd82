"""Deploying over real SSH, end to end: only what is missing travels, and the old release survives everything."""

from __future__ import annotations

import contextlib
import hashlib

import numpy as np
import pytest

from device_agent.package import reader as package_format
from sdk.api.boards import deploying
from sdk.api.boards.deploying import deploy_model
from sdk.api.files.golden import golden_pair
from sdk.board.catalogue import load_board
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.deploy.provision.provisioning import provision
from sdk.deploy.provision.wheels import RUNTIMES
from sdk.deploy.session import Session
from sdk.errors import DataError, RemoteError
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from sdk.package.release import prepare, split
from tests.sdk.conftest import cached_environment
from tests.sdk.graph.small_graphs import host_outputs, images, small_network

ssh = pytest.mark.ssh


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
        deployed = agent.deploy(package, "small", golden=golden_pair(network, inputs=x[:2]))
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
    golden = golden_pair(network, inputs=x)
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
def test_applications_get_the_runtime_of_the_last_deploy(server, tmp_path, monkeypatch, package):
    """Both were accepted already: what counts is which of them the release was checked under."""
    environments = {name: cached_environment(name) for name in RUNTIMES}
    model = tmp_path / "small.armlet"
    model.write_bytes(package)
    ready = {}
    with server.connect() as opened:
        for name in environments:
            ready[name] = provision(opened, runtime=name)
    launcher = server.home / ".armlet/python"

    @contextlib.contextmanager
    def session(board, target, progress):
        with server.connect() as opened:
            provisioned = ready[target.runtime]
            agent = RemoteAgent(opened, provisioned.command)
            yield Session(load_board("local"), opened, provisioned, agent, "auto")

    monkeypatch.setattr(deploying, "open_session", session)
    for name in (*environments, *environments):
        assert deploy_model("local", model, runtime=name).runtime == name
        assert any(part.endswith(environments[name].digest) for part in ready[name].command[1].split(":"))
        assert environments[name].digest in launcher.read_text()


@ssh
def test_the_same_again_costs_one_call_and_less_than_4_kb(agent, monkeypatch):
    many = pack(write_graph(small_network(channels=64, classes=40)))
    x = images(1)
    golden = golden_pair(many, inputs=x)
    agent.deploy(many, "small", golden=golden)
    calls: list[tuple[str, int]] = []

    def counting(argv, *, stdin=b"", **options):
        calls.append((argv[-5], sum(map(len, argv)) + len(stdin)))
        return run(argv, stdin=stdin, **options)

    run = agent.connection.run
    monkeypatch.setattr(agent.connection, "run", counting)
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
    (slot,) = agent.status().releases
    assert slot.package_sha256 == hashlib.sha256(network).hexdigest()
    assert slot.package_bytes == len(network)
    assert [event.event for event in slot.history] == ["confirmed", "confirmed", "rolled back"]
    assert slot.history[-1].reason == "the new head is worse"


@ssh
def test_a_release_may_wait_on_trial(local_agent, network, network_with_another_head):
    local_agent.deploy(network, "small")
    assert local_agent.deploy(network_with_another_head, "small", keep_on_trial=True).state == "trial"
    assert local_agent.status().releases[0].package_sha256 == hashlib.sha256(network).hexdigest()
    confirmed = local_agent.confirm("small")
    assert confirmed.package_sha256 == hashlib.sha256(network_with_another_head).hexdigest()


@ssh
def test_many_inputs_go_in_batches(local_agent, network, monkeypatch):
    monkeypatch.setattr("sdk.deploy.agent.remote_agent.BATCH_BYTES", 10_000)
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
        agent.deploy(network_with_another_head, "small", golden=golden_pair(network, inputs=x))
    assert "golden outputs" in caught.value.found
    np.testing.assert_allclose(agent.run("small", x).outputs, host_outputs(network, x), atol=1e-5)


@ssh
def test_a_damaged_package_is_tried_and_sent_back(agent, package):
    agent.deploy(package, "small")
    damaged = bytearray(package)
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(RemoteError, match="went back"):
        agent.deploy(bytes(damaged), "small")
    assert agent.status().releases[0].package_sha256 == hashlib.sha256(package).hexdigest()


@ssh
def test_what_is_no_model_is_tried_and_sent_back(local_agent):
    with pytest.raises(RemoteError, match="went back"):
        local_agent.deploy(b"hello" * 100, "small")
    (slot,) = local_agent.status().releases
    assert (slot.current, slot.trial) == (None, None)


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
    with pytest.raises(RemoteError, match="`run` failed: nothing is deployed under the name nothing"):
        local_agent.run("nothing", images(1))


@ssh
def test_inputs_of_a_wrong_shape_are_refused_by_the_model(local_agent, network):
    local_agent.deploy(network, "small")
    with pytest.raises(RemoteError, match="wrong shape") as caught:
        local_agent.run("small", np.zeros((2, 9, 9, 3), np.float32))
    assert caught.value.expected == "1x8x8x3"
    with pytest.raises(DataError):
        local_agent.run("small", np.zeros((0, 8, 8, 3), np.float32))
