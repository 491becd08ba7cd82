"""From the pixels of an image to what a network expects of them. Pure; the host does the same by this very module."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_agent.errors import DataError

#: Weights of luma, ITU-R 601-2, as whole numbers of 2**-16 (Pillow's "L").
_LUMA = (19595, 38470, 7471)


#: What a name ends in where the network wants blue first.
BGR = ":bgr"


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing of a pixel 0 ... 255: ``(pixel - mean) / scale``, one value or one per channel.

    With ``bgr`` the channels enter in the order blue, green, red; ``mean`` and ``scale`` are in that order then.
    """

    name: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    bgr: bool = False

    @classmethod
    def parse(cls, text: str) -> Preprocess:
        """One of :data:`PREPROCESS`, or ``mean=M[,M,M]:scale=S[,S,S]`` in units of pixels 0 ... 255.

        ``:bgr`` behind any of them reverses the channels. A comma in place of the colon is read as well; ``name``
        always has the colon.

        Raises DataError.
        """
        if text in PREPROCESS:
            return PREPROCESS[text]
        text = text.replace(" ", "").replace(",scale=", ":scale=").replace(",bgr", BGR)
        if text.endswith(BGR):
            order = cls.parse(text[: -len(BGR)])
            if not order.bgr:
                return cls(text, order.mean, order.scale, bgr=True)
        match = re.fullmatch(r"mean=([^:]+):scale=([^:]+)", text)
        try:
            mean, scale = (tuple(float(v) for v in part.split(",")) for part in match.groups())  # type: ignore[union-attr]
        except (AttributeError, ValueError):
            mean, scale = (), ()
        if not mean or not np.isfinite((*mean, *scale)).all() or 0.0 in scale:
            raise DataError(
                "unknown preprocessing",
                expected=f"{', '.join(PREPROCESS)} or mean=M,M,M:scale=S,S,S (pixels 0 to 255, scale not 0), "
                "with :bgr where blue comes first",
                found=repr(text)[:80],
            )
        return cls(text, mean, scale)

    def __call__(self, pixels: Any) -> Any:
        """``pixels`` (..., channels) of any numeric type -> float32 of the same shape. Raises DataError."""
        return self.into(pixels, np.empty(pixels.shape, np.float32))

    def into(self, pixels: Any, out: Any) -> Any:
        """The same, written to ``out``, float32 of the same shape, with nothing else allocated."""
        mean, scale = (np.asarray(v, np.float32) for v in (self.mean, self.scale))
        if pixels.shape[-1] != mean.size != 1 or pixels.shape[-1] != scale.size != 1:
            raise DataError(
                f"preprocessing {self.name!r} is for other images",
                expected=f"{max(mean.size, scale.size)} channels",
                found=f"{pixels.shape[-1]}",
            )
        np.subtract(self.ordered(pixels), mean, out=out, dtype=np.float32, casting="same_kind")
        return np.divide(out, scale, out=out)

    def as_whole(self, channels: int, dtype: Any) -> Any:
        """Each pixel value as it is stored in an input of whole numbers without a scale: (256, channels) ``dtype``.

        Raises DataError where that is out of range, or between two levels.
        """
        values, bounds = self(every_pixel(channels)), np.iinfo(dtype)
        whole = np.rint(values)
        if bounds.min <= whole.min() and whole.max() <= bounds.max and np.abs(values - whole).max() < 1e-3:
            return whole.astype(dtype)
        raise DataError(
            "a pixel cannot be normalised for an input of whole numbers without a scale",
            expected=f"whole numbers of {bounds.min} to {bounds.max}; `raw` gives the pixels as they are",
            found=f"{values.min():g} to {values.max():g} by {self.name!r}",
        )

    def ordered(self, pixels: Any) -> Any:
        """``pixels`` (..., channels) in the order that the network wants, a view; grey stays as it is."""
        return pixels[..., ::-1] if self.bgr else pixels


PREPROCESS = {
    "tf": Preprocess("tf", (127.5,), (127.5,)),  # to -1 ... 1, TensorFlow's MobileNets
    # ImageNet's mean and deviation, as torchvision's models want them
    "torch": Preprocess("torch", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "01": Preprocess("01", (0.0,), (255.0,)),
    "raw": Preprocess("raw", (0.0,), (1.0,)),
    # Caffe's and the first Keras networks: ImageNet's mean, blue first, not scaled
    "caffe": Preprocess("caffe", (103.939, 116.779, 123.68), (1.0,), bgr=True),
}


def every_pixel(channels: int) -> Any:
    """Each value of a pixel in each channel: (256, channels) uint8."""
    return np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, channels))


def with_channels(image: Any, channels: int) -> Any:
    """``image`` (height, width), (height, width, 1) or (height, width, 3) with 1 or 3 channels: grey by luma, or three
    times the same. Raises DataError for other conversions.
    """
    if image.ndim == 2:
        image = image[..., None]
    found = image.shape[-1]
    if found == channels:
        return image
    if (found, channels) == (1, 3):
        return np.broadcast_to(image, (*image.shape[:-1], 3))
    if (found, channels) == (3, 1):
        if image.dtype != np.uint8:
            return (image @ (np.array(_LUMA, np.float32) / np.float32(1 << 16)))[..., None]
        red, green, blue = (image[..., c].astype(np.uint32) * np.uint32(w) for c, w in enumerate(_LUMA))
        return ((red + green + blue + np.uint32(1 << 15)) >> np.uint32(16)).astype(np.uint8)[..., None]
    raise DataError(
        "the image has another number of channels than the model takes",
        expected=f"{channels}" + (" or 1" if channels == 3 else " or 3" if channels == 1 else ""),
        found=str(found),
    )
