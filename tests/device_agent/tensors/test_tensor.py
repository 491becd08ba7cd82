"""Real values and stored ones, on host and board alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.errors import DataError
from device_agent.tensors.tensor import TensorInfo, by_name, shape_text

INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64]


def info(dtype, scale=0.0, zero_point=0, shape=(4,)):
    return TensorInfo("x", shape, np.dtype(dtype), scale, zero_point)


def test_quantizing_rounds_and_clips():
    int8 = info(np.int8, 0.5, 10)
    np.testing.assert_array_equal(int8.quantize(np.array([0.0, 0.6, 1e9, -1e9])), [10, 11, 127, -128])
    np.testing.assert_array_equal(int8.dequantize(np.array([10, 12], np.int8)), [0.0, 1.0])


@given(st.sampled_from(INTEGERS), st.floats(1e-6, 1e3), st.integers(0, 100), st.integers(0, 120))
def test_a_stored_value_becomes_real_and_the_same_stored_value_again(dtype, scale, zero_point, stored):
    tensor = info(dtype, scale, zero_point)
    values = np.array([stored], dtype)
    np.testing.assert_array_equal(tensor.to_stored(tensor.to_real(values)), values)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_no_real_value_overflows(dtype):
    limits = np.iinfo(dtype)
    stored = info(dtype, 1e-3).to_stored(np.array([1e30, -1e30], np.float32))
    assert stored[0] > limits.max // 4
    assert stored[1] < 0 or limits.min == 0


@pytest.mark.parametrize("dtype", [*INTEGERS, np.bool_])
def test_plain_integers_take_whole_numbers_of_any_type_and_stay_integers(dtype):
    tensor = info(dtype)
    for given_type in (np.float32, np.float64, np.int64, np.uint8):
        stored = tensor.to_stored(np.array([0, 1], given_type))
        assert stored.dtype == dtype
        np.testing.assert_array_equal(stored, np.array([0, 1], dtype))
    assert tensor.to_real(np.array([1], dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("tensor", "array", "found"),
    [
        (info(np.uint8), np.array([0.5], np.float32), "fractions"),
        (info(np.uint8), np.array([np.nan], np.float32), "NaN"),
        (info(np.uint8), np.array([256.0]), "256"),
        (info(np.int8), np.array([-129]), "-129"),
        (info(np.bool_), np.array([2]), "2"),
        (info(np.float32), np.array([200], np.uint8), "uint8"),
        (info(np.int8, 0.1), np.array([200], np.uint8), "uint8"),
        (info(np.float32), np.array(["a"]), "U1"),
    ],
)
def test_what_an_input_cannot_hold_is_refused(tensor, array, found):
    with pytest.raises(DataError) as caught:
        tensor.to_stored(array)
    assert found in str(caught.value.found)
    assert caught.value.expected


def test_arrays_are_put_in_order_by_name():
    tensors = [TensorInfo("a", (1,), np.dtype(np.float32)), TensorInfo("b", (1,), np.dtype(np.float32))]
    assert by_name(tensors, {"b": 2, "a": 1}, "input") == [1, 2]
    assert by_name(tensors, [1, 2], "input") == [1, 2]
    for wrong in ({"a": 1}, {"a": 1, "b": 2, "c": 3}, [1], np.zeros(3)):
        with pytest.raises(DataError, match="input") as caught:
            by_name(tensors, wrong, "input")
        assert "a, b" in caught.value.expected


def test_shapes_are_written_as_people_write_them():
    assert shape_text((1, 224, 224, 3)) == "1x224x224x3"
    assert shape_text(()) == "a scalar"
