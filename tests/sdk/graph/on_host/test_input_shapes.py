"""Shapes that a .tflite leaves open: told, asked for, or refused; never a silent 1x1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.errors import ModelError
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.on_host.input_shapes import with_input_shapes
from sdk.graph.on_host.sources.convert import tflite_bytes
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network


def open_model(signature=(-1, -1, -1, 3), shape=(1, 1, 1, 3)) -> bytes:
    """A network that takes images of any size, as converters write it: sizes of 1, and a signature that says "open"."""
    graph = small_network()
    tensors = list(graph.tensors)
    entry = graph.inputs[0]
    tensors[entry] = replace(tensors[entry], shape=shape, shape_signature=signature)
    return write_graph(replace(graph, tensors=tuple(tensors)))


def test_an_open_shape_is_asked_for():
    with pytest.raises(ModelError, match="open") as caught:
        with_input_shapes(open_model(), None)
    assert caught.value.found == "?x?x?x3"
    assert "--input-shape" in caught.value.hint


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 8, 8, 3)])
def test_a_shape_is_taken_with_and_without_its_batch_and_runs(shape):
    closed = with_input_shapes(open_model(), shape)
    fixed = write_graph(small_network())
    picture = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    answers = []
    for tflite in (closed, fixed):
        with HostModel(tflite) as model:
            assert model.inputs[0].shape == (1, 8, 8, 3)
            answers.append(next(iter(model.run([picture]).values())))
    np.testing.assert_array_equal(*answers)


def test_inputs_are_named_where_there_are_names():
    name = read_graph(open_model()).tensors[read_graph(open_model()).inputs[0]].name
    assert with_input_shapes(open_model(), {name: (8, 8, 3)}) == with_input_shapes(open_model(), (8, 8, 3))
    with pytest.raises(ModelError, match="no input") as caught:
        with_input_shapes(open_model(), {"other": (8, 8, 3)})
    assert name in caught.value.expected


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 1, 8, 8, 3)])
def test_a_shape_that_does_not_fit_is_refused(shape):
    with pytest.raises(ModelError, match="does not take this shape"):
        with_input_shapes(open_model(), shape)


def test_a_size_that_the_file_has_itself_holds_and_an_open_batch_is_no_question():
    for signature, shape in (((-1, -1, -1, 3), (1, 8, 8, 3)), ((-1, 8, 8, 3), (1, 8, 8, 3))):
        model = open_model(signature, shape)
        assert with_input_shapes(model, None) == model


def test_a_fixed_shape_stays_fixed():
    with pytest.raises(ModelError, match="does not take this shape"):
        with_input_shapes(write_graph(small_network()), (16, 16, 3))


def test_convert_takes_the_shape_of_a_tflite(tmp_path):
    (tmp_path / "open.tflite").write_bytes(open_model())
    converted = tflite_bytes(tmp_path / "open.tflite", input_shape=(8, 8, 3))
    assert read_graph(converted).tensors[read_graph(converted).inputs[0]].shape == (1, 8, 8, 3)


def test_bytes_that_are_no_model_are_left_to_who_runs_them():
    assert with_input_shapes(b"nonsense", None) == b"nonsense"
