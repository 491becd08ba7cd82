"""A shared library that the host pushed: which file is loaded."""

from __future__ import annotations

import os
from pathlib import Path


class PushedLibrary:
    """Where one library is: as this process chose, as the environment's ``variable`` names, or at ``beside``."""

    def __init__(self, variable: str, beside: Path) -> None:
        self._variable, self._beside = variable, beside
        self._chosen: str | None = None

    def use(self, path: str | None) -> None:
        """Makes ``path`` the library of this process, before the environment and the file beside; None: as before."""
        self._chosen = path

    def find(self) -> str | None:
        """Path of the library that would be loaded, or None."""
        beside = str(self._beside) if self._beside.is_file() else None
        return self._chosen or os.environ.get(self._variable) or beside
