"""The float twin answers as the 8-bit model does, and takes weights that are solved back into it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.compress.recipes.recipe import Recipe, Workshop
from sdk.compress.rewrite.dynamic_range import dynamic_range
from sdk.compress.solve.float_twin import FloatTwin, float_twin
from sdk.compress.solve.quantize import quantize
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph, Operator, Quantization, Tensor
from sdk.graph.writer import write_graph
from sdk.tools.progress import silent
from tests.sdk.compress.layered_graphs import small_mobilenet
from tests.sdk.compress.solve.test_quantize import dataset_of, images
from tests.sdk.graph.small_graphs import interpret

pytestmark = pytest.mark.tensorflow

CHECK = images(32, 8, 1)


def per_tensor(graph: Graph) -> Graph:
    """Each 8-bit weight with one scale, as older converters wrote them; biases to match."""
    tensors = list(graph.tensors)
    for weight in graph.weights():
        operator, form = graph.operators[weight.operator_index], weight.tensor.quantization
        assert form is not None
        source = graph.tensors[operator.inputs[0]].quantization
        bias = tensors[operator.inputs[2]]
        assert source is not None
        assert bias.data is not None
        assert bias.quantization is not None
        along = [-1 if axis == weight.channel_axis else 1 for axis in range(len(weight.tensor.shape))]
        floats = weight.array * form.scales.reshape(along)
        scale = np.abs(floats).max() / 120
        one = Quantization(np.array([scale], np.float32), np.zeros(1, np.int64))
        tensors[weight.tensor_index] = replace(
            weight.tensor, data=np.rint(floats / scale).astype(np.int8), quantization=one
        )
        real = bias.data * bias.quantization.scales
        step = np.float32(source.scales[0] * np.float32(scale))
        tensors[operator.inputs[2]] = replace(
            bias,
            data=np.rint(real / step).astype(np.int32),
            quantization=Quantization(np.array([step]), np.zeros(1, np.int64)),
        )
    return replace(graph, tensors=tuple(tensors))


@pytest.fixture(scope="module")
def models() -> dict[str, Graph]:
    graph = small_mobilenet()
    by_channel = quantize(graph, images(32, 8, 0))
    return {
        "by channel": by_channel,
        "one scale": per_tensor(by_channel),
        "dynamic range": dynamic_range(graph),
    }


def decibel(wanted: np.ndarray, found: np.ndarray) -> float:
    noise = np.square(wanted - found).sum()
    return float(10 * np.log10(np.square(wanted).sum() / max(noise, 1e-30)))


def answers(graph: Graph) -> np.ndarray:
    model = write_graph(graph)
    return np.array([interpret(model, image[None])[0] for image in CHECK])


def twin_of(graph: Graph) -> FloatTwin:
    twin = float_twin(graph)
    assert twin is not None
    return twin


@pytest.mark.parametrize("name", ["by channel", "one scale", "dynamic range"])
def test_weights_that_are_solved_go_back_on_their_own_grid(models: dict[str, Graph], name: str) -> None:
    graph = models[name]
    twin = twin_of(graph)
    assert write_graph(twin.put_back(twin.graph)) == write_graph(graph)
    assert decibel(answers(graph), np.asarray(Executor(twin.graph)(CHECK))) > 25
    assert twin.one_scale == ("all" if name == "one scale" else "")

    workshop = Workshop(twin.graph, dataset_of(images(32, 24, 0)), 0, silent)
    made, _ = workshop.run(
        Recipe(effort="calibrate", sparsity=0.0, clusters=0, price=1e-6, one_scale=twin.one_scale)
    )
    back = twin.put_back(made)
    assert decibel(np.asarray(Executor(made)(CHECK)), answers(back)) > 25
    for before, after in zip(graph.weights(), back.weights(), strict=True):
        assert after.tensor.dtype == before.tensor.dtype
        old, new = before.tensor.quantization, after.tensor.quantization
        solved = made.tensors[after.tensor_index].data
        if before.tensor.dtype == "FLOAT32":  # small layers, in dynamic range
            np.testing.assert_array_equal(after.array, solved)
            continue
        assert old is not None
        assert new is not None
        assert new.scales.shape == old.scales.shape
        along = [-1 if axis == after.channel_axis else 1 for axis in range(len(after.tensor.shape))]
        values = after.array.astype(np.float32) * (
            new.scales.reshape(along) if len(new.scales) > 1 else new.scales
        )
        np.testing.assert_array_equal(values, solved)


def test_a_float_model_has_no_twin() -> None:
    assert float_twin(small_mobilenet()) is None


def test_an_output_in_32_bits_is_rounded_to_nothing(models: dict[str, Graph]) -> None:
    graph = models["by channel"]
    scores = next(op.inputs[0] for op in graph.operators if graph.outputs[0] in op.outputs)
    number = len(graph.tensors)
    steps = Quantization(np.array([1e-6], np.float32), np.zeros(1, np.int64))
    wide = Tensor("wide", graph.tensors[scores].shape, "INT32", quantization=steps)
    last = graph.operators[-1]
    assert last.kind == "DEQUANTIZE"
    operators = (*graph.operators[:-1], Operator("QUANTIZE", (last.inputs[0],), (number,)))
    twin = twin_of(replace(graph, tensors=(*graph.tensors, wide), operators=operators, outputs=(number,)))
    floats = np.asarray(Executor(twin.graph)(CHECK))
    np.testing.assert_array_equal(floats, np.asarray(Executor(twin_of(graph).graph)(CHECK)))
