"""The whole path on a real board, for people who have one:

    ARMLET_TEST_HOST=raspberrypi.local python -m pytest tests/hardware

The name is looked up in ~/.ssh/config like any other, and its host key has to be known. What is pushed stays below
~/.armlet on the board; the deployed name is ``armlet-hardware-test``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from sdk.api.files.golden import golden_pair
from sdk.board.ssh.connection import SshConnection, connect
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.deploy.provision.kernel import build
from sdk.deploy.provision.provisioning import Provisioned, provision
from sdk.graph.on_host.evaluate import predict
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.sdk.graph.small_graphs import small_network

NAME = "armlet-hardware-test"

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(
        not os.environ.get("ARMLET_TEST_HOST"), reason="no board: set ARMLET_TEST_HOST to the name of one"
    ),
]


@pytest.fixture(scope="module")
def connection() -> Iterator[SshConnection]:
    with connect(os.environ["ARMLET_TEST_HOST"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def ready(connection: SshConnection) -> Provisioned:
    return provision(connection, kernel=lambda architecture: build(architecture).read_bytes())


def test_the_board_is_ready_and_fast(ready: Provisioned) -> None:
    assert ready.decode_kernels == ("c", "numpy")
    assert ready.delegate == "xnnpack"


def test_being_ready_once_is_enough(connection: SshConnection, ready: Provisioned) -> None:
    again = provision(connection, kernel=lambda architecture: build(architecture).read_bytes())
    assert again.sent_bytes == 0
    assert again.command == ready.command


def test_the_board_computes_what_the_host_computes_and_tells_how_long_it_took(
    connection: SshConnection, ready: Provisioned
) -> None:
    tflite = write_graph(small_network(channels=64, classes=40))
    inputs = np.random.default_rng(0).random((20, 8, 8, 3), np.float32)
    expected = predict(tflite, inputs)
    agent = RemoteAgent(connection, ready.command)
    agent.deploy(pack(tflite), NAME, golden=golden_pair(tflite, inputs=inputs[:2]))
    assert agent.deploy(pack(tflite), NAME, golden=golden_pair(tflite, inputs=inputs[:2])).sent_bytes == 0
    for kernel in ("c", "numpy"):
        np.testing.assert_allclose(agent.run(NAME, inputs, kernel=kernel).outputs, expected, atol=1e-3)
    (measurement,) = agent.bench([NAME], max_seconds=3.0)
    assert measurement.machine == ready.facts.machine
    assert 0.0 < measurement.minimum <= measurement.median <= measurement.p99
