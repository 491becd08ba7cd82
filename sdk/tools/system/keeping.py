"""Results that took long, kept for the next commands under ``$XDG_CACHE_HOME/armlet``, in processes of one command.

A user's own program may have changed what a result depends on, such as layers that it registered with Keras, and
keeps none.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from sdk.errors import ArmletError
from sdk.tools.system.files import write_file
from sdk.tools.system.folders import cache_folder

#: Of a kind, the last used.
MOST_RESULTS = 16
MOST_BYTES = 256 << 20  # of one
_DIGEST_BYTES = 32
_keeps = False


def keep_results() -> None:
    """Lets this process, which is one command, keep results and take those of others."""
    global _keeps
    _keeps = True


def keeps_results() -> bool:
    """Whether this process is one command that keeps results."""
    return _keeps


def kept(kind: str, name: str) -> bytes | None:
    """The result of this name, None where there is none that is whole. It counts as used now."""
    path = _place(kind, name)
    try:
        data = path.read_bytes()
        path.touch()
    except OSError:
        return None
    digest, result = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return result if hashlib.sha256(result).digest() == digest else None


def keep(kind: str, name: str, result: bytes) -> None:
    """Keeps a result under this name. Where there are too many of a kind, the one not used for longest is deleted.

    A cache that cannot be written to is done without.
    """
    if len(result) > MOST_BYTES:
        return
    path = _place(kind, name)
    with contextlib.suppress(OSError, ArmletError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(path, hashlib.sha256(result).digest() + result)
        for old in sorted(path.parent.iterdir(), key=lambda one: one.stat().st_mtime)[:-MOST_RESULTS]:
            old.unlink(missing_ok=True)


def _place(kind: str, name: str) -> Path:
    return cache_folder(kind, name)
