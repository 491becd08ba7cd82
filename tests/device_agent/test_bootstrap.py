"""Unpacking a tree on a board: whole or not at all, and never outside of its place."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from device_agent import bootstrap
from device_agent.bootstrap import StreamRefused, unpack

FILES = {"numpy/__init__.py": b"version = 1\n", "lib/a.so": os.urandom(100_000), "empty": b""}


def archive(files: dict[str, bytes] = FILES, change=lambda info: info) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o700 if name.endswith(".so") else 0o600
            tar.addfile(change(info), io.BytesIO(data))
    return buffer.getvalue()


def put(data: bytes, destination: Path, sha256: str | None = None, size: int | None = None) -> bool:
    sha256 = sha256 or hashlib.sha256(data).hexdigest()
    return unpack(io.BytesIO(data), str(destination), sha256, len(data) if size is None else size)


def nothing_is_left(destination: Path) -> bool:
    return not destination.parent.exists() or list(destination.parent.iterdir()) == []


def test_a_tree_is_unpacked_with_private_modes(tmp_path):
    assert put(archive(), tmp_path / "env" / "abc")
    for name, data in FILES.items():
        path = tmp_path / "env" / "abc" / name
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == (0o700 if name.endswith(".so") else 0o600)
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o700
    assert [p.name for p in (tmp_path / "env").iterdir()] == ["abc"]


def test_a_tree_that_is_there_already_is_left_alone(tmp_path):
    put(archive(), tmp_path / "abc")
    assert put(b"anything", tmp_path / "abc") is False


def test_a_stream_cut_anywhere_leaves_nothing(tmp_path):
    data = archive()
    sha256 = hashlib.sha256(data).hexdigest()
    for length in [*range(64), *range(64, len(data), 997), len(data) - 1]:
        with pytest.raises(StreamRefused):
            put(data[:length], tmp_path / "env" / "abc", sha256, len(data))
        assert nothing_is_left(tmp_path / "env" / "abc"), length


def test_a_flipped_bit_anywhere_leaves_nothing(tmp_path):
    data = archive()
    sha256 = hashlib.sha256(data).hexdigest()
    for position in [*range(32), *range(32, len(data), 1499), len(data) - 1]:
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(StreamRefused):
            put(bytes(damaged), tmp_path / "env" / "abc", sha256)
        assert nothing_is_left(tmp_path / "env" / "abc"), position


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "a//b", "./a", "a/."])
def test_a_name_that_leads_outside_is_refused(tmp_path, name):
    with pytest.raises(StreamRefused, match="plain file"):
        put(archive({name: b"x"}), tmp_path / "env" / "abc")
    assert nothing_is_left(tmp_path / "env" / "abc")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_anything_but_a_plain_file_is_refused(tmp_path, kind):
    def change(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0
        return info

    with pytest.raises(StreamRefused, match="plain file"):
        put(archive({"a": b""}, change), tmp_path / "env" / "abc")
    assert nothing_is_left(tmp_path / "env" / "abc")


def test_the_same_name_twice_is_refused(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for data in (b"one", b"two"):
            info = tarfile.TarInfo("a")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(OSError, match="exists"):
        put(buffer.getvalue(), tmp_path / "env" / "abc")
    assert nothing_is_left(tmp_path / "env" / "abc")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "MAX_TREE_BYTES", 1 << 20)
    bomb = archive({"zeros": bytes(2 << 20)})
    assert len(bomb) < 10_000
    with pytest.raises(StreamRefused, match="larger than"):
        put(bomb, tmp_path / "env" / "abc")
    monkeypatch.setattr(bootstrap, "MAX_FILES", 5)
    with pytest.raises(StreamRefused, match="5 files"):
        put(archive({str(i): b"" for i in range(6)}), tmp_path / "env" / "abc")
    assert nothing_is_left(tmp_path / "env" / "abc")


def test_another_tree_than_the_one_that_the_name_promises_is_refused(tmp_path):
    right = tmp_path / "right"
    put(archive(), right)
    digest = bootstrap.tree_digest(str(right))
    assert put(archive(), tmp_path / "env" / digest)
    other = f"{int(digest, 16) ^ 1:064x}"
    with pytest.raises(StreamRefused, match="not the tree that is named"):
        put(archive(), tmp_path / "agent" / other)
    assert nothing_is_left(tmp_path / "agent" / other)


def test_bytes_after_the_announced_size_are_not_read(tmp_path):
    data = archive()
    stream = io.BytesIO(data + b"more")
    unpack(stream, str(tmp_path / "abc"), hashlib.sha256(data).hexdigest(), len(data))
    assert stream.read() == b"more"


def test_what_was_abandoned_is_swept_and_what_is_under_way_is_not(tmp_path):
    for name, age in ((".unpacking-old", 2 * bootstrap.ABANDONED_SECONDS), (".unpacking-new", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    put(archive(), tmp_path / "abc")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".unpacking-new", "abc"]


def test_it_runs_alone_as_text_given_to_python(tmp_path):
    data = archive()
    source = Path(bootstrap.__file__).read_text()

    def call(sent: bytes) -> tuple[int, dict]:
        arguments = [str(tmp_path / "env" / "abc"), hashlib.sha256(data).hexdigest(), str(len(data))]
        command = [sys.executable, "-IS", "-c", source, *arguments]
        done = subprocess.run(command, input=sent, capture_output=True, check=False)
        assert done.stdout.count(b"\n") == 1
        return done.returncode, json.loads(done.stdout)

    status, answer = call(gzip.compress(b"not a tar"))
    assert status == 2
    assert answer["error"] == "ProvisionError"
    assert call(data) == (0, {"unpacked": True})
    assert (tmp_path / "env" / "abc" / "empty").exists()
