"""Wheels from the package index, by pip: those of the lock with their hashes, others only where they were named.

None of their code runs here. Each file that the lock names is checked once more after pip, and before it is packed.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sdk.deploy.provision.locked import LockedEnvironment, LockedWheel, requirements
from sdk.errors import ProvisionError

PIP_SECONDS = 600.0


def platform_tags(architecture: str, glibc: tuple[int, int]) -> tuple[str, ...]:
    """The platforms of wheels that run there, newest first (PEP 600; the old names are its aliases for x86_64 and
    the others)."""
    tags = [f"manylinux_{glibc[0]}_{minor}_{architecture}" for minor in range(glibc[1], 16, -1)]
    tags.append(f"manylinux2014_{architecture}")
    if architecture in ("x86_64", "i686"):
        tags += [f"manylinux2010_{architecture}", f"manylinux1_{architecture}"]
    return tuple(tags)


def least_glibc(wheel_name: str) -> tuple[int, int]:
    """The lowest glibc among the platform tags of a wheel's file name (PEP 427, PEP 600)."""
    tags = wheel_name.removesuffix(".whl").rsplit("-", 1)[-1].split(".")
    old = {"manylinux2014": (2, 17), "manylinux2010": (2, 12), "manylinux1": (2, 5)}
    found = []
    for tag in tags:
        match = re.match(r"manylinux_(\d+)_(\d+)_", tag)
        if match:
            found.append((int(match[1]), int(match[2])))
        elif tag.split("_")[0] in old:
            found.append(old[tag.split("_")[0]])
    return min(found, default=(2, 5))


def wheel_options(python: tuple[int, int], architecture: str, glibc: tuple[int, int]) -> list[str]:
    """Options of pip for wheels of a board, and nothing else than what is named: an interpreter imports with numpy
    alone."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"]
    options += ["--implementation", "cp", "--python-version", f"{python[0]}.{python[1]}"]
    for tag in platform_tags(architecture, glibc):
        options += ["--platform", tag]
    return options


def run_pip(command: str, options: Sequence[str], what: str, expected: str) -> str:
    """The output of ``pip COMMAND``. Raises ProvisionError with its last error."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", command, *options],
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProvisionError(f"pip could not fetch {what}", found=str(error)[:200]) from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
        raise ProvisionError(
            f"pip could not fetch {what}",
            expected=expected,
            found=" ".join(lines[-1].split())[:300],
            hint="The first deploy to a kind of board needs the package index; `sdk board fetch` does it ahead.",
        )
    return done.stdout


def _of_board(python: tuple[int, int], architecture: str, glibc: tuple[int, int]) -> str:
    return f"wheels for Python {python[0]}.{python[1]}, {architecture}, glibc {glibc[0]}.{glibc[1]}"


def fetch_locked(locked: LockedEnvironment, glibc: tuple[int, int], folder: Path) -> list[Path]:
    """The wheels of the lock in ``folder``; those that are there already, whole, are not fetched again.

    Raises ProvisionError, also where a file differs from the lock: it is removed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lacking = [wheel for wheel in locked.wheels if not _is_whole(folder, wheel)]
    if lacking:
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as temporary:
            wanted = Path(temporary) / "requirements.txt"
            wanted.write_text(requirements(lacking))
            options = wheel_options(locked.python, locked.architecture, glibc)
            options += ["--require-hashes", "--dest", temporary, "--requirement", str(wanted)]
            run_pip(
                "download",
                options,
                " and ".join(f"{wheel.name} {wheel.version}" for wheel in lacking),
                f"{_of_board(locked.python, locked.architecture, glibc)}, with the hashes of the lock",
            )
            for path in sorted(Path(temporary).glob("*.whl")):
                path.replace(folder / path.name)
    for wheel in lacking:
        if not _is_whole(folder, wheel):
            found = folder / wheel.file
            there = found.is_file()
            found.unlink(missing_ok=True)
            raise ProvisionError(
                f"the wheel {wheel.file} is not the one that Armlet pins",
                expected=f"SHA-256 {wheel.sha256[:16]}...",
                found="another file, which was removed" if there else "no such file on the package index",
                hint="Deploy again; if it stays, do not trust the package index that pip asks.",
            )
    return [folder / wheel.file for wheel in locked.wheels]


def _is_whole(folder: Path, wheel: LockedWheel) -> bool:
    try:
        return sha256_of(folder / wheel.file) == wheel.sha256
    except OSError:
        return False


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def fetch_unpinned(
    wanted: Sequence[str],
    python: tuple[int, int],
    architecture: str,
    glibc: tuple[int, int],
    folder: Path,
) -> list[Path]:
    """The wheels of requirements as the package index has them, by no hash. Raises ProvisionError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as temporary:
        options = wheel_options(python, architecture, glibc)
        run_pip(
            "download",
            [*options, "--dest", temporary, "--find-links", str(folder), *wanted],
            " and ".join(wanted).replace("==", " "),
            _of_board(python, architecture, glibc),
        )
        return [path.replace(folder / path.name) for path in sorted(Path(temporary).glob("*.whl"))]
