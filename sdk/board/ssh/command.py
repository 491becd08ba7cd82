"""The interface of a connection to a board: run a command, put and get files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from device_agent.record.visible import visible

#: What one command may answer on each of its two streams.
MAX_OUTPUT_BYTES = 16 << 20
#: As much of what a command said on standard error is told in our error.
STDERR_CHARACTERS = 400


@dataclass(frozen=True)
class Completed:
    """How a command ended."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    def stderr_tail(self) -> str:
        """The end of what it said on standard error, in one printable line."""
        text = " ".join(self.stderr.decode("utf-8", "replace").split())
        return visible(text)[-STDERR_CHARACTERS:]


class Connection(Protocol):
    """One open way to one board. Paths are the board's, absolute or relative to the login folder."""

    @property
    def address(self) -> str:
        """The board's address for people, e.g. ``pi@raspberrypi.local``."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Path | BinaryIO = b"",
        timeout_seconds: float = 60.0,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
        sent: Callable[[int], None] | None = None,
    ) -> Completed:
        """Runs a command, every argument quoted; ``sent`` is told how many bytes of ``stdin`` are on their way."""

    def put(
        self,
        source: bytes | Path | BinaryIO,
        remote: str,
        *,
        mode: int = 0o600,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Writes a file under a temporary name, then renames it over ``remote``; folders on the way are made.

        A stream is sent from its current position, and must be seekable, since its size is needed.
        """

    def get(self, remote: str, *, max_bytes: int) -> bytes | None:
        """A file's bytes; None when there is none; RemoteError when it is larger than ``max_bytes``."""

    def remove(self, remote: str) -> None:
        """Removes a file, if it is there."""

    def close(self) -> None:
        """Ends the connection."""
