"""Boxes come out of every form of a detector's outputs in pixels of the image, once for each thing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from device_agent.answers.detections import find_boxes
from device_agent.answers.overlaps import MAX_BOXES, best_apart
from device_agent.errors import DataError
from device_agent.image.placement import placement_on
from device_agent.record.task import Task

LABELS = ("cat", "dog", "bird")
SIZE = (64, 64)
#: An image of 100 x 200 pixels in an input of 64 x 64.
CROPPED, STRETCHED, LETTERBOXED = (
    placement_on(100, 200, *SIZE, how) for how in ("crop", "stretch", "letterbox")
)


def yolo(rows: list[list[float]], count: int = 252) -> np.ndarray:
    """(count, values): these rows, and others without any score."""
    values = np.zeros((count, len(rows[0])), np.float32)
    values[3 : 3 + len(rows)] = rows
    return values


def shown(boxes) -> list[tuple]:
    return [(b.label, round(b.score, 3), tuple(round(v, 2) for v in b.box)) for b in boxes]


def test_post_processing_names_the_sides_of_a_box_in_an_order_of_its_own() -> None:
    outputs = (
        np.array([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.2, 0.2, 0.3, 0.3]], np.float32),
        np.array([1.0, 0.0, 2.0], np.float32),
        np.array([0.9, 0.1, 0.8], np.float32),
        np.array([2.0], np.float32),  # the third is none
    )
    task = Task("detections", "post-process", (0, 1, 2, 3))
    assert shown(find_boxes(outputs, task, LABELS, STRETCHED, SIZE)) == [("dog", 0.9, (40, 10, 120, 50))]
    both = find_boxes(outputs, task, LABELS, STRETCHED, SIZE, threshold=0.05)
    assert shown(both)[1] == ("cat", 0.1, (0, 0, 200, 100))


def test_a_first_label_that_stands_for_nothing_is_not_counted() -> None:
    outputs = (np.array([[0, 0, 1, 1]]), np.array([0]), np.array([0.9]), np.array([1]))
    task = Task("detections", "post-process", (0, 1, 2, 3))
    (box,) = find_boxes(outputs, task, ("???", "person"), STRETCHED, SIZE)
    assert (box.index, box.label) == (0, "person")


@pytest.mark.parametrize("unit", [1.0, 64.0])
def test_a_yolo_tells_pixels_of_its_input_from_shares(unit) -> None:
    u = unit
    row = [0.5 * u, 0.25 * u, 0.5 * u, 0.25 * u, 0.8, 0.1, 0.9, 0.2]
    values = yolo([row])
    values[0, :4] = 0.9 * u  # a box of no score shows how far coordinates go
    boxes = find_boxes([values], Task("detections", "yolov5", (0,), classes=3), LABELS, STRETCHED, SIZE)
    assert shown(boxes) == [("dog", 0.72, (50, 12.5, 150, 37.5))]


@pytest.mark.parametrize(
    ("where", "box"),
    [
        # The crop is the middle 100 x 100 pixels; the letterbox has 16 rows of grey above and below.
        (CROPPED, (75, 25, 125, 75)),
        (STRETCHED, (50, 25, 150, 75)),
        (LETTERBOXED, (50, 0, 150, 100)),
    ],
)
def test_boxes_are_where_they_are_on_the_image_however_it_was_fitted(where, box) -> None:
    values = yolo([[0.5, 0.5, 0.5, 0.5, 0.1, 0.1, 0.9]])
    for form, output in (("yolov8", values.T), ("yolov8 rows", values)):
        boxes = find_boxes([output], Task("detections", form, (0,), classes=3), LABELS, where, SIZE)
        assert shown(boxes) == [("bird", 0.9, box)]


def test_boxes_and_scores_may_be_two_outputs() -> None:
    values = yolo([[32, 32, 32, 32, 0.1, 0.1, 0.9]])
    task = Task("detections", "yolov4", (1, 0), classes=3)
    boxes = find_boxes([values[:, :4], values[:, 4:]], task, LABELS, STRETCHED, SIZE)
    assert shown(boxes) == [("bird", 0.9, (50, 25, 150, 75))]
    with pytest.raises(DataError, match="not those of the detector"):
        find_boxes([values[1:, :4], values[:, 4:]], task, LABELS, STRETCHED, SIZE)


def test_of_boxes_on_one_thing_the_best_stays_and_other_classes_do() -> None:
    rows = [
        [0.50, 0.5, 0.4, 0.4, 0.6, 0.0, 0.0],
        [0.52, 0.5, 0.4, 0.4, 0.9, 0.0, 0.0],
        [0.51, 0.5, 0.4, 0.4, 0.0, 0.7, 0.0],
        [0.10, 0.1, 0.1, 0.1, 0.8, 0.0, 0.0],
    ]
    task = Task("detections", "yolov8 rows", (0,), classes=3)
    boxes = find_boxes([yolo(rows)], task, LABELS, STRETCHED, SIZE)
    assert [(b.label, round(b.score, 1)) for b in boxes] == [("cat", 0.9), ("cat", 0.8), ("dog", 0.7)]


def test_rows_that_are_final_keep_boxes_that_overlap() -> None:
    rows = np.array([[8, 8, 32, 32, 0.9, 2], [9, 8, 32, 32, 0.8, 2], [0, 0, 0, 0, 0, 0]], np.float32)
    boxes = find_boxes([rows], Task("detections", "final rows", (0,)), LABELS, STRETCHED, SIZE)
    assert shown(boxes)[0] == ("bird", 0.9, (25, 12.5, 100, 50))
    assert len(boxes) == 2


def test_coefficients_of_masks_behind_the_scores_are_passed_over() -> None:
    values = yolo([[0.5, 0.5, 0.2, 0.2, 0.1, 0.9, 0.1, *([7.0] * 32)]])
    boxes = find_boxes([values.T], Task("detections", "yolov8", (0,), classes=3), LABELS, STRETCHED, SIZE)
    assert [b.label for b in boxes] == ["dog"]


def test_a_body_has_its_points() -> None:
    values = yolo([[32, 32, 32, 32, 0.9, 16, 32, 0.7, 48, 16, 0.2]])
    task = Task("keypoints", "yolov8", (0,), classes=1, points=2)
    (body,) = find_boxes([values.T], task, (), STRETCHED, SIZE)
    assert [(p.x, p.y, round(p.score, 1)) for p in body.points] == [(50, 50, 0.7), (150, 25, 0.2)]


def test_several_bodies_have_their_points() -> None:
    rows = np.zeros((6, 56), np.float32)
    rows[1, :3] = 0.25, 0.5, 0.8
    rows[1, 51:] = 0.1, 0.2, 0.9, 0.8, 0.7
    (body,) = find_boxes([rows], Task("keypoints", "movenet bodies", (0,)), (), STRETCHED, SIZE)
    assert [round(v) for v in body.box] == [40, 10, 160, 90]
    assert (body.points[0].x, body.points[0].y, len(body.points)) == (100, 25, 17)


def test_boxes_end_at_the_image_and_those_beyond_it_are_none() -> None:
    rows = [
        [0.5, 0.5, 1.4, 1.4, 0.9, 0, 0],
        [0.5, 0.05, 0.1, 0.05, 0.9, 0, 0],
        [np.nan, 0.5, 0.1, 0.1, 0.9, 0, 0],
    ]
    boxes = find_boxes(
        [yolo(rows)], Task("detections", "yolov8 rows", (0,), classes=3), LABELS, LETTERBOXED, SIZE
    )
    assert shown(boxes) == [("cat", 0.9, (0, 0, 200, 100))]


@pytest.mark.parametrize(
    ("outputs", "task"),
    [
        ([np.zeros((10, 5))], Task("detections", "yolov5", (0,), classes=3)),
        ([np.zeros(10)], Task("detections", "yolov8", (0,), classes=3)),
        ([np.zeros((10, 7))], Task("detections", "yolov8 rows", (0,))),
        (
            [np.zeros((3, 4)), np.zeros(2), np.zeros(3), np.zeros(1)],
            Task("detections", "post-process", (0, 1, 2, 3)),
        ),
    ],
)
def test_outputs_of_another_form_are_refused(outputs, task) -> None:
    with pytest.raises(DataError, match="not those of the detector"):
        find_boxes(outputs, task, LABELS, STRETCHED, SIZE)


def test_ever_so_many_boxes_take_no_ever_so_long_time() -> None:
    rng = np.random.default_rng(0)
    corners = rng.random((200_000, 4)).astype(np.float32)
    corners[:, 2:] += corners[:, :2]
    started = time.perf_counter()
    kept = best_apart(corners, rng.random(200_000), np.arange(200_000) % 3000)
    assert len(kept) == MAX_BOXES
    assert len(best_apart(np.zeros((5000, 4)), np.ones(5000), np.zeros(5000, int))) <= MAX_BOXES
    assert time.perf_counter() - started < 5.0
    assert best_apart(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)).size == 0
