"""The least cost of an inference: multiply-accumulates, bytes and the roofline's time, operator by operator. Pure.

How multiply-accumulates (MACs) are counted is in :mod:`sdk.explain.macs`. *Effective* MACs leave out the zeros of
constant weights. Every weight of a convolution is used equally often, so the count is exact: ``macs x non-zeros /
weights``.

The roofline (Williams et al. 2009) of one operator is ``max(2 x MACs / peak, bytes / bandwidth)``. Its bytes are those
that the operator reads and writes if nothing stays in a cache, so small operators can beat it; compute-bound ones
cannot.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from device_agent.record.named_kinds import TensorName
from device_agent.record.schema import limits, record, write
from sdk.errors import ModelError
from sdk.explain.macs import MULTIPLYING_KINDS, NOT_COUNTED, count_macs
from sdk.graph.records import NUMPY_DTYPES, Graph, Operator, Tensor

CONVOLUTION_1X1 = "convolution 1x1"
CONVOLUTION = "convolution"
DEPTHWISE = "depthwise"
FULLY_CONNECTED = "fully connected"
ELEMENT_WISE = "element-wise"
DATA_MOVEMENT = "shuffle and data movement"
POOLING = "pooling"
OTHER = "other"

#: In the order in which tables show them.
GROUPS = (
    CONVOLUTION_1X1,
    CONVOLUTION,
    DEPTHWISE,
    FULLY_CONNECTED,
    ELEMENT_WISE,
    DATA_MOVEMENT,
    POOLING,
    OTHER,
)

_GROUP_KINDS = {
    ELEMENT_WISE: """
        ABS ADD ADD_N CAST CEIL COS DEQUANTIZE DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD GELU GREATER GREATER_EQUAL
        HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAXIMUM MINIMUM MUL NEG
        NOT_EQUAL POW PRELU QUANTIZE RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SELECT SELECT_V2 SIGN SIN SQRT
        SQUARE SQUARED_DIFFERENCE SUB TANH ZEROS_LIKE""",
    DATA_MOVEMENT: """
        BATCH_TO_SPACE_ND BROADCAST_TO CONCATENATION DEPTH_TO_SPACE EXPAND_DIMS FILL GATHER GATHER_ND MIRROR_PAD PACK
        PAD PADV2 RANK RESHAPE REVERSE_V2 SHAPE SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE
        STRIDED_SLICE TILE TRANSPOSE UNPACK""",
    POOLING: """
        AVERAGE_POOL_2D L2_POOL_2D MAX_POOL_2D MEAN REDUCE_MAX REDUCE_MIN REDUCE_PROD SUM""",
}
_GROUP_OF_KIND = {kind: group for group, kinds in _GROUP_KINDS.items() for kind in kinds.split()}

# Operators that read the description of their input, not its values.
_READ_NO_DATA = frozenset({"RANK", "SHAPE", "ZEROS_LIKE"})

# Operators of floats that the runtime computes with integers where their weights are integers.
_ROUND_THEIR_INPUTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})

# The runtime computes these once, while it prepares, when their input is a constant.
PREPARED_ONCE = frozenset({"DENSIFY", "DEQUANTIZE"})

_BITS = {"INT4": 4, "UINT4": 4, "INT2": 2, "BFLOAT16": 16}


@record(what="the cost of an operator", may_lack=("counted",))
@dataclass(frozen=True)
class OperatorCost:
    """One operator's share of an inference.

    ``index`` is its place in the graph and ``name`` its first output's. ``weight_bytes`` are the constants it reads,
    dense as they lie in memory at run time; ``activation_bytes`` the computed tensors it reads and writes. ``dtype`` is
    the arithmetic: "float32" or "int8". ``counted`` is False for operators whose MACs are not known here (CUSTOM,
    recurrent ones, open shapes); their ``macs`` are 0 and mean nothing.
    """

    index: int
    kind: str
    name: TensorName
    group: str
    output_shape: tuple[int, ...] = field(metadata=limits(most=16))
    dtype: str
    macs: int
    effective_macs: int
    weight_bytes: int
    activation_bytes: int
    counted: bool = True

    @property
    def bytes(self) -> int:
        """Everything read and written."""
        return self.weight_bytes + self.activation_bytes

    @property
    def arithmetic_intensity(self) -> float:
        """FLOP (or integer operations) a byte: ``2 x macs / bytes``; 0 for operators without MACs."""
        return 2.0 * self.macs / self.bytes if self.bytes else 0.0

    @property
    def is_zero_mac(self) -> bool:
        """True for operators that theory says are free: shuffles, reshapes, pooling, element-wise ones."""
        return self.counted and self.macs == 0

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict of the fields."""
        return write(self)


@dataclass(frozen=True)
class GroupTotal:
    """The operators of one group together."""

    group: str
    operators: int
    macs: int
    effective_macs: int
    weight_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class Totals:
    """A whole graph. ``groups`` holds those that occur, in the order of :data:`GROUPS`; they add up to the totals.

    ``not_counted`` names the kinds of operators whose MACs are missing from the sums.
    """

    operators: int
    zero_mac_operators: int
    macs: int
    effective_macs: int
    weight_bytes: int
    activation_bytes: int
    groups: tuple[GroupTotal, ...]
    not_counted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict of the fields."""
        return write(self)


class Rates(Protocol):
    """The peaks of a board; :class:`sdk.explain.breakdown.Peaks` has it."""

    @property
    def memory_bytes_per_second(self) -> float | None:
        """Bytes per second from memory; None where it is not known."""

    def of(self, dtype: str) -> float:
        """Operations per second of this arithmetic."""


@dataclass(frozen=True)
class RooflineTime:
    """The least time one operator needs on a board: the larger of computing and moving its bytes."""

    index: int
    compute_seconds: float
    memory_seconds: float

    @property
    def seconds(self) -> float:
        """The larger of the two, in seconds."""
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def bound(self) -> str:
        """The limit: "compute" or "memory"."""
        return "compute" if self.compute_seconds >= self.memory_seconds else "memory"


@dataclass(frozen=True)
class Roofline:
    """A graph on a board: ``operators`` in the order of the costs they were made from."""

    operators: tuple[RooflineTime, ...]

    @property
    def seconds(self) -> float:
        """Operators run one after the other, so their times add up."""
        return sum(operator.seconds for operator in self.operators)


def operator_costs(graph: Graph) -> tuple[OperatorCost, ...]:
    """The cost of every operator of ``graph``, in the order of execution.

    Raises ModelError for an operator without the inputs or ranks of its kind.
    """
    counter = _Counter(graph)
    costs = []
    for index, operator in enumerate(graph.operators):
        try:
            costs.append(counter.cost(index, operator))
        except (IndexError, ZeroDivisionError):
            shapes = [graph.tensors[t].shape if t >= 0 else None for t in operator.inputs]
            raise ModelError(
                f"operator {index} is not a sound {operator.kind}",
                expected="the inputs and ranks of its kind",
                found=f"inputs of shape {shapes}",
            ) from None
    return tuple(costs)


def totals(costs: Iterable[OperatorCost]) -> Totals:
    """The sums over ``costs``, whole and by group."""
    costs = tuple(costs)
    groups = []
    for group in GROUPS:
        members = [cost for cost in costs if cost.group == group]
        if members:
            groups.append(
                GroupTotal(
                    group,
                    len(members),
                    sum(cost.macs for cost in members),
                    sum(cost.effective_macs for cost in members),
                    sum(cost.weight_bytes for cost in members),
                    sum(cost.activation_bytes for cost in members),
                )
            )
    return Totals(
        operators=len(costs),
        zero_mac_operators=sum(cost.is_zero_mac for cost in costs),
        macs=sum(group.macs for group in groups),
        effective_macs=sum(group.effective_macs for group in groups),
        weight_bytes=sum(group.weight_bytes for group in groups),
        activation_bytes=sum(group.activation_bytes for group in groups),
        groups=tuple(groups),
        not_counted=tuple(sorted({cost.kind for cost in costs if not cost.counted})),
    )


def parameters(graph: Graph) -> int:
    """Weights, biases and other learned constants of ``graph``, shared ones once; shapes and axes do not count."""
    counter = _Counter(graph)
    learned: set[int] = set()
    for operator in graph.operators:
        if operator.kind in MULTIPLYING_KINDS or _GROUP_OF_KIND.get(operator.kind) == ELEMENT_WISE:
            learned |= {counter.source(t) for t in counter.operands(operator) if counter.is_constant(t)}
    return sum(graph.tensors[index].elements for index in learned)


def roofline(costs: Iterable[OperatorCost], rates: Rates, *, skips_zeros: Container[int] = ()) -> Roofline:
    """The least time of every operator on a board with these ``rates``.

    Operators whose index is in ``skips_zeros`` compute nothing for the zeros of constant weights, as sparse kernels do.
    Where the bandwidth is unknown, memory takes no time.
    """
    times = []
    for cost in costs:
        macs = cost.effective_macs if cost.index in skips_zeros else cost.macs
        moving = cost.bytes / rates.memory_bytes_per_second if rates.memory_bytes_per_second else 0.0
        times.append(RooflineTime(cost.index, 2.0 * macs / rates.of(cost.dtype), moving))
    return Roofline(tuple(times))


class _Counter:
    """Costs of the operators of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.tensors = graph.tensors
        self._producers = {output: operator for operator in graph.operators for output in operator.outputs}

    def cost(self, index: int, operator: Operator) -> OperatorCost:
        operands = self.operands(operator)
        constants = [t for t in operands if self.is_constant(t)]
        computed = [t for t in operands if not self.is_constant(t)]
        counted = self.is_counted(operator)
        macs = self.macs(operator) if counted else 0
        weight_bytes = sum(tensor_bytes(self.tensors[t]) for t in constants)
        activation_bytes = sum(tensor_bytes(self.tensors[t]) for t in (*computed, *operator.outputs))
        if operator.kind in PREPARED_ONCE and not computed:
            weight_bytes = activation_bytes = 0
        elif operator.kind in _READ_NO_DATA:
            activation_bytes = sum(tensor_bytes(self.tensors[t]) for t in operator.outputs)
        output = self.tensors[operator.outputs[0]] if operator.outputs else None
        return OperatorCost(
            index=index,
            kind=operator.kind,
            name=output.name if output else operator.kind,
            group=self.group(operator),
            output_shape=output.shape if output else (),
            dtype=self.arithmetic(operator),
            macs=macs,
            effective_macs=self.effective(macs, operator),
            weight_bytes=weight_bytes,
            activation_bytes=activation_bytes,
            counted=counted,
        )

    def operands(self, operator: Operator) -> tuple[int, ...]:
        """The tensors it reads, each once, without optional ones left out."""
        return tuple(dict.fromkeys(t for t in operator.inputs if t >= 0))

    def source(self, tensor: int) -> int:
        """The tensor behind DENSIFY and DEQUANTIZE (of sparse and of half-precision weights), or itself."""
        producer = self._producers.get(tensor)
        while producer is not None and producer.kind in PREPARED_ONCE:
            tensor = producer.inputs[0]
            producer = self._producers.get(tensor)
        return tensor

    def is_constant(self, tensor: int) -> bool:
        return self.tensors[self.source(tensor)].data is not None

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.tensors[tensor].shape

    def arithmetic(self, operator: Operator) -> str:
        # Of a dynamic-range model: where weights are integers the runtime rounds the inputs to 8 bits and multiplies
        # integers, though both of its tensors are floats.
        if operator.kind in _ROUND_THEIR_INPUTS and self.tensors[operator.inputs[1]].dtype in (
            "INT8",
            "INT4",
        ):
            return "int8"
        # Else the first computed input decides: weights may be stored in another type.
        for tensor in (*self.operands(operator), *operator.outputs):
            if not self.is_constant(tensor):
                return "int8" if self.tensors[tensor].dtype in ("INT8", "UINT8") else "float32"
        return "float32"

    def macs(self, operator: Operator) -> int:
        if operator.kind not in MULTIPLYING_KINDS:
            return 0
        inputs = [self.shape(t) if t >= 0 else () for t in operator.inputs]
        return count_macs(operator.kind, inputs, self.shape(operator.outputs[0]), operator.options)

    def is_counted(self, operator: Operator) -> bool:
        """Whether its MACs follow from the file: its kind is known, and the shapes that they depend on are not open."""
        if operator.kind in NOT_COUNTED or operator.kind.startswith("operator "):
            return False
        if operator.kind not in MULTIPLYING_KINDS:
            return True
        signature = self.tensors[operator.outputs[0]].shape_signature or ()
        return not any(n < 0 for n in signature[1:])

    def effective(self, macs: int, operator: Operator) -> int:
        """``macs`` without those whose weight is a constant zero."""
        if not macs:
            return 0
        # A product of matrices may have its constant on either side; everything else has it as its second input.
        sides = (1, 0) if operator.kind == "BATCH_MATMUL" else (1,)
        for tensor in (operator.inputs[side] for side in sides):
            if self.is_constant(tensor):
                stored = self.tensors[self.source(tensor)]
                return macs * _non_zeros(stored) // stored.elements
        return macs

    def group(self, operator: Operator) -> str:
        kind = operator.kind
        if kind == "CONV_2D":
            weight, channels = self.shape(operator.inputs[1]), self.shape(operator.inputs[0])[3]
            outputs, kernel, depth = weight[0], weight[1:3], weight[3]
            if depth == 1 and channels > 1 and outputs % channels == 0:
                return DEPTHWISE  # as many groups as channels
            return CONVOLUTION_1X1 if kernel == (1, 1) else CONVOLUTION
        if kind in ("TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE"):
            return CONVOLUTION
        if kind == "DEPTHWISE_CONV_2D":
            return DEPTHWISE
        if kind in ("FULLY_CONNECTED", "BATCH_MATMUL"):
            return FULLY_CONNECTED
        return _GROUP_OF_KIND.get(kind, OTHER)


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of the dense tensor in memory."""
    if tensor.dtype in NUMPY_DTYPES:
        return tensor.elements * NUMPY_DTYPES[tensor.dtype].itemsize
    if tensor.dtype in _BITS:
        return -(-tensor.elements * _BITS[tensor.dtype] // 8)
    return 0 if tensor.data is None else tensor.data.nbytes


def _non_zeros(tensor: Tensor) -> int:
    """Elements of a constant that stand for a number other than 0."""
    data = tensor.data
    assert data is not None
    if tensor.dtype not in NUMPY_DTYPES:
        return tensor.elements  # several elements a byte: not looked into, so nothing is called zero
    if tensor.sparsity is not None:
        # Only the stored elements; the others are zero. Blocks may hold zeros of their own.
        return int(np.count_nonzero(data.view(NUMPY_DTYPES[tensor.dtype])))
    zero: Any = 0
    if tensor.quantization is not None:
        points, axis = tensor.quantization.zero_points, tensor.quantization.axis
        if points.size == 1:
            zero = points[0]
        elif points.size and axis < data.ndim and points.size == data.shape[axis]:
            zero = np.expand_dims(points, tuple(i for i in range(data.ndim) if i != axis))
    return int(np.count_nonzero(data != zero))
