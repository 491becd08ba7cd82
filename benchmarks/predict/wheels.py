"""Fetches the releases of ncnn that the boards of boards.toml were measured with, or the nearest there are.

A release becomes FOLDER/VERSION, an aarch64 wheel unpacked. Those before August 2022 have none for the Python of the
emulated userland (3.11): theirs for 3.10 is taken, and its extension, which compares versions before it loads, is told
that it was made for 3.11. ncnn itself is not touched.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PLATFORMS = ("manylinux_2_17_aarch64", "manylinux2014_aarch64")
PYTHONS = ("3.11", "3.10")


def release(version: str, folder: Path) -> Path:
    """The folder of a release within ``folder``, fetched where it is not there. Raises SystemExit without a wheel."""
    unpacked = folder.resolve() / version
    if not unpacked.exists():
        fetch(version, unpacked)
    return unpacked


def fetch(version: str, folder: Path) -> None:
    """Downloads a release and unpacks it. Raises SystemExit where there is no wheel."""
    with tempfile.TemporaryDirectory() as temporary:
        for python in PYTHONS:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary]
            command += ["--only-binary", ":all:", "--python-version", python, f"ncnn==1.0.{version}"]
            for platform in PLATFORMS:
                command += ["--platform", platform]
            if subprocess.run(command, capture_output=True).returncode == 0:
                break
        else:
            raise SystemExit(f"no aarch64 wheel of ncnn 1.0.{version} for Python {' or '.join(PYTHONS)}")
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    for extension in (folder / "ncnn").glob("ncnn.cpython-310-*.so"):
        extension.write_bytes(extension.read_bytes().replace(b"\x003.10\x00", b"\x003.11\x00"))
        extension.rename(extension.with_name("ncnn.so"))
