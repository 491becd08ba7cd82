"""Metrics of each task on answers whose right score is known."""

import numpy as np
import pytest

from device_agent.answers.prediction import Box
from device_agent.record.task import DETECTIONS, SEGMENTATION, Task
from sdk.data.scoring.answers import ClassScorer, LikenessScorer, MapScorer, ValueScorer
from sdk.data.scoring.detected import BoxScorer, matched
from sdk.data.scoring.score import change
from sdk.data.scoring.truth import NO_CLASS, TrueBoxes, TrueMap

_FINAL = Task(DETECTIONS, "final rows", (0,))
_SIZE = (100, 100)


def _scores_by_name(scorer):
    return {score.name: score for score in scorer.scores()}


def test_top_1_and_top_5_count_ties_for_the_lower_class():
    scorer = ClassScorer(1)
    row = np.array([0.1, 0.3, 0.3, 0.0, 0.2, 0.05, 0.0])
    for label in (1, 2, 6, 9):
        scorer.add([np.zeros(3), row], label)
    found = _scores_by_name(scorer)
    assert found["top-1"].right.tolist() == [True, False, False, False]
    assert found["top-5"].right.tolist() == [True, True, False, False]


def test_one_score_tells_two_classes():
    scorer = ClassScorer(0)
    for score, label in ((0.9, 1), (0.2, 0), (0.6, 0)):
        scorer.add([np.array([score])], label)
    assert scorer.scores()[0].value == pytest.approx(2 / 3)


def test_mean_iou_of_known_maps():
    scorer = MapScorer(Task(SEGMENTATION, "numbers", (0,)), (4, 4), "stretch")
    answer = np.zeros((4, 4), np.int64)
    answer[:, 2:] = 1
    truth = np.zeros((8, 8), np.int64)  # the picture is twice as large
    truth[:, 6:] = 1
    truth[0, :] = NO_CLASS
    scorer.add([answer], TrueMap(truth))
    # Of class 0: 28 of 42 pixels; of class 1: 14 of 28.
    assert scorer.scores()[0].value == pytest.approx((28 / 42 + 14 / 28) / 2)


def test_pixels_beyond_a_crop_do_not_count():
    scorer = MapScorer(Task(SEGMENTATION, "numbers", (0,)), (4, 4), "crop")
    truth = np.ones((4, 8), np.int64)
    truth[:, 2:6] = 0
    scorer.add([np.zeros((4, 4), np.int64)], TrueMap(truth))
    assert scorer.scores()[0].value == 1.0


def test_errors_of_values_in_points_of_their_spread():
    before, after = ValueScorer(0), ValueScorer(0)
    for number in range(20):
        before.add([np.array([number])], [number])
        after.add([np.array([number + 0.5])], [number])
    score = before.scores()[0]
    assert score.value == 0.0
    assert score.points_lost(after.scores()[0]) == pytest.approx(100 * 0.5 / 5.0)
    assert change(score, after.scores()[0]).verdict == "worse"


def test_all_outputs_count_for_likeness():
    scorer = LikenessScorer()
    right = [np.array([1.0, 0.0]), np.array([3.0, 4.0])]
    scorer.add(right, scorer.truth_of(right))
    scorer.add([np.array([0.0, 1.0]), np.array([3.0, 4.0])], right)
    found = _scores_by_name(scorer)
    assert found["cosine"].value == pytest.approx(0.75)
    assert found["relative difference"].value == pytest.approx(np.sqrt(2) / 4)


def _truth(*boxes, crowd=()):
    corners = np.array([box[:4] for box in boxes], float).reshape(-1, 4)
    classes = np.array([box[4] for box in boxes], np.int64)
    return TrueBoxes(100, 100, corners, classes, np.array([i in crowd for i in range(len(boxes))], bool))


def _rows(*rows):
    """left, top, right, bottom, score, class in pixels, as a detector's final rows."""
    found = np.zeros((10, 6))
    for number, row in enumerate(rows):
        found[number] = row
    return [found]


def test_map_of_known_boxes():
    scorer = BoxScorer(_FINAL, _SIZE, "stretch")
    scorer.add(_rows((10, 10, 50, 50, 0.9, 0)), _truth((10, 10, 50, 50, 0)))
    scorer.add(_rows((0, 0, 20, 20, 0.8, 0)), _truth((10, 10, 50, 50, 0)))
    found = _scores_by_name(scorer)
    # Recall 0 ... 0.5 with precision 1: 51 of 101 points.
    assert found["mAP@0.5"].value == pytest.approx(51 / 101)
    assert found["mAP@0.5:0.95"].value == pytest.approx(51 / 101)


def test_map_is_that_of_coco_on_many_boxes():
    random = np.random.default_rng(0)
    every_found, every_truth = [], []
    scorer = BoxScorer(_FINAL, _SIZE, "stretch")
    for _ in range(30):
        corners = random.uniform(0, 60, (random.integers(0, 5), 2))
        sizes = random.uniform(10, 40, corners.shape)
        kinds = random.integers(0, 3, len(corners))
        truth = _truth(
            *[(*c, *(c + s), k) for c, s, k in zip(corners, sizes, kinds, strict=True)], crowd=(3,)
        )
        moved = corners + random.normal(0, 4, corners.shape)
        rows = [
            (*c, *(c + s), random.uniform(0.1, 1), k) for c, s, k in zip(moved, sizes, kinds, strict=True)
        ]
        rows += [(*c, *(c + 20), random.uniform(0.1, 0.9), 1) for c in random.uniform(0, 70, (2, 2))]
        scorer.add(_rows(*rows), truth)
        every_truth.append(truth)
        every_found.append(
            tuple(Box(int(row[5]), row[4], None, tuple(np.clip(row[:4], 0, 100))) for row in rows)
        )
    evaluation = matched(every_found, every_truth)
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0]
    found = _scores_by_name(scorer)
    assert found["mAP@0.5:0.95"].value == pytest.approx(precision[precision > -1].mean(), abs=1e-9)
    first = precision[0]
    assert found["mAP@0.5"].value == pytest.approx(first[first > -1].mean(), abs=1e-9)
    low, high = found["mAP@0.5"].interval()
    assert 0 < low < found["mAP@0.5"].value < high < 1


def test_an_image_that_counts_twice_is_an_image_that_is_there_twice():
    images = [
        (_rows((10, 10, 50, 50, 0.9, 0), (0, 0, 9, 9, 0.3, 1)), _truth((10, 12, 50, 50, 0))),
        (_rows((0, 0, 20, 20, 0.8, 0)), _truth((10, 10, 50, 50, 0), (1, 1, 21, 21, 1))),
    ]
    once, again = BoxScorer(_FINAL, _SIZE, "stretch"), BoxScorer(_FINAL, _SIZE, "stretch")
    for outputs, truth in images:
        once.add(outputs, truth)
    for outputs, truth in (images[0], images[0], images[1]):
        again.add(outputs, truth)
    for one, two in zip(once.scores(), again.scores(), strict=True):
        assert float(one.value_of(np.array([[2.0, 1.0]]))[0]) == pytest.approx(two.value)


def test_a_detector_agrees_with_itself():
    rows = _rows((10, 10, 50, 50, 0.9, 0), (0, 0, 9, 9, 0.3, 1))
    scorer = BoxScorer(_FINAL, _SIZE, "stretch")
    scorer.add(rows, scorer.truth_of(rows))
    assert scorer.scores()[0].value == 1.0
