"""The state of a training on disk: replaced as a whole, so that a kill or a full disk leaves the one before.

A state is named arrays (:data:`sdk.compress.tune.State`), kept as an ``.npz``.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sdk.errors import DataError


def save(path: str | os.PathLike[str], state: Mapping[str, np.ndarray]) -> None:
    """Writes the state beside ``path``, flushes it to the disk and puts it in place.

    Raises :class:`DataError` where that fails; what was at ``path`` before is then still there.
    """
    path = Path(path)
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            np.savez(file, **state)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise DataError(f"the checkpoint {path} cannot be written", found=str(error)) from error


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray] | None:
    """The state at ``path``, or None where there is none. Raises :class:`DataError` where it is broken."""
    path = Path(path)
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is not a checkpoint",
            expected="an .npz written by training",
            found=str(error),
            hint="Remove it to start again.",
        ) from error
