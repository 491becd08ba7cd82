"""A picture has one meaning: host and board decode by one module, whatever its format, mode or orientation."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device_agent.errors import DataError
from device_agent.image import pictures
from device_agent.image.fitting import ImageInput
from device_agent.record.preprocess import PREPROCESS
from device_agent.record.usage import Usage
from device_agent.tensors.tensor import TensorInfo
from sdk.data.loading import load_dataset

RNG = np.random.default_rng(0)
#: Suffix, Pillow's name, and the modes that the format can hold.
FORMATS = {
    ".jpg": ("JPEG", ("RGB", "L", "CMYK")),
    ".png": ("PNG", ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
    ".gif": ("GIF", ("P", "L")),
    ".bmp": ("BMP", ("RGB", "L", "P")),
    ".tif": ("TIFF", ("RGB", "RGBA", "L", "CMYK", "F", "I;16", "I")),
    ".webp": ("WEBP", ("RGB", "RGBA")),
    ".ppm": ("PPM", ("RGB", "L", "1")),
    ".tga": ("TGA", ("RGB", "RGBA", "L")),
    ".jp2": ("JPEG2000", ("RGB", "RGBA", "L")),
    ".ico": ("ICO", ("RGBA",)),
}


def picture(mode: str, height: int, width: int) -> Image.Image:
    """A made-up picture with steps and edges, in one of Pillow's modes."""
    small = Image.fromarray(RNG.integers(0, 256, (5, 7, 3), np.uint8))
    colour = small.resize((width, height), Image.Resampling.BICUBIC)
    grey = np.asarray(colour.convert("L"))
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(grey.astype(np.float32) / 255)
    if mode in ("RGBA", "LA"):
        colour.putalpha(Image.fromarray(grey))
    return colour.convert(mode)


def encoded(image: Image.Image, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def test_host_and_board_agree_to_the_bit_on_a_hundred_pictures_of_ten_formats(tmp_path: Path) -> None:
    shape = (24, 32, 3)
    usage = Usage(PREPROCESS["raw"])
    board = ImageInput(TensorInfo("x", (1, *shape), np.dtype(np.float32)), usage)
    tensor = np.empty((1, *shape), np.float32)
    expected = []
    for number in range(100):
        suffix = list(FORMATS)[number % len(FORMATS)]
        kind, modes = FORMATS[suffix]
        mode = modes[(number // len(FORMATS)) % len(modes)]
        side = {"height": int(RNG.integers(16, 90)), "width": int(RNG.integers(16, 90))}
        more: dict[str, object] = {}
        if kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            exif = Image.Exif()
            exif[0x0112] = 1 + number % 8
            more = {"exif": exif.tobytes()}
        path = tmp_path / f"{number:03}{suffix}"
        path.write_bytes(encoded(picture(mode, **side), kind, **more))
        board.writer(pictures.decode(path.read_bytes()), preprocessed=False)(tensor)
        expected.append(tensor[0].copy())
    data = load_dataset(tmp_path, input_shape=shape, preprocess="raw")
    assert data.notes == ()
    np.testing.assert_array_equal(data.images(), np.stack(expected))
    assert len({image.tobytes() for image in expected}) == 100


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_is_turned_upright(kind: str, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16], upright[8:, 16:] = (255, 0, 0), (0, 0, 255)
    # How a camera that was held so stores it, by the definition of the EXIF tag.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    more = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    image = Image.fromarray(np.ascontiguousarray(stored))
    found = pictures.decode(encoded(image, kind, exif=exif.tobytes(), **more))
    assert found.shape == upright.shape
    assert np.abs(found.astype(int) - upright).mean() < (12 if kind == "JPEG" else 1)


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        (np.array([[0, 257, 32768, 65535]], np.uint16), [0, 1, 128, 255]),
        (np.array([[0.0, 0.5, 1.0, 0.25]], np.float32), [0, 128, 255, 64]),
        (np.array([[0.0, 100.0, 255.0, 12.6]], np.float32), [0, 100, 255, 13]),
        (np.array([[0.0, 257.0, 65535.0, 32768.0]], np.float32), [0, 1, 255, 128]),
        (np.array([[0, 100, 255, 7]], np.int32), [0, 100, 255, 7]),
        (np.array([[0, 257, 65535, 32768]], np.int32), [0, 1, 255, 128]),
    ],
)
def test_wide_pixels_are_scaled_to_255(values: np.ndarray, grey: list[int]) -> None:
    found = pictures.decode(encoded(Image.fromarray(values), "TIFF"))
    assert found[0, :, 0].tolist() == grey
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("values", [np.array([[-1, 5]], np.int32), np.array([[0, 1 << 20]], np.int32)])
def test_pixels_without_a_known_white_are_refused(values: np.ndarray) -> None:
    with pytest.raises(DataError, match="which value is white"):
        pictures.decode(encoded(Image.fromarray(values), "TIFF"))


def test_colours_come_out_of_every_mode() -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    for mode in ("RGBA", "P"):
        assert pictures.decode(encoded(red.convert(mode), "PNG"))[0, 0].tolist() == [255, 0, 0]
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))  # what is hidden is what training sees as well
    assert pictures.decode(encoded(clear, "PNG"))[0, 0].tolist() == [255, 0, 0]
    found = pictures.decode(encoded(red.convert("CMYK"), "TIFF"))[0, 0]
    assert found[0] > 200 > 60 > found[2]


def test_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (4, 4), (value, value, value)) for value in (10, 200)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pictures.decode(moving)[0, 0].tolist() == [10, 10, 10]


def test_what_is_no_picture_says_what_it_is() -> None:
    whole = encoded(picture("RGB", 60, 60), "JPEG")
    for data, found in (
        (b"", "empty"),
        (b"<html>", "no picture of a known format"),
        (whole[:-500], "(?i)truncated"),
    ):
        with pytest.raises(DataError, match=found):
            pictures.decode(data)
    with pytest.raises(DataError, match="at most 100 pixels"):
        pictures.decode(whole, max_pixels=100)
    with pytest.raises(DataError, match="known format"):  # Pillow would start another program for it
        pictures.decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
