"""Files of known hosts as ssh reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sdk.board.ssh.known_hosts import known_keys

#: A public key of nobody's.
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIGCMGtY4LKvMImRsXIien00JIY9MWdyqkU+U8axXGkBo"
LINE = f"ssh-ed25519 {KEY}"


def found(tmp_path: Path, text: str, host: str = "pi.local") -> list[str]:
    (tmp_path / "known").write_text(text)
    keys = known_keys(host, [tmp_path / "not there", tmp_path / "known"]).keys
    return [key.get_base64() for key in keys]


@pytest.mark.parametrize(
    "names", ["pi.local", "other,pi.local", "PI.local", "*.local", "p?.local", "*", "!other,*.local"]
)
def test_a_host_is_found_by_name_and_by_pattern(tmp_path, names):
    assert found(tmp_path, f"{names} {LINE} a comment\n") == [KEY]


@pytest.mark.parametrize(
    "names", ["pi", "xpi.local", "*.other", "!pi.local,*.local", "*,!pi.local", "pi-local"]
)
def test_another_host_is_not(tmp_path, names):
    assert found(tmp_path, f"{names} {LINE}\n") == []


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
@pytest.mark.parametrize(
    "names",
    ["pi.local", "PI.local", "*.local", "!pi.local,*", "*,!p*", "[pi.local]:2222", "[*]:2222", "p?.local,[pi.local]:9",
     "pi", "pi.local,", ",pi.local", "!", "!*", "pi,local", "*local", "[pi.local", "pi.[l]ocal", "pi.local\\"],
)  # fmt: skip
def test_ssh_keygen_finds_the_same(tmp_path, names):
    plain, hashed = tmp_path / "plain", tmp_path / "hashed"
    for file in (plain, hashed):
        file.write_text(f"{names} {LINE}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", hashed], check=True, capture_output=True)
    # It looks a name in capitals up as it is in hashes; ssh, which wrote them, does not.
    for file, host in (
        (plain, "pi.local"),
        (plain, "PI.local"),
        (plain, "[pi.local]:2222"),
        (hashed, "pi.local"),
    ):
        listed = subprocess.run(["ssh-keygen", "-F", host, "-f", file], capture_output=True)
        assert found(tmp_path, file.read_text(), host) == ([KEY] if listed.returncode == 0 else [])


def test_brackets_and_a_port_are_part_of_the_name(tmp_path):
    text = f"[pi.local]:2222 {LINE}\n"
    assert found(tmp_path, text, "[pi.local]:2222") == [KEY]
    assert found(tmp_path, text) == found(tmp_path, text, "[pi.local]:22") == []


def test_a_hashed_name_is_found(tmp_path):
    if shutil.which("ssh-keygen") is None:
        pytest.skip("there is no ssh-keygen")
    (tmp_path / "known").write_text(f"pi.local {LINE}\nother {LINE}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", tmp_path / "known"], check=True, capture_output=True)
    text = (tmp_path / "known").read_text()
    assert "pi.local" not in text
    assert found(tmp_path, text) == [KEY]
    assert found(tmp_path, text, "PI.local") == [KEY]
    assert found(tmp_path, text, "third") == []


@pytest.mark.parametrize(
    "line",
    ["", "# a comment", f"#pi.local {LINE}", "pi.local ssh-ed25519", "pi.local ssh-ed25519 %%%", "|1|x|y ssh-rsa AA",
     f"@cert-authority * {LINE}", "pi.local ssh-unknown AAAA", "\x00\xff", "@revoked", "pi.local ssh-ed25519 AAAA"],
)  # fmt: skip
def test_lines_that_say_nothing_do_not_hide_the_others(tmp_path, line):
    assert found(tmp_path, f"{line}\npi.local {LINE}\n") == [KEY]


def test_a_revoked_key_is_told(tmp_path):
    (tmp_path / "known").write_text(f"@revoked other {LINE}\n")
    known = known_keys("pi.local", [tmp_path / "known"])
    assert (known.keys, known.revoked, known.file) == ((), {KEY}, None)


def test_all_files_are_looked_at_and_the_first_that_knows_the_host_is_told(tmp_path):
    for name in ("known_hosts", "known_hosts2"):
        (tmp_path / name).write_text(f"other {LINE}\n")
    (tmp_path / "known_hosts2").write_text(f"pi.local {LINE}\n")
    known = known_keys("pi.local", [tmp_path / "known_hosts", tmp_path / "known_hosts2"])
    assert [key.get_base64() for key in known.keys] == [KEY]
    assert known.file == tmp_path / "known_hosts2"
