"""What the kernels on images compute, in numpy: the reference that the C sources are tested against.

Images are channels last here, (height, width, channels) float32, as in a graph; the kernels keep them channels first.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np


def _padded(
    image: np.ndarray,
    before: Sequence[int],
    reach: Sequence[int],
    step: Sequence[int],
    size: Sequence[int],
    fill: float,
) -> np.ndarray:
    """The image with pixels of ``fill`` around it, so that every window of an output of this size is inside."""
    after = [
        max(0, (n - 1) * s + r - b - have)
        for n, s, r, b, have in zip(size, step, reach, before, image.shape[:2])
    ]
    return np.pad(image, [(before[0], after[0]), (before[1], after[1]), (0, 0)], constant_values=fill)


def _windows(
    image: np.ndarray,
    kernel: Sequence[int],
    size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
    fill: float,
) -> np.ndarray:
    """(taps, height, width, channels): of every pixel of the output its neighbours, row by row of the kernel."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    whole = _padded(image, before, reach, stride, size, fill)
    return np.stack(
        [
            whole[
                y * dilation[0] : y * dilation[0] + (size[0] - 1) * stride[0] + 1 : stride[0],
                x * dilation[1] : x * dilation[1] + (size[1] - 1) * stride[1] + 1 : stride[1],
            ]
            for y in range(kernel[0])
            for x in range(kernel[1])
        ]
    )


def convolve(
    image: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    size: Sequence[int],
    *,
    stride: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
    before: Sequence[int] = (0, 0),
    limits: Sequence[float] = (-np.inf, np.inf),
) -> np.ndarray:
    """(height, width, outputs) of ``size`` (height, width): a convolution of (height, width, channels).

    ``weights``: (outputs, kernel height, kernel width, channels of a group); ``before``: zeros above and to the left.
    """
    _, height, width, of_group = weights.shape
    groups = image.shape[2] // of_group
    taps = _windows(image, (height, width), size, stride, dilation, before, 0.0)
    parts = []
    for group, rows in enumerate(np.split(weights, groups)):
        seen = taps[..., group * of_group : (group + 1) * of_group]
        kernel = rows.reshape(len(rows), height * width, of_group)
        parts.append(np.einsum("thwi,oti->hwo", seen, kernel))
    least, most = limits
    return np.clip(np.concatenate(parts, axis=2) + bias, least, most).astype(np.float32)


def pool(
    image: np.ndarray,
    kernel: Sequence[int],
    size: Sequence[int],
    *,
    stride: Sequence[int],
    before: Sequence[int] = (0, 0),
    largest: bool = True,
) -> np.ndarray:
    """(height, width, channels) of ``size``: the largest of every window, or the mean of what is inside the image."""
    if largest:
        return _windows(image, kernel, size, stride, (1, 1), before, -np.inf).max(axis=0)
    sums, inside = (
        _windows(one, kernel, size, stride, (1, 1), before, 0.0).sum(axis=0)
        for one in (image, np.ones_like(image))
    )
    return sums / inside
