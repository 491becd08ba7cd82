"""The catalogue of boards: what each one is, and how fast theory says it can be.

A board is one ``<name>.toml``. Files are looked for, and the first place that has the name wins, in

1. the user's own folder: ``$ARMLET_BOARDS``, else ``$XDG_CONFIG_HOME/armlet/boards``, else ``~/.config/armlet/boards``;
2. the catalogue that ships with the project: ``sdk/_boards`` in an installed wheel, ``boards/`` in a checkout.

A file describes a *kind* of board: addresses, ports and keys belong to one particular board and are given on the
command line or in ``~/.ssh/config``. :mod:`sdk.board.description.board_file` has the schema. This module reads
files and environment variables; what it returns is frozen and pure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sdk.board.description.records import Board
from sdk.errors import BoardError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
#: Further boards on this machine, each with a home of its own: local-a, local-toy1.
_LOCAL = re.compile(r"local-[a-z0-9][a-z0-9-]{0,63}")


def user_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of the user's own board files; it need not exist."""
    environment = os.environ if environment is None else environment
    if own := environment.get("ARMLET_BOARDS"):
        return Path(own).expanduser()
    config = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "armlet" / "boards"


def catalogue_folder() -> Path:
    """The folder of the files that ship with the project."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_boards"
    return installed if installed.is_dir() else package.parent / "boards"


def list_boards() -> tuple[Board, ...]:
    """Every board there is, by name; the user's own files win. Raises BoardError for the first broken file."""
    return tuple(_read(path) for _, path in sorted(_files().items()))


def load_board(name: str) -> Board:
    """The board of that name. Raises BoardError when there is none, or when its file is broken.

    "local-NAME" needs no file: it is the board ``local`` once more, with a home of its own.
    """
    files = _files()
    if name in files:
        return _read(files[name])
    if _LOCAL.fullmatch(name):
        return replace(load_board("local"), name=name)
    import difflib

    close = difflib.get_close_matches(name.lower(), files, n=3, cutoff=0.5)
    raise BoardError(
        f"unknown board {name!r}",
        expected=f"one of {len(files)} names" + (f", such as {', '.join(close)}" if close else ""),
        hint="`sdk boards` lists them; docs/add-a-board.md says how to add one",
    )


def _files() -> dict[str, Path]:
    """Name -> file; later folders win."""
    found: dict[str, Path] = {}
    for folder in (catalogue_folder(), user_folder()):
        for path in _toml_files(folder):
            if not _NAME.fullmatch(path.stem):
                raise BoardError(
                    f"{path}: a board's name is its file's name",
                    expected="lower-case letters, digits and hyphens",
                    found=path.stem,
                )
            found[path.stem] = path
    return found


def _toml_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise BoardError(f"{folder} cannot be read", found=error.strerror or str(error)) from None


def _read(path: Path) -> Board:
    # Imported late: most users of this module need no TOML parser.
    from sdk.board.description.board_file import parse_board

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BoardError(f"{path} cannot be read", expected="a UTF-8 text file", found=str(error)) from None
    return parse_board(text, name=path.stem, origin=str(path))
