"""Sums and limits that a convolution does as well, and windows that read planes as they are: the runtime's outputs."""

from __future__ import annotations

import pytest

from tests.device_agent.run.kernels.layers_with_zeros import Images
from tests.device_agent.run.kernels.test_images import agrees

pytestmark = pytest.mark.usefixtures("c_delegate")


@pytest.mark.parametrize("block", [1, 2, 4])
def test_a_sum_begins_with_the_other_image(block: int) -> None:
    images = Images(9, 11, 8)
    x = images.convolve(0, 12, 3, block=block)
    y = images.convolve(x, 12, 1, groups=3, block=block, activation=0)
    z = images.sum(x, y, activation=3)
    shortcut = images.convolve(x, 12, 1, block=block, activation=0)
    agrees(images, images.sum(images.convolve(z, 12, 3, block=block, activation=0), shortcut), operators=6)


def test_what_is_read_elsewhere_is_not_joined() -> None:
    images = Images(7, 7, 8)
    x = images.convolve(0, 8, 3, activation=0)
    y = images.convolve(x, 8, 3, activation=0)
    both = images.sum(x, y, activation=1)
    limited = images.relu(x)
    agrees(images, images.convolve(images.sum(both, limited), 8, 1), y, x, operators=6)


def test_an_image_twice_and_a_limited_image_are_sums_of_their_own() -> None:
    images = Images(6, 5, 8)
    x = images.convolve(0, 8, 1, activation=0)
    y = images.convolve(x, 8, 3, activation=1)
    later = images.sum(y, images.convolve(x, 8, 3, depthwise=True, activation=0), activation=0)
    agrees(images, images.sum(x, x), images.sum(later, y, activation=0), operators=6)


def test_a_relu_of_a_concatenation_is_done_where_its_parts_are_made() -> None:
    images = Images(12, 12, 8)
    x = images.convolve(0, 8, 3, activation=0)
    deep = images.convolve(x, 16, 3, stride=2, activation=0)
    mean = images.pool(x, 3, 2, largest=False, same=True)
    joined = images.relu(images.join(mean, deep))
    kept = images.convolve(x, 8, 3, activation=0)
    seen = images.relu(images.join(kept, images.pool(kept, 3, 1, largest=False, same=True)))
    agrees(images, images.convolve(joined, 8), seen, kept, operators=10)


@pytest.mark.parametrize("size", [(3, 2), (4, 4), (5, 17), (16, 33), (31, 6)])
def test_windows_of_all_sizes(size: tuple[int, int]) -> None:
    images = Images(*size, 8)
    x = images.convolve(0, 8, 1, activation=3)
    whole = images.convolve(x, 8, 3, depthwise=True, activation=3)
    halved = images.convolve(whole, 8, 3, depthwise=True, stride=2)
    largest = images.pool(x, 3, 2, same=True)
    two = images.pool(x, 2, 2)
    agrees(images, halved, largest, two, images.pool(x, 2, 2, largest=False, same=True), operators=6)


def test_the_largest_of_what_is_less_than_zero() -> None:
    images = Images(8, 7, 8)
    x = images.convolve(0, 8, 3, activation=0)
    y = images.join(images.convolve(x, 8, 1), images.convolve(x, 8, 1, activation=0))
    agrees(images, images.pool(x, 3, 2, same=True), images.pool(y, 3, 2, same=True), operators=6)


@pytest.mark.parametrize(
    "pads", [(1, 1, 1, 1), (0, 1, 0, 1), (0, 2, 2, 0), (2, 0, 0, 2), (3, 2, 1, 4), (0, 0, 7, 0)], ids=str
)
def test_zeros_around_an_image_are_those_around_its_planes(pads: tuple[int, int, int, int]) -> None:
    images = Images(9, 11, 8)
    x = images.pad(images.convolve(0, 8), *pads)
    outputs = [
        images.convolve(x, 12, 3, stride=stride, same=same, dilation=dilation, depthwise=depthwise)
        for stride, same, dilation, depthwise in (
            *((1, False, 1, False), (1, True, 1, False), (2, False, 1, False), (3, False, 1, False)),
            *((1, False, 2, False), (1, False, 1, True), (2, False, 1, True), (2, True, 1, True)),
        )
    ]
    outputs.append(images.convolve(images.pad(x, 1, 0, 0, 1), 12, 1))
    outputs += [images.pool(x, 3, stride, largest=False) for stride in (1, 2, 3)]
    agrees(images, *outputs, operators=15)


def test_zeros_around_an_image_that_others_read_are_made() -> None:
    images = Images(7, 6, 8)
    x = images.convolve(0, 8, activation=0)
    seen, pooled, summed, joined = (images.pad(x, 1, 1, 1, 1) for _ in range(4))
    outputs = [images.convolve(each, 8, 3, same=False) for each in (seen, pooled, summed, joined)]
    outputs += [seen, images.pool(pooled, 3, 2), images.sum(summed, summed), images.join(joined, joined)]
    agrees(images, *outputs, operators=12)
