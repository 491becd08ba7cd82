"""The TFLite graph: the one representation that every step of the host works on.

A :class:`Graph` is an immutable picture of a one-subgraph ``.tflite`` model (schema version 3, the file
``schema.fbs`` of TensorFlow Lite / LiteRT), and a pass is a function ``Graph -> Graph``.  Operators keep the schema's
own names (``CONV_2D``, ``strideW``), so that a reader who knows the format can read a pass.

What a graph cannot hold is refused by name (:class:`~sdk.errors.UnsupportedOperator`): several subgraphs (control
flow), resource and variant tensors. Packing does not need a graph and takes such files as they are.

This module holds the records; :mod:`sdk.graph.reader` and :mod:`sdk.graph.writer` know the file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from device_agent.record.schema import parse_json
from sdk.errors import DataError, ModelError
from sdk.graph.embedded.attached import NO_FILES, AttachedFiles

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


#: Name of the metadata buffer that says what is done to an image before it enters the graph: JSON.
INPUT_METADATA = "armlet.input"
#: What an image (batch, height, width, channels) may be flipped along, and which axis that is.
FLIP_AXES = {"height": 1, "width": 2}


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
    attached: AttachedFiles = NO_FILES  # the zip behind the file, to which TFLite metadata refer

    @property
    def input_flips(self) -> tuple[str, ...]:
        """The axes ("height", "width") along which an image is flipped before it enters: ``compress/mirror.py``.

        Raises :class:`ModelError` where the metadata name other axes.
        """
        raw = dict(self.metadata).get(INPUT_METADATA)
        if raw is None:
            return ()
        try:
            flips = parse_json(raw.rstrip(b"\0")).get("flip", [])
        except (DataError, AttributeError):
            flips = None
        if not isinstance(flips, list) or not set(map(str, flips)) <= set(FLIP_AXES):
            raise ModelError(
                f"the model's metadata {INPUT_METADATA} cannot be read",
                expected='JSON such as {"flip": ["height", "width"]}',
                found=repr(raw[:60]),
            )
        return tuple(flips)

    def with_data(self, changes: Mapping[int, np.ndarray]) -> Graph:
        """A copy in which the constants of some tensors are replaced, each by one of the same shape and type.

        ``changes``: by tensor number. Raises ModelError for another shape or type, and where a tensor is not a
        constant.
        """
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

    def needed(
        self, wanted: Iterable[int], known: Collection[int], producers: Mapping[int, int] | None = None
    ) -> set[int]:
        """The numbers of the operators that make the tensors ``wanted`` out of those ``known`` and the constants.

        ``producers``: those of :meth:`producers`, where they are at hand.
        """
        producers = self.producers() if producers is None else producers
        found: set[int] = set()
        queue = list(wanted)
        while queue:
            tensor = queue.pop()
            maker = producers.get(tensor)
            if maker is None or tensor in known or maker in found:
                continue
            found.add(maker)
            queue += self.operators[maker].inputs
        return found

    def weights(self) -> Iterator[Weight]:
        """The constant weight of every layer that has one, in the order of execution, each tensor once."""
        seen: set[int] = set()
        for index, operator in enumerate(self.operators):
            role = WEIGHT_ROLES.get(operator.kind)
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


#: What a table calls the layer of an operator with a place for weights, its second input.
WEIGHT_ROLES = {
    "CONV_2D": "convolution",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "fully connected",
    "TRANSPOSE_CONV": "convolution",
    "CONV_3D": "convolution",
    "BATCH_MATMUL": "fully connected",
}
# Which axis of the weight counts output channels.
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
        """The constant itself, of the shape of the tensor; flat stored bytes where numpy has no such type."""
        assert self.tensor.data is not None
        return self.tensor.data
