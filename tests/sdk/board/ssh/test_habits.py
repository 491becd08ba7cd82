"""SSH as people have it: shells, greetings, limits, agents and certificates, each against a real sshd."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sdk.board.facts import FACTS_SCRIPT
from sdk.board.ssh import passwords
from sdk.board.ssh.connection import SshConnection, connect
from sdk.board.ssh.shell import answer_of, as_one_line
from sdk.deploy.agent.remote_agent import RemoteAgent
from sdk.deploy.provision.provisioning import provision, read_facts
from sdk.deploy.provision.wheels import Environment
from sdk.errors import ConnectionFailed, ProvisionError, RemoteError
from tests.sdk.board.ssh.test_connection import HOSTILE_ARGUMENTS
from tests.sdk.conftest import Server, free_port, listens, make_key, start_sshd

pytestmark = pytest.mark.ssh

ECHO = "import sys,json;print(json.dumps(sys.argv[1:]))"
#: What shells of all kinds read in their own way.
ODD = [
    *HOSTILE_ARGUMENTS,
    "!!",
    "!x",
    "\\\\",
    "\\n",
    "%s%b",
    "{a,b}",
    "[x]",
    "a^b",
    "#c",
    "'",
    '"',
    "x" * 20_000,
]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts an sshd with lines of configuration."""
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(start_sshd(tmp_path, *options))


def through(shell: str) -> str:
    """The option with which sshd hands every command to a shell, as it does where that is the login shell."""
    return f'ForceCommand exec {shell} -c "$SSH_ORIGINAL_COMMAND"'


# -- shells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "dash", "tcsh", "csh", "fish", "zsh", "busybox sh"])
def test_every_login_shell_passes_a_command_on_as_it_is(shell: str, sshd: Callable[..., Server]) -> None:
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"there is no {shell}: apt-get install {shell}")
    with sshd(through(shell)).connect() as opened:
        done = opened.run(["python3", "-c", ECHO, *ODD])
        assert json.loads(done.stdout) == ODD
        assert opened.run(["sh", "-c", "cat; echo bad >&2; exit 7"], stdin=b"in").stdout == b"in"
        assert opened.run(["sh", "-c", "echo bad >&2; exit 7"]).status == 7
        assert opened.run(["sh", "-c", "echo bad >&2; exit 7"]).stderr == b"bad\n"
        with pytest.raises(RemoteError, match="was killed"):
            opened.run(["sh", "-c", "kill -9 $$"])
        opened.put(b"data", "folder with 'blanks'/file")
        assert opened.get("folder with 'blanks'/file", max_bytes=10) == b"data"
        assert "@end" in opened.run(["sh", "-c", FACTS_SCRIPT]).stdout.decode()


def test_what_a_login_prints_around_an_answer_is_no_part_of_it(sshd: Callable[..., Server]) -> None:
    greets = 'ForceCommand echo Welcome; echo be careful >&2; sh -c "$SSH_ORIGINAL_COMMAND"; s=$?; echo Bye; exit $s'
    with sshd(greets).connect() as opened:
        done = opened.run(["sh", "-c", "printf answer; printf trouble >&2; exit 3"])
        assert (done.stdout, done.stderr, done.status) == (b"answer", b"trouble", 3)
        data = os.urandom(100_000)
        opened.put(data, "file")
        assert opened.get("file", max_bytes=100_000) == data
        assert read_facts(opened).python is not None


def test_a_bashrc_that_prints_is_no_part_of_an_answer(sshd: Callable[..., Server]) -> None:
    server = sshd()
    (server.home / ".bashrc").write_text("echo Hello from .bashrc; echo mind the gap >&2; set -v\n")
    with server.connect() as opened:
        done = opened.run(["printf", "answer"])
        assert (done.stdout, done.status) == (b"answer", 0)
        assert b"mind" not in done.stderr


def test_a_board_with_tcsh_and_a_python3_that_greets_gets_its_agent(
    sshd: Callable[..., Server], any_environment: Environment, package: bytes
) -> None:
    server = sshd(through("tcsh" if shutil.which("tcsh") else "sh"))
    python = server.home / "bin" / "python3"
    real = os.readlink(python)
    python.unlink()
    python.write_text(f'#!/bin/sh\necho "Python of ACME, all rights reserved"\nexec {real} "$@"\n')
    python.chmod(0o755)
    with server.connect() as opened:
        ready = provision(opened, runtime=any_environment.runtime)
        agent = RemoteAgent(opened, ready.command)
        assert agent.deploy(package, "small").name == "small"
        assert [release.name for release in agent.status().releases] == ["small"]


def test_a_login_that_runs_nothing_is_named_with_what_it_says(sshd: Callable[..., Server]) -> None:
    server = sshd("ForceCommand echo This account is currently not available.; false")
    with server.connect() as opened, pytest.raises(RemoteError) as raised:
        opened.run(["true"])
    assert "the login shell of" in str(raised.value)
    assert "This account is currently not available." in str(raised.value)


@pytest.mark.parametrize("unset", ["unset HOME", "HOME="])
def test_a_login_without_home_gets_that_of_the_list_of_users(unset: str, sshd: Callable[..., Server]) -> None:
    with sshd(f'ForceCommand {unset}; exec sh -c "$SSH_ORIGINAL_COMMAND"').connect() as opened:
        assert read_facts(opened).home == os.path.expanduser(f"~{getpass.getuser()}")


def test_the_mark_is_not_in_the_line_that_a_shell_may_print() -> None:
    line = as_one_line(["echo", "x"], "armlet0123")
    assert "armlet0123" not in line
    assert "\n" not in line
    assert answer_of(bytearray(b"noise"), "armlet0123") is None
    assert answer_of(bytearray(b"noise armlet0123armlet0123 bye"), "armlet0123") == b""
    assert answer_of(bytearray(b"armlet0123 cut"), "armlet0123") == b" cut"


def test_a_home_that_is_mounted_noexec_is_named_before_anything_is_sent(
    sshd: Callable[..., Server], any_environment: Environment
) -> None:
    server = sshd()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "noexec,size=1m", "none", str(server.home)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    try:
        with server.connect() as opened, pytest.raises(ProvisionError, match="mounted noexec") as raised:
            provision(opened, runtime=any_environment.runtime)
    finally:
        subprocess.run(["umount", str(server.home)], check=True)
    assert "mount -o remount,exec" in str(raised.value)


# -- limits ------------------------------------------------------------------------------------------------------------


def test_one_session_at_a_time_is_enough(sshd: Callable[..., Server]) -> None:
    with sshd("MaxSessions 1").connect() as opened:
        for number in range(20):
            assert opened.run(["echo", str(number)]).stdout == f"{number}\n".encode()
        said: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: said.append(opened.run(["sh", "-c", "sleep 0.1; echo x"]).stdout))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == [b"x\n"] * 4


@pytest.fixture
def ssh_agent(tmp_path: Path, socket_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent of this test's own, and a home without keys."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("there is no ssh-agent")
    path = socket_folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    while not path.exists():
        assert agent.poll() is None
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    yield path
    agent.terminate()
    agent.wait(10)


def login_of(server: Server, **changes: Any) -> SshConnection:
    return server.connect(**{"key": None, "user": getpass.getuser(), **changes})


def test_more_keys_than_a_server_looks_at_are_named_with_the_way_out(
    sshd: Callable[..., Server], ssh_agent: Path, tmp_path: Path
) -> None:
    server = sshd("MaxAuthTries 3")
    for number in range(5):
        subprocess.run(["ssh-add", "-q", str(make_key(tmp_path / f"other{number}"))], check=True)
    subprocess.run(["ssh-add", "-q", str(server.login["key"])], check=True)
    with pytest.raises(ConnectionFailed) as raised:
        login_of(server)
    assert "keys, before the right one" in str(raised.value)
    assert "--key" in str(raised.value)
    with server.connect() as opened:
        assert opened.run(["true"]).status == 0


def test_a_server_that_takes_passwords_only_says_so(sshd: Callable[..., Server]) -> None:
    server = sshd("PubkeyAuthentication no", "PasswordAuthentication yes", "PermitRootLogin yes")
    with pytest.raises(ConnectionFailed) as raised:
        server.connect()
    assert "takes no keys, only a password" in str(raised.value)
    assert "Run this in a terminal" in str(raised.value)


def test_a_refused_key_says_how_to_put_one_there(
    sshd: Callable[..., Server], new_key: Callable[[str], Path]
) -> None:
    with pytest.raises(ConnectionFailed, match="refuses the key") as raised:
        sshd().connect(key=new_key("unknown"))
    assert "ssh-copy-id" in str(raised.value)


@pytest.mark.parametrize(
    ("typed", "said"), [(["wrong", "right"], None), (["a", "b", "c", "right"], "refuses the password")]
)
def test_a_password_is_asked_for_where_somebody_can_answer(
    typed: list[str], said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return typed.pop(0)

    monkeypatch.setattr(passwords, "_somebody_is_there", lambda: True)
    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with password_server() as port:
        login = {
            "port": port,
            "user": "pi",
            "config": None,
            "known_hosts": tmp_path / "known",
            "accept_new_host_key": True,
        }
        if said is None:
            connect("127.0.0.1", **login).close()  # type: ignore[arg-type]
        else:
            with pytest.raises(ConnectionFailed, match=said):
                connect("127.0.0.1", **login)  # type: ignore[arg-type]
    assert prompts[0] == f"pi@127.0.0.1:{port}'s password: "
    assert len(prompts) == (2 if said is None else 3)


@contextlib.contextmanager
def password_server() -> Iterator[int]:
    """A server that lets in users who know that the password is "right"; its port."""
    import paramiko

    class Passwords(paramiko.ServerInterface):
        def get_allowed_auths(self, username: str) -> str:
            return "password"

        def check_auth_password(self, username: str, password: str) -> int:
            return paramiko.AUTH_SUCCESSFUL if password == "right" else paramiko.AUTH_FAILED

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        transports = []

        def serve() -> None:
            client, _ = listener.accept()
            transport = paramiko.Transport(client)
            transports.append(transport)
            transport.add_server_key(paramiko.ECDSAKey.generate())
            transport.start_server(server=Passwords())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield port
        thread.join(10)
        for transport in transports:
            transport.close()


# -- certificates and security keys ------------------------------------------------------------------------------------


def sign(authority: Path, key: Path) -> Path:
    """A certificate for the user of this process; its path, which is not beside the key."""
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", getpass.getuser(), str(key) + ".pub"],
        check=True,
    )
    return key.with_name(key.name + "-cert.pub").rename(key.with_name(f"certificate of {key.name}"))


@pytest.mark.parametrize("held", ["file", "agent", "agent with certificate"])
def test_a_certificate_of_the_configuration_lets_us_in(
    held: str, sshd: Callable[..., Server], ssh_agent: Path, tmp_path: Path
) -> None:
    authority, key = make_key(tmp_path / "authority"), make_key(tmp_path / "certified")
    server = sshd(f'TrustedUserCAKeys "{authority}.pub"')
    certificate = sign(authority, key)
    config = tmp_path / "config"
    lines = [f'CertificateFile "{certificate}"']
    if held == "file":
        lines.append(f'IdentityFile "{key}"')
    elif held == "agent with certificate":
        lines = []
        shutil.copy(certificate, f"{key}-cert.pub")
        subprocess.run(["ssh-add", "-q", str(key)], check=True)
        subprocess.run(["ssh-add", "-q", "-d", str(key)], capture_output=True)  # the bare key, if it lets us
        subprocess.run(["ssh-add", "-q", str(key)], check=True)
    else:
        subprocess.run(["ssh-add", "-q", str(key)], check=True)
    config.write_text("\n".join(lines) + "\n")
    with login_of(server, config=config) as opened:
        assert opened.run(["echo", "in"]).stdout == b"in\n"


def test_without_the_certificate_the_key_is_refused(
    sshd: Callable[..., Server], ssh_agent: Path, tmp_path: Path
) -> None:
    authority, key = make_key(tmp_path / "authority"), make_key(tmp_path / "certified")
    with pytest.raises(ConnectionFailed, match="refuses the key"):
        login_of(sshd(f'TrustedUserCAKeys "{authority}.pub"'), key=key)


SK = b"sk-ssh-ed25519@openssh.com"


def text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class SecurityKeyAgent:
    """An agent that holds one ed25519-sk key, as PROTOCOL.agent and PROTOCOL.u2f of OpenSSH describe it."""

    def __init__(self, path: Path) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.blob = text(SK) + text(self._key.public_key().public_bytes_raw()) + text(b"ssh:")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, client.makefile("rwb") as stream:
                    while head := stream.read(4):
                        stream.write(text(self._answer(stream.read(*struct.unpack(">I", head)))))
                        stream.flush()

    def _answer(self, asked: bytes) -> bytes:
        if asked[0] == 11:  # SSH_AGENTC_REQUEST_IDENTITIES
            return bytes([12]) + struct.pack(">I", 1) + text(self.blob) + text(b"a key with a button")
        data = asked[1:]
        fields = []
        for _ in range(2):
            (size,) = struct.unpack(">I", data[:4])
            fields.append(data[4 : 4 + size])
            data = data[4 + size :]
        counted = b"\x01" + struct.pack(">I", 7)  # the button was pressed; the counter of the key
        signed = self._key.sign(
            hashlib.sha256(b"ssh:").digest() + counted + hashlib.sha256(fields[1]).digest()
        )
        return bytes([14]) + text(text(SK) + text(signed) + counted)


def test_a_security_key_lets_us_in_by_the_agent(
    sshd: Callable[..., Server], tmp_path: Path, socket_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    server = sshd()
    agent = SecurityKeyAgent(socket_folder / "agent")
    public = f"{SK.decode()} {base64.b64encode(agent.blob).decode()} key\n"
    (server.folder / "authorized_keys").write_text(public)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_folder / "agent"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "id_ed25519_sk").write_text("a handle that nothing but ssh-sk-helper reads")
    (tmp_path / "id_ed25519_sk.pub").write_text(public)
    config = tmp_path / "config"
    config.write_text(f'IdentityFile "{tmp_path}/id_ed25519_sk"\nIdentitiesOnly yes\n')
    with login_of(server, config=config) as opened:
        assert opened.run(["echo", "in"]).stdout == b"in\n"
    agent.close()


# -- dropbear ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def start_dropbear(folder: Path, shell: str) -> Iterator[dict[str, Any]]:
    """A dropbear whose list of users gives us another home and login shell; how to log in.

    The list is bound over the real one in a mount namespace of the server's own.
    """
    if shutil.which("dropbear", path=f"{os.environ['PATH']}:/usr/sbin") is None or os.getuid() != 0:
        pytest.skip("dropbear is started by root: apt-get install dropbear-bin")
    home, users = folder / "home", folder / "passwd"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    folder.chmod(0o755)
    key = make_key(folder / "user_key")
    shutil.copy(f"{key}.pub", home / ".ssh" / "authorized_keys")
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
    users.write_text("\n".join([f"root:x:0:0:root:{home}:{shell}", *lines]) + "\n")
    host_key, port = folder / "host_key", free_port()
    made = subprocess.run(
        ["dropbearkey", "-t", "ed25519", "-f", str(host_key)], capture_output=True, check=True
    )
    (public,) = [line for line in made.stdout.decode().splitlines() if line.startswith("ssh-ed25519 ")]
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {public}\n")
    script = f"mount --bind {users} /etc/passwd && exec dropbear -F -E -s -p 127.0.0.1:{port} -r {host_key}"
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stderr=log, env=environment)
        try:
            if not listens(port, server):
                pytest.skip(f"dropbear does not start here: {(folder / 'log').read_text()[-300:]}")
            yield {"host": "127.0.0.1", "port": port, "user": "root", "key": key, "known_hosts": known_hosts}
        finally:
            server.terminate()
            server.wait(10)


@pytest.mark.parametrize("shell", ["sh", "tcsh", "fish"])
def test_dropbear_and_the_login_shell_of_its_list_of_users(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell}: apt-get install {shell}")
    with start_dropbear(tmp_path, program) as login, connect(**login, config=None) as opened:
        assert read_facts(opened).home == str(tmp_path / "home")
        done = opened.run(["sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", *HOSTILE_ARGUMENTS])
        assert done.stdout.decode() == "".join(f"{argument}|" for argument in HOSTILE_ARGUMENTS)
        assert done.status == 7
        opened.put(b"data" * 100_000, "a folder/file")
        assert opened.get("a folder/file", max_bytes=1 << 20) == b"data" * 100_000
        assert (tmp_path / "home" / "a folder" / "file").stat().st_size == 400_000
