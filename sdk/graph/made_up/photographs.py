"""Made-up photographs: noise with the spectrum of pictures that cameras take. Pure, seeded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Pixels 0 to 255 of photographs: mean, deviation within an image and of images' means, share of grey in the deviation.
MEAN, DEVIATION, MEANS_DEVIATION, GREY = 115.0, 55.0, 25.0, 0.9


def photographs(shape: Sequence[int], count: int, seed: int = 0) -> np.ndarray:
    """float32 pixels 0 to 255, (count, height, width, channels) of ``shape`` (height, width, channels)."""
    height, width, channels = shape
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf  # the mean is given below
    spectrum = np.fft.rfft2(rng.normal(size=(count, channels, height, width))) / frequency
    colours = np.moveaxis(np.fft.irfft2(spectrum, s=(height, width)), 1, 3)

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.maximum(values.std(axis=(1, 2, 3), keepdims=True), 1e-12)

    mixed = unit(GREY * unit(colours.mean(axis=3, keepdims=True)) + np.sqrt(1 - GREY**2) * unit(colours))
    pixels = MEAN + DEVIATION * mixed + MEANS_DEVIATION * rng.normal(size=(count, 1, 1, 1))
    return np.clip(pixels, 0, 255).astype(np.float32)
