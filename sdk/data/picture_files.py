"""The pictures below a folder: every file that Pillow reads, what else lies there, and what of it is broken."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from device_agent.image import pictures
from device_agent.image.placement import fitted
from device_agent.record.preprocess import with_channels
from device_agent.record.visible import first_of
from sdk.errors import DataError

#: What systems and tools leave behind; names that begin with a dot count, too.
NOISE = frozenset(
    {
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "__pycache__",
    }
    | {"system volume information", "lost+found", "icon\r"}
)
#: Folders in folders are followed so deep; links may go round in circles.
MAX_DEPTH = 8
MAX_NAMED = 5
#: First bytes of pictures, for files whose name does not say what they are.
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")
#: How a whole file of these ends; what does not is decoded to see whether it is whole.
_ENDS = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n", b"IEND\xaeB`\x82"))
_TAIL_BYTES = 4096
#: EXIF's tag of how a picture is turned, and the ways in which height and width change places.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


@dataclass
class LeftOut:
    """The files of a folder that were left out, for one note per kind."""

    noise: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        """A sentence on each kind that there is."""
        if self.noise:
            yield f"left out {_count(self.noise, 'file')} that systems leave behind: {first_of(self.noise, MAX_NAMED)}"
        if self.others:
            kinds = Counter(Path(name).suffix.lower() or "without a suffix" for name in self.others)
            told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(MAX_NAMED))
            heic = (
                " (Pillow reads no HEIC: convert them to JPEG)" if kinds.keys() & {".heic", ".heif"} else ""
            )
            yield f"left out {_count(self.others, 'file')} that Pillow does not read: {told}{heic}"
        if self.broken:
            yield f"left out {_count(self.broken, 'broken picture')}: {first_of(self.broken, MAX_NAMED)}"


def is_noise(name: str) -> bool:
    """True for what systems and tools leave behind in a folder."""
    return name.startswith(".") or name.casefold() in NOISE


@functools.lru_cache(maxsize=1)
def picture_suffixes() -> frozenset[str]:
    """Every suffix of the formats that are decoded, such as ``.jpg``, in lower case."""
    from PIL import Image

    extensions = Image.registered_extensions()
    return frozenset(suffix for suffix, name in extensions.items() if name in pictures.FORMATS)


def find_pictures(folder: Path, root: Path, left_out: LeftOut, *, deep: bool = True) -> list[Path]:
    """The whole pictures in ``folder`` in sorted order, with ``deep`` those in its subfolders too.

    Files that are passed over go into ``left_out``, by their names below ``root``.
    """
    found = []
    for path in _files(folder, root, left_out, MAX_DEPTH if deep else 0):
        name = str(path.relative_to(root))
        if path.suffix.lower() not in picture_suffixes() and not _looks_like_a_picture(path):
            left_out.others.append(name)
            continue
        try:
            _check(path)
        except (DataError, OSError) as error:
            left_out.broken.append(
                f"{name} ({error.found if isinstance(error, DataError) else error.strerror})"
            )
            continue
        found.append(path)
    return found


def holds_pictures(folder: Path, depth: int = MAX_DEPTH) -> bool:
    """True where a file that is named as a picture lies in the folder or below."""
    return any(
        path.suffix.lower() in picture_suffixes() or _looks_like_a_picture(path)
        for path in _files(folder, folder, LeftOut(), depth)
    )


def subfolders(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """The folders in a folder, without those that systems leave behind, in sorted order."""
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    if left_out is not None:
        left_out.noise += [path.name + "/" for path in found if is_noise(path.name)]
    return [path for path in found if not is_noise(path.name)]


def _files(folder: Path, root: Path, left_out: LeftOut, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if depth > 0 and not is_noise(path.name):
                yield from _files(path, root, left_out, depth - 1)
        elif is_noise(path.name):
            left_out.noise.append(str(path.relative_to(root)))
        else:
            yield path


def _looks_like_a_picture(path: Path) -> bool:
    if path.suffix and len(path.suffix) <= 5 and path.suffix[1:].isalpha() and path.suffix.lower() != ".bin":
        return False  # another kind of file by its name
    with path.open("rb") as file:
        head = file.read(12)
    return head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def _check(path: Path) -> None:
    """Raises DataError where the file is not a whole picture: by its head and its end; if in doubt it is decoded."""
    data = path.read_bytes()
    pictures.check_header(data)
    if any(data.startswith(magic) and end not in data[-_TAIL_BYTES:] for magic, end in _ENDS):
        pictures.decode(data, max_pixels=pictures.MAX_PIXELS_ON_HOST)


def read_picture(path: Path, shape: Sequence[int], how: str) -> np.ndarray:
    """The pixels of a file for an input of (height, width, channels), 1 or 3 of these: uint8 of that shape.

    It is fitted as on a board, to the bit; ``how``: one of :data:`device_agent.record.task.FITS`. Raises DataError,
    naming the file.
    """
    try:
        pixels = pictures.decode(path.read_bytes(), max_pixels=pictures.MAX_PIXELS_ON_HOST)
    except DataError as error:
        raise DataError(
            f"{path} is not a readable image", expected=error.expected, found=error.found, hint=error.hint
        ) from error
    return fit_picture(pixels, shape, how)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as it is looked at, turned as its EXIF says; pixels are not decoded."""
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        try:
            turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
        except Exception:  # damaged EXIF raises whatever its parser stumbles on
            turned = False
    return (width, height) if turned else (height, width)


def fit_picture(pixels: np.ndarray, shape: Sequence[int], how: str) -> np.ndarray:
    """Pixels (h, w) or (h, w, channels), uint8 or float, as ``shape`` (height, width, channels), of the same type."""
    found: np.ndarray = np.ascontiguousarray(fitted(with_channels(pixels, shape[2]), shape[0], shape[1], how))
    return found


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}" + ("s" if len(names) != 1 else "")
