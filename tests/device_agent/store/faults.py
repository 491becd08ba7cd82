"""An ``os`` that breaks at a chosen call, for the modules of the store: by an error, a kill or a power cut."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

#: Calls that change the disk, or open what is on it.
CALLS = ("open", "read", "write", "fsync", "replace", "unlink", "pwrite", "ftruncate", "close")


def kill(faulty: FaultyOs) -> None:
    """SIGKILL: the kernel closes files and frees the lock; nothing else happens any more."""
    os.kill(os.getpid(), signal.SIGKILL)


def power_cut(*, data: bool, names: bool) -> Callable[[FaultyOs], None]:
    """What was not synced is gone: the bytes of files, or what was created, renamed and removed in folders."""

    def cut(faulty: FaultyOs) -> None:
        if data:
            for path in faulty.unsynced:
                if os.path.exists(path):
                    os.truncate(path, os.path.getsize(path) // 2)
        if names:
            for _, undo in reversed(faulty.entries):
                undo()
        kill(faulty)

    return cut


def disk_error(number: int) -> Callable[[FaultyOs], None]:
    """The call fails with this errno, and life goes on."""

    def fail(faulty: FaultyOs) -> None:
        raise OSError(number, os.strerror(number))

    return fail


class FaultyOs:
    """``os``, but call number ``at`` of CALLS meets ``fault`` instead of happening."""

    def __init__(self, at: int | None = None, fault: Callable[[FaultyOs], None] = kill) -> None:
        self.calls = 0
        #: Files whose bytes are not synced, and what undoes the changes of folders that are not, in order.
        self.unsynced: set[str] = set()
        self.entries: list[tuple[str, Callable[[], None]]] = []
        self._at = at
        self._fault = fault
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str):
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*arguments, **options):
            number, self.calls = self.calls, self.calls + 1
            if number == self._at:
                if name == "close":  # the descriptor goes, whatever it answers
                    real(*arguments)
                self._fault(self)
            undo = self._undo(name, arguments)
            answer = real(*arguments, **options)
            self._note(name, arguments, answer, undo)
            return answer

        return call

    def _undo(self, name: str, arguments: tuple) -> list[tuple[str, Callable[[], None]]]:
        """How to take back what a call is about to do to a folder."""
        if name == "open" and arguments[1] & os.O_CREAT and not os.path.exists(arguments[0]):
            return [_restoring(arguments[0])]
        if name == "unlink":
            return [_restoring(arguments[0])]
        if name == "replace":
            return [_restoring(arguments[1]), _restoring(arguments[0])]
        return []

    def _note(self, name: str, arguments: tuple, answer: object, undo: list) -> None:
        self.entries += undo
        if name == "open":
            self._paths[int(answer)] = str(arguments[0])
        elif name in ("write", "pwrite", "ftruncate"):
            path = self._paths[arguments[0]]
            if not path.endswith("/lock"):
                self.unsynced.add(path)
        elif name == "fsync":
            path = self._paths[arguments[0]]
            self.unsynced.discard(path)
            self.entries = [entry for entry in self.entries if entry[0] != path]
        elif name == "replace" and str(arguments[0]) in self.unsynced:
            self.unsynced.remove(str(arguments[0]))
            self.unsynced.add(str(arguments[1]))


def _restoring(path: object) -> tuple[str, Callable[[], None]]:
    """The folder of a file, and what puts the file back as it is now."""
    file = Path(str(path))
    before = file.read_bytes() if file.exists() else None

    def restore() -> None:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(before)

    return str(file.parent), restore
