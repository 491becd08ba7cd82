"""A graph written layer by layer with random weights, and what it means that two graphs answer alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdk.compress.weights.prune import prune
from sdk.graph.enums import NO_ACTIVATION, RELU, RELU6, SAME
from sdk.graph.records import FLIP_AXES, Graph, Operator, Tensor
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import interpret


class Layers:
    """Appends operators; every method returns the number of the tensor that it makes."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.image = self.value(*shape)

    def value(self, *shape: int, dtype: str = "FLOAT32") -> int:
        self.tensors.append(Tensor(f"value_{len(self.tensors)}", tuple(shape), dtype))
        return len(self.tensors) - 1

    def constant(self, array: np.ndarray) -> int:
        kind = {"float32": "FLOAT32", "int32": "INT32"}[array.dtype.name]
        self.tensors.append(Tensor(f"constant_{len(self.tensors)}", array.shape, kind, array))
        return len(self.tensors) - 1

    def random(self, *shape: int) -> int:
        return self.constant(self.rng.normal(0, 0.4, shape).astype(np.float32))

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.tensors[tensor].shape

    def append(
        self, kind: str, inputs: tuple[int, ...], shape: tuple[int, ...], options: str = "NONE", **fields: Any
    ) -> int:
        output = self.value(*shape)
        version = 6 if kind == "CONV_2D" else 1
        self.operators.append(Operator(kind, inputs, (output,), fields, options, version))
        return output

    def window(self, source: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
        height, width = self.shape(source)[1:3]
        if padding == SAME:
            return -(-height // stride), -(-width // stride)
        return (height - kernel) // stride + 1, (width - kernel) // stride + 1

    def conv(
        self,
        source: int,
        channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        padding: int = SAME,
        groups: int = 1,
        activation: int = RELU,
    ) -> int:
        weight = self.random(channels, kernel, kernel, self.shape(source)[3] // groups)
        fields = {**_window(stride, padding), "fusedActivationFunction": activation}
        shape = (1, *self.window(source, kernel, stride, padding), channels)
        return self.append(
            "CONV_2D", (source, weight, self.random(channels)), shape, "Conv2DOptions", **fields
        )

    def depthwise(
        self,
        source: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int = SAME,
        activation: int = NO_ACTIVATION,
    ) -> int:
        channels = self.shape(source)[3]
        fields = {**_window(stride, padding), "fusedActivationFunction": activation, "depthMultiplier": 1}
        return self.append(
            "DEPTHWISE_CONV_2D",
            (source, self.random(1, kernel, kernel, channels), self.random(channels)),
            (1, *self.window(source, kernel, stride, padding), channels),
            "DepthwiseConv2DOptions",
            **fields,
        )

    def pool(self, source: int, kind: str, kernel: int, *, stride: int, padding: int = SAME) -> int:
        fields = {
            "padding": padding,
            "strideW": stride,
            "strideH": stride,
            "filterWidth": kernel,
            "filterHeight": kernel,
            "fusedActivationFunction": NO_ACTIVATION,
        }
        shape = (1, *self.window(source, kernel, stride, padding), self.shape(source)[3])
        return self.append(kind, (source,), shape, "Pool2DOptions", **fields)

    def pad(self, source: int, *amounts: tuple[int, int]) -> int:
        shape = tuple(n + sum(pair) for n, pair in zip(self.shape(source), amounts, strict=True))
        return self.append("PAD", (source, self.constant(np.array(amounts, np.int32))), shape, "PadOptions")

    def reshape(self, source: int, *shape: int) -> int:
        target = self.constant(np.array(shape, np.int32))
        return self.append("RESHAPE", (source, target), shape, "ReshapeOptions", newShape=list(shape))

    def transpose(self, source: int, *order: int) -> int:
        shape = tuple(self.shape(source)[n] for n in order)
        return self.append(
            "TRANSPOSE", (source, self.constant(np.array(order, np.int32))), shape, "TransposeOptions"
        )

    def shuffle(self, source: int, groups: int) -> int:
        _, height, width, channels = self.shape(source)
        parted = self.reshape(source, 1, height * width, groups, channels // groups)
        return self.reshape(self.transpose(parted, 0, 1, 3, 2), 1, height, width, channels)

    def unary(self, kind: str, source: int) -> int:
        return self.append(kind, (source,), self.shape(source))

    def add(self, first: int, second: int, activation: int = NO_ACTIVATION) -> int:
        return self.append(
            "ADD", (first, second), self.shape(first), "AddOptions", fusedActivationFunction=activation
        )

    def multiply(self, first: int, second: int) -> int:
        return self.append(
            "MUL", (first, second), self.shape(first), "MulOptions", fusedActivationFunction=NO_ACTIVATION
        )

    def squeeze(self, source: int, *, reshaped: bool = False) -> int:
        """Channels weighed by what the mean over space says of the image, between 0 and 1."""
        channels = self.shape(source)[3]
        seen = (
            self.reshape(self.mean(source), 1, 1, 1, channels) if reshaped else self.mean(source, keep=True)
        )
        scores = self.conv(self.conv(seen, max(channels // 4, 4)), channels, activation=RELU6)
        return self.multiply(source, self.multiply(scores, self.constant(np.array(1 / 6, np.float32))))

    def concatenate(self, *sources: int) -> int:
        shape = (*self.shape(sources[0])[:3], sum(self.shape(s)[3] for s in sources))
        return self.append(
            "CONCATENATION",
            sources,
            shape,
            "ConcatenationOptions",
            axis=-1,
            fusedActivationFunction=NO_ACTIVATION,
        )

    def mean(self, source: int, *, keep: bool = False) -> int:
        channels = self.shape(source)[3]
        shape = (1, 1, 1, channels) if keep else (1, channels)
        axes = self.constant(np.array([1, 2], np.int32))
        return self.append("MEAN", (source, axes), shape, "ReducerOptions", keepDims=keep)

    def dense(self, source: int, units: int) -> int:
        weight = self.random(units, self.shape(source)[1])
        return self.append(
            "FULLY_CONNECTED",
            (source, weight, self.random(units)),
            (1, units),
            "FullyConnectedOptions",
            fusedActivationFunction=NO_ACTIVATION,
            keepNumDims=False,
        )

    def graph(self, *outputs: int) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.operators), (self.image,), outputs)


def _window(stride: int, padding: int) -> dict[str, int]:
    return {
        "padding": padding,
        "strideW": stride,
        "strideH": stride,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
    }


def small_mobilenet(size: int = 32, seed: int = 0) -> Graph:
    """Stem, three depthwise-separable layers of which one is strided, a residual sum, mean, classifier."""
    net = Layers(1, size, size, 3, seed=seed)
    x = net.conv(net.image, 8, 3, stride=2, activation=RELU6)
    x = net.conv(net.depthwise(x, activation=RELU6), 16, activation=RELU6)
    x = net.conv(net.depthwise(x, stride=2, activation=RELU6), 32, activation=RELU6)
    y = net.conv(net.depthwise(x, activation=RELU6), 32, activation=NO_ACTIVATION)
    x = net.add(x, y)
    return net.graph(net.dense(net.mean(x), 10))


def small_shufflenet(size: int = 32, groups: int = 3, seed: int = 0, *, max_pool: bool = True) -> Graph:
    """ShuffleNet V1's parts: max pool, a strided and an ordinary unit at two resolutions, RELU behind the joins."""
    net = Layers(1, size, size, 3, seed=seed)
    x = net.conv(net.image, 12, 3, stride=2)
    x = net.pool(x, "MAX_POOL_2D", 3, stride=2) if max_pool else net.depthwise(x, stride=2)
    for stage, channels in enumerate((24, 48)):
        y = net.conv(x, channels // 2, groups=1 if stage == 0 else groups)
        y = net.depthwise(net.shuffle(y, groups), stride=2)
        y = net.conv(y, channels - net.shape(x)[3], groups=groups, activation=NO_ACTIVATION)
        x = net.unary("RELU", net.concatenate(net.pool(x, "AVERAGE_POOL_2D", 3, stride=2), y))
        y = net.depthwise(net.shuffle(net.conv(x, channels // 2, groups=groups), groups))
        y = net.conv(y, channels, groups=groups, activation=NO_ACTIVATION)
        x = net.unary("RELU", net.add(x, y))
    return net.graph(net.dense(net.mean(x), 10))


def squeezed_mobilenet(size: int = 32, seed: int = 0) -> Graph:
    """MobileNet V3's parts: squeeze and excitation twice, as two converters write it, and its activation in one of the
    two places written out."""
    net = Layers(1, size, size, 3, seed=seed)
    x = net.unary("HARD_SWISH", net.conv(net.image, 16, 3, stride=2, activation=NO_ACTIVATION))
    x = net.conv(net.squeeze(net.depthwise(x, activation=RELU)), 24, activation=NO_ACTIVATION)
    y = net.conv(x, 48, activation=NO_ACTIVATION)
    gate = net.add(y, net.constant(np.array(3, np.float32)), RELU6)
    y = net.multiply(y, net.multiply(gate, net.constant(np.full((1,), 1 / 6, np.float32))))
    y = net.squeeze(net.depthwise(y, 5, stride=2), reshaped=True)
    x = net.conv(y, 32, activation=NO_ACTIVATION)
    return net.graph(net.dense(net.mean(x), 10))


def kinds(graph: Graph) -> list[str]:
    """The operators' kinds, in order."""
    return [operator.kind for operator in graph.operators]


def assert_answers_alike(before: Graph, after: Graph, *, seed: int = 7, tolerance: float = 2e-6) -> None:
    """Both give the same output for a random image, within float rounding; ``after`` may want its image flipped."""
    shape = before.tensors[before.inputs[0]].shape
    image = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    axes = tuple(FLIP_AXES[name] for name in after.input_flips)
    expected = interpret(write_graph(before), image)
    found = interpret(write_graph(after), np.ascontiguousarray(np.flip(image, axes)))
    scale = max(float(np.abs(expected).max()), 1e-6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


__all__ = [
    "Layers",
    "assert_answers_alike",
    "kinds",
    "small_mobilenet",
    "small_shufflenet",
    "squeezed_mobilenet",
]


def prune_pointwise(graph: Graph, sparsity: float, block: int = 2) -> Graph:
    """The share of every 1x1 convolution that is smallest at zero, ``block`` output channels together."""
    return prune(graph, sparsity, layers=("convolution 1x1",), skip_first=False, block=block)
