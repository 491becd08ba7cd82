"""Inputs that are made up fit the model: words stay in their tables, pictures look like pictures."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.record.preprocess import PREPROCESS
from device_agent.tensors.tensor import TensorInfo
from sdk.graph.made_up.inputs import is_picture, made_up, normalises_inside, quiet_case
from sdk.graph.made_up.vocabularies import vocabularies
from sdk.graph.records import Graph, Operator, Tensor


def info(shape, dtype=np.float32, scale=0.0, zero_point=0):
    return TensorInfo("x", shape, np.dtype(dtype), scale, zero_point)


def graph_of(*operators, rows=12):
    """Inputs 0 and 1; tensor 2 a table of ``rows`` rows, tensors from 3 on computed."""
    tensors = [Tensor("a", (1, 8), "INT32"), Tensor("b", (1, 8), "INT32")]
    tensors.append(Tensor("table", (rows, 4), "FLOAT32", np.zeros((rows, 4), np.float32)))
    tensors += [Tensor(f"t{n}", (1, 8), "INT32") for n in range(6)]
    return Graph(tuple(tensors), operators, (0, 1), (8,))


def test_words_are_numbers_of_rows_however_far_the_table_is():
    graph = graph_of(
        Operator("CAST", (0,), (3,)),
        Operator("RESHAPE", (3,), (4,)),
        Operator("GATHER", (2, 4), (5,), {"axis": 0}),
    )
    assert vocabularies(graph) == {0: 12}
    for case in made_up([info((1, 8), np.int32), info((1, 8), np.int32)], vocabularies(graph), 20):
        assert case[0].min() >= 0
        assert case[0].max() < 12


def test_words_given_as_floats_stay_whole():
    (case,) = made_up([info((1, 64))], {0: 1000}, 1)
    np.testing.assert_array_equal(case[0], np.rint(case[0]))
    assert 0 <= case[0].min() <= case[0].max() < 1000


def test_what_looks_nothing_up_has_no_table():
    assert vocabularies(graph_of(Operator("ADD", (0, 1), (3,)))) == {}


@pytest.mark.parametrize(
    ("one", "low", "high"),
    [
        (info((1, 32, 32, 3), np.uint8, 1 / 128, 128), 0, 255),
        (info((1, 32, 32, 3), np.int8, 1.0, 0), -128, 127),
        (info((1, 32, 32, 1), np.uint8), 0, 255),
        (info((1, 3, 32, 32)), -1, 1),
        (info((1, 32, 32, 3)), -1, 1),
    ],
)
def test_pictures_fill_the_range_of_their_input(one, low, high):
    cases = [case[0] for case in made_up([one], {}, 4)]
    assert all(case.shape == one.shape and case.dtype == one.dtype for case in cases)
    values = np.concatenate([np.ravel(case) for case in cases]).astype(float)
    assert low <= values.min() < low + 0.2 * (high - low)
    assert high - 0.2 * (high - low) < values.max() <= high


def test_pictures_are_normalised_as_the_model_says():
    (case,) = made_up([info((1, 32, 32, 3))], {}, 1, preprocess=PREPROCESS["raw"])
    assert case[0].max() > 100
    (case,) = made_up([info((1, 32, 32, 3))], {}, 1, takes_pixels=True)
    assert case[0].max() > 100


def test_a_rescaling_inside_takes_pixels():
    constant = Tensor("k", (), "FLOAT32", np.float32(1 / 255).reshape(()))
    tensors = (Tensor("x", (1, 8, 8, 3), "FLOAT32"), constant, Tensor("y", (1, 8, 8, 3), "FLOAT32"))
    assert normalises_inside(Graph(tensors, (Operator("MUL", (0, 1), (2,)),), (0,), (2,)))
    assert not normalises_inside(Graph(tensors, (Operator("CONV_2D", (0, 1), (2,)),), (0,), (2,)))


def test_every_type_and_shape_gets_values_of_its_own():
    for one in (
        info((), np.int32),
        info((1, 5), np.bool_),
        info((3,), np.int16, 0.1),
        info((1, 16000)),
        info((0, 3)),
    ):
        for case in (*made_up([one], {}, 2), quiet_case([one])):
            assert case[0].shape == one.shape
            assert case[0].dtype == one.dtype


def test_the_same_case_is_made_again():
    first, again = (made_up([info((1, 16, 16, 3)), info((1, 40))], {}, 3) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_pictures_are_told_from_other_inputs():
    assert is_picture((1, 224, 224, 3))
    assert is_picture((1, 3, 224, 224))
    assert not is_picture((1, 1, 257, 2))
    assert not is_picture((1, 49, 10))
