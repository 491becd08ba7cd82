"""The board's images are the host's, without Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from device_agent.errors import DataError
from device_agent.image.resize import fit
from device_agent.record.preprocess import with_channels
from sdk.data.loading import load_dataset

sides = st.integers(1, 200)


@given(sides, sides, sides, sides, st.sampled_from([1, 3]), st.integers(0, 1000))
def test_an_image_is_what_pillow_makes_of_it_to_one_level(height, width, to_height, to_width, channels, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    # As the host: the box of the source that maps onto the whole target.
    scale = max(to_width / width, to_height / height)
    left, top = max(0, (width - to_width / scale) / 2), max(0, (height - to_height / scale) / 2)
    box = (left, top, min(width, left + to_width / scale), min(height, top + to_height / scale))
    source = Image.fromarray(image if channels == 3 else image[..., 0])
    expected = np.asarray(source.resize((to_width, to_height), Image.Resampling.BILINEAR, box=box))
    found = fit(image, to_height, to_width)
    assert found.dtype == np.uint8
    difference = np.abs(found.astype(int) - expected.reshape(found.shape))
    assert difference.max() <= 1
    if (to_width, to_height) != (width, height) and to_width <= width:
        assert (difference == 0).mean() > 0.5
    floats = fit(image.astype(np.float32), to_height, to_width)
    assert floats.dtype == np.float32
    assert np.abs(floats - expected.reshape(found.shape)).max() <= 1.01


def test_an_image_of_the_right_size_is_not_touched():
    image = np.zeros((5, 7, 3), np.uint8)
    assert fit(image, 5, 7) is image


def test_grey_and_colour_become_what_pillow_makes_of_them():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    np.testing.assert_array_equal(with_channels(image, 1)[..., 0], grey)
    colour = np.asarray(Image.fromarray(grey).convert("RGB"))
    np.testing.assert_array_equal(with_channels(grey, 3), colour)
    np.testing.assert_allclose(with_channels(image.astype(np.float32), 1)[..., 0], grey, atol=0.6)
    with pytest.raises(DataError, match="channels"):
        with_channels(image, 4)


@pytest.mark.parametrize(("height", "width"), [(48, 71), (171, 234), (300, 7), (7, 300)])
def test_a_box_that_ends_a_rounding_error_beyond_the_edge_is_no_error(tmp_path, height, width):
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / "a.png")
    for size in range(1, 120, 7):
        load_dataset(tmp_path, input_shape=(size, 2 * size + 1, 3), preprocess="raw").images()
