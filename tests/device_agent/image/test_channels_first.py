"""A model that wants (1, 3, height, width) takes the same pictures as one that wants (1, height, width, 3)."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.image.fitting import ImageInput
from device_agent.record.preprocess import PREPROCESS
from device_agent.record.usage import Usage, channels_come_first, picture_shape
from device_agent.tensors.tensor import TensorInfo

HEIGHT, WIDTH = 12, 20
KINDS = {
    "float32": (np.float32, 0.0, 0, "torch"),
    "int8": (np.int8, 0.0078, -1, "tf"),
    "uint8 without a scale": (np.uint8, 0.0, 0, "raw"),
}


def filled(shape: tuple[int, ...], row: np.ndarray, kind: str, preprocessed: bool = False) -> np.ndarray:
    """What stands in the input of this shape when the row has entered it."""
    dtype, scale, zero, preprocess = KINDS[kind]
    entry = ImageInput(TensorInfo("x", shape, np.dtype(dtype), scale, zero), Usage(PREPROCESS[preprocess]))
    assert entry.shape == (HEIGHT, WIDTH, 3)
    tensor = np.zeros(shape, dtype)
    entry.writer(row, preprocessed)(tensor)
    return tensor


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_any_size_enter_in_the_models_order(kind: str) -> None:
    row = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    last = filled((1, HEIGHT, WIDTH, 3), row, kind)
    first = filled((1, 3, HEIGHT, WIDTH), row, kind)
    assert last.any()
    np.testing.assert_array_equal(first, last.transpose(0, 3, 1, 2))


def test_what_is_preprocessed_may_come_in_either_order() -> None:
    row = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    for one in (row, row.transpose(2, 0, 1)):
        found = filled((1, 3, HEIGHT, WIDTH), one, "float32", preprocessed=True)
        np.testing.assert_array_equal(found[0], row.transpose(2, 0, 1))


def test_the_package_says_the_layout() -> None:
    usage = Usage(PREPROCESS["torch"])
    assert usage.to_metadata((1, 3, 24, 32))["input"] == {
        "preprocess": "torch",
        "shape": [24, 32, 3],
        "layout": "channels first",
    }
    assert "layout" not in usage.to_metadata((1, 24, 32, 3))["input"]


@pytest.mark.parametrize(
    "shape", [(1, 24, 32, 3), (1, 8, 8, 64), (1, 3, 3, 3), (1, 3, 24), (1, 64, 28, 28), ()]
)
def test_other_shapes_are_as_they_are(shape: tuple[int, ...]) -> None:
    assert not channels_come_first(shape)
    assert picture_shape(shape) == shape[1:]
