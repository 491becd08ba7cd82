"""What a disk may hold after a cut: from a log of the calls that changed it (recorder.c), at every one of them.

A call is recorded once, in the process that makes it or in a child of it. From the log follows, for every number of
calls that still happened, what a kill leaves (everything), and what a power cut leaves: the bytes of files that were
not synced are gone, or zeros of the same length; or names that were made, moved and removed in folders that were not
synced are as before; or both.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOURCE = Path(__file__).with_name("recorder.c")
_HEAD = struct.Struct("<IIIIQ")
_READ, _CREATE, _WRITE, _TRUNCATE, _RENAME, _UNLINK, _MKDIR, _RMDIR, _FSYNC, _SYNC, _CHMOD = range(11)

#: What may be lost, by what is said of it.
CUTS = ("kill", "data lost", "data zero", "names lost", "both lost")


def build(folder: Path) -> Path:
    """The recorder as a shared library in ``folder``, compiled for this machine."""
    library = folder / "recorder.so"
    here = shutil.which("cc")  # zig makes its C library first, which takes half a minute of a busy machine
    compiler = [here] if here else [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=all"]
    cache = str(folder / "zig")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [*compiler, "-O1", "-shared", "-fPIC", "-w", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, env=environment)
    return library


class Watched:
    """A scenario in a process whose calls below ``root`` are counted, fail at will, and are logged where ``log`` says.

    The process is started once, and works in a child each time (:func:`tests.attacks.faults.scenarios.serve`).
    """

    def __init__(self, library: Path, root: Path, name: str, log: Path | None = None) -> None:
        self._control = root.with_name(f"{root.name}.control")
        self._set(-1, 0)
        watched = {"LD_PRELOAD": str(library), "FAULTS_ROOT": str(root), "FAULTS_CONTROL": str(self._control)}
        if log is not None:
            log.unlink(missing_ok=True)
            watched["FAULTS_LOG"] = str(log)
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-m", "tests.attacks.faults.scenarios", name, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(root), **watched},
            text=True,
        )

    def _set(self, at: int, error: int) -> None:
        with open(
            self._control, "r+b" if self._control.exists() else "w+b"
        ) as file:  # the same file: it is mapped
            file.write(struct.pack("<qqq", 0, at, error))

    def work(self, at: int = -1, error: int = 0) -> tuple[int, bool]:
        """Does the work; call number ``at`` fails with ``error``. How many calls there were; whether it ended well."""
        self._set(at, error)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("work\n")
        self._process.stdin.flush()
        status = self._process.stdout.readline().strip()
        calls, *_ = struct.unpack("<qqq", self._control.read_bytes())
        return calls, status == "0"

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


@dataclass
class _File:
    data: bytearray
    mode: int = 0o600
    #: As it is on the disk; None before the first sync.
    synced: bytes | None = None


@dataclass
class _Folder:
    entries: dict[str, _File | _Folder] = field(default_factory=dict)
    synced: dict[str, _File | _Folder] = field(default_factory=dict)


class Disk:
    """A tree of files as it was, changed by one call of a log after the other."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self.top = _read(root)

    def change(self, op: int, first: str, second: str, offset: int, data: bytes) -> None:
        """One call. What names something that is not there (any more) changes nothing."""
        if op == _SYNC:
            _sync_all(self.top)
            return
        where = self._find(first)
        if where is None:
            return
        folder, name = where
        node = self.top if name == "" else folder.entries.get(name)
        if op == _CREATE:
            folder.entries[name] = _File(bytearray(), offset & 0o777)
        elif op == _MKDIR:
            folder.entries.setdefault(name, _Folder())
        elif op in (_UNLINK, _RMDIR):
            folder.entries.pop(name, None)
        elif op == _RENAME:
            to = self._find(second)
            if to is not None and node is not None:
                del folder.entries[name]
                to[0].entries[to[1]] = node
        elif op == _FSYNC and isinstance(node, _Folder):
            node.synced = dict(node.entries)
        elif op == _FSYNC and isinstance(node, _File):
            node.synced = bytes(node.data)
        elif isinstance(node, _File):
            _change_file(node, op, offset, data)

    def _find(self, path: str) -> tuple[_Folder, str] | None:
        """The folder of a path and its name there; the top has the name ""."""
        parts = [p for p in os.path.normpath(path)[len(self._root) :].split("/") if p]
        folder = self.top
        for part in parts[:-1]:
            inner = folder.entries.get(part)
            if not isinstance(inner, _Folder):
                return None
            folder = inner
        return folder, parts[-1] if parts else ""

    def write(self, folder: Path, cut: str) -> None:
        """Puts what is left after a cut into an empty folder."""
        _write(self.top, folder, cut)


def _change_file(node: _File, op: int, offset: int, data: bytes) -> None:
    if op == _WRITE:
        node.data.extend(bytes(max(0, offset - len(node.data))))
        node.data[offset : offset + len(data)] = data
    elif op == _TRUNCATE:
        del node.data[offset:]
        node.data.extend(bytes(offset - len(node.data)))
    elif op == _CHMOD:
        node.mode = offset & 0o777


def _read(path: Path) -> _Folder:
    """A folder on the disk: all of it is synced."""
    folder = _Folder()
    for entry in path.iterdir():
        if entry.is_dir():
            folder.entries[entry.name] = _read(entry)
        else:
            data = entry.read_bytes()
            folder.entries[entry.name] = _File(bytearray(data), entry.stat().st_mode & 0o777, data)
    folder.synced = dict(folder.entries)
    return folder


def _sync_all(folder: _Folder) -> None:
    folder.synced = dict(folder.entries)
    for node in folder.entries.values():
        if isinstance(node, _Folder):
            _sync_all(node)
        else:
            node.synced = bytes(node.data)


def _write(node: _Folder, folder: Path, cut: str) -> None:
    for name, inner in (node.synced if cut in ("names lost", "both lost") else node.entries).items():
        path = folder / name
        if isinstance(inner, _Folder):
            path.mkdir(mode=0o700)
            _write(inner, path, cut)
            continue
        data = bytes(inner.data)
        if data != inner.synced and cut in ("data lost", "both lost"):
            data = (inner.synced or b"")[: len(data)]
        elif data != inner.synced and cut == "data zero":
            kept = inner.synced or b""
            data = kept[: len(data)] + bytes(max(0, len(data) - len(kept)))
        path.write_bytes(data)
        path.chmod(inner.mode)


def states(before: Path, root: Path, log: Path, place: Path) -> Iterator[tuple[str, Path]]:
    """What each cut leaves after each call of the log, each in a folder of its own in ``place``; none twice.

    ``before`` is a copy of ``root`` from before the first call.
    """
    disk, seen = Disk(before), set()
    disk._root = str(root)  # noqa: SLF001 - the log names the paths of the original
    data, position, number = log.read_bytes(), 0, 0
    while position < len(data):
        op, first, second, size, offset = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        names = data[position : position + first + second].decode()
        position += first + second
        disk.change(op, names[:first], names[first:], offset, data[position : position + size])
        position += size
        number += 1
        for cut in CUTS:
            state = place / f"{number}-{cut.replace(' ', '-')}"
            state.mkdir(mode=0o700, parents=True)
            disk.write(state, cut)
            found = fingerprint(state)
            if found in seen:
                shutil.rmtree(state)
                continue
            seen.add(found)
            yield f"{cut} after call {number}", state


def fingerprint(folder: Path) -> tuple:
    """What a folder holds, as something to compare."""
    found = []
    for path in sorted(folder.rglob("*")):
        found.append((str(path.relative_to(folder)), hash(path.read_bytes()) if path.is_file() else None))
    return tuple(found)
