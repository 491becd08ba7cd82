"""Files that a command is to write: none of them is one that it reads, and their names fit what is in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sdk.tools.system.files import FileError

#: What Armlet itself writes: such a file in a folder that is read as a whole is not a part of what is read there.
WRITTEN_SUFFIXES = (".armlet", ".tflite", ".toml", ".html", ".sig")

_AnyPath = str | os.PathLike[str]


def check_outputs(outputs: Iterable[_AnyPath | None], inputs: Iterable[_AnyPath | None]) -> None:
    """Raises FileError where an output is an input, a part of one, or another output, or where its folder is not there.

    Links count as their targets. None stands for an output that was not asked for. It is called before any work begins.
    """
    written = [Path(output) for output in outputs if output is not None]
    read = [Path(path) for path in inputs if path is not None]
    for number, output in enumerate(written):
        if not output.parent.is_dir():
            raise FileError(
                f"{output} cannot be written",
                expected="an existing folder, permission and space",
                found=f"no folder {output.parent}",
            )
        for path in read:
            if _same(output, path) or _is_part_of(output, path):
                raise FileError(
                    f"{output} is read and would be replaced",
                    expected="another file for what is written",
                    found="the input" if _same(output, path) else f"a file of the input {path}",
                    hint="Name another output: the input is kept as it is.",
                )
        for other in written[:number]:
            if _same(output, other):
                raise FileError(
                    f"{output} is to hold two things",
                    expected="a file of its own for each output",
                    found="one name for both",
                )


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one file; of files that are not there yet, whether they would be."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return os.path.realpath(one) == os.path.realpath(other)


def _is_part_of(output: Path, folder: Path) -> bool:
    """Whether a file that is there already belongs to a folder that is read, such as a SavedModel or pictures."""
    if not folder.is_dir() or not output.exists() or output.suffix.lower() in WRITTEN_SUFFIXES:
        return False
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(output)).parents


def suffix_notes(output: _AnyPath | None, suffix: str) -> tuple[str, ...]:
    """A sentence where the name of a file does not end as what is written into it; none where nothing is written."""
    if output is None or Path(output).suffix.lower() == suffix:
        return ()
    path = Path(output)
    return (f"{path.name} holds {_KINDS[suffix]}, whose name ends in {suffix} elsewhere",)


_KINDS = {
    ".armlet": "a package",
    ".tflite": "a .tflite model",
    ".toml": "a recipe",
}
