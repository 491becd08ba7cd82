"""An image into the memory of a model's input: resized, normalised, mirrored and quantized on the way, not copied.

Where the image has the model's size, its pixels are read once and written once, straight into the tensor. Pure.
"""

from __future__ import annotations

import warnings
from typing import Any, Callable

import numpy as np

from device_agent.errors import DataError
from device_agent.image.placement import Placement, fitted, placement_on
from device_agent.record.preprocess import every_pixel, with_channels
from device_agent.record.task import CROP
from device_agent.record.usage import Usage, channels_come_first, picture_shape

#: An image has at most this many pixels on a side.
MAX_SIDE = 1 << 15


class ImageInput:
    """The way into one input. ``info`` has its ``shape`` (1, ...), ``dtype``, ``is_quantized`` and ``quantize``."""

    def __init__(self, info: Any, usage: Usage) -> None:
        self.info = info
        self.usage = usage
        self._first = channels_come_first(info.shape)
        #: Without the leading 1; of an image (height, width, channels), whichever order the model keeps.
        self.shape: tuple[int, ...] = picture_shape(info.shape)
        self.is_image = len(self.shape) == 3
        if usage.flip and not self.is_image:
            raise DataError("only an image can be mirrored", found=f"an input of {_text(info.shape)}")
        self._flip = tuple(slice(None, None, -1 if axis in usage.flip else 1) for axis in ("height", "width"))
        self._table: Any = None
        if self.is_image and info.is_quantized and usage.preprocess is not None:
            # (256, channels): what becomes of each pixel value, once and for all.
            self._table = info.quantize(usage.preprocess(every_pixel(self.shape[2])))

    def rows(self, array: Any) -> tuple[bool, list[Any]]:
        """Whether ``array`` is one input, and the inputs one by one. Raises DataError."""
        if array.dtype.kind not in "fiub":
            raise DataError("the input is not an array of numbers", found=str(array.dtype))
        single = len(self.shape)
        if self.is_image and array.ndim == 2:
            return True, [array]
        if array.ndim == single:
            return True, [array]
        if array.ndim == single + 1:
            return False, list(array)
        raise DataError(
            "the input has another number of dimensions than the model takes",
            expected=f"{_text(self.shape)}, or a batch of those",
            found=_text(array.shape),
        )

    def writer(self, row: Any, preprocessed: bool) -> Callable[[Any], Any]:
        """Checks and resizes one input; what is returned writes it to the tensor's array (1, \\*shape)."""
        preprocess = self.usage.preprocess
        if preprocessed or not self.is_image or preprocess is None:
            return self._as_it_is(row)
        image = self._image(row)[self._flip]
        if self._table is None and self.info.dtype.kind != "f":  # whole numbers without a scale
            self._table = preprocess.as_whole(self.shape[2], self.info.dtype)
        if self._table is not None:
            if image.dtype == np.uint8:
                return lambda tensor: self._look_up(preprocess.ordered(image), tensor)
            real = preprocess(image)
            values = self.info.quantize(real) if self.info.is_quantized else np.rint(real)
            return lambda tensor: np.copyto(self._sample(tensor), values, casting="unsafe")
        if self.info.dtype == np.float32:
            return lambda tensor: preprocess.into(image, self._sample(tensor))
        return lambda tensor: np.copyto(self._sample(tensor), preprocess(image), casting="same_kind")

    def placement(self, row: Any, preprocessed: bool) -> Placement | None:
        """Where the input lies on the image ``row``; None for an input that is not an image."""
        if not self.is_image:
            return None
        how = CROP if preprocessed or self.usage.preprocess is None else self.usage.fit or CROP
        return placement_on(row.shape[0], row.shape[1], self.shape[0], self.shape[1], how)

    def _image(self, row: Any) -> Any:
        """As (height, width, channels) of the model, not normalised yet."""
        height, width, channels = self.shape
        if min(row.shape[:2]) < 1 or max(row.shape[:2]) > MAX_SIDE:
            raise DataError(
                "the image has no such size",
                expected=f"1 to {MAX_SIDE} pixels per side",
                found=_text(row.shape),
            )
        if row.dtype != np.uint8:
            row = row.astype(np.float32, copy=False)
            low, high = float(row.min()), float(row.max())
            if not 0.0 <= low <= high <= 255.0:
                raise DataError(
                    "these are not pixels",
                    expected="values of 0 to 255",
                    found=f"{low:g} to {high:g}",
                    hint="What is normalised already goes in with preprocessed=True.",
                )
            if 0.0 < high <= 1.0:
                warnings.warn(
                    "an image of floats has no pixel above 1; pixels are 0 to 255, as in uint8", stacklevel=5
                )
        return fitted(with_channels(row, channels), height, width, self.usage.fit or CROP)

    def _look_up(self, image: Any, tensor: Any) -> None:
        for channel in range(self.shape[2]):
            # mode="clip", though no pixel is out of range: without it numpy writes to a copy first.
            values = np.take(self._table[:, channel], image[..., channel], mode="clip")
            self._sample(tensor)[..., channel] = values

    def _sample(self, tensor: Any) -> Any:
        """The tensor's memory in the order of :attr:`shape`."""
        return tensor[0].transpose(1, 2, 0) if self._first else tensor[0]

    def _as_it_is(self, row: Any) -> Callable[[Any], Any]:
        """The model's own input, mirrored where it must be, and checked as the runtime would."""
        if self._first and row.shape == self.info.shape[1:]:
            row = row.transpose(1, 2, 0)
        if row.shape != self.shape:
            hint = None
            if self.is_image and row.ndim in (2, 3):
                hint = "Pack with --preprocess, or give Agent(preprocess=...): then images of any size are taken."
            raise DataError(
                "the input has another shape than the model takes",
                expected=_text(self.shape),
                found=_text(row.shape),
                hint=hint,
            )
        if self.is_image:
            row = row[self._flip]
        if row.dtype == self.info.dtype:
            return lambda tensor: np.copyto(self._sample(tensor), row)
        if row.dtype.kind != "f" or not (self.info.is_quantized or self.info.dtype.kind == "f"):
            raise DataError(
                "the package names no preprocessing" if self.is_image else "the input has the wrong type",
                expected=str(self.info.dtype) + (" or float32" if self.info.is_quantized else ""),
                found=str(row.dtype),
                hint="Pack with --preprocess, or give Agent(preprocess=...)." if self.is_image else None,
            )
        if self.info.is_quantized:
            quantized = self.info.quantize(row)
            return lambda tensor: np.copyto(self._sample(tensor), quantized)
        return lambda tensor: np.copyto(self._sample(tensor), row, casting="same_kind")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape) if shape else "a scalar"
