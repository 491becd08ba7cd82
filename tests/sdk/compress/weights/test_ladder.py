"""The steps of a layer: what they promise of bits and noise is what comes out, and no step is a bad bargain."""

from __future__ import annotations

import numpy as np
import pytest

from sdk.compress.weights.grid import MOST_STEPS, channel_axis, on_grid, rounded
from sdk.compress.weights.ladder import ladder
from sdk.package.scales import detect


def uneven(channels: int = 24, each: int = 90) -> np.ndarray:
    """Weights (channels, 1, 1, each) whose channels are as far apart in size as folded batch norm leaves them."""
    rng = np.random.default_rng(3)
    sizes = np.exp(rng.normal(0, 1.5, channels))
    return (rng.laplace(size=(channels, 1, 1, each)) * sizes[:, None, None, None]).astype(np.float32)


def share_of_noise(array: np.ndarray, values: np.ndarray) -> float:
    """Mean over channels of the share of their energy that is noise."""
    apart, energy = (np.square(a, dtype=np.float64).sum(axis=(1, 2, 3)) for a in (array - values, array))
    return float((apart / energy).mean())


def test_noise_rises_and_bits_fall_ever_more_slowly() -> None:
    rungs = ladder(uneven(), 0)
    assert (rungs[0].noise, rungs[0].step, rungs[0].places) == (0.0, 0.0, 0)
    noise, bits = (np.array([getattr(rung, name) for rung in rungs]) for name in ("noise", "bits"))
    assert (np.diff(noise) > 0).all()
    assert (np.diff(bits) < 0).all()
    slopes = np.diff(bits) / np.diff(noise)
    assert (np.diff(slopes) > 0).all()


def test_a_step_does_what_it_promises() -> None:
    array = uneven()
    rung = min(ladder(array, 0), key=lambda one: abs(one.noise - 0.01))
    assert rung.by_channel
    assert share_of_noise(array, on_grid(array, rung.step, 0)) == pytest.approx(rung.noise, rel=0.1)


def test_the_package_finds_the_steps_of_channels() -> None:
    values = on_grid(uneven(), 0.2, 0)
    found = detect(values.ravel(), values.shape)
    assert found is not None
    assert len(found.scales.values) == 24
    assert np.abs(found.centroids).max() <= MOST_STEPS


def test_halves_on_one_grid_stay_halves_of_few_values() -> None:
    halves = uneven().astype(np.float16)
    values = on_grid(halves, 0.3)
    assert values.dtype == np.float16
    assert len(np.unique(values)) < 200


def test_rounded_floats_keep_each_weight_to_a_share_of_itself() -> None:
    array = uneven()
    apart = np.abs(rounded(array, 4) / array - 1)
    assert 0 < apart.max() <= 2.0**-5
    assert not (rounded(array, 7).view(np.uint32) & 0xFFFF).any()


def test_few_weights_in_a_channel_get_no_step_of_their_own() -> None:
    assert channel_axis((8, 3, 3, 4), 0) == 0
    assert channel_axis((8, 1, 1, 4), 0) is None
    assert channel_axis((1, 3, 3, 8), -1) == 3
    assert channel_axis((4, 3, 3, 8), 1) is None


def test_weights_that_are_all_zero_stay() -> None:
    assert len(ladder(np.zeros((8, 1, 1, 16), np.float32), 0)) == 1
