"""What a network expects of a pixel is known, found or asked for; the tests know what each was made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device_agent.record.preprocess import PREPROCESS, Preprocess
from device_agent.record.usage import Usage
from device_agent.tensors.tensor import TensorInfo
from sdk.data.for_model import data_for
from sdk.data.meaning import preprocess_evidence as evidence
from sdk.data.meaning.known_preprocess import known_preprocess
from sdk.errors import DataError
from tests.sdk.data.colour_network import COLOURS, SIZE, colour_network


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 4
    pixels = (
        COLOURS[labels][:, None, None]
        + rng.normal(0, 24, (120, 1, 1, 3))
        + rng.normal(0, 9, (120, SIZE, SIZE, 3))
    )
    np.savez(tmp_path / "d.npz", x=np.clip(pixels, 0, 255).astype(np.uint8), y=labels)
    return tmp_path / "d.npz"


@pytest.mark.parametrize("name", ["tf", "01", "raw", "torch", "caffe", "tf:bgr", "01:bgr", "raw:bgr"])
def test_labelled_images_tell_the_preprocessing_or_one_that_is_as_right(name: str, images: Path) -> None:
    with data_for(colour_network(Preprocess.parse(name)), Usage()) as opener:
        found = opener.open(images)
    right = {one.name: one.accuracy_percent for one in found.chosen.tried}
    assert found.chosen.source == "labels"
    assert right[found.chosen.preprocess.name] >= right[name] > 85
    assert found.chosen.preprocess.bgr == Preprocess.parse(name).bgr
    assert any("preprocessing" in note for note in found.notes)


def test_what_is_given_or_stated_is_not_questioned(images: Path) -> None:
    tflite = colour_network(PREPROCESS["tf"])
    with data_for(tflite, Usage(PREPROCESS["01"]), given=PREPROCESS["tf"]) as opener:
        assert opener.open(images).chosen.source == "given"
    with data_for(tflite, Usage(PREPROCESS["tf"])) as opener:
        assert opener.open(images).chosen.source == "stated"


def test_without_labels_and_without_a_clear_answer_it_is_asked_for(images: Path) -> None:
    with np.load(images) as both:
        np.savez(images, x=both["x"])
    with data_for(colour_network(PREPROCESS["tf"]), Usage()) as opener, pytest.raises(DataError) as caught:
        opener.open(images)
    text = str(caught.value)
    assert "--preprocess" in text
    for name in evidence.COLOUR:
        assert f"{name} " in text


def test_answers_that_are_never_right_are_not_taken_for_evidence(images: Path) -> None:
    with np.load(images) as both:
        labels = np.random.default_rng(1).permutation(both["y"])
        np.savez(images, x=both["x"], y=labels)
    with data_for(colour_network(PREPROCESS["tf"]), Usage()) as opener, pytest.raises(DataError) as caught:
        opener.open(images)
    assert "guessing" in str(caught.value)


def test_classes_in_another_order_are_told_from_another_preprocessing(images: Path) -> None:
    with np.load(images) as both:
        np.savez(images, x=both["x"], y=np.array([2, 1, 0, 3])[both["y"]])
    for usage in (Usage(), Usage(PREPROCESS["tf"])):
        with data_for(colour_network(PREPROCESS["tf"]), usage) as opener, pytest.raises(DataError) as caught:
            opener.open(images)
        assert "change places" in str(caught.value)


def test_values_outside_what_is_expected_are_noticed(images: Path) -> None:
    values = np.random.default_rng(0).normal(0, 4, (40, SIZE, SIZE, 3)).astype(np.float32)
    np.savez(images, x=values)
    with data_for(colour_network(PREPROCESS["tf"]), Usage(PREPROCESS["tf"])) as opener:
        with pytest.raises(DataError, match="not what the network takes"):
            opener.open(images)
        np.savez(images, x=np.tanh(values) * 0.999)  # -1 to 1 is what tf makes
        assert opener.open(images).dataset.images().min() < -0.9


TORCH_MEAN, TORCH_DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([("MUL", np.array([1 / 127.5])), ("ADD", np.array([-1.0]))], "raw"),
        ([("MUL", np.array([1 / 255]))], "raw"),
        ([("MUL", np.array([2.0])), ("SUB", np.array([1.0]))], "01"),
        ([("MUL", np.array([255.0]))], "01"),
        ([("SUB", TORCH_MEAN), ("MUL", 1 / TORCH_DEVIATION)], "01"),
        ([("SUB", 255 * TORCH_MEAN), ("MUL", 1 / (255 * TORCH_DEVIATION))], "raw"),
        ([("SUB", np.array([103.939, 116.779, 123.68]))], "raw"),
        ([("ADD", np.array([1.0])), ("MUL", np.array([127.5]))], "tf"),
        (
            [("SUB", np.array([120.0, 115.0, 100.0])), ("MUL", np.array([1 / 64.0]))],
            "raw",
        ),  # by its own statistics
        ([("MUL", np.array([1.3]))], None),
        ([], None),
    ],
)
def test_a_normalisation_inside_the_graph_tells_what_goes_in(first: list, expected: str | None) -> None:
    from sdk.graph.reader import read_graph

    graph = read_graph(colour_network(PREPROCESS["raw"], first))
    found = known_preprocess(TensorInfo("x", (1, SIZE, SIZE, 3), np.dtype(np.float32)), graph)
    assert (None if found is None else found.preprocess.name) == expected


@pytest.mark.parametrize(
    ("dtype", "scale", "zero", "expected"),
    [
        ("uint8", 1 / 255, 0, "01"),
        ("int8", 1 / 255, -128, "01"),
        ("uint8", 1 / 128, 128, "mean=128:scale=128"),
        ("int8", 1 / 127.5, -1, "mean=127:scale=127.5"),
        ("int8", 0.00735102, 8, "tf"),  # calibrated on images without white
        ("uint8", 1.0, 0, "raw"),
        ("int8", 1.0, 0, "mean=128:scale=1"),
        ("int8", 0.0187, -14, "torch"),
        ("int8", 0.3, 7, None),
        ("uint8", 0.0, 0, "raw"),
        ("int8", 0.0, 0, "mean=128:scale=1"),
    ],
)
def test_the_scale_of_an_input_tells_what_goes_in(
    dtype: str, scale: float, zero: int, expected: str | None
) -> None:
    found = known_preprocess(TensorInfo("x", (1, 8, 8, 3), np.dtype(dtype), scale, zero), None)
    assert (None if found is None else found.preprocess.name) == expected


def test_where_each_level_is_a_pixel_it_is_that_pixel_to_the_bit() -> None:
    for zero in (127, 128):
        info = TensorInfo("x", (1, 8, 8, 3), np.dtype(np.uint8), 1 / 128, zero)
        found = known_preprocess(info, None)
        assert found is not None
        pixels = np.arange(256, dtype=np.uint8).reshape(-1, 1)
        np.testing.assert_array_equal(info.quantize(found.preprocess(pixels)), pixels)


def test_unlabelled_images_tell_only_where_every_sign_agrees() -> None:
    rng = np.random.default_rng(0)
    sure, unsure = np.eye(5)[np.arange(60) % 5] * 9, rng.normal(0, 0.3, (60, 5))
    scores = dict.fromkeys(evidence.COLOUR, unsure) | {"torch": sure}
    verdict = evidence.by_certainty(scores, scores)
    assert verdict.chosen == "torch"
    # Large values make a network certain of anything: that is not a sign.
    assert evidence.by_certainty(scores | {"raw": sure * 50}, scores | {"raw": sure * 50}).chosen is None
    few = {name: found[:10] for name, found in scores.items()}
    assert evidence.by_certainty(few, few).chosen is None


def test_tests_of_chance_have_the_values_of_the_binomial_distribution() -> None:
    first, second = np.array([True] * 10 + [False] * 2), np.array([False] * 10 + [True] * 2)
    assert evidence.paired_chance(first, second) == pytest.approx(2 * (1 + 12 + 66) / 4096)
    assert evidence.chance_of_more(9, 10, 0.5) == pytest.approx(11 / 1024)
    assert evidence.paired_chance(first, first) == 1.0
