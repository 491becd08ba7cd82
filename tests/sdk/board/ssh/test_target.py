"""Where a board is: the command line, then ~/.ssh/config, then ssh's own defaults."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
from pathlib import Path

import pytest

from sdk.board.ssh.config import GLOBAL_KNOWN_HOSTS, USER_CONFIG, look_up
from sdk.board.ssh.target import SshTarget, find_target
from sdk.errors import ConnectionFailed

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh")


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
    IdentityFile "{tmp_path}/id"
    IdentityFile "{tmp_path}/not-there"
Host only
    IdentityFile "{tmp_path}/id"
    IdentitiesOnly yes
    HostKeyAlias the-board
    UserKnownHostsFile "{tmp_path}/known" "{tmp_path}/known2"
Host far
    HostName 198.51.100.1
    ProxyJump admin@gate:2200
Host farther
    ProxyJump gate,far
Host gate
    HostName 203.0.113.5
Host itself
    ProxyJump itself
Host circle
    ProxyJump around
Host around
    ProxyJump circle
Host behind
    ProxyCommand nc -X connect %h %p
Host none
    ProxyCommand none
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
    names = (
        "~/.ssh/known_hosts",
        "~/.ssh/known_hosts2",
        "/etc/ssh/ssh_known_hosts",
        "/etc/ssh/ssh_known_hosts2",
    )
    assert target.known_hosts == tuple(Path(name).expanduser() for name in names)
    assert target.new_known_hosts == target.known_hosts[0]
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
    assert isinstance(jump, SshTarget)
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
        ("admin@[2001:db8::1]", ("2001:db8::1", 22)),
    ],
)
def test_a_jump_is_written_in_any_of_sshs_ways(config, hop, expected):
    config.write_text(config.read_text() + f"\nHost there\n  ProxyJump {hop}\n")
    jump = find_target("there", config=config).jump
    assert jump is not None
    assert (jump.hostname, jump.port) == expected


@pytest.mark.parametrize(
    ("line", "agent"),
    [("Port 1", None), ("IdentityAgent none", "none"), ("IdentityAgent NONE", "none"),
     ("IdentityAgent /run/other", "/run/other"), ("IdentityAgent SSH_AUTH_SOCK", None),
     ("IdentityAgent $OTHER_SOCK", "/run/environment"), ("IdentityAgent $NOT_THERE", "none"),
     ("IdentityAgent ${OTHER_SOCK}/%h", "/run/environment/board")],
)  # fmt: skip
def test_the_agent_may_be_another_one(tmp_path, monkeypatch, line, agent):
    monkeypatch.setenv("OTHER_SOCK", "/run/environment")
    (tmp_path / "config").write_text(f"Host board\n  {line}\n")
    assert find_target("board", config=tmp_path / "config").agent == agent


def test_a_command_for_a_proxy_is_taken_and_none_is_none(config):
    assert find_target("behind", config=config).proxy_command == "nc -X connect behind 22"
    assert find_target("none", config=config).proxy_command is None


@pytest.mark.parametrize(
    ("host", "word"),
    [("itself", "loop"), ("circle", "circles"), ("-v", "name of a host"), ("a;b", "name of a host")],
)
def test_what_cannot_be_is_refused(config, host, word):
    with pytest.raises(ConnectionFailed, match=word):
        find_target(host, config=config)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_from_1_to_65535(port):
    with pytest.raises(ConnectionFailed, match="not a port"):
        find_target("board", port=port, config=None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("??? 1\n", "Bad configuration option"),
        ("Host other\n  Port many\n", "Bad port 'many'"),
        ("Port 99999\n", "Bad port"),
        ("IdentityFile /keys/%Z\n", "%Z in /keys/%Z"),
        ("IdentityFile ${NOT_SET_ANYWHERE}/id\n", "NOT_SET_ANYWHERE"),
        ("HostName -oProxyCommand=x\n", "host"),
        ("Match exec true\n  Bogus 1\n", "Bad configuration option: bogus"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_named(tmp_path, text, says):
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConnectionFailed) as caught:
        find_target("board", config=tmp_path / "config")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value.found)
    assert "armlet-ssh" not in str(caught.value)


# -- what our own reader of the configuration read otherwise ---------------------------------------------------------


def test_a_comment_behind_a_value_is_none_of_it(tmp_path):
    (tmp_path / "config").write_text(
        "Host board # the one in the kitchen\n  HostName 192.0.2.7 # by cable\n  User cook # not pi\n"
        f'  UserKnownHostsFile "{tmp_path}/known" # and no other\n'
    )
    target = find_target("board", config=tmp_path / "config")
    assert (target.hostname, target.user) == ("192.0.2.7", "cook")
    assert target.known_hosts == (tmp_path / "known", *map(Path, GLOBAL_KNOWN_HOSTS))


@pytest.mark.parametrize("none", ["none", "NONE"])
def test_no_file_of_known_hosts_is_none(tmp_path, none):
    (tmp_path / "config").write_text(f"UserKnownHostsFile {none}\n")
    target = find_target("board", config=tmp_path / "config")
    assert target.known_hosts == tuple(map(Path, GLOBAL_KNOWN_HOSTS))
    assert target.new_known_hosts is None
    (tmp_path / "config").write_text("UserKnownHostsFile none\nGlobalKnownHostsFile none\n")
    assert find_target("board", config=tmp_path / "config").known_hosts == ()


def test_the_systems_files_of_known_hosts_may_be_others(tmp_path):
    (tmp_path / "config").write_text("GlobalKnownHostsFile /site/known /site/known2\n")
    target = find_target("board", config=tmp_path / "config")
    assert target.known_hosts[2:] == (Path("/site/known"), Path("/site/known2"))
    assert [file.name for file in target.known_hosts[:2]] == ["known_hosts", "known_hosts2"]
    assert find_target("board", known_hosts="/mine", config=tmp_path / "config").known_hosts == (
        Path("/mine"),
    )


def test_names_of_files_have_blanks_tokens_and_homes(tmp_path, monkeypatch):
    """ssh replaces some of them before it says what it read, and in the rest we do."""
    home = tmp_path / "a home"
    (home / "ssh keys").mkdir(parents=True)
    for name in ("id pi@192.0.2.7", "id-board"):
        (home / "ssh keys" / name).write_text("a key")
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "config").write_text(
        'Host board\n  HostName 192.0.2.7\n  User pi\n  IdentityFile "~/ssh keys/id %r@%h"\n'
        '  IdentityFile "%d/ssh keys/id-%n"\n  UserKnownHostsFile "~/ssh keys/known" "/of all/%h" ~/other\n'
    )
    target = find_target("board", config=tmp_path / "config")
    assert [key.name for key in target.keys] == ["id pi@192.0.2.7", "id-board"]
    assert target.known_hosts[:3] == (home / "ssh keys" / "known", Path("/of all/192.0.2.7"), home / "other")


def test_the_usual_identities_are_those_that_are_looked_for(tmp_path):
    """The configuration names none, one, or says that there shall be none."""
    config = tmp_path / "config"
    config.write_text("Port 22\n")
    assert find_target("board", config=config).look_for_keys
    config.write_text("IdentityFile none\n")
    target = find_target("board", config=config)
    assert (target.keys, target.look_for_keys, target.agent_identities) == ((), False, None)
    config.write_text("IdentitiesOnly yes\n")
    target = find_target("board", config=config)
    assert target.look_for_keys
    assert Path("~/.ssh/id_ed25519").expanduser() in (target.agent_identities or ())


# -- which files are read ---------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh" / "boards.d").mkdir(parents=True)
    return tmp_path


def test_the_home_is_that_of_the_environment_and_not_that_of_the_list_of_users(home):
    assert str(home) != pwd.getpwuid(os.getuid()).pw_dir
    (home / ".ssh" / "config").write_text("User of-this-home\n")
    target = find_target("pi")
    assert target.user == "of-this-home"
    assert target.known_hosts[:2] == (home / ".ssh" / "known_hosts", home / ".ssh" / "known_hosts2")


def test_included_files_are_read_where_they_are_named(home):
    ssh = home / ".ssh"
    (ssh / "boards.d" / "1").write_text("Host pi\n  HostName 192.0.2.1\n  Port 1111\n")
    (ssh / "boards.d" / "2").write_text("Host pi\n  Port 2222\nHost other\n  HostName 192.0.2.2\n")
    (ssh / "config").write_text(
        f'Include "{ssh}/boards.d/*" "/not there"\nUser everyone\nHost pi\n  HostName 192.0.2.9\n  User nobody\n'
    )
    pi = find_target("pi")
    assert (pi.hostname, pi.port, pi.user) == ("192.0.2.1", 1111, "everyone")
    assert find_target("other").hostname == "192.0.2.2"
    assert find_target("neither").user == "everyone"


def test_what_follows_an_include_belongs_to_the_block_it_stands_in(home):
    (home / ".ssh" / "more").write_text("User included\nHost inside\n  Port 7\n")
    (home / ".ssh" / "config").write_text(
        f'Host a\n  Include "{home}/.ssh/more"\n  Port 2222\nHost b\n  Port 3333\n'
    )
    a, b = find_target("a"), find_target("b", user="me")
    assert (a.user, a.port, b.port) == ("included", 2222, 3333)
    assert find_target("b", default_user="pi").user == "pi"


def test_a_configuration_that_includes_itself_is_refused(home):
    (home / ".ssh" / "config").write_text(f'Include "{home}/.ssh/config"\n')
    with pytest.raises(ConnectionFailed, match="recursive"):
        find_target("pi")


def test_the_systems_configuration_comes_after_the_users_and_not_after_another_file(home, tmp_path):
    system = tmp_path / "system"
    system.write_text("Port 2222\nUser system\n")
    (home / ".ssh" / "config").write_text("User me\nHost other\n  Port 1\n")
    found = look_up("pi", USER_CONFIG, system=system)
    assert (found.user, found.port) == ("me", 2222)
    (tmp_path / "own").write_text("User own\n")
    assert look_up("pi", tmp_path / "own", system=system).port == 22
    assert look_up("pi", None, system=system) == look_up("pi", None)


def test_match_is_understood(home):
    (home / ".ssh" / "config").write_text(
        "Match originalhost pi exec true\n  Port 2222\nMatch host pi exec false\n  User no\n"
    )
    target = find_target("pi", default_user="pi")
    assert (target.port, target.user) == (2222, "pi")


def test_the_user_and_the_port_of_the_command_line_are_what_match_sees(home):
    (home / ".ssh" / "config").write_text(
        "Match user cook\n  HostName kitchen.lan\nHost pi\n  UserKnownHostsFile /known/%p\n"
    )
    assert find_target("pi", user="cook").hostname == "kitchen.lan"
    assert find_target("pi", port=2222).known_hosts[0] == Path("/known/2222")


# -- without ssh, and with one that says something strange ------------------------------------------------------------


def test_without_ssh_its_defaults_hold_and_a_configuration_is_an_error(home, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    target = find_target("pi", default_user="radxa")
    assert (target.hostname, target.port, target.user) == ("pi", 22, "radxa")
    assert target.known_hosts[-2:] == tuple(map(Path, GLOBAL_KNOWN_HOSTS))
    (home / ".ssh" / "config").write_text("User me\n")
    with pytest.raises(ConnectionFailed, match=r"config cannot be read.*program ssh.*OpenSSH"):
        find_target("pi")


@pytest.fixture
def strange_ssh(home, monkeypatch):
    """An `ssh` that runs the shell commands that it is given."""

    def write(script: str) -> None:
        (home / "bin").mkdir()
        (home / "bin" / "ssh").write_text(f"#!/bin/sh\n{script}\n")
        (home / "bin" / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")

    return write


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exec cat /dev/zero", "more than 1048576 bytes"),
        ("yes | head -n 20000", "at most 10000 options"),
        ("echo hostname pi; echo user pi", "hostname, port and user"),
        ("echo hostname pi; echo user pi; echo port 123456", "hostname, port and user"),
        ("echo hostname pi; echo user pi; echo port 0", "not a port"),
        ("printf 'hostname a\\033b\\nuser pi\\nport 22\\n'", "not the name of a host"),
        ("exit 3", "exit status 3"),
        ("echo 'no such thing' >&2; kill -9 $$", "no such thing"),
    ],
)
def test_what_ssh_says_is_checked(strange_ssh, script, says):
    strange_ssh(script)
    with pytest.raises(ConnectionFailed) as caught:
        find_target("pi")
    assert says in str(caught.value)


def test_a_condition_that_does_not_end_is_given_up_with_all_that_it_started(home, monkeypatch):
    monkeypatch.setattr("sdk.board.ssh.config.LIMIT_SECONDS", 0.3)
    (home / ".ssh" / "config").write_text('Match exec "sleep 30"\n  Port 1\n')
    with pytest.raises(ConnectionFailed, match=r"no end within 0\.3 s"):
        find_target("pi")


def test_a_user_whom_ssh_does_not_know_has_its_defaults_too(strange_ssh, home):
    """As in a container that runs as a number."""
    strange_ssh("echo 'No user exists for uid 4711' >&2; exit 255")
    assert find_target("pi", user="me").user == "me"
    (home / ".ssh" / "config").write_text("User me\n")
    with pytest.raises(ConnectionFailed, match="No user exists"):
        find_target("pi")


#: Names that a shell would act on, or ssh take for an option, or a line of known_hosts for another host.
HOSTILE_NAMES = [
    *(
        "i-$(touch${IFS}x)",
        "-oProxyCommand=touch x",
        "-x",
        "a`touch x`",
        "a;touch x",
        "a|b",
        "a&b",
        "a'b",
        'a"b',
    ),
    *("a>b", "a{b,c}", "a\\b", "a b", "a\tb", "a\nb", "*", "a,b", "!a", "#a", ""),
]


@pytest.fixture
def talkative(tmp_path: Path) -> Path:
    """A configuration that hands host and user to a shell, in two ways; the match leaves a file behind."""
    config = tmp_path / "config"
    config.write_text(f'Match exec "touch {tmp_path}/matched; true"\nProxyCommand echo %h %n %r\n')
    return config


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_a_shell_would_act_on_reaches_none(name: str, talkative: Path) -> None:
    with pytest.raises(ConnectionFailed, match="not the name of a host"):
        find_target(name, config=talkative)
    if name not in ("*", "a,b", "!a", "#a", "a\\b"):  # which are not names of a host alone
        for asked in ({"user": name}, {"default_user": name}):
            with pytest.raises(ConnectionFailed, match="not the name of a user"):
                find_target("board", config=talkative, **asked)
    assert not (talkative.parent / "matched").exists()


@pytest.mark.parametrize(
    ("host", "user"),
    [("raspberrypi.local", "pi"), ("10.0.0.7", "me-2"), ("fe80::1%eth0", "a.b"), ("x_1", "EU\\me")],
)
def test_names_as_people_have_them_are_taken(host: str, user: str) -> None:
    target = find_target(host, user=user, config=None)
    assert (target.hostname, target.user) == (host, user)


def test_a_user_before_the_host_is_told_where_it_belongs() -> None:
    with pytest.raises(ConnectionFailed, match="Give the user with --user"):
        find_target("pi@raspberrypi.local", config=None)


def test_a_security_key_is_left_to_the_agent_and_certificates_are_read_from_the_configuration(
    tmp_path: Path,
) -> None:
    for name, kind in (("plain", "ssh-ed25519"), ("button", "sk-ssh-ed25519@openssh.com")):
        (tmp_path / name).write_text("private")
        (tmp_path / f"{name}.pub").write_text(f"{kind} AAAA\n")
    (tmp_path / "certificate").write_text("a certificate")
    config = tmp_path / "config"
    config.write_text(
        f'IdentityFile "{tmp_path}/plain"\nIdentityFile "{tmp_path}/button"\n'
        f'CertificateFile "{tmp_path}/certificate"\nCertificateFile "{tmp_path}/gone"\n'
    )
    target = find_target("board", config=config)
    assert target.keys == (tmp_path / "plain",)
    assert target.certificates == (tmp_path / "certificate",)
