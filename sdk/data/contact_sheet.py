"""Nine samples on one picture, as the network sees them, with their names and classes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from device_agent.record.visible import visible
from sdk.graph.dataset import Dataset

SAMPLES = 9
_COLUMNS = 3
#: A sample is shown at least so large, in whole steps of its pixels.
_LEAST_SIDE = 180
_LINE = 14
_MARGIN = 8
_CAPTION_CHARACTERS = 30


def contact_sheet(dataset: Dataset, class_names: dict[int, str]) -> bytes:
    """A PNG of at most nine samples, taken evenly: fitted to the input, in the order of channels that goes in.

    ``class_names``: the text below a sample of that class.
    """
    from PIL import Image, ImageDraw

    some = dataset.take(SAMPLES)
    tiles = [_as_picture(pixels) for pixels in _shown(some)]
    width = max(tile.width for tile in tiles) + _MARGIN
    height = max(tile.height for tile in tiles) + 2 * _LINE + _MARGIN
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width + _MARGIN, rows * height + _MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for number, tile in enumerate(tiles):
        left = _MARGIN + number % _COLUMNS * width
        top = _MARGIN + number // _COLUMNS * height
        sheet.paste(tile, (left, top))
        labels = some.labels
        said = (
            "no label" if labels is None else class_names.get(int(labels[number]), str(int(labels[number])))
        )
        for line, text in enumerate((said, some.source_name(int(some.indices[number])))):
            draw.text((left, top + tile.height + 1 + line * _LINE), _caption(text), fill="black")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _shown(some: Dataset) -> np.ndarray:
    """Pixels (n, height, width, 1 or 3) uint8, as they enter: blue first where the network wants that."""
    pixels = some.pixels()
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if some.are_pixels:
        ordered: np.ndarray = some.preprocess.ordered(pixels)
        return np.clip(np.rint(ordered), 0, 255).astype(np.uint8)
    low, high = float(pixels.min()), float(pixels.max())
    return ((pixels - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)


def _as_picture(pixels: np.ndarray) -> Any:
    from PIL import Image

    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        pixels = pixels.reshape(pixels.shape[0], -1, 1)  # features: a strip of grey
    grey = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    image = Image.fromarray(np.ascontiguousarray(grey)).convert("RGB")
    step = max(1, -(-_LEAST_SIDE // max(image.size)))
    return image.resize((image.width * step, image.height * step), Image.Resampling.NEAREST)


def _caption(text: str) -> str:
    short = (
        visible(text)
        if len(text) <= _CAPTION_CHARACTERS
        else "..." + visible(text)[3 - _CAPTION_CHARACTERS :]
    )
    return short.encode("ascii", "replace").decode()  # the built-in font has no others
