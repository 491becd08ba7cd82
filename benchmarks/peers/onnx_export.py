"""A graph of the zoo as an ONNX model, channels first, so that other runtimes can be measured on the same network.

Knows the operators that the zoo's MobileNets and ShuffleNets are made of, and refuses others by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sdk.compress.rewrite.structure import find_shuffles, groups_of, same_padding
from sdk.errors import UnsupportedOperator
from sdk.graph.enums import RELU, RELU6
from sdk.graph.records import Graph, Operator

OPSET, IR_VERSION = 13, 8
_ACTIVATIONS = {RELU: "Relu", RELU6: "Clip"}


def export(graph: Graph) -> bytes:
    """The ONNX file: one input (1, 3, height, width), one output (1, classes)."""
    return _Export(graph).run()


class _Export:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names = {t: f"t{t}" for t in range(len(graph.tensors))}
        self.pads = {op.outputs[0]: op for op in graph.operators if op.kind == "PAD"}
        self.shuffles = {s.operators[-1]: s for s in find_shuffles(graph)}
        self.skipped = {n for s in self.shuffles.values() for n in s.operators[:-1]}

    def run(self) -> bytes:
        from onnx import TensorProto, helper

        for index, operator in enumerate(self.graph.operators):
            if index in self.skipped:
                continue
            if index in self.shuffles:
                self.shuffle(index)
                continue
            handler = getattr(self, operator.kind.lower(), None)
            if handler is None:
                raise UnsupportedOperator(
                    f"{operator.kind} is not exported to ONNX",
                    found=self.graph.tensors[operator.outputs[0]].name,
                )
            handler(operator)
        entry, answer = self.graph.inputs[0], self.graph.outputs[0]
        _, height, width, channels = self.graph.tensors[entry].shape
        made = helper.make_graph(
            self.nodes,
            "network",
            [
                helper.make_tensor_value_info(
                    self.names[entry], TensorProto.FLOAT, (1, channels, height, width)
                )
            ],
            [
                helper.make_tensor_value_info(
                    self.names[answer], TensorProto.FLOAT, self.graph.tensors[answer].shape
                )
            ],
            self.constants,
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return bytes(model.SerializeToString())

    # -- parts --------------------------------------------------------------------------------------------------

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, array: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def activated(self, operator: Operator, kind: str, inputs: list[str], **attributes: Any) -> None:
        """The node, and behind it the activation that is fused into the operator."""
        output = self.names[operator.outputs[0]]
        activation = _ACTIVATIONS.get(operator.options.get("fusedActivationFunction", 0))
        inner = output if activation is None else f"{output}_linear"
        self.node(kind, inputs, inner, **attributes)
        if activation == "Relu":
            self.node("Relu", [inner], output)
        elif activation == "Clip":
            self.node("Clip", [inner, *self.limits()], output)

    def limits(self) -> list[str]:
        return [self.constant(np.array(v, np.float32)) for v in (0.0, 6.0)]

    def shuffle(self, index: int) -> None:
        shuffle = self.shuffles[index]
        _, height, width, channels = self.graph.tensors[shuffle.output].shape
        each = shuffle.permutation[1]
        source, output = self.names[shuffle.source], self.names[shuffle.output]
        split = self.constant(np.array([1, channels // each, each, height, width], np.int64))
        whole = self.constant(np.array([1, channels, height, width], np.int64))
        self.node("Reshape", [source, split], f"{output}_split")
        self.node("Transpose", [f"{output}_split"], f"{output}_turned", perm=[0, 2, 1, 3, 4])
        self.node("Reshape", [f"{output}_turned", whole], output)

    def window(self, operator: Operator, size: tuple[int, int]) -> tuple[str, dict[str, Any]]:
        """The input in front of any PAD, and kernel, strides and pads of a window over it."""
        source = operator.inputs[0]
        strides = (operator.options["strideH"], operator.options["strideW"])
        height, width = self.graph.tensors[source].shape[1:3]
        around = [(0, 0), (0, 0)]
        if operator.options["padding"] == 0:  # SAME
            around = [same_padding(n, k, s) for n, k, s in zip((height, width), size, strides, strict=True)]
        if source in self.pads:
            amounts = self.graph.tensors[self.pads[source].inputs[1]].data
            assert amounts is not None
            around = [
                (int(amounts[axis + 1][0]) + a, int(amounts[axis + 1][1]) + b)
                for axis, (a, b) in enumerate(around)
            ]
            source = self.pads[source].inputs[0]
        return self.names[source], {
            "kernel_shape": list(size),
            "strides": list(strides),
            "pads": [around[0][0], around[1][0], around[0][1], around[1][1]],
        }

    # -- operators, by the schema's names -----------------------------------------------------------------------

    def pad(self, operator: Operator) -> None:
        """Part of the window behind it."""

    def conv_2d(self, operator: Operator) -> None:
        weight = self.graph.tensors[operator.inputs[1]].data
        assert weight is not None
        source, attributes = self.window(operator, weight.shape[1:3])
        inputs = [source, self.constant(np.moveaxis(weight, 3, 1)), *self.bias(operator)]
        self.activated(operator, "Conv", inputs, group=groups_of(self.graph, operator), **attributes)

    def depthwise_conv_2d(self, operator: Operator) -> None:
        weight = self.graph.tensors[operator.inputs[1]].data
        assert weight is not None
        source, attributes = self.window(operator, weight.shape[1:3])
        inputs = [source, self.constant(weight[0].transpose(2, 0, 1)[:, None]), *self.bias(operator)]
        self.activated(operator, "Conv", inputs, group=weight.shape[3], **attributes)

    def bias(self, operator: Operator) -> list[str]:
        if len(operator.inputs) < 3 or operator.inputs[2] < 0:
            return []
        bias = self.graph.tensors[operator.inputs[2]].data
        assert bias is not None
        return [self.constant(bias)]

    def max_pool_2d(self, operator: Operator) -> None:
        size = (operator.options["filterHeight"], operator.options["filterWidth"])
        source, attributes = self.window(operator, size)
        self.activated(operator, "MaxPool", [source], **attributes)

    def average_pool_2d(self, operator: Operator) -> None:
        size = (operator.options["filterHeight"], operator.options["filterWidth"])
        source, attributes = self.window(operator, size)
        # What a PAD adds counts in the mean, what SAME adds does not.
        counts = int(operator.inputs[0] in self.pads)
        self.activated(operator, "AveragePool", [source], count_include_pad=counts, **attributes)

    def mean(self, operator: Operator) -> None:
        output = self.names[operator.outputs[0]]
        rank = len(self.graph.tensors[operator.outputs[0]].shape)
        pooled = output if rank == 4 else f"{output}_pooled"
        self.node("GlobalAveragePool", [self.names[operator.inputs[0]]], pooled)
        if rank == 2:
            self.node("Flatten", [pooled], output)

    def reshape(self, operator: Operator) -> None:
        source, shape = operator.inputs[0], self.graph.tensors[operator.outputs[0]].shape
        before = self.graph.tensors[source].shape
        if len(before) == 4 and before[1:3] != (1, 1):
            raise UnsupportedOperator("a RESHAPE of an image is not exported to ONNX", found=str(before))
        if len(shape) == 4:
            shape = (shape[0], shape[3], shape[1], shape[2])
        target = self.constant(np.array(shape, np.int64))
        self.node("Reshape", [self.names[source], target], self.names[operator.outputs[0]])

    def add(self, operator: Operator) -> None:
        self.activated(operator, "Add", [self.names[t] for t in operator.inputs])

    def relu(self, operator: Operator) -> None:
        self.node("Relu", [self.names[operator.inputs[0]]], self.names[operator.outputs[0]])

    def relu6(self, operator: Operator) -> None:
        inputs = [self.names[operator.inputs[0]], *self.limits()]
        self.node("Clip", inputs, self.names[operator.outputs[0]])

    def concatenation(self, operator: Operator) -> None:
        self.activated(operator, "Concat", [self.names[t] for t in operator.inputs], axis=1)

    def fully_connected(self, operator: Operator) -> None:
        weight = self.graph.tensors[operator.inputs[1]].data
        assert weight is not None
        inputs = [self.names[operator.inputs[0]], self.constant(weight), *self.bias(operator)]
        self.activated(operator, "Gemm", inputs, transB=1)

    def softmax(self, operator: Operator) -> None:
        self.node("Softmax", [self.names[operator.inputs[0]]], self.names[operator.outputs[0]], axis=-1)
