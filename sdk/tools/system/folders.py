"""Where Armlet keeps its files on the host, by the XDG Base Directory Specification; looked up at every call."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(*parts: str) -> Path:
    """``$XDG_CACHE_HOME/armlet`` or ``~/.cache/armlet``, and ``parts`` below: what can be fetched or built again."""
    return _folder("XDG_CACHE_HOME", "~/.cache", parts)


def data_folder(*parts: str) -> Path:
    """``$XDG_DATA_HOME/armlet`` or ``~/.local/share/armlet``, and ``parts`` below: what is to stay."""
    return _folder("XDG_DATA_HOME", "~/.local/share", parts)


def _folder(variable: str, default: str, parts: tuple[str, ...]) -> Path:
    return Path(os.environ.get(variable) or os.path.expanduser(default)).joinpath("armlet", *parts)
