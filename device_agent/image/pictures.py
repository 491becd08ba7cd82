"""Encoded pictures into pixels, by Pillow where a machine has it: one meaning on the host and on every board.

A picture is turned upright as its EXIF says; 16-bit and float pixels are scaled to 0 ... 255; palettes, grey, CMYK and
pictures with transparency become RGB. Transparency is dropped, not blended, as the loaders that networks are trained
with do. Of several frames the first counts. Pure; nothing here needs Pillow until it is called.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np

from device_agent.errors import DataError

#: Pillow's names of what is read. Its others start a program (EPS), draw (WMF), or hold no picture of a camera.
FORMATS = (
    "AVIF",
    "BMP",
    "DDS",
    "DIB",
    "GIF",
    "ICNS",
    "ICO",
    "JPEG",
    "JPEG2000",
    "MPO",
    "PCX",
    "PNG",
    "PPM",
    "PSD",
    "QOI",
    "SGI",
    "TGA",
    "TIFF",
    "WEBP",
)
#: A picture of more pixels is refused before it is decoded: a small file may hold a very large one.
MAX_PIXELS = 1 << 24
#: The same on the host, where people have photographs of large cameras; below what Pillow warns of.
MAX_PIXELS_ON_HOST = 1 << 26
#: A JPEG of more scans than any camera or program writes (ten) takes a decoder a pass over all pixels for each.
MAX_JPEG_SCANS = 128
_JPEG, _START_OF_SCAN = b"\xff\xd8", b"\xff\xda"
#: Pillow's modes of one 16-bit number per pixel.
_WIDE_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
#: Formats whose 32-bit pixels are 16-bit numbers that Pillow had no better mode for.
_WIDE_FORMATS = ("PNG", "PPM")
_WHITE_OF_16_BITS = 65535


class NoDecoder(DataError):
    """This machine decodes no pictures."""


def decoder_version() -> str | None:
    """Pillow's version; None where it is not installed, or too old to be told which formats to try."""
    try:
        pillow = importlib.import_module("PIL")
        version = str(pillow.__version__)
        return version if int(version.split(".")[0]) >= 8 else None
    except (ImportError, AttributeError, ValueError):
        return None


def require_decoder() -> None:
    """Raises NoDecoder where no picture can be decoded."""
    if decoder_version() is None:
        raise NoDecoder(
            "this board decodes no images",
            expected="an array, as application/octet-stream or JSON",
            found="an encoded image",
            hint="Install Pillow 8 or newer for the python3 that serves, such as Debian's python3-pil.",
        )


def decode(data: Any, *, max_pixels: int = MAX_PIXELS) -> Any:
    """The pixels of a picture's bytes, (height, width, 3) uint8, upright. Raises NoDecoder or DataError."""
    require_decoder()
    _check_scans(data)
    try:
        with _opened(data) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise DataError(
                    "the image is too large",
                    expected=f"at most {max_pixels} pixels",
                    found=f"{width}x{height}",
                )
            return np.ascontiguousarray(_pixels(_upright(image)))
    except DataError:
        raise
    except Exception as error:  # Pillow's plugins raise what they like on damaged files
        raise _unreadable(data, error) from None


def check_header(data: Any) -> None:
    """Raises DataError where the bytes do not begin as a picture; pixels are not decoded."""
    require_decoder()
    try:
        with _opened(data):
            return
    except Exception as error:  # as above
        raise _unreadable(data, error) from None


def _check_scans(data: Any) -> None:
    """Raises DataError for a JPEG of too many scans. In coded data a byte FF is followed by 00 or a restart marker, so
    that what looks like the start of a scan is one, of the picture or of a small one in its metadata."""
    if bytes(data[:2]) == _JPEG and (scans := bytes(data).count(_START_OF_SCAN)) > MAX_JPEG_SCANS:
        raise DataError(
            "the image has too many scans", expected=f"at most {MAX_JPEG_SCANS}", found=f"{scans} scans"
        )


def _opened(data: Any) -> Any:
    image = importlib.import_module("PIL.Image")
    if not image.OPEN or "TGA" not in image.OPEN:
        image.init()  # else only the common formats are known
    image_of = image.open  # of bytes in memory
    return image_of(io.BytesIO(data), formats=[name for name in FORMATS if name in image.OPEN])


def _unreadable(data: Any, error: Exception) -> DataError:
    found = "an empty file" if len(data) == 0 else _without_addresses(str(error))[:200]
    return DataError("the image cannot be decoded", expected="a whole picture that Pillow reads", found=found)


def _without_addresses(text: str) -> str:
    """Pillow names the object in memory that it read from, which helps nobody."""
    return "no picture of a known format" if text.startswith("cannot identify image file") else text


def _upright(image: Any) -> Any:
    """The image as a person would look at it. EXIF that cannot be read says nothing."""
    image.load()
    try:
        return importlib.import_module("PIL.ImageOps").exif_transpose(image)
    except Exception:  # damaged EXIF raises whatever its parser stumbles on; the pixels are whole
        return image


def _pixels(image: Any) -> Any:
    """A loaded image as (height, width, 3) uint8."""
    if image.mode in _WIDE_MODES:
        return _grey(_from_16_bits(np.asarray(image)))
    if image.mode == "I":
        return _grey(_from_whole_numbers(np.asarray(image), image.format in _WIDE_FORMATS))
    if image.mode == "F":
        return _grey(_from_floats(np.asarray(image)))
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    return np.asarray(image.convert("RGB"), np.uint8)


def _grey(pixels: Any) -> Any:
    return np.broadcast_to(pixels[..., None], (*pixels.shape, 3))


def _from_16_bits(values: Any) -> Any:
    wide = values.astype(np.uint32)
    return ((wide * 255 + _WHITE_OF_16_BITS // 2) // _WHITE_OF_16_BITS).astype(np.uint8)


def _from_whole_numbers(values: Any, are_16_bits: bool) -> Any:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > _WHITE_OF_16_BITS:
        raise DataError(
            "the image does not say which value is white",
            expected="8-bit or 16-bit pixels",
            found=f"32-bit values of {low} to {high}",
        )
    return values.astype(np.uint8) if high <= 255 and not are_16_bits else _from_16_bits(values)


def _from_floats(values: Any) -> Any:
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite([low, high]).all() and low >= 0.0 and high <= _WHITE_OF_16_BITS):
        raise DataError(
            "the image does not say which value is white",
            expected="values of 0 to 1, to 255 or to 65535",
            found=f"{low:g} to {high:g}",
        )
    white = 1.0 if high <= 1.0 else 255.0 if high <= 255.0 else float(_WHITE_OF_16_BITS)
    return np.floor(values.astype(np.float64) * (255.0 / white) + 0.5).astype(np.uint8)
