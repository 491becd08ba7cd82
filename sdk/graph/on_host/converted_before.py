"""Conversions of Keras files by earlier commands: TensorFlow starts and converts for seconds, reading one takes none.

Armlet's version of a conversion is kept by a digest of all that it depends on: the file's bytes, what was asked, the
versions of TensorFlow and Keras, and the code that reads and writes graphs. A file that names code of somebody's own,
which may change, is converted each time, and so is one on which there are remarks.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from sdk.tools.system.keeping import MOST_BYTES, keep, keeps_results, kept

Note = Callable[[str], None]
KIND = "converted"
_CONVERTERS = ("tensorflow", "keras", "tf_keras")
#: A class or function that Keras would import from elsewhere.
_FOREIGN_MODULE = re.compile(rb'"module":\s*"(?!keras[".]|tf_keras[".]|builtins")')


def converted_once(path: Path, asked: object, convert: Callable[[Note], bytes], note: Note) -> bytes:
    """The ``.tflite`` bytes that ``convert`` makes of the Keras file, or that it made for an earlier command.

    ``asked``: what else the result depends on. ``convert`` is given what it says remarks to, which ``note`` gets.
    """
    name = _name(path, asked) if keeps_results() else None
    if name is None:
        return convert(note)
    found = kept(KIND, name)
    if found is not None:
        return found
    remarks: list[str] = []
    made = convert(remarks.append)
    for remark in remarks:
        note(remark)
    if not remarks:
        keep(KIND, name, made)
    return made


def _name(path: Path, asked: object) -> str | None:
    """The digest of all that the conversion depends on, None for a file whose conversion is not kept."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    if _names_code(data):
        return None
    digest = hashlib.sha256(repr((asked, _versions())).encode())
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    digest.update(data)
    return digest.hexdigest()


def _names_code(data: bytes) -> bool:
    """Whether a Keras file names code that is not Keras's own; true where that cannot be told."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return _FOREIGN_MODULE.search(data) is not None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return _FOREIGN_MODULE.search(file.read("config.json")) is not None
    except (KeyError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        return True


def _versions() -> list[str]:
    found = []
    for name in _CONVERTERS:
        try:
            found.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            found.append("")
    return found
