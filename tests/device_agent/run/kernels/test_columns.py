"""A layer by columns in C against numpy: the packed bytes, and the outputs, for all forms, shapes and edges."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from device_agent.run.kernels.columns import pack_columns, run_columns
from tests.device_agent.run.kernels.layers_with_zeros import sparse_matrix

MAX_PARTS = 16


class Part(ctypes.Structure):
    _fields_ = (
        ("first", ctypes.c_uint32),
        ("rows", ctypes.c_uint32),
        ("starts", ctypes.POINTER(ctypes.c_uint32)),
        ("entries", ctypes.POINTER(ctypes.c_uint8)),
    )


class Columns(ctypes.Structure):
    _fields_ = (
        *[(n, ctypes.c_uint32) for n in ("rows", "columns", "block", "values", "centroids", "parts")],
        *[(n, ctypes.c_uint64) for n in ("kept", "blocks", "bytes")],
        ("centroid", ctypes.c_float * 256),
        ("pair", ctypes.c_float * 512),
        ("part", Part * MAX_PARTS),
    )


class Matrix(ctypes.Structure):
    _fields_ = (
        ("weights", ctypes.c_void_p),
        ("flat", ctypes.c_void_p),
        ("rows", ctypes.c_uint32),
        ("columns", ctypes.c_uint32),
    )


class Kernels:
    """columns.c, called with ctypes."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        self.c.columns_pack.restype = ctypes.POINTER(Columns)
        self.c.columns_pack.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 2]
        self.c.columns_free.argtypes = [ctypes.POINTER(Columns)]

    def pack(self, weights: np.ndarray, block: int, parts: int = 1):
        """Packed from floats."""
        return self.c.columns_pack(
            ctypes.byref(Matrix(weights.ctypes.data, None, *weights.shape)), block, parts
        )

    def run(self, packed, inputs: np.ndarray, bias: np.ndarray | None, low: float, high: float) -> np.ndarray:
        output = np.full((len(inputs), packed.contents.rows), np.nan, np.float32)
        limits = np.array([low, high], np.float32)
        address = lambda array: ctypes.c_void_p(None if array is None else array.ctypes.data)  # noqa: E731
        self.c.columns_run(
            packed, address(inputs), len(inputs), address(bias), address(limits), address(output), None
        )
        return output


@pytest.fixture(scope="module")
def kernels(c_delegate: Path) -> Kernels:
    return Kernels(c_delegate)


SHAPES = [(1, 1), (3, 5), (4, 16), (5, 17), (7, 1), (64, 33), (1030, 20), (2100, 3)]


@pytest.mark.parametrize("values", [3, 15, 16, 200, 255, 256, None])
@pytest.mark.parametrize("block", [1, 2, 4])
def test_the_packed_bytes_are_the_references(kernels: Kernels, block: int, values: int | None) -> None:
    for number, (rows, columns) in enumerate(SHAPES):
        weights = sparse_matrix(
            rows, columns, 0.05 if rows > 100 else 0.4, block=block, values=values, seed=number
        )
        packed = kernels.pack(weights, block)
        expected = pack_columns(weights, block)
        c = packed.contents
        starts = np.ctypeslib.as_array(c.part[0].starts, (columns + 1,))
        assert starts.tolist() == expected.starts.tolist()
        if len(expected.entries):
            entries = np.ctypeslib.as_array(c.part[0].entries, (int(starts[-1]),))
            assert entries.tobytes() == expected.entries.tobytes()
        assert c.centroids == len(expected.centroids)
        assert np.array_equal(np.array(c.centroid[: c.centroids], np.float32), expected.centroids)
        assert c.kept == np.count_nonzero(weights)
        kernels.c.columns_free(packed)


@pytest.mark.parametrize("parts", [1, 3, 16, 40])
@pytest.mark.parametrize("values", [15, 200, None])
@pytest.mark.parametrize("block", [0, 1, 2, 4])
def test_the_outputs_are_the_references(kernels: Kernels, block: int, values: int | None, parts: int) -> None:
    rng = np.random.default_rng(0)
    for number, (rows, columns) in enumerate(SHAPES):
        weights = sparse_matrix(rows, columns, 0.2, block=max(block, 1), values=values, seed=number)
        inputs = rng.standard_normal((2, columns)).astype(np.float32) * (rng.random((2, columns)) < 0.5)
        inputs = inputs.astype(np.float32)
        bias = rng.standard_normal(rows).astype(np.float32) if number % 2 else None
        low, high = [(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.0, 1.0)][number % 4]
        packed = kernels.pack(weights, block, parts)
        found = kernels.run(packed, inputs, bias, low, high)
        expected = run_columns(weights, inputs, bias, low, high)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        kernels.c.columns_free(packed)


def test_layers_of_nothing(kernels: Kernels) -> None:
    zeros = np.zeros((9, 700), np.float32)
    packed = kernels.pack(zeros, 0)
    assert (packed.contents.kept, packed.contents.blocks) == (0, 0)
    bias = np.arange(9, dtype=np.float32)
    found = kernels.run(packed, np.ones((1, 700), np.float32), bias, -np.inf, np.inf)
    assert found.tolist() == [bias.tolist()]
    kernels.c.columns_free(packed)
    full = sparse_matrix(8, 8, 1.0, values=None)
    packed = kernels.pack(full, 4)
    silent = kernels.run(packed, np.zeros((1, 8), np.float32), None, -np.inf, np.inf)
    assert not silent.any()
    kernels.c.columns_free(packed)


def test_what_is_no_matrix_is_refused(kernels: Kernels) -> None:
    weights = np.ones((4, 4), np.float32)
    for rows, columns, block in ((0, 4, 1), (4, 0, 1), (4, 4, 3), (4, 4, 8)):
        matrix = Matrix(weights.ctypes.data, None, rows, columns)
        assert not kernels.c.columns_pack(ctypes.byref(matrix), block, 1)


def test_minus_zero_is_left_out_and_weights_that_are_no_numbers_stay(kernels: Kernels) -> None:
    weights = np.array([[-0.0, np.nan], [1.0, 0.0]], np.float32)
    packed = kernels.pack(weights, 1)
    assert packed.contents.kept == 2
    found = kernels.run(packed, np.array([[3.0, 2.0]], np.float32), None, -np.inf, np.inf)
    assert np.isnan(found[0, 0])
    assert found[0, 1] == 3.0
    kernels.c.columns_free(packed)
