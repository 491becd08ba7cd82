"""Files of the user's: read with one clear error, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from sdk.errors import ArmletError


class FileError(ArmletError):
    """A file cannot be read or written."""


def read_file(path: Path, what: str, *, most: int | None = None) -> bytes:
    """The bytes of ``path``; ``what`` says in the error what was expected there, such as "a .armlet package".

    A file of more than ``most`` bytes is refused before it is read.
    """
    try:
        if most is None:
            return path.read_bytes()
        with path.open("rb") as file:
            data = _at_most(file, most + 1)
    except FileNotFoundError as error:
        raise FileError(f"there is no file {path}", expected=what, found="no such file") from error
    except OSError as error:
        raise FileError(
            f"{path} cannot be read", expected=what, found=error.strerror or str(error)
        ) from error
    if len(data) > most:
        raise FileError(
            f"{path} is too large",
            expected=f"{what}, at most {most >> 20} MB",
            found="a file of more than that",
        )
    return data


def _at_most(file: BinaryIO, most: int) -> bytes:
    """The first bytes of a file; read in one go, ``most`` would be taken as memory before there is a byte."""
    blocks, left = [], most
    while left and (block := file.read(min(left, 1 << 20))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def write_file(path: Path, data: bytes) -> None:
    """Writes ``data`` under a temporary name beside ``path`` and renames it, so that no half file is ever seen.

    On a full disk or an interrupt the old file, if there was one, is still there.
    """
    temporary = None
    try:
        # mkstemp makes 0600; the user's umask decides in the end, as for any file that a command writes.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise FileError(
            f"{path} cannot be written",
            expected="an existing folder, permission and space",
            found=error.strerror or str(error),
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
