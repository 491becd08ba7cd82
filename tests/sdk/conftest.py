"""Servers that the tests of the board side talk to: the local board, and a real OpenSSH sshd where there is one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sdk.board.local import LocalBoard
from sdk.board.ssh.connection import SshConnection, connect
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.deploy.provision import wheels
from sdk.deploy.provision.provisioning import Provisioned, provision
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.sdk.board.machine import this_machine
from tests.sdk.deploy.fleet.simulated_fleet import make_image, write_card
from tests.sdk.graph.small_graphs import small_network

SSHD = "/usr/sbin/sshd"
#: Variables that this machine's Python and numpy may not run without; sshd gives a login none of its own.
NEEDED_BY_LIBRARIES = ("OPENBLAS_", "LD_LIBRARY_PATH")


def free_port() -> int:
    """A port of the loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """A server on the loopback: how to log in, and which folder is the home of who does."""

    kind: str
    folder: Path
    home: Path
    login: dict[str, Any]

    def connect(self, **changes: Any) -> SshConnection:
        return connect(**{**self.login, **changes})

    def known_hosts_for(self, key_file: Path, folder: Path) -> Path:
        """A known_hosts file that has another key under this server's name."""
        alias = self.login.get("host_key_alias") or f"[127.0.0.1]:{self.login['port']}"
        kind, data = key_file.with_suffix(".pub").read_text().split()[:2]
        path = folder / "other_known_hosts"
        path.write_text(f"{alias} {kind} {data}\n")
        return path


def make_key(path: Path) -> Path:
    """A new ed25519 key without a passphrase, and its .pub beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture
def new_key(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a key that no server knows."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("there is no ssh-keygen")
    return lambda name: make_key(tmp_path / name)


@pytest.fixture(scope="session")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("local-board")
    folder.chmod(0o700)
    with LocalBoard(folder) as board:
        yield Server("local", folder, board.home, board.login())


@pytest.fixture(scope="session")
def openssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real sshd, without SFTP, as small images have it."""
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@contextmanager
def start_sshd(folder: Path, *options: str) -> Iterator[Server]:
    """An sshd with keys and configuration of its own, run as the current user, who is also who logs in.

    ``options``: lines of its configuration, which come before the usual ones.
    """
    if not Path(SSHD).exists() or shutil.which("ssh-keygen") is None:
        pytest.skip(f"there is no OpenSSH server at {SSHD}: apt-get install openssh-server")
    folder.chmod(0o700)
    home = folder / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python3").symlink_to(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    for name in ("host_key", "user_key"):
        make_key(folder / name)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    with open(folder / "log", "wb") as log:
        server, port = _launch(folder, log, options)
        try:
            public = (folder / "host_key.pub").read_text().split()
            (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
            login = {
                "host": "127.0.0.1",
                "port": port,
                "key": folder / "user_key",
                "known_hosts": folder / "known_hosts",
                "config": None,
            }
            yield Server("openssh", folder, home, login)
        finally:
            server.terminate()
            server.wait(10)


def _launch(folder: Path, log: BinaryIO, options: Sequence[str]) -> tuple[subprocess.Popen, int]:
    """The sshd of a folder and the port on which it listens; another port where somebody else was quicker."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it as root
    for _ in range(5):
        port = free_port()
        (folder / "sshd_config").write_text("\n".join(options) + "\n" + _sshd_config(folder, port))
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
        if listens(port, server):
            return server, port
        said = (folder / "log").read_text().strip()
        if "already in use" not in said:
            break
    pytest.skip(f"sshd does not start here: {said[-300:]}")


def _sshd_config(folder: Path, port: int) -> str:
    home = folder / "home"
    passed_on = "".join(f' "{k}={v}"' for k, v in os.environ.items() if k.startswith(NEEDED_BY_LIBRARIES))
    return f"""\
        ListenAddress 127.0.0.1
        Port {port}
        HostKey "{folder}/host_key"
        AuthorizedKeysFile "{folder}/authorized_keys"
        PidFile none
        StrictModes no
        UsePAM no
        PasswordAuthentication no
        SetEnv "HOME={home}" "PATH={home}/bin:/usr/local/bin:/usr/bin:/bin"{passed_on}
    """


def listens(port: int, server: subprocess.Popen) -> bool:
    """Whether a server that was started listens; False when it has ended instead."""
    for _ in range(100):
        if server.poll() is not None:
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    pytest.fail("sshd did not listen within 10 s")


@pytest.fixture(params=["local", "openssh"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each test that takes this runs against both."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A local board of its own that has nothing of ours yet."""
    folder = tmp_path_factory.mktemp("bare")
    folder.chmod(0o700)
    with LocalBoard(folder) as board:
        yield Server("local", folder, board.home, board.login())


@pytest.fixture
def connection(server: Server) -> Iterator[SshConnection]:
    with server.connect() as opened:
        yield opened


def cached_environment(runtime: str) -> wheels.Environment:
    """The runtime for this machine, fetched earlier; tests do not download."""
    facts = this_machine()
    known = wheels.RUNTIMES[runtime]
    reason = wheels.why_not(known, facts)
    if reason is not None:
        pytest.skip(f"{runtime} has no wheels for this machine: {reason}")
    environment = wheels.cached_environment(known, facts)
    if environment is None:
        pytest.skip(f"{runtime} is not in the cache: run `sdk board fetch local --all-runtimes`")
    return environment


@pytest.fixture(params=sorted(wheels.RUNTIMES))
def environment(request: pytest.FixtureRequest) -> wheels.Environment:
    """Each test that takes this runs with both runtimes."""
    return cached_environment(request.param)


@pytest.fixture(scope="session")
def any_environment() -> wheels.Environment:
    """Whichever runtime is in the cache, for tests that are not about runtimes."""
    for runtime in wheels.RUNTIMES.values():
        environment = wheels.cached_environment(runtime, this_machine())
        if wheels.why_not(runtime, this_machine()) is None and environment is not None:
            return environment
    pytest.skip("no runtime is in the cache: run `sdk board fetch local --all-runtimes`")


@pytest.fixture(scope="session")
def with_runtime(tmp_path_factory: pytest.TempPathFactory, any_environment) -> Callable[..., None]:
    """Puts runtime and agent on the board ``local`` whose data are in a folder, as if its card had been written from an
    image that has them: sent, tried and compiled once, copied for each board."""
    images: dict[str | None, Path] = {}

    def put(data: Path, runtime: str | None = None) -> None:
        if runtime not in images:
            folder = tmp_path_factory.mktemp("image")
            folder.chmod(0o700)
            images[runtime] = make_image(folder, runtime)
        board = data / "armlet" / "boards" / "local"
        for folder in (board, board / "home", board / "home" / ".armlet"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_card(images[runtime], board / "home")

    return put


@dataclass
class ReadyBoard:
    """A board that was provisioned, and the connection it was done over."""

    server: Server
    connection: SshConnection
    provisioned: Provisioned


@pytest.fixture(scope="session")
def ready_local(local_server: Server, any_environment: wheels.Environment) -> Iterator[ReadyBoard]:
    with local_server.connect() as opened:
        yield ReadyBoard(local_server, opened, provision(opened, runtime=any_environment.runtime))


@contextmanager
def agent_with_an_empty_store(server: Server, environment: wheels.Environment) -> Iterator[RemoteAgent]:
    with server.connect() as opened:
        ready = provision(opened, runtime=environment.runtime)
        opened.run(["rm", "-rf", str(server.home / ".armlet" / "store")])
        yield RemoteAgent(opened, ready.command)


@pytest.fixture
def agent(server, any_environment):
    """The agent of either server, with an empty store."""
    with agent_with_an_empty_store(server, any_environment) as ready:
        yield ready


@pytest.fixture
def local_agent(local_server, any_environment):
    """The agent of the local board, with an empty store."""
    with agent_with_an_empty_store(local_server, any_environment) as ready:
        yield ready


@pytest.fixture(scope="session")
def network() -> bytes:
    """The parts of a MobileNet, once each, on 8x8 images."""
    return write_graph(small_network(channels=64, classes=40))


@pytest.fixture(scope="session")
def network_with_another_head() -> bytes:
    graph = small_network(channels=64, classes=40)
    head = list(graph.weights())[-1]
    return write_graph(graph.with_data({head.tensor_index: head.array[::-1].copy()}))


@pytest.fixture(scope="session")
def package(network) -> bytes:
    return pack(network, metadata={"name": "small"})
