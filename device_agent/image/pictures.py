"""Encoded images (JPEG, PNG) into arrays, by Pillow where a board has it; nothing here needs it."""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np

from device_agent.errors import DataError

FORMATS = ("JPEG", "PNG")
#: A picture of more pixels is refused before it is decoded: a small file may hold a very large one.
MAX_PIXELS = 1 << 24


class NoDecoder(DataError):
    """This board decodes no images."""


def decoder_version() -> str | None:
    """Pillow's version; None where it is not installed, or too old to be told which formats to try."""
    try:
        pillow = importlib.import_module("PIL")
        version = str(pillow.__version__)
        return version if int(version.split(".")[0]) >= 8 else None
    except (ImportError, AttributeError, ValueError):
        return None


def require_decoder() -> None:
    """Raises NoDecoder where no image can be decoded."""
    if decoder_version() is None:
        raise NoDecoder(
            "this board decodes no images",
            expected="an array, as application/octet-stream or JSON",
            found="an encoded image",
            hint="Install Pillow 8 or newer for the python3 that serves, such as Debian's python3-pil.",
        )


def decode(data: Any) -> Any:
    """An array (height, width, 3) of uint8, turned upright as its EXIF says. Raises NoDecoder or DataError."""
    require_decoder()
    image_of = importlib.import_module("PIL.Image").open  # of bytes in memory
    operations = importlib.import_module("PIL.ImageOps")
    try:
        with image_of(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    "the image is too large",
                    expected=f"at most {MAX_PIXELS} pixels",
                    found=f"{width}x{height}",
                )
            return np.asarray(operations.exif_transpose(image).convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # Pillow's plugins raise what they like on damaged files
        raise DataError(
            "the image cannot be decoded", expected=" or ".join(FORMATS), found=str(error)[:200]
        ) from None
