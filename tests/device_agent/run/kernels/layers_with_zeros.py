"""Small networks with zeros, for tests of the kernels."""

from __future__ import annotations

import numpy as np

from sdk.graph.records import Graph, Operator, Signature, Tensor
from sdk.graph.writer import write_graph


def sparse_matrix(
    rows: int, columns: int, keep: float, *, block: int = 1, values: int | None = 15, seed: int = 0
) -> np.ndarray:
    """(rows, columns) float32 of which a share is kept in blocks of rows, of this many values (None: of any)."""
    rng = np.random.default_rng(seed)
    mask = np.repeat(rng.random((-(-rows // block), columns)) < keep, block, axis=0)[:rows]
    full = rng.standard_normal((rows, columns))
    if values is not None:
        full = rng.standard_normal(values)[rng.integers(0, values, (rows, columns))]
    return np.where(mask, full, 0.0).astype(np.float32)


def classifier(matrices: list[np.ndarray], *, batch: int = 1, activation: int = 1) -> bytes:
    """A .tflite of fully connected layers, one matrix (outputs, inputs) each; all but the last have an activation."""
    rng = np.random.default_rng(1)
    tensors = [Tensor("x", (batch, matrices[0].shape[1]), "FLOAT32")]
    operators = []
    for number, matrix in enumerate(matrices):
        rows = matrix.shape[0]
        bias = rng.standard_normal(rows).astype(np.float32)
        tensors += [
            Tensor(f"weights{number}", matrix.shape, "FLOAT32", matrix),
            Tensor(f"bias{number}", (rows,), "FLOAT32", bias),
            Tensor(f"y{number}", (batch, rows), "FLOAT32"),
        ]
        last = len(tensors) - 1
        options = {"fusedActivationFunction": activation if number < len(matrices) - 1 else 0}
        inputs = (last - 3, last - 2, last - 1)
        operators.append(Operator("FULLY_CONNECTED", inputs, (last,), options, "FullyConnectedOptions"))
    last = len(tensors) - 1
    signature = Signature("serving_default", (("x", 0),), (("y", last),))
    return write_graph(Graph(tuple(tensors), tuple(operators), (0,), (last,), signatures=(signature,)))


class Images:
    """A graph of operators on images, built one by one; every method returns the number of its output tensor."""

    def __init__(self, height: int, width: int, channels: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors = [Tensor("x", (1, height, width, channels), "FLOAT32")]
        self.operators: list[Operator] = []

    def value(self, *shape: int) -> int:
        self.tensors.append(Tensor(f"v{len(self.tensors)}", shape, "FLOAT32"))
        return len(self.tensors) - 1

    def constant(self, array: np.ndarray) -> int:
        dtype = "INT32" if array.dtype == np.int32 else "FLOAT32"
        array = array if dtype == "INT32" else array.astype(np.float32)
        self.tensors.append(Tensor(f"c{len(self.tensors)}", array.shape, dtype, array))
        return len(self.tensors) - 1

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.tensors[tensor].shape

    def add(
        self, kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...], options: str, **said: int
    ) -> int:
        self.operators.append(Operator(kind, inputs, outputs, said, options))
        return outputs[0]

    def convolve(
        self,
        x: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        same: bool = True,
        keep: float = 0.2,
        block: int = 1,
        activation: int = 1,
        depthwise: bool = False,
    ) -> int:
        _, h, w, c = self.shape(x)
        of_group = 1 if depthwise else c // groups
        outputs = c if depthwise else outputs
        weights = sparse_matrix(
            outputs, kernel * kernel * of_group, keep, block=block, values=None, seed=len(self.tensors)
        )
        weights /= np.sqrt(kernel * kernel * of_group * keep)
        weights = weights.reshape(outputs, kernel, kernel, of_group)
        if depthwise:
            weights = weights[..., 0].transpose(1, 2, 0)[None]
        sizes = [self.size(n, kernel, stride, dilation, same) for n in (h, w)]
        bias = self.constant(self.rng.standard_normal(outputs))
        inputs = [x, self.constant(np.ascontiguousarray(weights)), bias]
        said = {
            "padding": 0 if same else 1,
            "strideH": stride,
            "strideW": stride,
            "dilationHFactor": dilation,
            "dilationWFactor": dilation,
            "fusedActivationFunction": activation,
        }
        out = self.value(1, *sizes, outputs)
        if depthwise:
            said["depthMultiplier"] = 1
            return self.add("DEPTHWISE_CONV_2D", tuple(inputs), (out,), "DepthwiseConv2DOptions", **said)
        return self.add("CONV_2D", tuple(inputs), (out,), "Conv2DOptions", **said)

    @staticmethod
    def size(size: int, kernel: int, stride: int, dilation: int, same: bool) -> int:
        return -(-size // stride) if same else (size - (kernel - 1) * dilation - 1) // stride + 1

    def pool(self, x: int, kernel: int, stride: int, *, largest: bool = True, same: bool = False) -> int:
        _, h, w, c = self.shape(x)
        sizes = [self.size(n, kernel, stride, 1, same) for n in (h, w)]
        said = {"padding": 0 if same else 1, "strideH": stride, "strideW": stride}
        said |= {"filterHeight": kernel, "filterWidth": kernel, "fusedActivationFunction": 0}
        kind = "MAX_POOL_2D" if largest else "AVERAGE_POOL_2D"
        return self.add(kind, (x,), (self.value(1, *sizes, c),), "Pool2DOptions", **said)

    def sum(self, a: int, b: int, activation: int = 1) -> int:
        return self.add(
            "ADD", (a, b), (self.value(*self.shape(a)),), "AddOptions", fusedActivationFunction=activation
        )

    def relu(self, x: int) -> int:
        return self.add("RELU", (x,), (self.value(*self.shape(x)),), "NONE")

    def join(self, *parts: int) -> int:
        channels = sum(self.shape(part)[3] for part in parts)
        out = self.value(*self.shape(parts[0])[:3], channels)
        return self.add(
            "CONCATENATION", parts, (out,), "ConcatenationOptions", axis=3, fusedActivationFunction=0
        )

    def split(self, x: int, parts: int) -> tuple[int, ...]:
        _, h, w, c = self.shape(x)
        outs = tuple(self.value(1, h, w, c // parts) for _ in range(parts))
        self.add("SPLIT", (self.constant(np.array(3, np.int32)), x), outs, "SplitOptions", numSplits=parts)
        return outs

    def shuffle(self, x: int, groups: int, *, five: bool = False) -> int:
        _, h, w, c = self.shape(x)
        front = (1, h, w) if five else (1, h * w)
        for shape in ((*front, groups, c // groups), (*front, c // groups, groups)):
            if shape[-1] == groups and len(self.operators) and self.operators[-1].kind == "RESHAPE":
                order = self.constant(np.array([*range(len(front)), len(front) + 1, len(front)], np.int32))
                x = self.add("TRANSPOSE", (x, order), (self.value(*shape),), "TransposeOptions")
            else:
                x = self.add(
                    "RESHAPE",
                    (x, self.constant(np.array(shape, np.int32))),
                    (self.value(*shape),),
                    "ReshapeOptions",
                )
        whole = self.constant(np.array([1, h, w, c], np.int32))
        return self.add("RESHAPE", (x, whole), (self.value(1, h, w, c),), "ReshapeOptions")

    def pad(self, x: int, top: int, bottom: int, left: int, right: int) -> int:
        _, h, w, c = self.shape(x)
        pads = self.constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
        return self.add(
            "PAD", (x, pads), (self.value(1, h + top + bottom, w + left + right, c),), "PadOptions"
        )

    def mean(self, x: int, *, keep: bool = False) -> int:
        c = self.shape(x)[3]
        axes = self.constant(np.array([1, 2], np.int32))
        out = self.value(*((1, 1, 1, c) if keep else (1, c)))
        return self.add("MEAN", (x, axes), (out,), "ReducerOptions", keepDims=keep)

    def flatten(self, x: int) -> int:
        count = int(np.prod(self.shape(x)))
        shape = self.constant(np.array([1, count], np.int32))
        return self.add("RESHAPE", (x, shape), (self.value(1, count),), "ReshapeOptions")

    def classify(self, x: int, outputs: int, keep: float = 0.1) -> int:
        weights = self.constant(sparse_matrix(outputs, self.shape(x)[1], keep, seed=len(self.tensors)))
        inputs = (x, weights, self.constant(self.rng.standard_normal(outputs)))
        out = self.value(1, outputs)
        return self.add("FULLY_CONNECTED", inputs, (out,), "FullyConnectedOptions", fusedActivationFunction=0)

    def model(self, *outputs: int) -> bytes:
        names = tuple((f"y{i}", out) for i, out in enumerate(outputs))
        signature = Signature("serving_default", (("x", 0),), names)
        return write_graph(
            Graph(tuple(self.tensors), tuple(self.operators), (0,), outputs, signatures=(signature,))
        )
