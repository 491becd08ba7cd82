"""The journal of a rollout on disk: a line of JSON for every change of a board, each synced before the next step.

    $XDG_DATA_HOME/armlet/rollouts/<inventory>.lock        held while a rollout over that inventory runs
    $XDG_DATA_HOME/armlet/rollouts/<rollout>.jsonl         while there is something to go on with

A rollout is known by release, inventory file and group. Its journal is removed when the rollout has ended: what runs is
settled then, and the next rollout of the same starts over. A line that a crash cut counts as not written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from device_agent.record.named_kinds import RawText
from device_agent.record.schema import parse_json, read, record, write
from sdk.errors import ArmletError, RolloutError
from sdk.tools.system.folders import data_folder
from sdk.tools.system.locks import lock

SCHEMA = "armlet.rollout/1"
MAX_BYTES = 64 << 20

T = TypeVar("T")


@record(SCHEMA, "the header of a rollout", RolloutError)
@dataclass(frozen=True)
class Header:
    """The first line: which rollout this is."""

    release: str
    inventory: RawText
    group: RawText | None


@record(what="a change of a rollout", error=RolloutError)
@dataclass(frozen=True)
class Change:
    """Every other line: what was done to a board; ``ours``: what runs there may be this rollout's doing."""

    board: RawText
    address: RawText
    state: str
    ours: bool
    unix_seconds: float


class Journal:
    """The journal of one rollout; a context manager that holds the lock of its inventory."""

    def __init__(
        self, release: str, inventory: Path, group: str | None, *, folder: Path | None = None
    ) -> None:
        self._folder = folder or data_folder("rollouts")
        place = str(inventory.resolve())
        key = hashlib.sha256("\0".join((release, place, group or "all")).encode()).hexdigest()[:32]
        self._header = Header(release, place, group)
        self._inventory = inventory
        self._lock_path = self._folder / f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.lock"
        self.path = self._folder / f"{key}.jsonl"
        self._lock = -1
        self._file = -1
        self._ours: dict[str, str] = {}
        #: When the rollout that this one goes on with was last heard of; None for a new one.
        self.resumed_from: float | None = None

    def __enter__(self) -> Journal:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                lock(self._lock, wait=False)
            except BlockingIOError:
                holder = re.sub(r"\D", "", os.pread(self._lock, 16, 0).decode("ascii", "replace"))
                raise RolloutError(
                    f"another rollout over {self._inventory} is running",
                    expected="one at a time",
                    found=f"process {holder or 'unknown'}",
                    hint="Wait for it, or stop it with Ctrl-C; then run this again.",
                ) from None
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and lets the lock go; a second time does nothing."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def is_ours(self, name: str, address: str) -> bool:
        """Whether an earlier run of this rollout changed, or may have changed, what runs on that board."""
        return self._ours.get(name) == address

    def write(self, name: str, address: str, state: str, *, ours: bool) -> None:
        """Returns when the line is on the disk."""
        self._append(write(Change(name, address, state, ours, time.time())))

    def remove(self) -> None:
        """The rollout came to its end."""
        self.path.unlink(missing_ok=True)

    def _open(self) -> None:
        lines = self._read()
        if lines is not None:
            self.resumed_from = self.path.stat().st_mtime
            for line in lines:
                if line.ours:
                    self._ours[line.board] = line.address
                else:
                    self._ours.pop(line.board, None)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self.path, flags | (os.O_TRUNC if lines is None else 0), 0o600)
        if lines is None:
            self._append(write(self._header))
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            os.fsync(folder)
            os.close(folder)
        else:
            os.write(self._file, b"\n")  # ends a line that was cut

    def _read(self) -> list[Change] | None:
        """What changed; None where there is no journal of this rollout."""
        try:
            with open(self.path, "rb") as file:
                text = file.read(MAX_BYTES)
        except FileNotFoundError:
            return None
        first, *others = text.splitlines() or [b""]
        if _line(Header, first) != self._header:
            return None
        changes = (_line(Change, raw) for raw in others)
        return [change for change in changes if change is not None]

    def _append(self, line: dict[str, Any]) -> None:
        # One write, so that lines of several threads do not mix.
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        os.fsync(self._file)


def _line(cls: type[T], raw: bytes) -> T | None:
    """None for a line that was cut."""
    try:
        return read(cls, parse_json(raw))
    except ArmletError:
        return None
