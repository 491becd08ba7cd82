"""The state of trainings on disk: replaced as a whole, so that a kill or a full disk leaves the one before.

A state is named arrays (:data:`sdk.compress.train.student.State`), kept as an ``.npz``. A search trains several
recipes; each has its own file in one folder, beside ``run.json``, which says what the folder is for and what was
decided already.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_agent.record.named_kinds import RawText
from device_agent.record.schema import parse_json, read, record, write
from sdk.errors import DataError
from sdk.tools.system.files import write_file

EVERY_SECONDS = 20.0  # a kill loses no more than this, and the step that runs


def save(path: str | os.PathLike[str], state: Mapping[str, np.ndarray]) -> None:
    """Writes the state beside ``path``, flushes it to the disk and puts it in place.

    ``state``: arrays of any shape by name. Raises :class:`DataError` where that fails; what was at ``path`` before is
    then still there.
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
        raise DataError(
            f"the checkpoint {path} cannot be written",
            found=str(error),
            hint="Make room and repeat the command: it goes on from the state saved before, if there is one.",
        ) from error


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray] | None:
    """The state at ``path``, arrays of any shape by name; None where there is none.

    Raises :class:`DataError` where it is broken.
    """
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


@record(what="the note of a checkpoint")
@dataclass(frozen=True)
class Note:
    """The content of ``run.json``: the run of the folder, and its decisions so far."""

    about: Mapping[RawText, RawText]
    decided: Mapping[RawText, float]


class Folder:
    """The states of one run's trainings, in a folder that goes when the run is finished.

    ``about`` says which run it is (model, images, settings); the folder of another run is refused, not continued.
    """

    def __init__(
        self, path: Path, about: Mapping[str, object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path, self.clock = path, clock
        self._saved = clock()
        self._decided: dict[str, float] = {}
        self._about = {name: str(value) for name, value in about.items()}
        self.goes_on = self._noted = path.exists()
        if self.goes_on:
            self._read()

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """The state of a recipe that was saved last, arrays of any shape by name; None where there is none."""
        return load(self._file(key))

    def save(self, key: str, state: Mapping[str, np.ndarray]) -> None:
        """Replaces the state of a recipe, arrays of any shape by name; see :func:`save`."""
        if not self._noted:
            self._note()
        save(self._file(key), state)
        self._saved = self.clock()

    def due(self) -> bool:
        """Whether the last state is old enough to save another."""
        return self.clock() - self._saved >= EVERY_SECONDS

    def remember(self, name: str, value: float) -> float:
        """The decision of the run before it was cut, else ``value``, which is kept."""
        if name not in self._decided:
            self._decided[name] = value
            self._note()
        return self._decided[name]

    def remove(self) -> None:
        """The run is finished."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _file(self, key: str) -> Path:
        return self.path / f"{key}.npz"

    def _note(self) -> None:
        try:
            self.path.mkdir(exist_ok=True)
            text = json.dumps(write(Note(self._about, self._decided)), indent=1)
            write_file(self.path / "run.json", text.encode())
        except OSError as error:
            raise DataError(f"the checkpoint {self.path} cannot be written", found=str(error)) from error
        self._noted = True

    def _read(self) -> None:
        note = self.path / "run.json"
        try:
            found = read(Note, parse_json(note.read_bytes()))
        except (OSError, DataError) as error:
            raise DataError(
                f"{self.path} is not a checkpoint",
                expected="a folder written by training",
                found=str(error),
                hint="Remove it to start again.",
            ) from error
        about, self._decided = found.about, dict(found.decided)
        if differing := sorted(n for n in {*about, *self._about} if about.get(n) != self._about.get(n)):
            raise DataError(
                f"{self.path} is of another training",
                expected=", ".join(f"{name} {self._about.get(name)}" for name in differing),
                found=", ".join(f"{name} {about.get(name)}" for name in differing),
                hint="Repeat the command that was cut to go on, or remove the folder to start again.",
            )
