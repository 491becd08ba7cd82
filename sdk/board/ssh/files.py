"""Files over an SSH connection, by commands that any POSIX shell runs.

SFTP is not used: small SSH servers (dropbear, on many vendor images) come without it, and a command costs two round
trips where opening, writing, measuring and renaming a file by SFTP costs six. Every path is an argument of a script,
never part of its text.
"""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from sdk.errors import RemoteError

if TYPE_CHECKING:
    from sdk.board.ssh.command import Completed

TRANSFER_SECONDS = 1800.0

Sent = Callable[[int], None]

#: $1 temporary name, $2 final name, $3 mode, $4 folder, $5 size. A transfer that is cut ends `cat` like any other, so
#: what arrived is measured before it takes the place of what was there; whatever happens, nothing half is left. Both
#: file and folder are synced, else a power cut in the next half minute leaves no bytes under the final name; a `sync`
#: that takes no names syncs everything.
_PUT = """\
umask 077
if [ -d "$2" ]; then echo "$2 is a folder" >&2; exit 1; fi
mkdir -p -- "$4" && cat > "$1" && size=$(wc -c < "$1") || { status=$?; rm -f -- "$1"; exit $status; }
if [ "$size" -ne "$5" ]; then rm -f -- "$1"; echo "$size"; exit 44; fi
chmod "$3" "$1" && { sync -- "$1" || sync || :; } 2>/dev/null && mv -f -- "$1" "$2" ||
{ status=$?; rm -f -- "$1"; exit $status; }
{ sync -- "$4" || sync || :; } 2>/dev/null
"""
_GET = 'if [ -e "$1" ]; then cat -- "$1"; else exit 44; fi'
_REMOVE = 'rm -f -- "$1"; if [ -d "$2" ]; then { sync -- "$2" || sync || :; } 2>/dev/null; fi'
_NOT_WHOLE = _ABSENT = 44


class Files:
    """The file half of a connection; see :class:`sdk.board.ssh.command.Connection` for what its methods do."""

    def __init__(self, run: Callable[..., Completed]) -> None:
        self._run = run

    def put(self, stream: BinaryIO, size: int, remote: str, mode: int, sent: Sent | None) -> None:
        """Writes ``size`` bytes of a stream under another name, then renames that to ``remote``.

        Raises RemoteError.
        """
        path = _as_argument(remote)
        temporary = f"{path}.{secrets.token_hex(4)}.part"
        done = self._run(
            ["sh", "-c", _PUT, "sh", temporary, path, f"{mode:o}", posixpath.dirname(path), str(size)],
            stdin=stream,
            sent=sent,
            timeout_seconds=TRANSFER_SECONDS,
        )
        if done.status == _NOT_WHOLE:
            arrived = done.stdout.decode("ascii", "replace").strip()
            raise RemoteError(
                f"{remote} did not arrive whole", expected=f"{size} bytes", found=f"{arrived[:20]} bytes"
            )
        if done.status != 0:
            raise RemoteError(f"{remote} could not be written", found=done.stderr_tail())

    def get(self, remote: str, max_bytes: int) -> bytes | None:
        """A file's bytes; None when there is none. Raises RemoteError above ``max_bytes``."""
        done = self._run(
            ["sh", "-c", _GET, "sh", _as_argument(remote)],
            max_output_bytes=max(max_bytes, 1 << 16),
            timeout_seconds=TRANSFER_SECONDS,
        )
        if done.status == _ABSENT:
            return None
        if done.status != 0:
            raise RemoteError(f"{remote} could not be read", found=done.stderr_tail())
        if len(done.stdout) > max_bytes:
            raise RemoteError(
                f"{remote} is too large",
                expected=f"at most {max_bytes} bytes",
                found=f"{len(done.stdout)} bytes",
            )
        return done.stdout

    def remove(self, remote: str) -> None:
        """Removes a file, if it is there; a power cut does not bring it back."""
        path = _as_argument(remote)
        self._run(
            ["sh", "-c", _REMOVE, "sh", path, posixpath.dirname(path)], timeout_seconds=TRANSFER_SECONDS
        )


def _as_argument(path: str) -> str:
    """Redirections take no ``--``: a name that begins with a dash is written as ./-name."""
    return path if path.startswith("/") else f"./{path}"
