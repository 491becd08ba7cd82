""":class:`~sdk.graph.records.Graph` -> ``.tflite`` bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdk.errors import ModelError
from sdk.graph.embedded.attached import with_attached
from sdk.graph.records import Graph, Operator, Signature, Tensor
from sdk.graph.schema import (
    BUFFER_ALIGNMENT,
    FILE_IDENTIFIER,
    MAX_MODEL_BYTES,
    SCHEMA_VERSION,
    enum_values,
    schema_classes,
)


def write_graph(graph: Graph) -> bytes:
    """The graph as ``.tflite`` bytes, attached files behind it; the same graph gives the same bytes."""
    import flatbuffers

    schema = schema_classes()
    buffers = _BufferTable()
    codes: dict[tuple[str, int, str | None], int] = {}

    subgraph = schema.SubGraphT()
    subgraph.name = _raw(graph.name)
    subgraph.inputs, subgraph.outputs = list(graph.inputs), list(graph.outputs)
    subgraph.tensors = [_tensor_object(t, buffers.add(t)) for t in graph.tensors]
    subgraph.operators = [
        _operator_object(op, codes.setdefault((op.kind, op.version, op.custom_code), len(codes)))
        for op in graph.operators
    ]

    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = _raw(graph.description)
    model.subgraphs = [subgraph]
    model.operatorCodes = [_operator_code(*key) for key in codes]
    model.metadata = [_metadata_object(name, buffers.add_bytes(raw)) for name, raw in graph.metadata] or None
    model.signatureDefs = [_signature_object(s) for s in graph.signatures] or None
    model.buffers = buffers.objects()

    size = sum(len(b) for b in buffers.contents)
    if size > MAX_MODEL_BYTES // 2:
        raise ModelError(
            "the model is too large for one flatbuffer", expected="below 1 GiB", found=f"{size} bytes"
        )
    builder = flatbuffers.Builder(size + 65536)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return with_attached(bytes(builder.Output()), graph.attached.files)


class _BufferTable:
    """Buffers in the order in which tensors name them; buffer 0 stays empty, as the schema asks."""

    def __init__(self) -> None:
        self.contents: list[bytes] = [b""]
        self.numbers: dict[int, int] = {}
        self.kept_alive: list[np.ndarray] = []  # so that an id() is not reused while we rely on it

    def add(self, tensor: Tensor) -> int:
        if tensor.data is None:
            return 0
        known = self.numbers.get(id(tensor.data))
        if known is not None:
            return known
        number = self.add_bytes(np.ascontiguousarray(tensor.data).tobytes())
        self.numbers[id(tensor.data)] = number
        self.kept_alive.append(tensor.data)
        return number

    def add_bytes(self, raw: bytes) -> int:
        self.contents.append(raw)
        return len(self.contents) - 1

    def objects(self) -> list[Any]:
        base = schema_classes().BufferT

        class AlignedBuffer(base):  # type: ignore[misc, valid-type]
            """The generated code aligns bytes to 1; the schema asks for 16."""

            def Pack(self, builder: Any) -> Any:
                schema = schema_classes()
                vector = _aligned_vector(builder, self.data) if self.data else None
                schema.BufferStart(builder)
                if vector is not None:
                    schema.BufferAddData(builder, vector)
                return schema.BufferEnd(builder)

        return [AlignedBuffer(data=raw) for raw in self.contents]


def _aligned_vector(builder: Any, raw: bytes) -> Any:
    builder.StartVector(1, len(raw), BUFFER_ALIGNMENT)
    # What Builder.CreateByteVector does, behind an alignment that it does not let one choose.
    builder.head = builder.head - len(raw)
    builder.Bytes[builder.Head() : builder.Head() + len(raw)] = raw
    return builder.EndVector()


def _tensor_object(tensor: Tensor, buffer: int) -> Any:
    raw = schema_classes().TensorT()
    raw.name = _raw(tensor.name)
    raw.shape = list(tensor.shape)
    raw.type = enum_values("TensorType")[tensor.dtype]
    raw.buffer = buffer
    raw.isVariable = tensor.is_variable
    raw.hasRank = tensor.has_rank
    raw.sparsity = tensor.sparsity
    raw.shapeSignature = list(tensor.shape_signature) if tensor.shape_signature is not None else None
    if tensor.quantization is not None:
        q = tensor.quantization
        raw.quantization = schema_classes().QuantizationParametersT()
        raw.quantization.scale = q.scales if q.scales.size else None
        raw.quantization.zeroPoint = q.zero_points if q.zero_points.size else None
        raw.quantization.min, raw.quantization.max = q.minimums, q.maximums
        raw.quantization.quantizedDimension = q.axis
    return raw


def _operator_object(operator: Operator, code: int) -> Any:
    schema = schema_classes()
    raw = schema.OperatorT()
    raw.opcodeIndex = code
    raw.inputs, raw.outputs = list(operator.inputs), list(operator.outputs)
    raw.builtinOptionsType = enum_values("BuiltinOptions")[operator.options_type]
    if operator.options_type != "NONE":
        raw.builtinOptions = getattr(schema, operator.options_type + "T")()
        vars(raw.builtinOptions).update(operator.options)
    raw.builtinOptions2, raw.builtinOptions2Type = operator.options_2, operator.options_2_type
    if operator.custom_options is not None:
        raw.customOptions = np.frombuffer(operator.custom_options, np.uint8)
    raw.intermediates = list(operator.intermediates) or None
    raw.mutatingVariableInputs = list(operator.mutating_variable_inputs) or None
    return raw


def _operator_code(kind: str, version: int, custom_code: str | None) -> Any:
    raw = schema_classes().OperatorCodeT()
    raw.builtinCode = enum_values("BuiltinOperator")[kind]
    raw.deprecatedBuiltinCode = min(raw.builtinCode, 127)
    raw.version = version
    raw.customCode = None if custom_code is None else _raw(custom_code)
    return raw


def _raw(text: str) -> bytes:
    """The bytes of a name as they were read, also where they are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def _metadata_object(name: str, buffer: int) -> Any:
    raw = schema_classes().MetadataT()
    raw.name, raw.buffer = _raw(name), buffer
    return raw


def _signature_object(signature: Signature) -> Any:
    schema = schema_classes()

    def maps(pairs: Sequence[tuple[str, int]]) -> list[Any]:
        out = []
        for name, number in pairs:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = _raw(name), number
            out.append(entry)
        return out

    raw = schema.SignatureDefT()
    raw.signatureKey = _raw(signature.key)
    raw.inputs, raw.outputs = maps(signature.inputs), maps(signature.outputs)
    return raw


def with_signature(tflite: bytes, signature: Signature) -> bytes:
    """The same model, of any number of subgraphs, with this signature of the first one and no other."""
    import flatbuffers

    schema = schema_classes()
    model = schema.ModelT.InitFromPackedBuf(tflite, 0)
    model.signatureDefs = [_signature_object(signature)]
    buffers = _BufferTable()
    buffers.contents = [b"" if one.data is None else bytes(bytearray(one.data)) for one in model.buffers]
    model.buffers = buffers.objects()
    builder = flatbuffers.Builder(len(tflite) + 65536)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())
