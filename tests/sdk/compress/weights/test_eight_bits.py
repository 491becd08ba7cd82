"""Weights that lie on a grid become its whole numbers, exactly, and stored ones multiples of their own steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sdk.compress.weights.eight_bits import on_multiples, on_own_grid
from sdk.compress.weights.grid import bfloat16
from sdk.compress.weights.ladder import stored_ladder
from sdk.graph.records import Quantization
from tests.sdk.compress.weights.test_left_alone import in_int8
from tests.sdk.graph.small_graphs import small_network


@pytest.mark.parametrize(("shape", "axis"), [((16, 1, 1, 24), 0), ((1, 3, 3, 16), 3), ((16, 40), 0)])
def test_numbers_times_scales_are_the_weights(shape: tuple[int, ...], axis: int) -> None:
    rng = np.random.default_rng(0)
    numbers = np.rint(rng.laplace(scale=3.0, size=shape)).clip(-100, 100)
    scales = bfloat16(rng.uniform(0.001, 0.1, 16))
    along = [16 if place == axis else 1 for place in range(len(shape))]
    weights = (numbers.astype(np.float32) * scales.reshape(along)).astype(np.float32)
    np.moveaxis(weights, axis, 0)[5] = 0.0
    found = on_own_grid(weights, axis)
    assert found is not None
    assert (found.scales > 0).all()
    np.testing.assert_array_equal(found.numbers.astype(np.float32) * found.scales.reshape(along), weights)
    assert found.empty.tolist() == [channel == 5 for channel in range(16)]


def test_one_scale_for_all_channels() -> None:
    numbers = np.arange(-60, 60).reshape(8, 15)
    weights = (numbers * np.float32(0.03125)).astype(np.float32)
    found = on_own_grid(weights, 0, one_scale=True)
    assert found is not None
    np.testing.assert_array_equal(found.numbers, numbers)
    np.testing.assert_array_equal(found.scales, np.full(8, 0.03125, np.float32))


def test_weights_on_no_grid_of_127_steps_are_left_to_the_quantiser() -> None:
    rng = np.random.default_rng(0)
    assert on_own_grid(rng.normal(size=(8, 32)).astype(np.float32), 0) is None
    fine = (rng.integers(-250, 250, (8, 64)) * np.float32(0.01)).astype(np.float32)
    assert on_own_grid(fine, 0) is None


@pytest.mark.parametrize("dtype", ["INT8", "UINT8"])
def test_stored_numbers_become_multiples_around_their_zero_and_keep_their_scales(dtype: str) -> None:
    graph = in_int8(small_network())
    weight = next(w for w in graph.weights() if w.tensor_index == 7)
    tensor = weight.tensor
    assert tensor.quantization is not None
    if dtype == "UINT8":
        stored = (weight.array.astype(np.int32) + 120).clip(0, 255).astype(np.uint8)
        quantization = Quantization(tensor.quantization.scales, np.array([120]))
        tensor = replace(tensor, dtype=dtype, data=stored, quantization=quantization)
        graph = replace(graph, tensors=(*graph.tensors[:7], tensor, *graph.tensors[8:]))
    zero = 120 if dtype == "UINT8" else 0
    made = on_multiples(graph, {7: 9}).tensors[7]
    assert made.data is not None
    assert tensor.data is not None
    moved = made.data.astype(int) - zero
    assert (moved % 9 == 0).all()
    assert (
        np.abs(moved - (tensor.data.astype(int) - zero)).max() <= 9
    )  # at the ends of the range no further is left
    assert made.quantization is tensor.quantization
    rungs = stored_ladder(tensor, 0)
    assert rungs[0].multiple == 1
    assert rungs[0].noise == 0.0
    assert all(one.bits > two.bits for one, two in pairwise(rungs))
