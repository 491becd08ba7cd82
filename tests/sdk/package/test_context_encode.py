"""Bytes whose code depends on where they stand: exact, smaller where channels differ, and priced as they are paid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.package import coding
from sdk.package.context_encode import encode_contexts, section_bits
from sdk.package.pack import pack
from sdk.package.symbols import Symbols
from tests.device_agent.package.codec.test_huffman import outcome
from tests.device_agent.package.package_samples import flatbuffer


def as_bytes(weights: np.ndarray) -> np.ndarray:
    return np.clip(np.round(weights), -128, 127).astype(np.int8).view(np.uint8).reshape(-1)


def one_code(elements: np.ndarray) -> int:
    """Bytes of the smallest section that has one code for all."""
    symbols = Symbols.of(elements)
    assert symbols is not None
    return len(coding.encode_codes(symbols))


@pytest.mark.usefixtures("c_kernel")
@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["rows", "columns", "walk", "few"]),
)
def test_any_matrix_of_bytes_comes_back(rows: int, columns: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((rows, columns))
    if kind == "rows":
        weights *= rng.choice([0, 1, 30], (rows, 1))
    elif kind == "columns":
        weights *= rng.choice([0, 1, 200], (1, columns))
    elif kind == "walk":
        weights = np.cumsum(weights, axis=1) * 5
    elements = as_bytes(weights)
    if seed & 1:
        elements ^= 0x80
    section = encode_contexts(elements, (rows, columns))
    if len(elements) < 1024:
        assert section is None
        return
    assert section is not None
    for kernel in ("c", "numpy"):
        assert outcome(section, len(elements), kernel) == ("ok", elements.tobytes())


@pytest.mark.parametrize("axis", [0, 1])
def test_channels_of_different_spread_get_codes_of_their_own(axis: int) -> None:
    rng = np.random.default_rng(5)
    spread = rng.choice([2, 40], (64, 1))
    weights = rng.normal(0, spread, (64, 600))
    elements = as_bytes(weights if axis == 0 else weights.T)
    section = encode_contexts(elements, weights.shape if axis == 0 else weights.T.shape)
    assert section is not None
    # One code for both spreads takes 6.1 bits, the two entropies are 3.0 and 7.4.
    assert len(section) < 0.93 * one_code(elements)


def test_neighbours_that_resemble_each_other_tell_the_code() -> None:
    rng = np.random.default_rng(6)
    walk = np.zeros((50, 800))
    for column in range(1, 800):
        walk[:, column] = 0.95 * walk[:, column - 1] + rng.normal(0, 9, 50)
    elements = as_bytes(walk)
    section = encode_contexts(elements, walk.shape)
    assert section is not None
    assert len(section) < 0.87 * one_code(elements)  # the entropy given the one before is 80 % of that of all
    assert len(encode_contexts(as_bytes(walk.T), walk.T.shape) or b"") < 0.87 * one_code(elements)


def test_the_price_of_a_section_is_what_it_takes() -> None:
    rng = np.random.default_rng(7)
    for spread, size in ((1, 3000), (4, 30000), (20, 30000), (60, 100000)):
        elements = as_bytes(rng.normal(0, spread, size))
        section = encode_contexts(elements, ())
        assert section is not None
        counts = np.bincount(elements ^ 0x80, minlength=256)
        assert abs(section_bits(counts) / 8 - len(section)) < 0.01 * len(section) + 30
    assert section_bits(np.zeros(256, int)) == 0


def test_packages_say_the_oldest_version_that_has_what_they_hold() -> None:
    rng = np.random.default_rng(8)
    channels = as_bytes(rng.normal(0, rng.choice([2, 40], (64, 1)), (64, 600))).view(np.int8).reshape(64, 600)
    assert pack(flatbuffer([("w", "int8", channels)]))[8] == 3
    assert pack(bytes(5000))[8] == 2
