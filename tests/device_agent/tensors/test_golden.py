"""Answers of a board against those of the host: what is close enough, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.errors import AgentError
from device_agent.record.release import DETECTIONS, OutputLimit
from device_agent.tensors.golden import differences, require_close
from device_agent.tensors.tensor import TensorInfo

FLOAT = TensorInfo("scores", (1, 4), np.dtype(np.float32))
INT8 = TensorInfo("steps", (1, 4), np.dtype(np.int8), 0.5, 3)
NUMBERS = TensorInfo("map", (1, 4), np.dtype(np.int64))


def row(*values, dtype=np.float32):
    return np.array([values], dtype)


def close(info, expected, found, limit):
    return require_close([info], [[[expected]]], [[found]], [limit])


def test_a_difference_is_that_of_the_furthest_element_in_real_values():
    assert close(FLOAT, row(1, 2, 3, 4), row(1, 2, 3, 4.5), OutputLimit("values", 1.0, 1.0)) == pytest.approx(
        0.5
    )
    found = close(
        INT8, row(1, 2, 3, 4, dtype=np.int8), row(1, 2, 3, 6, dtype=np.int8), OutputLimit("values", 1.0, 1.0)
    )
    assert found == pytest.approx(1.0)  # two steps of 0.5


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        (row(1, 2, 3, 9), OutputLimit("values", 1.0, 100.0)),  # one element is far off
        (row(1.5, 2.5, 3.5, 4.5), OutputLimit("values", 1.0, 0.1)),  # all are a little off
        (row(1, 2, 3, np.nan), OutputLimit("values", 100.0, 100.0)),
        (row(1, 2, 3, np.inf), OutputLimit("values", 100.0, 100.0)),
        (row(1, 2, 3), OutputLimit("values", 100.0, 100.0)),  # another shape
        (row(1, 2, 3, 4 + 1e-6), OutputLimit("values", 0.0, 0.0)),
    ],
)
def test_what_is_too_far_off_is_refused_with_both_figures(found, limit):
    with pytest.raises(AgentError, match="golden outputs") as caught:
        close(FLOAT, row(1, 2, 3, 4), found, limit)
    assert caught.value.expected
    assert caught.value.found


def test_nan_and_infinity_may_stay_where_they_are():
    values = row(np.nan, np.inf, -np.inf, 1)
    assert close(FLOAT, values, values.copy(), OutputLimit("values", 0.1, 0.1)) == 0.0


def test_class_numbers_are_compared_by_the_share_that_differs():
    expected, found = row(1, 2, 3, 4, dtype=np.int64), row(1, 2, 3, 900, dtype=np.int64)
    assert close(NUMBERS, expected, found, OutputLimit("classes", 0.25)) == 0.0
    with pytest.raises(AgentError, match="map"):
        close(NUMBERS, expected, found, OutputLimit("classes", 0.2))


def test_one_of_several_right_answers_is_enough():
    limit = OutputLimit("values", 0.1, 0.1)
    answers = [[[row(1, 2, 3, 4)]], [[row(2, 3, 4, 5)]]]
    assert require_close([FLOAT], answers, [[row(2, 3, 4, 5.05)]], [limit]) == pytest.approx(0.05, abs=1e-6)
    with pytest.raises(AgentError) as caught:  # between the two, and near neither
        require_close([FLOAT], answers, [[row(1.5, 2.5, 3.5, 4.5)]], [limit])
    assert "0.5" in caught.value.found


def detections(*boxes, most=4):
    """(top, class, score) of each, as the four outputs of the post-processing operator."""
    tops = [(top, 0.0, top + 10.0, 10.0) for top, _, _ in boxes]
    padded = most - len(boxes)
    return [
        np.array([tops + [(0, 0, 0, 0)] * padded], np.float32),
        np.array([[number for _, number, _ in boxes] + [0] * padded], np.float32),
        np.array([[score for _, _, score in boxes] + [0] * padded], np.float32),
        np.array([len(boxes)], np.float32),
    ]


INFOS = [TensorInfo(kind, (1,), np.dtype(np.float32)) for kind in DETECTIONS]
LIMITS = [
    OutputLimit("boxes", 0.3),
    OutputLimit("classes of boxes", 0.0),
    OutputLimit("scores of boxes", 0.05, 0.05),
    OutputLimit("number of boxes", 0.0),
]


def test_detections_in_another_order_are_the_same_detections():
    one = detections((0, 1, 0.8), (50, 2, 0.79), (100, 1, 0.5))
    other = detections((50, 2, 0.8), (0.5, 1, 0.79), (100, 1, 0.52))
    require_close(INFOS, [[one]], [other], LIMITS)


@pytest.mark.parametrize(
    "other",
    [
        detections((0, 2, 0.8), (50, 1, 0.79), (100, 1, 0.5)),  # other classes
        detections((200, 1, 0.8), (250, 2, 0.79), (100, 1, 0.5)),  # other places
        detections((0, 1, 0.4), (50, 2, 0.39), (100, 1, 0.1)),  # other scores
        detections(),
    ],
)
def test_other_detections_are_refused(other):
    with pytest.raises(AgentError, match="golden outputs"):
        require_close(INFOS, [[detections((0, 1, 0.8), (50, 2, 0.79), (100, 1, 0.5))]], [other], LIMITS)


def test_another_number_of_outputs_is_another_model():
    with pytest.raises(AgentError, match="another model"):
        differences([FLOAT], [], [], [])
