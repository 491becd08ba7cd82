"""Convolutions of so many channels that they are read some at a time, and cut into strips where weights stand alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.device_agent.run.kernels.layers_with_zeros import Images
from tests.device_agent.run.kernels.test_images import Run, agrees, everything

pytestmark = pytest.mark.usefixtures("c_delegate")

#: Height and width; kernel, and more of :meth:`Images.convolve`.
LAYERS: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (13, 13, {"kernel": 3}),
    (27, 26, {"kernel": 5, "groups": 2}),
    (7, 5, {"kernel": 3}),
    (1, 29, {"kernel": 3}),
    (31, 3, {"kernel": 5, "dilation": 2}),
    (29, 31, {"kernel": 5, "stride": 2}),
    (35, 30, {"kernel": 7, "stride": 4, "same": False}),
    (12, 20, {"kernel": 1}),
    (16, 9, {"kernel": 3, "same": False, "keep": 0.9}),
)


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer[0]}x{layer[1]} {layer[2]}")
def test_they_are_what_the_runtime_makes_of_them(layer: tuple[int, int, dict[str, Any]], block: int) -> None:
    height, width, options = layer
    images = Images(height, width, 60)
    x = images.convolve(0, 64, block=block, **{"keep": 0.4, **options})
    agrees(images, images.convolve(x, 60, 3, block=block, activation=0, keep=0.3), x, operators=2)


@pytest.mark.parametrize("activation", [0, 1, 2, 3])
@pytest.mark.parametrize("block", [1, 4])
def test_sums_and_limits_come_behind_the_last_channels(activation: int, block: int) -> None:
    images = Images(14, 15, 52)
    x = images.convolve(0, 64, 3, keep=0.4, block=block, activation=0)
    y = images.convolve(x, 64, 3, keep=0.4, block=block, activation=0)
    agrees(images, images.convolve(images.sum(x, y, activation), 48, 3, keep=0.4, block=block), operators=4)


@pytest.mark.parametrize("block", [1, 4])
def test_threads_change_no_bit(block: int) -> None:
    images = Images(13, 14, 64)
    data = images.model(images.convolve(0, 66 if block == 1 else 68, 3, keep=0.4, block=block))
    one, *others = (Run(data, everything(), threads)(seed=2)[0] for threads in (1, 2, 3, 5))
    for other in others:
        np.testing.assert_array_equal(other, one)
