"""The TFLite graph: the one representation that every step of the host works on.

A :class:`Graph` is an immutable picture of a one-subgraph ``.tflite`` model (schema version 3, the file
``schema.fbs`` of TensorFlow Lite / LiteRT).  ``Graph.read`` makes one from bytes, ``Graph.write`` gives bytes
back, and a pass is a function ``Graph -> Graph``.  Operators keep the schema's own names (``CONV_2D``,
``strideW``), so that whoever knows the format can read a pass.

What a graph cannot carry it refuses by name (:class:`~sdk.errors.UnsupportedOperator`): several subgraphs
(control flow), resource and variant tensors.  Packing does not need a graph and takes such files as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from sdk.errors import ModelError, UnsupportedOperator

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
BUFFER_ALIGNMENT = 16  # bytes; schema.fbs, `force_align: 16` on Buffer.data; XNNPACK reads weights in place
MAX_MODEL_BYTES = 2**31 - 1  # flatbuffers use signed 32-bit offsets

# Types whose elements numpy can hold as they are. Anything else (INT4, INT2, STRING, BFLOAT16, ...) is carried
# as its stored bytes, untouched.
NUMPY_DTYPES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "FLOAT32": np.dtype("<f4"),
        "FLOAT16": np.dtype("<f2"),
        "FLOAT64": np.dtype("<f8"),
        "INT8": np.dtype("i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "UINT8": np.dtype("u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "BOOL": np.dtype("?"),
        "COMPLEX64": np.dtype("<c8"),
        "COMPLEX128": np.dtype("<c16"),
    }
)
_REFUSED_TYPES = frozenset({"RESOURCE", "VARIANT"})


@dataclass(frozen=True)
class Quantization:
    """Affine quantisation ``real = scale * (stored - zero_point)``; one scale, or one per index of ``axis``."""

    scales: np.ndarray  # float32, (1,) or (shape[axis],)
    zero_points: np.ndarray  # int64, same length
    axis: int = 0
    minimums: np.ndarray | None = None
    maximums: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor. ``data`` is None for values computed at run time.

    ``data`` has ``shape`` where numpy knows the type and the tensor is stored densely, otherwise it holds the
    stored bytes (uint8, flat). Two tensors that share a buffer share the very same array object.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str  # a name of schema.fbs `TensorType`, such as "FLOAT32"
    data: np.ndarray | None = None
    quantization: Quantization | None = None
    shape_signature: tuple[int, ...] | None = None  # -1 where a dimension is dynamic
    is_variable: bool = False
    sparsity: Any = None  # SparsityParametersT of the schema, for weights behind a DENSIFY
    has_rank: bool = False

    @property
    def elements(self) -> int:
        """Number of elements of the dense tensor."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_dense_array(self) -> bool:
        """True when ``data`` is a constant with one numpy element per tensor element."""
        return self.data is not None and self.sparsity is None and self.dtype in NUMPY_DTYPES


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator. ``inputs`` and ``outputs`` are tensor numbers; -1 is an optional input left out."""

    kind: str  # a name of schema.fbs `BuiltinOperator`, such as "CONV_2D"
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(
        default_factory=dict
    )  # fields of `options_type`, with the schema's names
    options_type: str = "NONE"  # a name of schema.fbs `BuiltinOptions`, such as "Conv2DOptions"
    version: int = 1
    custom_code: str | None = None  # for kind "CUSTOM"
    custom_options: bytes | None = None
    intermediates: tuple[int, ...] = ()
    mutating_variable_inputs: tuple[bool, ...] = ()
    options_2: Any = None  # BuiltinOptions2 table (StableHLO operators), carried as it is
    options_2_type: int = 0

    def with_options(self, **changes: Any) -> Operator:
        """A copy with some option fields changed."""
        return replace(self, options={**self.options, **changes})


@dataclass(frozen=True)
class Signature:
    """A named entry point: names for the tensors that go in and come out."""

    key: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """A model of one subgraph. Immutable: every edit returns a new graph that shares what did not change."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = "main"
    description: str = ""
    metadata: tuple[tuple[str, bytes], ...] = ()
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def read(cls, data: bytes) -> Graph:
        """Reads ``.tflite`` bytes.

        Raises :class:`ModelError` when they are not a sound model, :class:`UnsupportedOperator` when they are
        one that a graph cannot carry.
        """
        return _read(data)

    def write(self) -> bytes:
        """The graph as ``.tflite`` bytes; the same graph gives the same bytes."""
        return _write(self)

    def with_data(self, changes: Mapping[int, np.ndarray]) -> Graph:
        """A copy in which the constants of some tensors are replaced; shape and type must stay the same."""
        tensors = list(self.tensors)
        for index, array in changes.items():
            tensor = tensors[index]
            if tensor.data is None or array.shape != tensor.data.shape or array.dtype != tensor.data.dtype:
                raise ModelError(
                    f"tensor {tensor.name!r} cannot take this data",
                    expected="a constant"
                    if tensor.data is None
                    else f"{tensor.data.dtype} {tensor.data.shape}",
                    found=f"{array.dtype} {array.shape}",
                )
            tensors[index] = replace(tensor, data=np.ascontiguousarray(array))
        return replace(self, tensors=tuple(tensors))

    def consumers(self) -> dict[int, list[int]]:
        """For every tensor number, the operators that read it, in order."""
        readers: dict[int, list[int]] = {}
        for index, operator in enumerate(self.operators):
            for tensor in dict.fromkeys(operator.inputs):
                if tensor >= 0:
                    readers.setdefault(tensor, []).append(index)
        return readers

    def producers(self) -> dict[int, int]:
        """For every computed tensor, the operator that writes it."""
        return {tensor: index for index, op in enumerate(self.operators) for tensor in op.outputs}

    def weights(self) -> Iterator[Weight]:
        """The constant weight of every layer that has one, in the order of execution, each tensor once."""
        seen: set[int] = set()
        for index, operator in enumerate(self.operators):
            role = _WEIGHT_ROLES.get(operator.kind)
            if role is None or len(operator.inputs) < 2:
                continue
            tensor_index = self._behind_densify(operator.inputs[1])
            if tensor_index in seen or tensor_index < 0 or self.tensors[tensor_index].data is None:
                continue
            seen.add(tensor_index)
            tensor = self.tensors[tensor_index]
            layer = role
            if role == "convolution" and tensor.shape[1:3] == (1, 1):
                layer = "convolution 1x1"
            yield Weight(index, tensor_index, layer, tensor, _CHANNEL_AXES[operator.kind])

    def _behind_densify(self, tensor_index: int) -> int:
        if tensor_index < 0 or self.tensors[tensor_index].data is not None:
            return tensor_index
        for operator in self.operators:
            if operator.kind == "DENSIFY" and operator.outputs[0] == tensor_index:
                return operator.inputs[0]
        return tensor_index


# Where an operator keeps its weight, what a table calls the layer, and which axis counts output channels.
_WEIGHT_ROLES = {
    "CONV_2D": "convolution",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "fully connected",
    "TRANSPOSE_CONV": "convolution",
    "CONV_3D": "convolution",
    "BATCH_MATMUL": "fully connected",
}
_CHANNEL_AXES = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 0,
    "TRANSPOSE_CONV": 0,
    "CONV_3D": 4,
    "BATCH_MATMUL": -1,
}


@dataclass(frozen=True, eq=False)
class Weight:
    """The weight of one layer: its operator, its tensor and which axis of it counts output channels."""

    operator_index: int
    tensor_index: int
    layer: str  # "convolution 1x1", "convolution", "depthwise" or "fully connected"
    tensor: Tensor
    channel_axis: int

    @property
    def array(self) -> np.ndarray:
        """The constant itself, shaped as the tensor (flat stored bytes where numpy has no such type)."""
        assert self.tensor.data is not None
        return self.tensor.data


# ---------------------------------------------------------------------------------------------- schema access


@lru_cache(maxsize=1)
def _schema() -> Any:
    """The generated classes of schema.fbs; they need numpy and flatbuffers and come with the runtime wheel."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ModelError(
            "the TFLite schema is not installed",
            expected="the package ai-edge-litert on the host",
            found=str(error),
            hint="Install the host extra: pip install 'armlet[host]'.",
        ) from error
    return schema_py_generated


@lru_cache(maxsize=8)
def _enum_names(enum: str) -> dict[int, str]:
    values = vars(getattr(_schema(), enum))
    return {value: key for key, value in values.items() if isinstance(value, int) and not key.startswith("_")}


@lru_cache(maxsize=8)
def _enum_values(enum: str) -> dict[str, int]:
    return {name: value for value, name in _enum_names(enum).items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _ints(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(v) for v in values)


# ------------------------------------------------------------------------------------------------------- read


def _read(data: bytes) -> Graph:
    data = bytes(data)
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise ModelError(
            "this is not a TFLite model",
            expected=f"the identifier {FILE_IDENTIFIER.decode()} at byte 4",
            found=repr(data[4:8])[1:] if len(data) >= 8 else f"{len(data)} bytes",
        )
    schema = _schema()
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
    except (
        struct.error,
        IndexError,
        ValueError,
        TypeError,
        OverflowError,
        MemoryError,
        AttributeError,
    ) as error:
        raise _broken(f"its flatbuffer cannot be walked ({type(error).__name__}: {error})") from error
    if model.version != SCHEMA_VERSION:
        raise ModelError(
            "this TFLite model has another schema version",
            expected=str(SCHEMA_VERSION),
            found=str(model.version),
        )
    subgraphs = model.subgraphs or []
    if len(subgraphs) != 1:
        raise UnsupportedOperator(
            "models of several subgraphs (control flow) cannot be edited",
            expected="1 subgraph",
            found=str(len(subgraphs)),
            hint="`sdk pack` still packs the file as it is.",
        )
    try:
        return _Reader(data, model, subgraphs[0]).graph()
    except (IndexError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise _broken(f"{type(error).__name__}: {error}") from error


def _broken(why: str) -> ModelError:
    return ModelError("this TFLite model is broken", expected="a sound flatbuffer", found=why)


class _Reader:
    """Turns the schema's object tree into a Graph; one instance reads one model."""

    def __init__(self, data: bytes, model: Any, subgraph: Any) -> None:
        self.data, self.model, self.subgraph = data, model, subgraph
        # One array per (buffer, type, shape), so that tensors that share a buffer share one array object.
        self.arrays: dict[tuple[int, str, tuple[int, ...]], np.ndarray] = {}

    def graph(self) -> Graph:
        tensors = tuple(self.tensor(t) for t in self.subgraph.tensors or [])
        operators = tuple(self.operator(op) for op in self.subgraph.operators or [])
        graph = Graph(
            tensors=tensors,
            operators=operators,
            inputs=_ints(self.subgraph.inputs),
            outputs=_ints(self.subgraph.outputs),
            name=_text(self.subgraph.name) or "main",
            description=_text(self.model.description),
            metadata=tuple(
                (_text(m.name), self.buffer(m.buffer).tobytes()) for m in self.model.metadata or []
            ),
            signatures=tuple(self.signature(s) for s in self.model.signatureDefs or []),
        )
        _check_indices(graph)
        return graph

    def buffer(self, index: int) -> np.ndarray:
        """The stored bytes of one buffer, inside the flatbuffer or behind it."""
        buffer = self.model.buffers[index]
        if buffer.offset > 1:
            end = buffer.offset + buffer.size
            if end > len(self.data):
                raise _broken(f"buffer {index} ends at byte {end} of {len(self.data)}")
            return np.frombuffer(self.data, np.uint8, buffer.size, buffer.offset)
        if buffer.data is None or isinstance(buffer.data, int):
            return np.empty(0, np.uint8)
        return np.asarray(buffer.data, np.uint8)

    def tensor(self, raw: Any) -> Tensor:
        dtype = _enum_names("TensorType").get(raw.type, f"type {raw.type}")
        name = _text(raw.name)
        if dtype in _REFUSED_TYPES:
            raise UnsupportedOperator(f"tensor {name!r} has type {dtype}, which a graph cannot carry")
        shape = _ints(raw.shape)
        if any(n < 0 for n in shape):
            raise _broken(f"tensor {name!r} has shape {shape}")
        sparse = raw.sparsity is not None
        stored = self.buffer(raw.buffer)
        array = None if stored.size == 0 else self.array(raw.buffer, name, stored, dtype, shape, sparse)
        signature = _ints(raw.shapeSignature) if raw.shapeSignature is not None else None
        return Tensor(
            name,
            shape,
            dtype,
            array,
            _quantization(raw.quantization, name),
            signature,
            bool(raw.isVariable),
            raw.sparsity,
            bool(raw.hasRank),
        )

    def array(
        self, buffer: int, name: str, stored: np.ndarray, dtype: str, shape: tuple[int, ...], sparse: bool
    ) -> np.ndarray:
        key = (buffer, dtype, shape)
        if key in self.arrays:
            return self.arrays[key]
        array = stored
        if dtype in NUMPY_DTYPES and not sparse:
            kind = NUMPY_DTYPES[dtype]
            expected = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
            if stored.size != expected:
                raise _broken(f"tensor {name!r} needs {expected} bytes, its buffer has {stored.size}")
            array = np.frombuffer(stored.tobytes(), kind).reshape(shape)
        self.arrays[key] = array
        return array

    def operator(self, raw: Any) -> Operator:
        code = self.model.operatorCodes[raw.opcodeIndex]
        # Files from before the code outgrew one byte keep it in the deprecated field (schema.fbs, OperatorCode).
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        kind = _enum_names("BuiltinOperator").get(number)
        if kind is None:
            raise UnsupportedOperator(f"operator number {number} is not in the schema that is installed")
        if raw.largeCustomOptionsOffset and raw.largeCustomOptionsOffset > 1:
            raise UnsupportedOperator(f"{kind} keeps its custom options outside the flatbuffer")
        return Operator(
            kind=kind,
            inputs=_ints(raw.inputs),
            outputs=_ints(raw.outputs),
            options=MappingProxyType(
                dict(vars(raw.builtinOptions)) if raw.builtinOptions is not None else {}
            ),
            options_type=_enum_names("BuiltinOptions")[raw.builtinOptionsType],
            version=int(code.version),
            custom_code=_text(code.customCode) if code.customCode is not None else None,
            custom_options=bytes(bytearray(raw.customOptions)) if raw.customOptions is not None else None,
            intermediates=_ints(raw.intermediates),
            mutating_variable_inputs=tuple(map(bool, raw.mutatingVariableInputs))
            if raw.mutatingVariableInputs is not None
            else (),
            options_2=raw.builtinOptions2,
            options_2_type=int(raw.builtinOptions2Type),
        )

    def signature(self, raw: Any) -> Signature:
        def names(maps: Any) -> tuple[tuple[str, int], ...]:
            return tuple((_text(m.name), int(m.tensorIndex)) for m in maps or [])

        return Signature(_text(raw.signatureKey), names(raw.inputs), names(raw.outputs))


def _quantization(raw: Any, name: str) -> Quantization | None:
    if raw is None or (raw.scale is None and raw.min is None and raw.max is None):
        return None
    if raw.details is not None:
        raise UnsupportedOperator(f"tensor {name!r} has custom or blockwise quantisation details")

    def floats(values: Any) -> np.ndarray | None:
        return None if values is None else np.asarray(values, np.float32)

    return Quantization(
        scales=np.asarray(raw.scale if raw.scale is not None else [], np.float32),
        zero_points=np.asarray(raw.zeroPoint if raw.zeroPoint is not None else [], np.int64),
        axis=int(raw.quantizedDimension),
        minimums=floats(raw.min),
        maximums=floats(raw.max),
    )


def _check_indices(graph: Graph) -> None:
    """Every tensor number is in range and no tensor is written twice: what passes take for granted."""
    count = len(graph.tensors)

    def check(numbers: Iterable[int], where: str, optional: bool = False) -> None:
        for number in numbers:
            if not (0 <= number < count or (optional and number == -1)):
                raise _broken(f"{where} names tensor {number} of {count}")

    check(graph.inputs, "the input list")
    check(graph.outputs, "the output list")
    written: set[int] = set()
    for index, operator in enumerate(graph.operators):
        where = f"operator {index} ({operator.kind})"
        check(operator.inputs, where, optional=True)
        check(operator.outputs, where)
        check(operator.intermediates, where)
        twice = written.intersection(operator.outputs)
        if twice:
            raise _broken(f"{where} writes tensor {min(twice)}, which another operator wrote before")
        written.update(operator.outputs)
    for signature in graph.signatures:
        check([n for _, n in signature.inputs + signature.outputs], f"signature {signature.key!r}")


# ------------------------------------------------------------------------------------------------------ write


def _write(graph: Graph) -> bytes:
    import flatbuffers

    schema = _schema()
    buffers = _BufferTable()
    codes: dict[tuple[str, int, str | None], int] = {}

    subgraph = schema.SubGraphT()
    subgraph.name = graph.name.encode("utf-8", "surrogateescape")
    subgraph.inputs, subgraph.outputs = list(graph.inputs), list(graph.outputs)
    subgraph.tensors = [_tensor_object(t, buffers.add(t)) for t in graph.tensors]
    subgraph.operators = [
        _operator_object(op, codes.setdefault((op.kind, op.version, op.custom_code), len(codes)))
        for op in graph.operators
    ]

    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = graph.description.encode("utf-8", "surrogateescape")
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
    return bytes(builder.Output())


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
        base = _schema().BufferT

        class AlignedBuffer(base):  # type: ignore[misc, valid-type]
            """The generated code aligns bytes to 1; the schema asks for 16."""

            def Pack(self, builder: Any) -> Any:
                schema = _schema()
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
    raw = _schema().TensorT()
    raw.name = tensor.name.encode("utf-8", "surrogateescape")
    raw.shape = list(tensor.shape)
    raw.type = _enum_values("TensorType")[tensor.dtype]
    raw.buffer = buffer
    raw.isVariable = tensor.is_variable
    raw.hasRank = tensor.has_rank
    raw.sparsity = tensor.sparsity
    raw.shapeSignature = list(tensor.shape_signature) if tensor.shape_signature is not None else None
    if tensor.quantization is not None:
        q = tensor.quantization
        raw.quantization = _schema().QuantizationParametersT()
        raw.quantization.scale = q.scales if q.scales.size else None
        raw.quantization.zeroPoint = q.zero_points if q.zero_points.size else None
        raw.quantization.min, raw.quantization.max = q.minimums, q.maximums
        raw.quantization.quantizedDimension = q.axis
    return raw


def _operator_object(operator: Operator, code: int) -> Any:
    schema = _schema()
    raw = schema.OperatorT()
    raw.opcodeIndex = code
    raw.inputs, raw.outputs = list(operator.inputs), list(operator.outputs)
    raw.builtinOptionsType = _enum_values("BuiltinOptions")[operator.options_type]
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
    raw = _schema().OperatorCodeT()
    raw.builtinCode = _enum_values("BuiltinOperator")[kind]
    raw.deprecatedBuiltinCode = min(raw.builtinCode, 127)
    raw.version = version
    raw.customCode = custom_code
    return raw


def _metadata_object(name: str, buffer: int) -> Any:
    raw = _schema().MetadataT()
    raw.name, raw.buffer = name, buffer
    return raw


def _signature_object(signature: Signature) -> Any:
    schema = _schema()

    def maps(pairs: Sequence[tuple[str, int]]) -> list[Any]:
        out = []
        for name, number in pairs:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, number
            out.append(entry)
        return out

    raw = schema.SignatureDefT()
    raw.signatureKey = signature.key
    raw.inputs, raw.outputs = maps(signature.inputs), maps(signature.outputs)
    return raw
