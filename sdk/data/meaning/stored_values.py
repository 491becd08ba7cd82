"""Turns the numbers of an array of images into pixels 0 ... 255, by type, range and steps. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sdk.errors import DataError

#: Recovered pixels are this near to whole numbers where whole ones were stored.
_NEARLY_WHOLE = 0.02
#: Values that are looked at to see whether they are whole pixels.
_LOOKED_AT = 20_000
_ROUNDING = 1e-4
_TORCH_MEAN, _TORCH_DEVIATION = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
_CAFFE_MEAN = np.array([103.939, 116.779, 123.68])  # blue, green, red
#: Largest value of a sensor of 10, 12, 14 and 16 bits.
_DEPTHS = (255, 1023, 4095, 16383, 65535)


@dataclass(frozen=True)
class StoredForm:
    """``pixels`` makes pixels 0 ... 255 of stored values of the same shape; None where that cannot be known: then
    values go into the network as they are. ``told``: in words, empty for plain pixels.
    """

    name: str
    told: str
    pixels: Callable[[np.ndarray], np.ndarray] | None


def stored_form(values: np.ndarray, channels: int) -> StoredForm:
    """The form of an array of images (n, ..., channels) or (n, ...), numbers of any type. Raises DataError for NaN."""
    if values.dtype == np.uint8:
        return StoredForm("pixels", "", lambda stored: stored)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        wrong = int(np.argmax(~np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        raise DataError(
            "the images hold values that are not finite",
            expected="finite values",
            found=f"NaN or inf in image {wrong}",
        )
    if values.dtype.kind in "iub":
        return _whole(values, low, high)
    return _floats(values, channels, low, high)


def _whole(values: np.ndarray, low: float, high: float) -> StoredForm:
    if values.dtype == np.bool_:
        return StoredForm("bits", "bits are taken as black and white", lambda v: v.astype(np.uint8) * 255)
    if values.dtype == np.int8 and low < 0:
        return StoredForm(
            "int8", "int8 values are taken as pixels minus 128", lambda v: (v + 128.0).astype("f4")
        )
    if low < 0 or high > _DEPTHS[-1]:
        return StoredForm("values", _as_they_are(low, high), None)
    if high <= 1 and low >= 0 and values.size > 1:
        return StoredForm(
            "bits", "0 and 1 are taken as black and white", lambda v: (v * 255).astype(np.uint8)
        )
    white = next(depth for depth in _DEPTHS if high <= depth)
    if white == _DEPTHS[0]:
        return StoredForm("pixels", "", lambda v: v.astype(np.uint8))
    factor = np.float32(255.0 / white)
    told = f"values up to {high:g} are taken as pixels of {white.bit_length()} bits"
    return StoredForm(f"{white.bit_length()} bits", told, lambda v: v.astype(np.float32) * factor)


@dataclass(frozen=True)
class _Line:
    """``stored * factor + offset`` is a pixel; with ``bgr`` blue is stored first."""

    name: str
    words: str
    offset: np.ndarray | float
    factor: np.ndarray | float
    bgr: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.clip(self.beyond(values), 0.0, 255.0)

    def beyond(self, values: np.ndarray) -> np.ndarray:
        """The same, without an end at 0 and 255."""
        line = values.astype(np.float32) * np.asarray(self.factor, "f4") + np.asarray(self.offset, "f4")
        return line[..., ::-1] if self.bgr else line


_ZERO_TO_ONE = _Line("0 to 1", "pixels / 255", 0.0, 255.0)
_PIXELS = _Line("pixels", "pixels", 0.0, 1.0)
_SIGNED = _Line("-1 to 1", "pixels / 127.5 - 1", 127.5, 127.5)
_GREY_LINES = (
    _Line("-0.5 to 0.5", "pixels / 255 - 0.5", 127.5, 255.0),
    _SIGNED,
    _Line("-128 to 127", "pixels - 128", 128.0, 1.0),
)
_COLOURED_LINES = (
    _Line("torch", "pixels normalised by ImageNet's mean and deviation", _TORCH_MEAN, _TORCH_DEVIATION),
    _Line("caffe", "pixels minus ImageNet's mean, blue first", _CAFFE_MEAN, 1.0, bgr=True),
)


def _floats(values: np.ndarray, channels: int, low: float, high: float) -> StoredForm:
    """Floats: by range where that is plain, by steps of whole pixels where it is not."""
    if low >= -_ROUNDING and high <= 1.0 + _ROUNDING:
        return _form(_ZERO_TO_ONE, low, high)
    if low >= -_ROUNDING and high <= 255.0 + 0.5:
        return StoredForm(_PIXELS.name, "", _PIXELS)
    coloured = channels == 3 and values.ndim >= 2 and values.shape[-1] == 3
    lines = _GREY_LINES + (_COLOURED_LINES if coloured else ())
    fitting = [line for line in lines if _fits(line, values)]
    whole = [line for line in fitting if _are_whole(line, values)]
    if whole:
        return _form(whole[0], low, high)
    if _SIGNED in fitting and low < -0.5:
        return _form(_SIGNED, low, high)
    return StoredForm("values", _as_they_are(low, high), None)


def _form(line: _Line, low: float, high: float) -> StoredForm:
    return StoredForm(line.name, f"values of {low:.3g} to {high:.3g} are taken as {line.words}", line)


def _fits(line: _Line, values: np.ndarray) -> bool:
    """True where every value is a pixel in range."""
    axes = tuple(range(values.ndim - 1))
    ends = line.beyond(np.stack([values.min(axis=axes), values.max(axis=axes)]))
    return bool(ends.min() >= -0.5 and ends.max() <= 255.5)


def _are_whole(line: _Line, values: np.ndarray) -> bool:
    step = max(1, values.size // _LOOKED_AT)
    found = line.beyond(values[:: min(step, len(values))])
    return bool(np.quantile(np.abs(found - np.rint(found)), 0.99) <= _NEARLY_WHOLE)


def _as_they_are(low: float, high: float) -> str:
    return f"values of {low:.3g} to {high:.3g} are not pixels: they go into the network as they are"
