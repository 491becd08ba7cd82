"""The loopback server: private, confined, and gone with the process that started it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from sdk.board.local import LocalBoard, default_folder
from sdk.board.ssh.connection import connect
from sdk.errors import BoardError, ConnectionFailed, RemoteError

pytestmark = pytest.mark.ssh


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "boards" / "local"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_its_folder_and_keys_are_private(folder):
    with LocalBoard(folder) as board:
        for path in (folder, board.home, board.user_key, board.known_hosts, folder / "ssh" / "host_key"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_its_folder_is_where_xdg_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "armlet" / "boards" / "local"
    assert default_folder("local-a") == tmp_path / "armlet" / "boards" / "local-a"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_folder() == Path.home() / ".local" / "share" / "armlet" / "boards" / "local"


def test_a_folder_that_others_may_read_is_not_used(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(BoardError, match="chmod 700"), LocalBoard(folder):
        pass


def test_keys_and_files_stay_from_one_start_to_the_next(folder):
    with LocalBoard(folder) as board, connect(**board.login()) as connection:
        connection.put(b"kept", "kept")
        known = board.known_hosts.read_text()
    with LocalBoard(folder) as board, connect(**board.login()) as connection:
        assert connection.get("kept", max_bytes=10) == b"kept"
        assert board.known_hosts.read_text() == known


def test_two_may_run_at_once(folder):
    with LocalBoard(folder) as one, LocalBoard(folder) as two:
        assert one.port != two.port
        with connect(**one.login()) as first, connect(**two.login()) as second:
            first.put(b"x", "shared")
            assert second.get("shared", max_bytes=1) == b"x"


def test_several_that_start_for_the_first_time_at_once_agree_on_their_keys(folder):
    boards = [LocalBoard(folder) for _ in range(6)]
    threads = [threading.Thread(target=board.__enter__) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        for board in boards:
            with connect(**board.login()) as connection:
                assert connection.run(["echo", "hi"]).stdout == b"hi\n"
        assert sorted(path.name for path in (folder / "ssh").iterdir()) == [
            "host_key",
            "known_hosts",
            "user_key",
        ]
    finally:
        for board in boards:
            board.stop()


def test_a_key_that_cannot_be_read_is_made_anew(folder):
    with LocalBoard(folder):
        pass
    (folder / "ssh" / "host_key").write_text("rubbish")
    with LocalBoard(folder) as board, connect(**board.login()) as connection:
        assert connection.run(["echo", "hi"]).stdout == b"hi\n"


def answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, port)) == 0


def test_it_listens_on_the_loopback_only_and_not_after_its_end(folder):
    with LocalBoard(folder) as board:
        login = board.login()
        assert answers("127.0.0.1", board.port)
        assert not answers("127.0.0.2", board.port)  # which is this machine too, for who listens everywhere
    with pytest.raises(ConnectionFailed):
        connect(**login)


def test_its_python_is_the_one_that_runs_this_without_a_venv(folder):
    with LocalBoard(folder) as board, connect(**board.login()) as connection:
        code = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix == sys.base_prefix)"
        done = connection.run(["python3", "-c", code])
        assert done.stdout.decode().split() == [f"{sys.version_info[0]}.{sys.version_info[1]}", "True"]


def test_variables_of_its_starter_do_not_reach_its_processes(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with LocalBoard(folder) as board, connect(**board.login()) as connection:
        lines = connection.run(["env"]).stdout.decode().splitlines()
        names = {line.split("=")[0] for line in lines}
        assert not names & {"PYTHONPATH", "AWS_SECRET_ACCESS_KEY"}
        assert f"HOME={board.home}" in lines


def test_processes_are_killed_when_the_connection_is_closed(folder):
    with LocalBoard(folder) as board:
        connection = connect(**board.login())
        code = (
            "import os, subprocess, time; child = subprocess.Popen(['sleep', '60'])\n"
            "open('pids', 'w').write(f'{os.getpid()} {child.pid}'); time.sleep(60)"
        )
        failed: list[Exception] = []

        def call() -> None:
            try:
                connection.run(["python3", "-c", code])
            except (ConnectionFailed, RemoteError) as error:
                failed.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        pids_file = board.home / "pids"
        assert wait_until(lambda: pids_file.exists() and len(pids_file.read_text().split()) == 2)
        pids = [int(pid) for pid in pids_file.read_text().split()]
        connection.close()
        thread.join(10)
        assert failed
        assert wait_until(lambda: not any(alive(pid) for pid in pids))


def test_processes_are_killed_when_the_board_stops(folder):
    board = LocalBoard(folder).__enter__()
    connection = connect(**board.login())

    def call() -> None:
        with contextlib.suppress(ConnectionFailed, RemoteError):
            connection.run(["sh", "-c", "echo $$ > pid; sleep 60"])

    threading.Thread(target=call).start()
    assert wait_until(
        lambda: (board.home / "pid").exists() and (board.home / "pid").read_text().strip() != ""
    )
    pid = int((board.home / "pid").read_text())
    board.stop()
    assert wait_until(lambda: not alive(pid))


def test_removing_a_link_removes_the_link(folder, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("x")
    with LocalBoard(folder) as board, connect(**board.login()) as connection:
        (board.home / "link").symlink_to(precious)
        connection.remove("link")
        assert not os.path.lexists(board.home / "link")
    assert precious.read_text() == "x"


@contextmanager
def logged_in(board: LocalBoard) -> Iterator[paramiko.Transport]:
    """A login that may ask for anything that SSH knows."""
    login = board.login()
    transport = paramiko.Transport((login["host"], login["port"]))
    try:
        transport.connect(
            username=login["user"], pkey=paramiko.Ed25519Key.from_private_key_file(str(login["key"]))
        )
        yield transport
    finally:
        transport.close()


@pytest.mark.parametrize("kind", ["shell", "forward", "x11", "sftp"])
def test_nothing_but_commands_is_served(folder, kind):
    with LocalBoard(folder) as board, logged_in(board) as transport:
        if kind == "shell":
            with pytest.raises(paramiko.SSHException):
                transport.open_session().invoke_shell()
        elif kind == "sftp":
            with pytest.raises(paramiko.SSHException):
                transport.open_session().invoke_subsystem("sftp")
        else:
            with pytest.raises(paramiko.SSHException):
                transport.open_channel(
                    "direct-tcpip" if kind == "forward" else "x11", ("127.0.0.1", 22), ("127.0.0.1", 0)
                )


def test_no_password_opens_it(folder):
    with LocalBoard(folder) as board:
        transport = paramiko.Transport(("127.0.0.1", board.port))
        transport.start_client(timeout=10)
        with pytest.raises(paramiko.BadAuthenticationType):
            transport.auth_password(board.user, "")
        with pytest.raises(paramiko.BadAuthenticationType):
            transport.auth_none(board.user)
        transport.close()


def test_a_command_that_is_over_before_the_client_was_told_of_its_beginning_still_has_an_end(
    folder, monkeypatch
):
    from sdk.board.local_server import BoardServer

    begin = BoardServer.check_channel_exec_request

    def begin_slowly(self, channel, command):
        answer = begin(self, channel, command)
        time.sleep(0.3)  # as on a busy machine: the answer goes out after this
        return answer

    monkeypatch.setattr(BoardServer, "check_channel_exec_request", begin_slowly)
    with LocalBoard(folder) as board, connect(**board.login()) as connection:
        assert connection.run(["true"]).status == 0
        assert connection.run(["sh", "-c", "echo out; exit 3"]).stdout == b"out\n"
        assert connection.run(["false"]).status == 1
