"""Very small .tflite files, written with the flatbuffers schema, for tests that need no TensorFlow."""

from __future__ import annotations

import numpy as np


def tiny_convolution(
    weights: np.ndarray, bias: np.ndarray, size: int = 2, *, quantized: bool = False
) -> bytes:
    """A model of one 1x1 CONV_2D with RELU: input (1, size, size, inputs), weights (outputs, inputs), float32.

    With ``quantized`` the convolution runs in int8: input scale 1, weights as they are with scale 1, output scale 2.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    outputs, inputs = weights.shape
    kind = schema.TensorType.INT8 if quantized else schema.TensorType.FLOAT32
    model = schema.ModelT()
    model.version = 3
    model.description = b"armlet"
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3 if quantized else 1
    model.operatorCodes = [code]

    def buffer(data: bytes) -> int:
        entry = schema.BufferT()
        entry.data = np.frombuffer(data, np.uint8) if data else None
        model.buffers.append(entry)
        return len(model.buffers) - 1

    def tensor(
        name: str, shape: tuple[int, ...], data: bytes, type_: int, scale: float, axis: int = 0
    ) -> int:
        entry = schema.TensorT()
        entry.name, entry.shape, entry.type = name.encode(), list(shape), type_
        entry.buffer = buffer(data) if data else 0
        if quantized:
            entry.quantization = schema.QuantizationParametersT()
            channels = shape[0] if name in ("weights", "bias") else 1
            entry.quantization.scale = [scale] * channels
            entry.quantization.zeroPoint = [0] * channels
            entry.quantization.quantizedDimension = axis
        graph.tensors.append(entry)
        return len(graph.tensors) - 1

    graph = schema.SubGraphT()
    graph.tensors, model.buffers = [], []
    buffer(b"")
    number = np.int8 if quantized else np.float32
    x = tensor("x", (1, size, size, inputs), b"", kind, 1.0)
    w = tensor("weights", (outputs, 1, 1, inputs), weights.astype(number).tobytes(), kind, 1.0)
    b_kind = schema.TensorType.INT32 if quantized else kind
    b = tensor("bias", (outputs,), bias.astype(np.int32 if quantized else np.float32).tobytes(), b_kind, 1.0)
    y = tensor("y", (1, size, size, outputs), b"", kind, 2.0)
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [x, w, b], [y]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    graph.operators, graph.inputs, graph.outputs, graph.name = [operator], [x], [y], b"main"
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def sum_and_difference() -> bytes:
    """A model of two inputs, "a" (2, 3) and "b" (2, 3), and two outputs, "sum" and "difference": no batch of 1."""
    from sdk.graph.records import Graph, Operator, Signature, Tensor
    from sdk.graph.writer import write_graph

    names = ("a", "b", "sum", "difference")
    tensors = tuple(Tensor(f"t{name}", (2, 3), "FLOAT32") for name in names)
    operators = tuple(
        Operator(kind, (0, 1), (output,), {"fusedActivationFunction": 0}, f"{kind.title()}Options")
        for output, kind in ((2, "ADD"), (3, "SUB"))
    )
    signature = Signature("serving_default", (("a", 0), ("b", 1)), (("sum", 2), ("difference", 3)))
    return write_graph(Graph(tensors, operators, (0, 1), (2, 3), signatures=(signature,)))


def with_state() -> bytes:
    """A model of one SVDF that remembers: input "x" (1, 1), output "y" (1, 1), the sum of its last three inputs."""
    from sdk.graph.records import Graph, Operator, Tensor
    from sdk.graph.writer import write_graph

    ones = np.ones((1, 3), np.float32)
    tensors = (
        Tensor("x", (1, 1), "FLOAT32"),
        Tensor("feature", (1, 1), "FLOAT32", ones[:, :1].copy()),
        Tensor("time", (1, 3), "FLOAT32", ones),
        Tensor("state", (1, 3), "FLOAT32", is_variable=True),
        Tensor("y", (1, 1), "FLOAT32"),
    )
    options = {"rank": 1, "fusedActivationFunction": 0, "asymmetricQuantizeInputs": False}
    operator = Operator("SVDF", (0, 1, 2, -1, 3), (4,), options, "SVDFOptions")
    return write_graph(Graph(tensors, (operator,), (0,), (4,)))
