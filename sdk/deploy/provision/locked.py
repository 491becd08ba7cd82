"""The wheels that Armlet pins: for each runtime, Python, processor and least C library which files, with their SHA-256.

``wheels_lock.json`` beside this module holds them. `make lock` writes it again (:mod:`sdk.deploy.provision.renewing`).
Other wheels come to a board only when the user names their version.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.record.kinds import Text
from device_agent.record.named_kinds import Sha256
from device_agent.record.schema import parse_json, read, record
from sdk.errors import ProvisionError

LOCK_FILE = Path(__file__).with_name("wheels_lock.json")
MAX_LOCK_BYTES = 1 << 20

if TYPE_CHECKING:
    WheelName = str
else:
    WheelName = Text(255, 1, r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\.whl", "the file name of a wheel")


@dataclass(frozen=True)
class LockedWheel:
    """One file of the package index. ``licence``: an SPDX expression, or as its author calls it."""

    file: WheelName
    sha256: Sha256
    name: str
    version: str
    licence: str


@dataclass(frozen=True)
class LockedEnvironment:
    """The wheels of a runtime for one kind of board; ``glibc`` is the least C library that they run with."""

    runtime: str
    runtime_version: str
    python: tuple[int, int]
    architecture: str
    glibc: tuple[int, int]
    wheels: tuple[LockedWheel, ...]


@record("armlet.wheels/1", "the lock of wheels", ProvisionError)
@dataclass(frozen=True)
class Lock:
    """Every environment that is pinned."""

    environments: tuple[LockedEnvironment, ...]

    def versions(self, runtime: str) -> tuple[str, ...]:
        """The pinned versions of a runtime, in the order of the file."""
        return tuple(dict.fromkeys(e.runtime_version for e in self.environments if e.runtime == runtime))

    def of(
        self, runtime: str, version: str, python: tuple[int, int], architecture: str
    ) -> tuple[LockedEnvironment, ...]:
        """The pinned environments for such boards, the one for the newest C library first."""
        wanted = (runtime, version, python, architecture)
        found = [
            e for e in self.environments if (e.runtime, e.runtime_version, e.python, e.architecture) == wanted
        ]
        return tuple(sorted(found, key=lambda e: e.glibc, reverse=True))

    def find(
        self,
        runtime: str,
        version: str,
        python: tuple[int, int],
        architecture: str,
        glibc: tuple[int, int],
    ) -> LockedEnvironment | None:
        """The newest that runs with that C library; None where there is none."""
        return next((e for e in self.of(runtime, version, python, architecture) if e.glibc <= glibc), None)


def parse_lock(data: bytes) -> Lock:
    """The lock in a file's bytes. Raises ProvisionError."""
    return read(Lock, parse_json(data, what="the lock of wheels", error=ProvisionError, most=MAX_LOCK_BYTES))


@cache
def shipped_lock() -> Lock:
    """The lock that comes with this package. Raises ProvisionError where the file is damaged or gone."""
    try:
        data = LOCK_FILE.read_bytes()
    except OSError as error:
        raise ProvisionError(
            f"{LOCK_FILE.name} cannot be read, so no wheel is trusted",
            found=error.strerror or str(error),
            hint="Install armlet again.",
        ) from None
    return parse_lock(data)


def refuse_unpinned(runtime: str, version: str) -> ProvisionError:
    """The error for a version that is not in the lock and that nobody named."""
    pinned = shipped_lock().versions(runtime)
    return ProvisionError(
        f"{runtime} {version} is not among the wheels that Armlet pins by their hash",
        expected=" or ".join(pinned) or "a runtime that is pinned",
        found=version,
        hint=f"--runtime {runtime} --runtime-version {version} takes it unpinned, as the package index has it.",
    )


def requirements(wheels: Iterable[LockedWheel]) -> str:
    """The text of a requirements file for ``pip --require-hashes``."""
    return "".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in wheels)
