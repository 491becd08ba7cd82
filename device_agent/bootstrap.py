"""Runs on a board before anything else is there: unpacks one tree of files from a stream.

The host sends this file's text to ``python3 -c`` with the arguments DESTINATION SHA256 BYTES, and a gzipped tar on
standard input; so it stands alone (standard library, Python 3.8), and no pip or tar is needed on the board. The tree
appears under its final name whole or not at all: it is unpacked beside it, checked against the digest of the stream,
synced to the disk, checked against the digest of its content, which is its name, and renamed.

With the arguments ``--check`` FOLDER it checks the trees there instead: each is named by the digest of its content. One
that is damaged goes, with every proof that names it, so that the next deploy sends it again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
import zlib
from typing import BinaryIO, Sequence

#: The files of a tree together have at most this many bytes, and there are at most this many of them.
MAX_TREE_BYTES = 1 << 30
MAX_FILES = 20_000
#: A half-unpacked tree older than this many seconds was abandoned.
ABANDONED_SECONDS = 3600.0
PREFIX = ".unpacking-"
#: A tree's name is the SHA-256 of its content, in hexadecimal digits.
DIGEST_LETTERS = 64


class StreamRefused(Exception):
    """The stream is not what it should be; nothing was put in place."""


class _Stream(io.RawIOBase):
    """Hashes what is read from ``source`` and never reads past the announced size."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source = source
        self._left = size
        self.digest = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        data = self._source.read(min(count, self._left) if count >= 0 else self._left)
        self._left -= len(data)
        self.digest.update(data)
        return data

    def finish(self) -> bool:
        """Reads what the tar reader left (its padding); whether the whole size arrived."""
        while self._left:
            if not self.read(1 << 16):
                return False
        return True


def check_member(member: tarfile.TarInfo) -> str:
    """The path of a member, if it is a plain file that stays inside the tree."""
    parts = member.name.split("/")
    if not member.isreg() or member.name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise StreamRefused(
            f"the tree holds something that is not a plain file inside it: {member.name[:200]!r}"
        )
    return os.path.join(*parts)


def unpack(source: BinaryIO, destination: str, sha256: str, size: int) -> bool:
    """Unpacks the stream to ``destination``; True if it did, False if that was there already."""
    parent = os.path.dirname(destination)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    if os.path.isdir(destination):
        return False
    _sweep(parent)
    temporary = tempfile.mkdtemp(prefix=PREFIX, dir=parent)  # 0700
    try:
        stream = _Stream(source, size)
        left, files = MAX_TREE_BYTES, 0
        try:
            # tarfile's own reading of gzip raises whatever it stumbles over when a header is cut.
            with gzip.GzipFile(fileobj=stream, mode="rb") as data, tarfile.open(
                fileobj=data, mode="r|"
            ) as archive:
                for member in archive:
                    path = os.path.join(temporary, check_member(member))
                    left, files = left - member.size, files + 1
                    if left < 0 or files > MAX_FILES:
                        raise StreamRefused(
                            f"the tree is larger than {MAX_TREE_BYTES} bytes or {MAX_FILES} files"
                        )
                    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                    mode = 0o700 if member.mode & 0o100 else 0o600
                    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                    content = archive.extractfile(member)
                    assert content is not None  # it is a plain file
                    with os.fdopen(descriptor, "wb") as file:
                        shutil.copyfileobj(content, file, 1 << 20)
        except (tarfile.TarError, zlib.error, EOFError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise StreamRefused(f"the stream is cut or damaged: {error}") from None
        if not stream.finish() or stream.digest.hexdigest() != sha256:
            raise StreamRefused(f"the stream is cut or damaged: its sha256 is not {sha256}")
        os.sync()
        name = os.path.basename(destination)
        if len(name) == DIGEST_LETTERS and tree_digest(temporary) != name:
            raise StreamRefused(f"what was unpacked is not the tree that is named {name[:16]}")
        try:
            os.rename(temporary, destination)
        except OSError:
            if os.path.isdir(destination):  # somebody else was faster, with the same content
                return False
            raise
        _sync_folder(parent)  # else what names this tree may outlive a power cut, and the tree not
        return True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(parent: str) -> None:
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if name.startswith(PREFIX) and time.time() - os.lstat(path).st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def tree_digest(tree: str) -> str:
    """The digest of a tree, but for bytecode, as the host names it (sdk.deploy.provision.wheels.pack_tree)."""
    files = []
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name != "__pycache__"]
        files += [os.path.relpath(os.path.join(folder, name), tree) for name in names]
    digest = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256()
        with open(os.path.join(tree, path), "rb") as file:
            executable = int(bool(os.fstat(file.fileno()).st_mode & 0o100))
            for block in iter(lambda: file.read(1 << 20), b""):
                content.update(block)
        digest.update(f"{path}\0{executable}\0{content.hexdigest()}\n".encode())
    return digest.hexdigest()


def check(home: str) -> tuple[int, list[str]]:
    """How many trees ``env`` and ``agent`` hold, and which of them ("env/<digest>") were damaged and are gone."""
    count = 0
    damaged = []
    for kind in ("env", "agent"):
        folder = os.path.join(home, kind)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if len(name) != DIGEST_LETTERS or name.startswith("."):
                continue
            count += 1
            tree = os.path.join(folder, name)
            try:
                whole = tree_digest(tree) == name
            except OSError:
                whole = False
            if not whole:
                damaged.append(f"{kind}/{name}")
                _forget_tree(home, tree, name)
    return count, damaged


def _forget_tree(home: str, tree: str, name: str) -> None:
    """The proofs first: without one nobody uses the tree."""
    proofs = os.path.join(home, "accepted")
    for proof in os.listdir(proofs) if os.path.isdir(proofs) else ():
        path = os.path.join(proofs, proof)
        with open(path, "rb") as file:
            names_it = name.encode() in file.read(1 << 16)
        if names_it:
            os.unlink(path)
    doomed = os.path.join(os.path.dirname(tree), f".removing-{name}")
    os.rename(tree, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """One JSON line: {"unpacked": bool} or {"error": ..., "what": ...}; the exit status is 0 or 2."""
    if arguments[0] == "--check":
        count, damaged = check(arguments[1])
        print(json.dumps({"trees": count, "damaged": damaged}))
        return 0
    destination, sha256, size = arguments
    os.umask(0o077)  # os.makedirs gives its mode to the last folder only
    try:
        answer = {"unpacked": unpack(sys.stdin.buffer, destination, sha256, int(size))}
    except (StreamRefused, OSError) as error:
        print(json.dumps({"error": "ProvisionError", "what": str(error)}))
        return 2
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
