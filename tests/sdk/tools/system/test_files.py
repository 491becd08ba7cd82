"""Files are written whole or not at all, and an error names the file and what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdk.tools.system.files import FileError, read_file, write_file


def test_a_file_is_replaced_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    target = tmp_path / "model.armlet"
    target.write_bytes(b"old")
    write_file(target, b"new")
    assert target.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["model.armlet"]


def test_the_users_umask_decides_the_mode(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_file(tmp_path / "m", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o640


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model.armlet"
    target.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left on device"):
        write_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.armlet"]


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no file .*absent; expected a package; found no such file"):
        read_file(tmp_path / "absent", "a package")
    with pytest.raises(FileError, match="directory"):
        read_file(tmp_path, "a package")
    with pytest.raises(FileError, match="cannot be written"):
        write_file(tmp_path / "no" / "such" / "folder", b"")
