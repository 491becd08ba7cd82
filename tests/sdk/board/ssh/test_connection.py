"""Run, put and get over real SSH, and one clear error for each way in which there is no connection."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from sdk.board.ssh.connection import connect
from sdk.errors import ConnectionFailed, RemoteError
from tests.sdk.board.ssh.wire import Wire
from tests.sdk.conftest import SSHD, free_port

pytestmark = pytest.mark.ssh

needs_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")


# -- run ---------------------------------------------------------------------------------------------------------------


def test_a_command_has_two_streams_and_a_status(connection):
    done = connection.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 7)


HOSTILE_ARGUMENTS = [
    "two words",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "&& touch pwned",
    "| touch pwned",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "\\'; touch pwned",
    "> pwned",
    "*",
    "~",
    "$HOME",
    "a\nb",
    "-n",
    "",
    "ünïcödé",
    "\x1b[31m",
]


def test_no_argument_is_more_than_an_argument(connection, server):
    code = "import sys,json;print(json.dumps(sys.argv[1:]))"
    done = connection.run(["python3", "-c", code, *HOSTILE_ARGUMENTS])
    assert json.loads(done.stdout) == HOSTILE_ARGUMENTS
    assert not list(server.home.glob("pwned*"))


def test_standard_input_arrives_whole(connection):
    data = os.urandom(3 << 20)
    assert connection.run(["cat"], stdin=data).stdout == data


def test_standard_input_may_be_a_file(connection, tmp_path):
    (tmp_path / "x").write_bytes(b"from a file")
    told: list[int] = []
    assert connection.run(["cat"], stdin=tmp_path / "x", sent=told.append).stdout == b"from a file"
    assert told == [11]


def test_a_command_that_does_not_read_its_input_still_tells_its_status(connection):
    assert connection.run(["sh", "-c", "exit 3"], stdin=bytes(8 << 20)).status == 3


def test_input_that_comes_after_the_end_of_a_command_does_not_cost_the_connection(
    openssh_server, monkeypatch
):
    """OpenSSH drops a connection on which something is said about a channel that is closed. Holding every block of
    input back for longer than `true` runs makes that certain, which is otherwise rare."""
    import paramiko

    send = paramiko.Transport._send_user_message  # noqa: SLF001 - paramiko has no public place for it
    held = []

    def send_late(self, message):
        if message.asbytes()[0] in (94, 96):  # data; the end of the input
            held.append(message)
            time.sleep(0.05)
        send(self, message)

    with openssh_server.connect() as connection:
        monkeypatch.setattr(paramiko.Transport, "_send_user_message", send_late)
        for _ in range(5):
            assert connection.run(["true"], stdin=bytes(100_000)).status == 0
            assert connection.run(["true"]).status == 0
        monkeypatch.undo()
        for _ in range(50):
            assert connection.run(["true"], stdin=bytes(1 << 20)).status == 0
    assert len(held) >= 10


def test_a_command_that_takes_too_long_is_ended(connection):
    start = time.monotonic()
    with pytest.raises(RemoteError, match="took too long"):
        connection.run(["sleep", "60"], timeout_seconds=0.5)
    assert time.monotonic() - start < 10
    assert connection.run(["echo", "still here"]).stdout == b"still here\n"


@pytest.mark.parametrize("redirect", ["", " >&2"])
def test_a_command_that_says_too_much_is_ended(connection, redirect):
    with pytest.raises(RemoteError, match="printed too much"):
        connection.run(["sh", "-c", f"cat /dev/zero{redirect}"], max_output_bytes=100_000, timeout_seconds=30)
    assert connection.run(["echo", "still here"]).stdout == b"still here\n"


def test_a_command_that_is_killed_is_told_apart_from_one_that_ended(connection):
    try:
        outcome = str(connection.run(["sh", "-c", "kill -9 $$"]).status)
    except RemoteError as error:
        outcome = error.what
    # OpenSSH tells the signal where the login shell made way for the command, and 128 + 9 where it waited for it.
    assert "was killed" in outcome or outcome == "137"


def test_an_input_that_breaks_ends_the_command(connection):
    class Breaks:
        def read(self, count):
            raise RuntimeError("broken")

    start = time.monotonic()
    with pytest.raises(RemoteError, match="input of `cat` could not be read"):
        connection.run(["cat"], stdin=Breaks(), timeout_seconds=30)
    assert time.monotonic() - start < 15
    assert connection.run(["echo", "hi"]).stdout == b"hi\n"


def test_many_commands_share_one_connection(connection):
    answers = [b""] * 8

    def call(i: int) -> None:
        answers[i] = connection.run(["echo", str(i)]).stdout

    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [f"{i}\n".encode() for i in range(8)]


# -- put and get -------------------------------------------------------------------------------------------------------


@pytest.fixture
def files_server(server):
    return server


@pytest.fixture
def copying(files_server):
    with files_server.connect() as opened:
        yield opened


def test_a_file_goes_there_and_comes_back(copying, files_server):
    data = os.urandom(5_000_001)
    told: list[int] = []
    copying.put(data, "a/b/c.bin", sent=told.append)
    assert copying.get("a/b/c.bin", max_bytes=len(data)) == data
    assert told[-1] == len(data)
    place = Path(copying.run(["sh", "-c", "pwd"]).stdout.decode().strip()) / "a"
    assert stat.S_IMODE((place / "b" / "c.bin").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [p.name for p in (place / "b").iterdir()] == ["c.bin"]
    shutil.rmtree(place)


def test_a_file_replaces_another_in_one_step(copying, tmp_path, files_server):
    target = str(files_server.home / "replaced")
    (tmp_path / "new").write_bytes(b"new")
    copying.put(b"old", target)
    copying.put(tmp_path / "new", target, mode=0o700)
    assert copying.get(target, max_bytes=10) == b"new"
    assert stat.S_IMODE((files_server.home / "replaced").stat().st_mode) == 0o700
    copying.remove(target)
    copying.remove(target)
    assert copying.get(target, max_bytes=10) is None


def test_a_file_that_is_larger_than_asked_for_is_not_read(copying, files_server):
    copying.put(bytes(1000), str(files_server.home / "large"))
    with pytest.raises(RemoteError, match="too large"):
        copying.get(str(files_server.home / "large"), max_bytes=999)
    assert copying.get(str(files_server.home / "large"), max_bytes=1000) == bytes(1000)


def test_an_endless_file_is_not_read(copying):
    if copying.run(["test", "-e", "/dev/zero"]).status == 0:
        with pytest.raises(RemoteError):
            copying.get("/dev/zero", max_bytes=1 << 20)


@pytest.mark.parametrize("name", ["-rf", "a b", "$(touch pwned)", "'quoted'", "new\nline", "ünïcödé"])
def test_a_hostile_name_of_a_file_is_only_a_name(copying, files_server, name):
    folder = str(files_server.home)
    copying.put(b"x", f"{folder}/{name}")
    assert (files_server.home / name).read_bytes() == b"x"
    assert copying.get(f"{folder}/{name}", max_bytes=1) == b"x"
    copying.remove(f"{folder}/{name}")
    assert not (files_server.home / name).exists()
    assert not list(files_server.home.glob("**/pwned*"))


def test_a_place_that_cannot_be_written_is_named(copying):
    with pytest.raises(RemoteError, match="/proc/1/nothing"):
        copying.put(b"x", "/proc/1/nothing/x")


def test_nothing_is_left_of_a_transfer_that_fails(copying, files_server):
    class Breaks(io.BytesIO):
        def read(self, count):
            raise OSError("the host's disk broke")

    (files_server.home / "d").mkdir(exist_ok=True)
    with pytest.raises(RemoteError, match="could not be read"):
        copying.put(Breaks(b"x"), str(files_server.home / "d" / "x"))
    assert list((files_server.home / "d").iterdir()) == []


def test_a_file_that_is_cut_does_not_replace_the_one_before(files_server):
    """The connection goes in the middle: what was there stays, and nothing half is left."""

    class Cut(io.BytesIO):
        def read(self, count):
            block = super().read(1 << 18)
            if self.tell() > 1 << 20:
                connection.close()
            return block

    place = files_server.home / "cut" / "x"
    with files_server.connect() as connection:
        connection.put(b"before", str(place))
        with pytest.raises((ConnectionFailed, RemoteError)):
            connection.put(Cut(bytes(8 << 20)), str(place))
    deadline = time.monotonic() + 10
    while [p.name for p in place.parent.iterdir()] != ["x"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [p.name for p in place.parent.iterdir()] == ["x"]
    assert place.read_bytes() == b"before"


def test_a_folder_is_not_replaced_by_a_file(copying, files_server):
    (files_server.home / "folder").mkdir(exist_ok=True)
    with pytest.raises(RemoteError, match="is a folder"):
        copying.put(b"x", str(files_server.home / "folder"))
    assert list((files_server.home / "folder").iterdir()) == []


# -- what can be wrong with a connection -------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_the_way_to_accept_it(server, tmp_path):
    with pytest.raises(ConnectionFailed, match="not known yet") as caught:
        server.connect(known_hosts=tmp_path / "empty")
    assert "SHA256:" in caught.value.found
    assert "--accept-new-host-key" in caught.value.hint
    assert not (tmp_path / "empty").exists()


@needs_keygen
def test_the_fingerprint_is_the_one_that_ssh_keygen_prints(openssh_server, tmp_path):
    with pytest.raises(ConnectionFailed) as caught:
        openssh_server.connect(known_hosts=tmp_path / "empty")
    listed = subprocess.run(
        ["ssh-keygen", "-lf", openssh_server.folder / "host_key.pub"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert caught.value.found == "ssh-ed25519 " + listed.stdout.split()[1]


def test_a_host_key_that_was_accepted_is_known_from_then_on(server, tmp_path):
    known_hosts = tmp_path / "new" / "known_hosts"
    with server.connect(known_hosts=known_hosts, accept_new_host_key=True) as first:
        assert first.run(["echo", "hi"]).stdout == b"hi\n"
    assert stat.S_IMODE(known_hosts.stat().st_mode) == 0o600
    with server.connect(known_hosts=known_hosts) as second:
        assert second.run(["echo", "hi"]).stdout == b"hi\n"


@pytest.mark.parametrize("accept", [False, True])
def test_a_changed_host_key_is_always_refused(server, tmp_path, accept, new_key):
    other = server.known_hosts_for(new_key("other"), tmp_path)
    before = other.read_text()
    with pytest.raises(ConnectionFailed, match="has changed") as caught:
        server.connect(known_hosts=other, accept_new_host_key=accept)
    assert "SHA256:" in caught.value.expected
    assert "SHA256:" in caught.value.found
    assert caught.value.expected != caught.value.found
    assert "ssh-keygen" in caught.value.hint
    assert other.read_text() == before


def test_a_wrong_key_is_refused(server, tmp_path, new_key):
    with pytest.raises(ConnectionFailed, match="refuses the key") as caught:
        server.connect(key=new_key("wrong"))
    assert str(tmp_path / "wrong") in caught.value.expected


def test_a_wrong_user_is_refused(server):
    with pytest.raises(ConnectionFailed, match="refuses the key"):
        server.connect(user="nobody-of-this-name")


def test_a_key_that_is_not_there_is_named(server, tmp_path):
    with pytest.raises(ConnectionFailed, match="there is no key"):
        server.connect(key=tmp_path / "nothing")


def test_a_file_that_is_no_key_is_named(server, tmp_path):
    (tmp_path / "no_key").write_text("hello\n")
    with pytest.raises(ConnectionFailed, match="no_key"):
        server.connect(key=tmp_path / "no_key")


@needs_keygen
def test_a_locked_key_says_how_to_unlock_it(server, tmp_path):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"]
    subprocess.run(command, check=True)
    with pytest.raises(ConnectionFailed, match="passphrase") as caught:
        server.connect(key=tmp_path / "locked")
    assert "ssh-add" in caught.value.hint


def test_a_port_where_nobody_listens_is_named_at_once():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        start = time.monotonic()
        with pytest.raises(ConnectionFailed, match=f"port {port}") as caught:
            connect("127.0.0.1", port=port, config=None)
    assert time.monotonic() - start < 2
    assert "refused" in caught.value.found


def test_a_name_that_cannot_be_resolved_is_named():
    with pytest.raises(ConnectionFailed, match="cannot be resolved"):
        connect("no-such-board.invalid", config=None)


def test_a_server_that_never_speaks_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(ConnectionFailed):
            connect("127.0.0.1", port=silent.getsockname()[1], config=None, timeout_seconds=0.5)
        assert time.monotonic() - start < 10


def test_a_server_of_another_kind_is_recognised():
    with socket.create_server(("127.0.0.1", 0)) as web:

        def answer() -> None:
            client, _ = web.accept()
            with client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 50)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionFailed, match="not an SSH server"):
            connect("127.0.0.1", port=web.getsockname()[1], config=None, timeout_seconds=5)
        thread.join()


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch pwned", "a b", "a\nb"])
def test_what_is_no_name_of_a_host_is_refused(host):
    with pytest.raises(ConnectionFailed, match="not the name of a host"):
        connect(host, config=None)


def test_a_connection_that_drops_says_what_it_waited_for(server):
    with Wire(server) as wire, server.connect(**wire.login()) as cuttable:
        assert cuttable.run(["echo", "hi"]).stdout == b"hi\n"
        threading.Timer(0.5, wire.cut).start()
        start = time.monotonic()
        with pytest.raises(ConnectionFailed, match="was lost"):
            cuttable.run(["sleep", "30"], timeout_seconds=60)
        assert time.monotonic() - start < 10
        with pytest.raises(ConnectionFailed, match="was lost"):
            cuttable.run(["echo", "hi"])
        with pytest.raises(ConnectionFailed, match="was lost"):
            cuttable.put(b"x", "x")


# -- ~/.ssh/config -----------------------------------------------------------------------------------------------------


def write_config(server, path: Path, extra: str = "") -> Path:
    alias = server.login.get("host_key_alias")
    path.write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {server.login['port']}\n"
        f'  IdentityFile "{server.login["key"]}"\n  IdentitiesOnly yes\n'
        f'  UserKnownHostsFile "{server.login["known_hosts"]}"\n'
        + (f"  HostKeyAlias {alias}\n" if alias else "")
        + extra
    )
    return path


def test_a_name_of_the_ssh_configuration_is_enough(server, tmp_path):
    with connect("board", config=write_config(server, tmp_path / "config")) as found:
        assert found.run(["echo", "hi"]).stdout == b"hi\n"
        assert found.address.endswith(f"@127.0.0.1:{server.login['port']}")


@pytest.fixture
def other_home(tmp_path, monkeypatch):
    """A home without known hosts, that no configuration of this machine's user gets into."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def without_known_hosts(server, path: Path, extra: str = "") -> Path:
    lines = write_config(server, path).read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "KnownHostsFile" not in line) + f"\n{extra}\n")
    return path


def test_a_host_key_may_stand_in_either_of_the_users_files_or_in_one_of_the_systems(server, other_home):
    known = Path(server.login["known_hosts"]).read_text()
    config = without_known_hosts(server, other_home / ".ssh" / "config")
    with pytest.raises(ConnectionFailed, match="not known yet"):
        connect("board")
    for name in ("known_hosts", "known_hosts2"):
        (other_home / ".ssh" / name).write_text(known)
        with connect("board") as found:
            assert says_hi(found)
        (other_home / ".ssh" / name).unlink()
    without_known_hosts(server, config, f'  GlobalKnownHostsFile /not/there "{other_home}/site"')
    (other_home / "site").write_text(known)
    with connect("board") as found:
        assert says_hi(found)


def test_a_changed_key_names_the_file_that_it_stands_in(server, other_home, new_key):
    without_known_hosts(server, other_home / ".ssh" / "config")
    other = server.known_hosts_for(new_key("other"), other_home)
    other.rename(other_home / ".ssh" / "known_hosts2")
    with pytest.raises(ConnectionFailed, match="has changed") as caught:
        connect("board", accept_new_host_key=True)
    assert f"-f {shlex.quote(f'{other_home}/.ssh/known_hosts2')} -R " in caught.value.hint


def test_without_a_file_of_known_hosts_a_key_is_accepted_for_once(server, other_home):
    without_known_hosts(
        server, other_home / ".ssh" / "config", "  UserKnownHostsFile none\n  GlobalKnownHostsFile none"
    )
    with pytest.raises(ConnectionFailed, match="not known yet"):
        connect("board")
    with connect("board", accept_new_host_key=True) as found:
        assert says_hi(found)
    assert [path.name for path in (other_home / ".ssh").iterdir()] == ["config"]
    with pytest.raises(ConnectionFailed, match="not known yet"):
        connect("board")


def test_the_board_may_be_reached_through_another_machine(openssh_server, tmp_path):
    config = write_config(openssh_server, tmp_path / "config")
    jump = config.read_text().replace("Host board", "Host behind")
    config.write_text(config.read_text() + jump + "  ProxyJump board\n")
    with connect("behind", config=config) as found:
        assert found.run(["echo", "hi"]).stdout == b"hi\n"
        found.put(b"x" * 100_000, str(openssh_server.home / "through"))
        assert found.get(str(openssh_server.home / "through"), max_bytes=1 << 20) == b"x" * 100_000


def test_a_board_may_be_reached_through_a_command(openssh_server, tmp_path):
    if shutil.which("nc") is None and shutil.which("python3") is None:
        pytest.skip("there is neither nc nor python3")
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import socket, sys, threading, os\n"
        f"s = socket.create_connection(('127.0.0.1', {openssh_server.login['port']}))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n"
    )
    config = write_config(openssh_server, tmp_path / "config", f'  ProxyCommand python3 "{relay}"\n')
    with connect("board", config=config) as found:
        assert found.run(["echo", "hi"]).stdout == b"hi\n"


@pytest.fixture
def ssh_agent(socket_folder, monkeypatch):
    """The socket of an agent that holds no key yet."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("there is no ssh-agent")
    path = socket_folder / "agent"
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            if path.exists():
                break
            time.sleep(0.05)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield path
    finally:
        agent.terminate()
        agent.wait(10)


def says_hi(found) -> bool:
    return found.run(["echo", "hi"]).stdout == b"hi\n"


def test_a_key_of_the_ssh_agent_is_offered(openssh_server, ssh_agent, monkeypatch):
    subprocess.run(["ssh-add", "-q", openssh_server.login["key"]], check=True)
    with openssh_server.connect(key=None) as found:
        assert says_hi(found)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    monkeypatch.setenv("HOME", str(ssh_agent.parent))
    with pytest.raises(ConnectionFailed):
        openssh_server.connect(key=None)


def test_a_locked_key_that_the_agent_holds_is_used_and_no_other_of_the_agents(
    openssh_server, ssh_agent, tmp_path, new_key
):
    """As `IdentityFile` with `IdentitiesOnly`, which people with many keys write."""
    locked = tmp_path / "locked"
    shutil.copy(openssh_server.login["key"], locked)
    shutil.copy(f"{openssh_server.login['key']}.pub", f"{locked}.pub")
    subprocess.run(["ssh-add", "-q", locked], check=True)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(locked)], check=True)
    with openssh_server.connect(key=locked) as found:
        assert says_hi(found)
    locked.unlink()  # on a token, say: only the public half is here
    config = write_config(openssh_server, tmp_path / "config")
    config.write_text(config.read_text().replace(str(openssh_server.login["key"]), str(locked)))
    with connect("board", config=config) as found:
        assert says_hi(found)
    with pytest.raises(ConnectionFailed, match="refuses the key"):
        openssh_server.connect(key=new_key("unknown"))


def test_the_agent_that_the_configuration_names_is_asked(openssh_server, ssh_agent, tmp_path, monkeypatch):
    subprocess.run(["ssh-add", "-q", openssh_server.login["key"]], check=True)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nobody"))
    monkeypatch.setenv("HOME", str(tmp_path))
    config = write_config(openssh_server, tmp_path / "config")
    key = f'  IdentityFile "{openssh_server.login["key"]}"\n  IdentitiesOnly yes\n'
    config.write_text(config.read_text().replace(key, f'  IdentityAgent "{ssh_agent}"\n'))
    with connect("board", config=config) as found:
        assert says_hi(found)
    config.write_text(config.read_text().replace(f'IdentityAgent "{ssh_agent}"', "IdentityAgent none"))
    with pytest.raises(ConnectionFailed):
        connect("board", config=config)


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize("known_too", [False, True])
def test_a_revoked_host_key_is_refused_whatever_else_is_said_of_it(
    openssh_server, tmp_path, accept, known_too
):
    known = Path(openssh_server.login["known_hosts"]).read_text()
    file = tmp_path / "known"
    file.write_text(f"@revoked * {' '.join(known.split()[1:])}\n" + (known if known_too else ""))
    with pytest.raises(ConnectionFailed, match="is revoked"):
        openssh_server.connect(known_hosts=file, accept_new_host_key=accept)
    assert len(file.read_text().splitlines()) == 1 + known_too


def public(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def test_of_several_keys_that_a_host_is_known_by_any_will_do(openssh_server, tmp_path, new_key):
    """As while a host changes its key: the old one and the new one are both in the file."""
    line = Path(openssh_server.login["known_hosts"]).read_text().split()
    other = public(new_key("other"))
    for order in ((other, " ".join(line[1:])), (" ".join(line[1:]), other)):
        (tmp_path / "known").write_text("".join(f"{line[0]} {key}\n" for key in order))
        with openssh_server.connect(known_hosts=tmp_path / "known") as found:
            assert says_hi(found)


def test_a_host_is_asked_for_the_kind_of_key_that_it_is_known_by(openssh_server, tmp_path):
    """Known by its RSA key alone, it would be refused for the Ed25519 one that it likes better."""
    folder = openssh_server.folder
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(tmp_path / "rsa")], check=True)
    port = free_port()
    config = (
        (folder / "sshd_config").read_text().replace(f"Port {openssh_server.login['port']}", f"Port {port}")
    )
    (tmp_path / "sshd_config").write_text(f'HostKey "{tmp_path}/rsa"\n{config}')
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {public(tmp_path / 'rsa')}\n")
    server = subprocess.Popen([SSHD, "-D", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        with openssh_server.connect(port=port, known_hosts=tmp_path / "known") as found:
            assert says_hi(found)
    finally:
        server.terminate()
        server.wait(10)
