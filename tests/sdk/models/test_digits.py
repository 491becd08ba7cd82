"""The demo's data: what is in which split, and how a digit is drawn."""

from __future__ import annotations

import gzip
import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from device_agent.record.preprocess import Preprocess
from sdk.errors import DataError
from sdk.models import digits

pytestmark = pytest.mark.skipif(find_spec("sklearn") is None, reason="the digits come with scikit-learn")


def test_the_splits_are_disjoint_and_together_all_digits() -> None:
    splits = digits.load_splits()
    indices = np.concatenate([samples.indices for samples in splits.values()])
    assert list(splits) == ["train", "validation", "test"]
    assert np.array_equal(np.sort(indices), np.arange(1797))


def test_no_image_of_the_test_split_is_also_trained_on() -> None:
    splits = digits.load_splits()
    seen = {small.tobytes() for small in splits["train"].small}
    assert not any(small.tobytes() in seen for small in splits["test"].small)


def test_every_split_has_every_class_in_the_same_share() -> None:
    splits = digits.load_splits()
    everything = np.bincount(np.concatenate([samples.labels for samples in splits.values()]))
    for name, share in digits.SPLITS.items():
        assert np.abs(np.bincount(splits[name].labels) - share * everything).max() <= 1


def test_the_splits_are_the_same_on_every_machine() -> None:
    splits = digits.load_splits()
    assert {name: len(samples) for name, samples in splits.items()} == {
        "train": 1078,
        "validation": 360,
        "test": 359,
    }
    # Recorded when the demo's networks were trained: a change here makes their test accuracy meaningless.
    digest = hashlib.sha256(splits["test"].indices.astype("<i8").tobytes()).hexdigest()
    assert digest == "93ca464995b9a8b1d9be7eb6cafc15ff78a8565b9309432ea0eb05333baec5a9"


def test_the_images_are_the_same_on_every_machine() -> None:
    images = digits.load_splits()["test"].images()
    assert images.shape == (359, 96, 96, 3)
    assert images.dtype == np.uint8
    assert (
        hashlib.sha256(images.tobytes()).hexdigest()
        == "b3f97e5834bc69a6d03c30bd4ed0945781e4656ac7f76916fc76499f46a0ca2a"
    )


@pytest.mark.parametrize("size", [8, 48, 64, 96])
def test_upsampling_is_bilinear_with_half_pixel_centres(size: int) -> None:
    small = np.random.RandomState(0).randint(0, 17, (2, 8, 8)).astype(np.uint8)
    centres = np.clip((np.arange(size) + 0.5) * 8 / size - 0.5, 0, 7)
    for image, pixels in zip(digits.upsample(small, size), small, strict=True):
        rows = np.array([np.interp(centres, np.arange(8), row) for row in pixels.astype(float)])
        expected = np.array([np.interp(centres, np.arange(8), column) for column in rows.T]).T
        # The two differ where a half is rounded.
        assert np.abs(image - expected * 255 / 16).max() <= 0.5 + 1e-9


def test_channels_are_equal_and_inputs_span_minus_one_to_one() -> None:
    samples = digits.load_splits()["validation"]
    images = samples.images(size=32)
    assert np.array_equal(images[..., 0], images[..., 2])
    inputs = samples.inputs(size=32)
    assert inputs.dtype == np.float32
    assert (inputs.min(), inputs.max()) == (-1, 1)


def test_normalisation_is_the_preprocessing_of_that_name() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(digits.normalise(pixels), Preprocess.parse(digits.PREPROCESS)(pixels))


def test_they_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    for samples in digits.load_splits().values():
        np.testing.assert_array_equal(samples.small, theirs.images[samples.indices])
        np.testing.assert_array_equal(samples.labels, theirs.target[samples.indices])


def test_a_missing_scikit_learn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match=r"scikit-learn.*pip install"):
        digits.load_splits()


def test_other_digits_than_the_recorded_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder,) = find_spec("sklearn").submodule_search_locations
    theirs = Path(folder) / "datasets" / "data" / "digits.csv.gz"
    rows = gzip.decompress(theirs.read_bytes()).decode()
    other = tmp_path / "datasets" / "data" / "digits.csv.gz"
    other.parent.mkdir(parents=True)
    other.write_bytes(gzip.compress(rows.replace("0", "1", 1).encode()))
    monkeypatch.setattr(digits, "find_spec", lambda _: SimpleNamespace(submodule_search_locations=[tmp_path]))
    with pytest.raises(DataError, match="not the ones"):
        digits.load_splits()
