"""Channels first becomes channels last, exactly: transposes sink, meet and vanish, whatever stands between them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sdk.compress.rewrite.channels_last import channels_last
from sdk.compress.rewrite.fuse import fuse
from sdk.graph.enums import NO_ACTIVATION, RELU, VALID
from sdk.graph.on_host.evaluate import predict
from sdk.graph.records import Graph, Operator, Signature, Tensor
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import interpret

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class Build:
    """A graph written operator by operator, as an exporter of channels-first networks writes it."""

    def __init__(self, *shape: int) -> None:
        self.tensors = [Tensor("image", shape, "FLOAT32")]
        self.operators: list[Operator] = []
        self.rng = np.random.default_rng(0)

    def constant(self, array: np.ndarray) -> int:
        kind = {"float32": "FLOAT32", "int32": "INT32"}[array.dtype.name]
        self.tensors.append(Tensor(f"constant{len(self.tensors)}", array.shape, kind, array))
        return len(self.tensors) - 1

    def numbers(self, *values: int) -> int:
        return self.constant(np.array(values, np.int32))

    def random(self, *shape: int) -> int:
        return self.constant(self.rng.normal(size=shape).astype(np.float32))

    def put(
        self,
        kind: str,
        inputs: tuple[int, ...],
        shape: tuple[int, ...],
        table: str = "NONE",
        **options: object,
    ) -> int:
        self.tensors.append(Tensor(f"value{len(self.tensors)}", shape, "FLOAT32"))
        self.operators.append(Operator(kind, inputs, (len(self.tensors) - 1,), options, table))
        return len(self.tensors) - 1

    def shape(self, value: int) -> tuple[int, ...]:
        return self.tensors[value].shape

    def turn(self, value: int, order: tuple[int, ...]) -> int:
        shape = tuple(self.shape(value)[axis] for axis in order)
        return self.put("TRANSPOSE", (value, self.numbers(*order)), shape, "TransposeOptions")

    def reshape(self, value: int, *shape: int) -> int:
        return self.put(
            "RESHAPE", (value, self.numbers(*shape)), shape, "ReshapeOptions", newShape=list(shape)
        )

    def convolution(self, value: int, channels: int, stride: int = 1) -> int:
        """Of a value with channels first, in channels first, between two TRANSPOSE."""
        last = self.turn(value, LAST)
        _, height, width, depth = self.shape(last)
        weights = (self.random(channels, 1, 1, depth), self.random(channels))
        options = {"padding": VALID, "strideW": stride, "strideH": stride, "dilationWFactor": 1,
                   "dilationHFactor": 1, "fusedActivationFunction": RELU}  # fmt: skip
        shape = (1, -(-height // stride), -(-width // stride), channels)
        return self.turn(self.put("CONV_2D", (last, *weights), shape, "Conv2DOptions", **options), FIRST)

    def graph(self, *outputs: int) -> Graph:
        names = tuple((f"output{i}", number) for i, number in enumerate(outputs))
        return Graph(tuple(self.tensors), tuple(self.operators), (0,), outputs,
                     signatures=(Signature("serving_default", (("image", 0),), names),))  # fmt: skip


def kinds(graph: Graph) -> Counter[str]:
    return Counter(operator.kind for operator in graph.operators)


def same_answer(before: Graph, after: Graph, turned: bool) -> None:
    image = np.random.default_rng(1).normal(size=before.tensors[before.inputs[0]].shape).astype(np.float32)
    entered = image.transpose(LAST) if turned else image
    np.testing.assert_allclose(
        interpret(write_graph(after), entered), interpret(write_graph(before), image), rtol=1e-4, atol=1e-5
    )


NO = {"fusedActivationFunction": NO_ACTIVATION}


def residual(b: Build) -> int:
    x = b.convolution(0, 6)
    y = b.convolution(x, 6)
    y = b.put("MUL", (y, b.random(1, 6, 1, 1)), b.shape(y), "MulOptions", **NO)
    y = b.put("ADD", (x, y), b.shape(x), "AddOptions", **NO)
    y = b.put("SUB", (y, b.random(6, 1, 1)), b.shape(y), "SubOptions", **NO)
    return b.put(
        "MEAN",
        (b.put("LOGISTIC", (y,), b.shape(y)), b.numbers(2, 3)),
        (1, 6),
        "ReducerOptions",
        keepDims=False,
    )


def squeezed(b: Build) -> int:
    x = b.convolution(0, 6)
    mean = b.put("MEAN", (x, b.numbers(-1, -2)), (1, 6, 1, 1), "ReducerOptions", keepDims=True)
    scaled = b.put("MUL", (x, b.convolution(mean, 6)), b.shape(x), "MulOptions", **NO)
    return b.turn(b.convolution(scaled, 4), LAST)


def padded_and_cut(b: Build) -> int:
    x = b.convolution(0, 6)
    pads = b.constant(np.array([(0, 0), (0, 0), (1, 2), (3, 0)], np.int32))
    x = b.put("PAD", (x, pads), (1, 6, 11, 13), "PadOptions")
    x = b.put("SLICE", (x, b.numbers(0, 2, 1, 0), b.numbers(1, 4, 8, 13)), (1, 4, 8, 13), "SliceOptions")
    x = b.put("CONCATENATION", (x, x), (1, 8, 8, 13), "ConcatenationOptions", axis=1, **NO)
    return b.turn(b.convolution(x, 4), LAST)


def strided(b: Build) -> int:
    x = b.convolution(0, 6)
    told = (b.numbers(0, 1, 0, 2), b.numbers(1, 5, 0, 8), b.numbers(1, 2, 1, 3))
    x = b.put("STRIDED_SLICE", (x, *told), (1, 2, 8, 3), "StridedSliceOptions", beginMask=0b0101, endMask=0b1100,
              ellipsisMask=0, newAxisMask=0, shrinkAxisMask=0)  # fmt: skip
    return b.turn(b.convolution(x, 4), LAST)


def flattened(b: Build) -> int:
    x = b.reshape(b.convolution(0, 6), 1, 6 * 8 * 10)
    options = {"weightsFormat": 0, "keepNumDims": False, "asymmetricQuantizeInputs": False, **NO}
    return b.put(
        "FULLY_CONNECTED", (x, b.random(5, 480), b.random(5)), (1, 5), "FullyConnectedOptions", **options
    )


def shuffled(b: Build) -> int:
    x = b.convolution(0, 6)
    x = b.turn(b.reshape(x, 1, 2, 3, 8, 10), (0, 2, 1, 3, 4))
    return b.turn(b.convolution(b.reshape(x, 1, 6, 8, 10), 4), LAST)


@pytest.mark.parametrize(
    ("network", "left"),
    [(residual, 0), (squeezed, 0), (padded_and_cut, 0), (strided, 0), (flattened, 0), (shuffled, 1)],
)
def test_transposes_vanish_and_the_answer_stays(network, left: int) -> None:
    b = Build(1, 3, 8, 10)
    graph = b.graph(network(b))
    found = channels_last(graph)
    assert found.inputs == (0,)
    assert found.graph.tensors[found.graph.inputs[0]].shape == (1, 8, 10, 3)
    assert kinds(found.graph)["TRANSPOSE"] == left
    assert found.graph.signatures[0].inputs == (("image", found.graph.inputs[0]),)
    same_answer(graph, found.graph, turned=True)


def test_what_has_channels_last_stays_the_very_same() -> None:
    b = Build(1, 8, 10, 3)
    graph = b.graph(b.put("LOGISTIC", (0,), (1, 8, 10, 3), "NONE"))
    assert channels_last(graph).graph is graph


def test_an_output_with_channels_first_keeps_them() -> None:
    b = Build(1, 3, 8, 10)
    graph = b.graph(b.convolution(b.convolution(0, 6), 4))
    found = channels_last(graph)
    assert kinds(found.graph)["TRANSPOSE"] == 1
    assert found.graph.tensors[found.graph.outputs[0]].shape == (1, 4, 8, 10)
    same_answer(graph, found.graph, turned=True)


def test_a_pad_of_the_lowest_number_before_a_max_pool_becomes_zeros() -> None:
    b = Build(1, 3, 9, 9)
    x = b.turn(b.convolution(0, 6), LAST)
    pads = b.constant(np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32))
    lowest = b.constant(np.array(-np.inf, np.float32))
    x = b.put("PADV2", (x, pads, lowest), (1, 11, 11, 6), "PadV2Options")
    options = {"padding": VALID, "strideW": 2, "strideH": 2, "filterWidth": 3, "filterHeight": 3, **NO}
    graph = b.graph(b.put("MAX_POOL_2D", (x,), (1, 5, 5, 6), "Pool2DOptions", **options))
    fused = fuse(graph)
    assert "PADV2" not in kinds(fused)
    same_answer(graph, fused, turned=False)


def test_host_answers_to_pictures_are_the_same_in_either_layout() -> None:
    b = Build(1, 3, 8, 10)
    graph = b.graph(residual(b))
    images = np.random.default_rng(0).normal(size=(3, 8, 10, 3)).astype(np.float32)
    found = [predict(write_graph(one), images) for one in (graph, channels_last(graph).graph)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5)
