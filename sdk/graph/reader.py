"""``.tflite`` bytes -> :class:`~sdk.graph.records.Graph`. Trusts nothing: numbers, sizes and shapes are checked
before use."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

import numpy as np

from sdk.errors import ModelError, UnsupportedOperator
from sdk.graph.embedded.attached import read_attached
from sdk.graph.records import NUMPY_DTYPES, Graph, Operator, Quantization, Signature, Tensor
from sdk.graph.schema import FILE_IDENTIFIER, SCHEMA_VERSION, enum_names, schema_classes, walking

#: A sound model is walked once, and the length of a vector is asked for a few times; what is shared, as often as it is.
WALKS = 4
FREE_ITEMS = 1 << 16

_REFUSED_TYPES = frozenset({"RESOURCE", "VARIANT"})


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _ints(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(v) for v in values)


def read_graph(data: bytes) -> Graph:
    """The graph in ``.tflite`` bytes.

    Raises :class:`ModelError` when they are not a sound model, :class:`UnsupportedOperator` when they are one that
    a graph cannot carry.
    """
    data = bytes(data)
    model = _model_of(data)
    subgraphs = model.subgraphs or []
    if len(subgraphs) != 1:
        raise UnsupportedOperator(
            "models of several subgraphs (control flow) cannot be edited",
            expected="1 subgraph",
            found=str(len(subgraphs)),
            hint="Everything else works: `sdk pack`, `sdk deploy`, `sdk bench`, `sdk inspect`.",
        )
    return _graph_of(_Reader(data, model, subgraphs[0]))


def read_subgraphs(data: bytes) -> tuple[Graph, ...]:
    """Every subgraph of a ``.tflite``, to be looked at and not to be written again; the first is what runs.

    It also reads what :func:`read_graph` refuses: several subgraphs, resources, operators that the schema does not
    know, details of quantisation. Raises :class:`ModelError` when the bytes are not a sound model.
    """
    data = bytes(data)
    model = _model_of(data)
    if not model.subgraphs:
        raise _broken("it has no subgraph")
    return tuple(_graph_of(_Reader(data, model, one, to_edit=False)) for one in model.subgraphs)


def _graph_of(reader: _Reader) -> Graph:
    try:
        return reader.graph()
    except (IndexError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise _broken(f"{type(error).__name__}: {error}") from error


def _model_of(data: bytes) -> Any:
    """The schema's object tree. Raises ModelError."""
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise ModelError(
            "this is not a TFLite model",
            expected=f"the identifier {FILE_IDENTIFIER.decode()} at byte 4",
            found=repr(data[4:8])[1:] if len(data) >= 8 else f"{len(data)} bytes",
        )
    schema = schema_classes()
    try:
        with walking(WALKS * len(data) + FREE_ITEMS):
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
        why = f"its flatbuffer cannot be read ({type(error).__name__}: {error})"
        raise _broken(why, hint="Fetch the file again: a part of it is missing or changed.") from error
    if model.version != SCHEMA_VERSION:
        raise ModelError(
            "this TFLite model has another schema version",
            expected=str(SCHEMA_VERSION),
            found=str(model.version),
        )
    return model


def _broken(why: str, hint: str | None = None) -> ModelError:
    return ModelError("this TFLite model is broken", expected="a sound flatbuffer", found=why, hint=hint)


class _Reader:
    """Turns the schema's object tree into a Graph; one instance reads one model."""

    def __init__(self, data: bytes, model: Any, subgraph: Any, *, to_edit: bool = True) -> None:
        self.data, self.model, self.subgraph, self.to_edit = data, model, subgraph, to_edit
        self.number = next(i for i, one in enumerate(model.subgraphs) if one is subgraph)
        # One array per (buffer, type, shape), so that tensors that share a buffer share one array object.
        self.arrays: dict[tuple[int, str, tuple[int, ...]], np.ndarray] = {}
        self.copies: dict[int, bytes] = {}  # of buffers, however many share them

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
            metadata=tuple((_text(m.name), self.copy(m.buffer)) for m in self.model.metadata or []),
            signatures=tuple(
                self.signature(s)
                for s in self.model.signatureDefs or []
                if int(s.subgraphIndex) == self.number
            ),
            attached=read_attached(self.data),
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

    def copy(self, index: int) -> bytes:
        """The same as bytes of their own."""
        if index not in self.copies:
            self.copies[index] = self.buffer(index).tobytes()
        return self.copies[index]

    def tensor(self, raw: Any) -> Tensor:
        dtype = enum_names("TensorType").get(raw.type, f"type {raw.type}")
        name = _text(raw.name)
        if self.to_edit and (dtype in _REFUSED_TYPES or raw.type not in enum_names("TensorType")):
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
            _quantization(raw.quantization, name, strict=self.to_edit),
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
            array = np.frombuffer(self.copy(buffer), kind).reshape(shape)
        self.arrays[key] = array
        return array

    def operator(self, raw: Any) -> Operator:
        code = self.model.operatorCodes[raw.opcodeIndex]
        # Files from before the code outgrew one byte keep it in the deprecated field (schema.fbs, OperatorCode).
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        kind = enum_names("BuiltinOperator").get(number)
        if kind is None and self.to_edit:
            raise UnsupportedOperator(f"operator number {number} is not in the schema that is installed")
        if raw.largeCustomOptionsOffset and raw.largeCustomOptionsOffset > 1 and self.to_edit:
            raise UnsupportedOperator(f"{kind} keeps its custom options outside the flatbuffer")
        return Operator(
            kind=kind or f"operator {number}",
            inputs=_ints(raw.inputs),
            outputs=_ints(raw.outputs),
            options=MappingProxyType(
                dict(vars(raw.builtinOptions)) if raw.builtinOptions is not None else {}
            ),
            options_type=enum_names("BuiltinOptions").get(raw.builtinOptionsType, "NONE")
            if not self.to_edit
            else enum_names("BuiltinOptions")[raw.builtinOptionsType],
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


def _quantization(raw: Any, name: str, *, strict: bool) -> Quantization | None:
    if raw is None or (raw.scale is None and raw.min is None and raw.max is None):
        return None
    if raw.details is not None and strict:
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
