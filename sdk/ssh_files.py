"""Files over an SSH connection: by SFTP where the server has it, else by commands that any POSIX shell runs.

Small SSH servers (dropbear, on many vendor images) come without SFTP; deploying must not need what is not there. What
SFTP raises is passed on as it is; :mod:`sdk.connection` names it.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Protocol

from sdk.errors import RemoteError

if TYPE_CHECKING:
    import paramiko

    from sdk.connection import Completed

#: Writes of 1 MB, not waiting for each answer: 113-122 MB/s on loopback, where 32 KB at a time gave 1 MB/s.
WRITE_BYTES = 1 << 20
READ_BYTES = 1 << 18
TRANSFER_SECONDS = 1800.0

Sent = Callable[[int], None]


class Files(Protocol):
    """The file half of a connection; see :class:`sdk.connection.Connection` for what its methods do."""

    def put(self, stream: BinaryIO, remote: str, mode: int, sent: Sent | None) -> None: ...

    def get(self, remote: str, max_bytes: int) -> bytes | None: ...

    def remove(self, remote: str) -> None: ...


def temporary_name(remote: str) -> str:
    return f"{remote}.{secrets.token_hex(4)}.part"


def not_whole(remote: str, written: int, arrived: object) -> RemoteError:
    return RemoteError(
        f"{remote} did not arrive whole", expected=f"{written} bytes", found=f"{arrived} bytes"
    )


def too_large(remote: str, max_bytes: int, size: object) -> RemoteError:
    return RemoteError(f"{remote} is too large", expected=f"at most {max_bytes} bytes", found=f"{size} bytes")


class SftpFiles:
    """Over the SFTP subsystem."""

    def __init__(self, client: paramiko.SFTPClient) -> None:
        self.client = client

    def put(self, stream: BinaryIO, remote: str, mode: int, sent: Sent | None) -> None:
        temporary = temporary_name(remote)
        try:
            written = self._write(stream, temporary, mode, sent)
            arrived = self.client.stat(temporary).st_size
            if arrived != written:
                raise not_whole(remote, written, arrived)
            self.client.posix_rename(temporary, remote)
        except BaseException:
            with contextlib.suppress(Exception):
                self.client.remove(temporary)
            raise

    def _write(self, stream: BinaryIO, remote: str, mode: int, sent: Sent | None) -> int:
        try:
            file = self.client.open(remote, "wb")
        except FileNotFoundError:
            self._make_folders(posixpath.dirname(remote))
            file = self.client.open(remote, "wb")
        written = 0
        with file:
            file.chmod(mode)
            file.set_pipelined(True)
            while block := stream.read(WRITE_BYTES):
                file.write(block)
                written += len(block)
                if sent is not None:
                    sent(written)
        return written

    def _make_folders(self, folder: str) -> None:
        if not folder or folder == "/":
            return
        try:
            if stat.S_ISDIR(self.client.stat(folder).st_mode or 0):
                return
        except FileNotFoundError:
            self._make_folders(posixpath.dirname(folder))
        self.client.mkdir(folder, 0o700)

    def get(self, remote: str, max_bytes: int) -> bytes | None:
        try:
            file = self.client.open(remote, "rb")
        except FileNotFoundError:
            return None
        with file:
            size = file.stat().st_size
            if size is not None and size <= max_bytes:
                file.prefetch(size)
                # By blocks: one large read joins its pieces anew for each, 40 times slower at 40 MB.
                data = bytearray()
                while len(data) <= max_bytes and (block := file.read(READ_BYTES)):
                    data += block
                if len(data) <= max_bytes:
                    return bytes(data)
            raise too_large(remote, max_bytes, size)

    def remove(self, remote: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.client.remove(remote)


class CommandFiles:
    """Through ``sh``, ``cat`` and ``mv``; every path is an argument of the script and no part of its text."""

    _PUT = 'umask 077; mkdir -p -- "$(dirname -- "$1")" && cat > "$1" && chmod "$2" "$1" && wc -c < "$1"'
    _GET = 'if [ -e "$1" ]; then cat -- "$1"; else exit 44; fi'
    _ABSENT = 44

    def __init__(self, run: Callable[..., Completed]) -> None:
        self._run = run

    def put(self, stream: BinaryIO, remote: str, mode: int, sent: Sent | None) -> None:
        remote, temporary = _as_argument(remote), _as_argument(temporary_name(remote))
        counted = _Counted(stream)
        try:
            done = self._run(
                ["sh", "-c", self._PUT, "sh", temporary, f"{mode:o}"],
                stdin=counted,
                sent=sent,
                timeout_seconds=TRANSFER_SECONDS,
            )
            if done.status != 0:
                raise RemoteError(f"{remote} could not be written", found=done.stderr_tail())
            arrived = done.stdout.decode("ascii", "replace").strip()
            if arrived != str(counted.count):
                raise not_whole(remote, counted.count, arrived)
            moved = self._run(["mv", "-f", "--", temporary, remote])
            if moved.status != 0:
                raise RemoteError(f"{remote} could not be replaced", found=moved.stderr_tail())
        except BaseException:
            with contextlib.suppress(Exception):
                self._run(["rm", "-f", "--", temporary])
            raise

    def get(self, remote: str, max_bytes: int) -> bytes | None:
        done = self._run(
            ["sh", "-c", self._GET, "sh", _as_argument(remote)],
            max_output_bytes=max(max_bytes, 1 << 16),
            timeout_seconds=TRANSFER_SECONDS,
        )
        if done.status == self._ABSENT:
            return None
        if done.status != 0:
            raise RemoteError(f"{remote} could not be read", found=done.stderr_tail())
        if len(done.stdout) > max_bytes:
            raise too_large(remote, max_bytes, len(done.stdout))
        return done.stdout

    def remove(self, remote: str) -> None:
        self._run(["rm", "-f", "--", _as_argument(remote)])


class _Counted:
    """A stream that knows how much was read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self.count += len(block)
        return block


def _as_argument(path: str) -> str:
    """Redirections take no ``--``: a name that begins with a dash is written as ./-name."""
    return path if path.startswith("/") else f"./{path}"
