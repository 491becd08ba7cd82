"""Breaks every scenario at every call, and flips bytes of every file that it leaves.

    python -m tests.attacks.faults.harness [EVERY] [NAME ...]

tries every EVERYth point (1: all of them) of all scenarios, or of those named, and says how many there were and what
was lost. A few minutes for all.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.attacks.faults import disk
from tests.attacks.faults.scenarios import SCENARIOS, Scenario, clear

T = TypeVar("T")
ERRORS = ("ENOSPC", "EIO", "EROFS")
#: Of one flipped file: the first and the last byte, and what is between them at equal distances.
POSITIONS = 9


class Broken:
    """One scenario, its folder in memory, and what happened to it."""

    def __init__(self, scenario: Scenario, library: Path, place: Path, every: int = 1) -> None:
        self.scenario, self._library, self._every = scenario, library, every
        self.root, self._before = place / "disk", place / "before"
        self._place = place
        self.tried: Counter[str] = Counter()
        self.lost: list[str] = []
        clear(self.root)
        scenario.prepare(self.root)
        self._keep(self.root, self._before)

    @staticmethod
    def _keep(source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)

    def _expect(self, what: str, kind: str, act: Callable[[Path], object] | None = None) -> None:
        self.tried[kind] += 1
        try:
            if act is not None:
                act(self.root)
            self.scenario.right(self.root)
        except Exception:
            self.lost.append(f"{self.scenario.name}: {what}\n{traceback.format_exc(limit=-3)}")

    def cuts(self, most: int | None = None) -> int:
        """Kills and power cuts after every call that changes the disk, or ``most`` of them, evenly spread; how many
        calls there are, reads counted."""
        log = self._place / "log"
        watched = disk.Watched(self._library, self.root, self.scenario.name, log)
        calls, well = watched.work()
        watched.close()
        if not well:
            raise RuntimeError(f"{self.scenario.name} does not work undisturbed")
        states = list(disk.states(self._before, self.root, log, self._place / "states"))
        for what, state in self._some(states, most):
            self._keep(state, self.root)
            self._expect(what, what.partition(" after")[0])
        return calls

    def errors(self, calls: int, most: int | None = None) -> None:
        """Every call fails with each error."""
        watched = disk.Watched(self._library, self.root, self.scenario.name)
        for call, name in self._some([(call, name) for call in range(calls) for name in ERRORS], most):
            self._keep(self._before, self.root)
            watched.work(call, getattr(errno, name))
            self._expect(f"{name} at call {call}", name)
        watched.close()

    def flips(self, most: int | None = None) -> None:
        """Every file that the work made: a bit at some places, emptied, cut short, zeros, and gone."""
        self._keep(self._before, self.root)
        self.scenario.work(self.root)
        whole = self._place / "whole"
        self._keep(self.root, whole)
        made = [p.relative_to(whole) for p in whole.rglob("*") if p.is_file()]
        points = [
            (path, what, data)
            for path in sorted(p for p in made if not (self._before / p).is_file() or p.suffix == ".xnnpack")
            for what, data in damages((whole / path).read_bytes())
        ]
        for path, what, data in self._some(points, most):
            self._keep(whole, self.root)
            _damage(self.root / path, data)
            self._expect(f"{path}: {what}", "damage: " + what.partition(" at")[0], self.scenario.mend)

    def _some(self, points: list[T], most: int | None) -> list[T]:
        """Those that are tried: every n-th, or n of them, the last among them."""
        step = self._every if most is None else max(1, len(points) // most)
        return points[::-1][::step][::-1]


def damages(data: bytes) -> Iterator[tuple[str, bytes | None]]:
    """A file's bytes as they may be after a while, with what happened to them; None: there is no file."""
    for place in sorted(
        {round(i * (len(data) - 1) / (POSITIONS - 1)) for i in range(POSITIONS)} if data else ()
    ):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        yield f"a bit at {place}", bytes(flipped)
    if data:
        yield "emptied", b""
        yield "half", data[: len(data) // 2]
        yield "zeros", bytes(len(data))
    yield "gone", None


def _damage(path: Path, data: bytes | None) -> None:
    before = path.stat()
    if data is None:
        path.unlink()
        return
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextmanager
def place() -> Iterator[Path]:
    """A folder in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def main(arguments: list[str]) -> int:
    """The exit status is 1 where something was lost."""
    every = int(arguments[0]) if arguments else 1
    tried: Counter[str] = Counter()
    lost: list[str] = []
    with place() as folder:
        library = disk.build(folder)
        for name in arguments[1:] or SCENARIOS:
            broken = Broken(SCENARIOS[name], library, folder / name.replace(" ", "-"), every)
            broken.errors(broken.cuts())
            broken.flips()
            count = sum(broken.tried.values())
            print(f"{name}: {count} points, {len(broken.lost)} lost: {dict(broken.tried)}", flush=True)
            tried, lost = tried + broken.tried, lost + broken.lost
    for one in lost:
        print(one)
    print(f"{sum(tried.values())} fault points, {len(lost)} of them lost something: {dict(tried)}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
