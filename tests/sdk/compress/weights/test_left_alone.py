"""What compression does not work on is named with the reason, and is never everything without a word."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sdk
from device_agent.package import reader as package
from sdk.cli import main
from sdk.compress.weights.left_alone import reach
from sdk.errors import NothingToCompress
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph, Operator, Quantization, Tensor
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

WEIGHTS = (1, 4, 7, 12)


def behind_dequantize(graph: Graph, numbers: tuple[int, ...] = WEIGHTS) -> Graph:
    """The graph as "float16" converters write it: these weights are halves that an operator makes floats of."""
    tensors, operators = list(graph.tensors), []
    for number in numbers:
        weight = tensors[number]
        assert weight.data is not None
        halves = replace(
            weight, dtype="FLOAT16", data=weight.data.astype(np.float16), name=weight.name + "16"
        )
        tensors[number] = replace(weight, data=None)
        operators.append(Operator("DEQUANTIZE", (len(tensors),), (number,)))
        tensors.append(halves)
    return replace(graph, tensors=tuple(tensors), operators=(*operators, *graph.operators))


def in_int8(graph: Graph, numbers: tuple[int, ...] = WEIGHTS, dtype: str = "INT8") -> Graph:
    """The graph as dynamic range quantisation writes it; or with weights of a type that no pass works on."""
    tensors = list(graph.tensors)
    for number in numbers:
        weight = tensors[number]
        assert weight.data is not None
        scale = np.abs(weight.data).max() / 127
        stored = np.rint(weight.data / scale).astype(dtype.lower())
        quantization = Quantization(np.array([scale], np.float32), np.array([0]))
        tensors[number] = replace(weight, dtype=dtype, data=stored, quantization=quantization)
    return replace(graph, tensors=tuple(tensors))


def test_a_float_network_is_worked_on_but_for_first_and_depthwise_layers() -> None:
    found = reach(small_network(), by_magnitude=True)
    assert (found.layers, found.compressed) == (4, 2)
    assert found.reasons == {
        "the first layer, which sees the input itself": ("stem/weight",),
        "depthwise layer": ("depthwise/weight",),
    }
    assert reach(small_network(), by_magnitude=False).left_alone == ()


def test_weights_that_are_stored_otherwise_are_named() -> None:
    whole = reach(in_int8(small_network()), by_magnitude=False)
    assert (whole.layers, whole.compressed, set(whole.reasons)) == (4, 0, {"int8 weights"})
    part = reach(in_int8(small_network(), (7,)), by_magnitude=True)
    assert (part.layers, part.compressed) == (4, 1)
    assert "int8 weights" in part.reasons
    # Without data they become coarser on their own grid, layer by layer.
    assert reach(in_int8(small_network()), by_magnitude=True, measured=True).left_alone == ()


def test_halves_are_worked_on_as_floats_are() -> None:
    for graph in (small_network(), behind_dequantize(small_network())):
        found = reach(graph, by_magnitude=True)
        assert (found.layers, found.compressed) == (4, 2)
        assert reach(graph, by_magnitude=True, measured=True).left_alone == ()


def test_operators_of_other_kinds_are_named() -> None:
    graph = small_network()
    table = Tensor("table", (50, 8), "FLOAT32", np.ones((50, 8), np.float32))
    indices, found = (
        Tensor("indices", (2,), "INT32", np.zeros(2, np.int32)),
        Tensor("rows", (2, 8), "FLOAT32"),
    )
    count = len(graph.tensors)
    gather = Operator(
        "GATHER", (count, count + 1), (count + 2,), {"axis": 0, "batchDims": 0}, "GatherOptions"
    )
    graph = replace(
        graph, tensors=(*graph.tensors, table, indices, found), operators=(*graph.operators, gather)
    )
    reasons = reach(graph, by_magnitude=False).reasons
    assert reasons == {"weights of GATHER are not solved or trained": ("table",)}
    assert "table" not in {one.layer for one in reach(graph, by_magnitude=True).left_alone}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(in_int8(small_network(), dtype="INT16")))
    return path


@pytest.mark.parametrize(
    "more", [[], ["--data"], ["--sparsity", "0.9"], ["--target-size", "1KB"], ["--int8"]]
)
def test_nothing_to_compress_is_an_error_and_no_file(model: Path, tmp_path: Path, capsys, more) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((16, 8, 8, 3), np.uint8))
    if more == ["--data"]:
        more = ["--data", str(tmp_path / "data.npz")]
    out = tmp_path / "out.armlet"
    assert main(["compress", str(model), "-o", str(out), *more]) == 1
    told = capsys.readouterr().err
    assert "0 of 4 layers can be compressed" in told
    assert "4 layers: " in told
    assert "--allow-unchanged" in told
    assert not out.exists()


def test_it_is_written_all_the_same_where_that_is_allowed(model: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.armlet"
    assert main(["compress", str(model), "-o", str(out), "--allow-unchanged", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reach"]["compressed"] == 0
    decoded = package.unpack(out.read_bytes())
    assert decoded.tflite == write_graph(read_graph(model.read_bytes()))


def test_from_python_it_is_an_error_of_its_own(model: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToCompress):
        sdk.compress_model(model, tmp_path / "out.armlet")


def test_what_was_left_alone_is_shown(tmp_path: Path, capsys) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(in_int8(small_network(), (7,), "INT16")))
    assert main(["compress", str(path), "-o", str(tmp_path / "out.armlet")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "3 of 4 compressed" in told
    assert "1 layer: int16 weights (pointwise/weight)" in told
    assert (
        "not measured: the original's outputs are not numbers" in told
    )  # with such weights the runtime gives NaN
