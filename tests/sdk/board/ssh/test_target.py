"""Where a board is: the command line, then ~/.ssh/config, then ssh's own defaults."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from sdk.board.ssh.config import USER_CONFIG, lookup
from sdk.board.ssh.target import Target, find_target
from sdk.errors import ConnectionFailed


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "id").write_text("a key")
    path = tmp_path / "config"
    path.write_text(
        f"""
Host pi
    HostName 192.0.2.7
    User pi
    Port 2222
    IdentityFile {tmp_path}/id
    IdentityFile {tmp_path}/not-there
Host only
    IdentityFile {tmp_path}/id
    IdentitiesOnly yes
    HostKeyAlias the-board
    UserKnownHostsFile {tmp_path}/known {tmp_path}/known2
Host far
    HostName 198.51.100.1
    ProxyJump admin@gate:2200
Host farther
    ProxyJump gate,far
Host gate
    HostName 203.0.113.5
Host circle
    ProxyJump circle
Host behind
    ProxyCommand nc -X connect %h %p
Host none
    ProxyCommand none
Host bad
    Port many
"""
    )
    return path


def test_without_a_configuration_ssh_defaults_hold():
    target = find_target("board", config=None)
    assert (target.hostname, target.port, target.user) == ("board", 22, getpass.getuser())
    assert (target.keys, target.agent, target.agent_identities, target.look_for_keys) == (
        (),
        None,
        None,
        True,
    )
    assert target.known_hosts == (Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts"))
    assert (target.host_key_name, target.jump, target.proxy_command) == ("board", None, None)


def test_the_configuration_is_read(config, tmp_path):
    target = find_target("pi", config=config)
    assert (target.hostname, target.port, target.user) == ("192.0.2.7", 2222, "pi")
    assert target.keys == (tmp_path / "id",)
    assert target.agent_identities is None
    assert target.host_key_name == "[192.0.2.7]:2222"
    assert target.address == "pi@192.0.2.7:2222"


def test_the_command_line_comes_before_the_configuration(config, tmp_path):
    (tmp_path / "mine").write_text("a key")
    target = find_target("pi", port=22, user="root", key=tmp_path / "mine", config=config)
    assert (target.port, target.user, target.keys) == (22, "root", (tmp_path / "mine",))
    assert target.agent_identities == target.keys
    assert not target.look_for_keys
    assert target.address == "root@192.0.2.7"


def test_the_user_of_the_boards_file_comes_last(config):
    assert find_target("pi", default_user="radxa", config=config).user == "pi"
    assert find_target("other", default_user="radxa", config=config).user == "radxa"
    assert find_target("pi", user="me", default_user="radxa", config=config).user == "me"


def test_identities_only_means_these_keys_only(config, tmp_path):
    target = find_target("only", config=config)
    assert (target.keys, target.look_for_keys) == ((tmp_path / "id",), False)
    assert target.agent_identities == (tmp_path / "id",)
    assert target.host_key_name == "the-board"
    assert target.known_hosts[:2] == (tmp_path / "known", tmp_path / "known2")


def test_jumps_are_found_in_the_configuration_too(config):
    jump = find_target("far", config=config).jump
    assert isinstance(jump, Target)
    assert (jump.hostname, jump.port, jump.user) == ("203.0.113.5", 2200, "admin")


def test_of_several_jumps_the_first_is_reached_first(config):
    target = find_target("farther", config=config)
    assert target.jump is not None
    assert target.jump.hostname == "198.51.100.1"
    assert target.jump.jump is not None
    assert target.jump.jump.hostname == "203.0.113.5"


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("gate", ("203.0.113.5", 22)),
        ("ssh://admin@gate:2200", ("203.0.113.5", 2200)),
        ("[2001:db8::1]:2200", ("2001:db8::1", 2200)),
        ("2001:db8::1", ("2001:db8::1", 22)),
    ],
)
def test_a_jump_is_written_in_any_of_sshs_ways(config, hop, expected):
    config.write_text(config.read_text() + f"\nHost there\n  ProxyJump {hop}\n")
    jump = find_target("there", config=config).jump
    assert jump is not None
    assert (jump.hostname, jump.port) == expected


@pytest.mark.parametrize(
    ("line", "agent"),
    [("", None), ("IdentityAgent none", "none"), ("IdentityAgent /run/other", "/run/other"),
     ("IdentityAgent SSH_AUTH_SOCK", None), ("IdentityAgent $OTHER_SOCK", "/run/environment")],
)  # fmt: skip
def test_the_agent_may_be_another_one(tmp_path, monkeypatch, line, agent):
    monkeypatch.setenv("OTHER_SOCK", "/run/environment")
    (tmp_path / "config").write_text(f"Host board\n  {line}\n")
    assert find_target("board", config=tmp_path / "config").agent == agent


def test_a_command_for_a_proxy_is_taken_and_none_is_none(config):
    assert find_target("behind", config=config).proxy_command == "nc -X connect behind 22"
    assert find_target("none", config=config).proxy_command is None


@pytest.mark.parametrize(("host", "word"), [("circle", "circles"), ("bad", "port"), ("-v", "name of a host")])
def test_what_cannot_be_is_refused(config, host, word):
    with pytest.raises(ConnectionFailed, match=word):
        find_target(host, config=config)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_from_1_to_65535(port):
    with pytest.raises(ConnectionFailed, match="not a port"):
        find_target("board", port=port, config=None)


def test_a_configuration_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "config").write_text("???\n")
    with pytest.raises(ConnectionFailed, match="config cannot be read"):
        find_target("board", config=tmp_path / "config")


# -- what configurations include --------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh" / "boards.d").mkdir(parents=True)
    return tmp_path


def test_included_files_are_read_where_they_are_named(home):
    ssh = home / ".ssh"
    (ssh / "boards.d" / "1").write_text("Host pi\n  HostName 192.0.2.1\n  Port 1111\n")
    (ssh / "boards.d" / "2").write_text("Host pi\n  Port 2222\nHost other\n  HostName 192.0.2.2\n")
    (ssh / "config").write_text(
        'Include boards.d/* "not there"\nUser everyone\nHost pi\n  HostName 192.0.2.9\n  User nobody\n'
    )
    pi = find_target("pi")
    assert (pi.hostname, pi.port, pi.user) == ("192.0.2.1", 1111, "everyone")
    assert find_target("other").hostname == "192.0.2.2"
    assert find_target("neither").user == "everyone"


def test_what_follows_an_include_belongs_to_the_block_it_stands_in(home):
    (home / ".ssh" / "more").write_text("User included\nHost inside\n  Port 7\n")
    (home / ".ssh" / "config").write_text("Host a\n  Include ~/.ssh/more\n  Port 2222\nHost b\n  Port 3333\n")
    a, b = find_target("a"), find_target("b", user="me")
    assert (a.user, a.port, b.port) == ("included", 2222, 3333)
    assert find_target("b", default_user="pi").user == "pi"


def test_a_configuration_that_includes_itself_is_refused(home):
    (home / ".ssh" / "config").write_text("Include config\n")
    with pytest.raises(ConnectionFailed, match="includes itself"):
        find_target("pi")


def test_the_systems_configuration_comes_after_the_users_and_not_after_another_file(home, tmp_path):
    system = tmp_path / "system"
    system.write_text("Port 2222\nUser system\n")
    (home / ".ssh" / "config").write_text("User me\nHost other\n  Port 1\n")
    found = lookup("pi", USER_CONFIG, system)
    assert (found["user"], found["port"]) == ("me", "2222")
    (tmp_path / "own").write_text("User own\n")
    assert "port" not in lookup("pi", tmp_path / "own", system)
    assert lookup("pi", None, system) == {}


def test_match_is_understood(home, monkeypatch):
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115 - pytest's own cannot be given to a command
    (home / ".ssh" / "config").write_text(
        "Match originalhost pi exec true\n  Port 2222\nMatch host pi exec false\n  User no\n"
    )
    target = find_target("pi", default_user="pi")
    assert (target.port, target.user) == (2222, "pi")
