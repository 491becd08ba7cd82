"""Maps of classes and points, where they are on the image."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from device_agent.answers.keypoints import find_points
from device_agent.answers.segmentation import find_map
from device_agent.errors import DataError
from device_agent.image.placement import placement_on
from device_agent.record.task import Task

SIZE = (4, 4)
STRETCHED, LETTERBOXED = (placement_on(100, 200, *SIZE, how) for how in ("stretch", "letterbox"))


def test_the_highest_score_of_a_pixel_is_its_class() -> None:
    scores = np.zeros((4, 4, 3), np.float32)
    scores[1:3, :2, 2] = 5.0
    found = find_map(scores, Task("segmentation", "scores", (0,)), ("sky", "road", "car"), STRETCHED)
    assert found.numbers.dtype == np.uint8
    assert [(share.label, share.share) for share in found.classes] == [("sky", 0.75), ("car", 0.25)]
    whole = found.at(100, 200)
    assert whole.shape == (100, 200)
    assert (whole[30, 30], whole[30, 170], whole[90, 30]) == (2, 0, 0)


def test_numbers_are_classes_and_large_ones_stay_what_they_are() -> None:
    numbers = np.full((4, 4, 1), 300.0)
    found = find_map(numbers, Task("segmentation", "numbers", (0,)), (), STRETCHED)
    assert found.numbers.dtype == np.uint16
    assert found.classes[0].index == 300
    said = found.to_json()
    assert np.frombuffer(base64.b64decode(said["base64"]), "<u2").tolist() == [300] * 16


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.9), (-8.0, 3.0)])
def test_a_mask_is_above_a_half_or_above_zero(low, high) -> None:
    mask = np.full((4, 4), low, np.float32)
    mask[0] = high
    found = find_map(mask, Task("segmentation", "mask", (0,)), ("person",), STRETCHED)
    assert [(share.label, share.share) for share in found.classes] == [("background", 0.75), ("person", 0.25)]


def test_a_map_of_a_letterbox_lies_beyond_the_image() -> None:
    numbers = np.arange(16).reshape(4, 4)
    found = find_map(numbers, Task("segmentation", "numbers", (0,)), (), LETTERBOXED)
    # 200 x 100 pixels are the middle two rows.
    assert found.box == (0, -50, 200, 150)
    assert np.unique(found.at(100, 200)).tolist() == list(range(4, 12))


def test_heat_maps_are_highest_at_their_points() -> None:
    maps = np.zeros((4, 4, 2), np.float32)
    maps[1, 2, 0], maps[3, 0, 1] = 0.8, 0.6
    points = find_points([maps], Task("keypoints", "heatmaps", (0,)), ("nose",), STRETCHED, SIZE)
    assert [(p.x, p.y, round(p.score, 1), p.label) for p in points] == [
        (125.0, 37.5, 0.8, "nose"),
        (25.0, 87.5, 0.6, None),
    ]


def test_movenet_says_y_first() -> None:
    points = find_points(
        [np.array([[[0.5, 0.25, 0.9]]])], Task("keypoints", "movenet", (0,)), (), LETTERBOXED, SIZE
    )
    assert (points[0].x, points[0].y, points[0].score) == (50.0, 50.0, 0.9)


@pytest.mark.parametrize("unit", [1.0, 4.0])
def test_points_are_shares_or_pixels_of_the_input(unit) -> None:
    landmarks = np.array([[0.75, 0.5, 0.1], [1.0, 0.25, 0.0]]) * unit
    points = find_points([landmarks], Task("keypoints", "points", (0,)), (), STRETCHED, SIZE)
    assert [(p.x, p.y) for p in points] == [(150.0, 50.0), (200.0, 25.0)]


@pytest.mark.parametrize("shape", [(4,), (4, 4, 3, 2), (0, 4)])
def test_what_is_no_map_is_refused(shape) -> None:
    with pytest.raises(DataError, match="not a map of classes"):
        find_map(np.zeros(shape), Task("segmentation", "numbers", (0,)), (), STRETCHED)


@pytest.mark.parametrize(("form", "shape"), [("heatmaps", (4, 4)), ("movenet", (17, 2)), ("points", (6,))])
def test_what_holds_no_points_is_refused(form, shape) -> None:
    with pytest.raises(DataError, match="holds no points"):
        find_points([np.zeros(shape)], Task("keypoints", form, (0,)), (), STRETCHED, SIZE)


def test_posenet_moves_each_point_from_its_cell() -> None:
    size = (257, 257)
    maps, offsets = np.full((9, 9, 17), -9.0), np.zeros((9, 9, 34))
    maps[4, 2, 3] = 0.0
    offsets[4, 2, 3], offsets[4, 2, 17 + 3] = 8.0, -4.0
    where = placement_on(257, 257, *size, "stretch")
    points = find_points([maps, offsets], Task("keypoints", "posenet", (0, 1)), (), where, size)
    # Cell (4, 2) is pixel (128, 64) of the input.
    assert (points[3].x, points[3].y, points[3].score) == (60.5, 136.5, 0.5)
    with pytest.raises(DataError, match="holds no points"):
        find_points([maps, offsets[..., :20]], Task("keypoints", "posenet", (0, 1)), (), where, size)
