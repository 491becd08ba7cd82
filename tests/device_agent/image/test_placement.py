"""An image is fitted into the input in three ways, and each tells where the input lies on the image."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.image.placement import GREY, fitted, placement_on
from device_agent.image.resize import fit


def marked(height: int, width: int, y: int, x: int) -> np.ndarray:
    """Black, with a white square of 9 x 9 pixels around (y, x)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[y - 4 : y + 5, x - 4 : x + 5] = 255
    return image


@pytest.mark.parametrize("how", ["crop", "stretch", "letterbox"])
@pytest.mark.parametrize("size", [(100, 200), (211, 90), (64, 64), (33, 500)])
def test_what_is_seen_in_the_input_is_found_again_on_the_image(how, size) -> None:
    height, width = size
    y, x = height // 2 + 3, width // 2 - 5
    seen = fitted(marked(height, width, y, x), 64, 48, how).astype(float)
    if how == "letterbox":
        seen[seen == GREY] = 0.0
    weights = seen[..., 0]
    rows, columns = np.mgrid[:64, :48]
    where = placement_on(height, width, 64, 48, how)
    middle_x = where.x((np.sum(weights * columns) / weights.sum() + 0.5) / 48)
    middle_y = where.y((np.sum(weights * rows) / weights.sum() + 0.5) / 64)
    pixel = max(1.0, (where.right - where.left) / 48, (where.bottom - where.top) / 64)
    assert abs(middle_x - (x + 0.5)) < pixel
    assert abs(middle_y - (y + 0.5)) < pixel


def test_a_letterbox_has_all_of_the_image_and_grey_beside_it() -> None:
    image = np.full((100, 200, 3), 255, np.uint8)
    seen = fitted(image, 64, 64, "letterbox")
    assert (seen[:16] == GREY).all()
    assert (seen[48:] == GREY).all()
    assert (seen[16:48] == 255).all()


def test_a_crop_is_what_it_was() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    assert np.array_equal(fitted(image, 32, 32, "crop"), fit(image, 32, 32))
    for how in ("crop", "stretch", "letterbox"):
        assert np.array_equal(fitted(image, 50, 80, how), image)
        assert placement_on(50, 80, 50, 80, how).box == (0, 0, 80, 50)


def test_floats_stay_floats() -> None:
    image = np.random.default_rng(0).random((50, 80, 1), np.float32) * 255
    assert fitted(image, 32, 32, "letterbox").dtype == np.float32
