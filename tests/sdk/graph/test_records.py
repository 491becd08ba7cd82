"""A graph goes to bytes and back unchanged, and what it cannot carry it refuses by name."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.errors import ModelError, UnsupportedOperator
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Operator, Quantization, Tensor
from sdk.graph.schema import BUFFER_ALIGNMENT
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import interpret, small_network


def same(a: Graph, b: Graph) -> None:
    """Asserts that two graphs hold the same things; arrays do not compare with ==."""
    assert (a.inputs, a.outputs, a.name, a.metadata, a.signatures) == (
        b.inputs,
        b.outputs,
        b.name,
        b.metadata,
        b.signatures,
    )
    assert [t.name for t in a.tensors] == [t.name for t in b.tensors]
    for x, y in zip(a.tensors, b.tensors, strict=True):
        assert (x.shape, x.dtype, x.shape_signature, x.is_variable) == (
            y.shape,
            y.dtype,
            y.shape_signature,
            y.is_variable,
        )
        assert (x.data is None) == (y.data is None)
        if x.data is not None and y.data is not None:
            np.testing.assert_array_equal(x.data, y.data)
    for p, q in zip(a.operators, b.operators, strict=True):
        assert (p.kind, p.inputs, p.outputs, p.options_type, p.version) == (
            q.kind,
            q.inputs,
            q.outputs,
            q.options_type,
            q.version,
        )
        assert set(p.options) <= set(q.options)
        assert all(q.options[name] == value for name, value in p.options.items())


def test_a_graph_survives_bytes_and_back() -> None:
    graph = small_network()
    same(graph, read_graph(write_graph(graph)))


def test_the_same_graph_gives_the_same_bytes() -> None:
    data = write_graph(small_network())
    assert data == write_graph(small_network()) == write_graph(read_graph(data))


def test_the_interpreter_runs_what_was_written_and_sees_the_edit() -> None:
    graph = small_network()
    image = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    before = interpret(write_graph(graph), image)
    bias = graph.tensors[13].data
    assert bias is not None
    after = interpret(write_graph(graph.with_data({13: bias + 1})), image)
    np.testing.assert_allclose(after, before + 1, rtol=1e-5)


def test_every_weight_buffer_is_aligned_as_the_schema_asks() -> None:
    graph = small_network()
    data = write_graph(graph)
    for weight in graph.weights():
        assert data.find(weight.array.tobytes()) % BUFFER_ALIGNMENT == 0


def test_weights_come_in_order_of_execution_with_their_role() -> None:
    assert [(w.tensor.name, w.layer, w.channel_axis) for w in small_network().weights()] == [
        ("stem/weight", "convolution", 0),
        ("depthwise/weight", "depthwise", 3),
        ("pointwise/weight", "convolution 1x1", 0),
        ("classifier/weight", "fully connected", 0),
    ]


def test_an_edit_leaves_the_original_alone() -> None:
    graph = small_network()
    data = write_graph(graph)
    weight = next(graph.weights())
    graph.with_data({weight.tensor_index: np.zeros_like(weight.array)})
    assert write_graph(graph) == data


def test_tensors_that_share_a_buffer_still_share_it_afterwards() -> None:
    graph = small_network()
    tensors = list(graph.tensors)
    tensors[8] = replace(tensors[8], data=tensors[2].data, shape=(16,))
    shared = read_graph(write_graph(replace(graph, tensors=tuple(tensors))))
    assert shared.tensors[8].data is shared.tensors[2].data


def test_quantised_int8_weights_keep_scales_and_zero_points() -> None:
    graph = small_network()
    scales = np.linspace(0.01, 0.02, 10).astype(np.float32)
    quantized = Tensor(
        "classifier/weight",
        (10, 32),
        "INT8",
        np.arange(320, dtype=np.int16).astype(np.int8).reshape(10, 32),
        Quantization(scales, np.zeros(10, np.int64), axis=0),
    )
    tensors = list(graph.tensors)
    tensors[12] = quantized
    back = read_graph(write_graph(replace(graph, tensors=tuple(tensors)))).tensors[12]
    assert back.dtype == "INT8"
    assert back.quantization is not None
    np.testing.assert_array_equal(back.quantization.scales, scales)
    np.testing.assert_array_equal(back.data, quantized.data)


def test_types_that_numpy_lacks_are_carried_as_their_bytes() -> None:
    stored = np.arange(8, dtype=np.uint8)
    graph = small_network()
    extra = Tensor("four bits", (4, 4), "INT4", stored)
    back = read_graph(write_graph(replace(graph, tensors=(*graph.tensors, extra)))).tensors[-1]
    assert back.dtype == "INT4"
    assert back.shape == (4, 4)
    np.testing.assert_array_equal(back.data, stored)


def test_custom_operators_keep_their_code_and_options() -> None:
    graph = small_network()
    custom = Operator("CUSTOM", (9,), (11,), custom_code="MyPool", custom_options=b"\x01\x02\x00\x03")
    operators = (*graph.operators[:3], custom, graph.operators[4])
    back = read_graph(write_graph(replace(graph, operators=operators))).operators[3]
    assert (back.kind, back.custom_code, back.custom_options) == ("CUSTOM", "MyPool", b"\x01\x02\x00\x03")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "found 0 bytes"),
        (b"PK\x03\x04 not a model", "found ' not'"),
        (b"\x1c\x00\x00\x00TFL3", "flatbuffer cannot be read"),
    ],
)
def test_what_is_no_model_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(ModelError, match=found):
        read_graph(data)


def test_a_tensor_number_out_of_range_is_refused() -> None:
    graph = small_network()
    operators = (*graph.operators[:4], replace(graph.operators[4], inputs=(11, 99, 13)))
    with pytest.raises(ModelError, match="tensor 99 of 15"):
        read_graph(write_graph(replace(graph, operators=operators)))


def test_a_tensor_written_twice_is_refused() -> None:
    graph = small_network()
    operators = (*graph.operators[:4], replace(graph.operators[4], outputs=(9,)))
    with pytest.raises(ModelError, match="wrote before"):
        read_graph(write_graph(replace(graph, operators=operators)))


def test_a_buffer_of_the_wrong_size_is_refused() -> None:
    graph = small_network()
    tensors = list(graph.tensors)
    tensors[12] = replace(tensors[12], shape=(10, 33))
    with pytest.raises(ModelError, match="needs 1320 bytes, its buffer has 1280"):
        read_graph(write_graph(replace(graph, tensors=tuple(tensors))))


def test_resource_tensors_are_refused_by_name() -> None:
    graph = small_network()
    data = write_graph(replace(graph, tensors=(*graph.tensors, Tensor("table", (), "RESOURCE"))))
    with pytest.raises(UnsupportedOperator, match="'table' has type RESOURCE"):
        read_graph(data)


def test_wrong_data_for_a_tensor_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot take this data"):
        small_network().with_data({1: np.zeros((2, 2), np.float32)})


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_model_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    model = bytearray(write_graph(small_network(size=4, channels=2, classes=2)))
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(model)))
    with contextlib.suppress(ModelError):
        read_graph(bytes(model[: max(cut, len(model) // 2)]))
