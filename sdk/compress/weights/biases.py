"""Biases that take less room in a package."""

from __future__ import annotations

import numpy as np

BIAS_ZERO_BITS = 12  # of a bias' 23 after the point


def rounded_bias(values: np.ndarray) -> np.ndarray:
    """float32 of the same shape with the last bits of every value zero, which take no room in a package.

    The error is at most 2^-13 of a value.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32(1 << (BIAS_ZERO_BITS - 1))
    return ((bits + half) & ~np.uint32((1 << BIAS_ZERO_BITS) - 1)).view(np.float32)
