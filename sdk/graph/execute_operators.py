"""Each TFLite operator in terms of ``tf.nn``, for a batch of any size; :mod:`sdk.graph.execute` runs them.

Semantics follow the operators' reference kernels (tensorflow/lite/kernels); options carry the names of schema.fbs.
An operator that would mix the samples of a batch is refused, because the graph was written for a batch of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdk.errors import UnsupportedOperator
from sdk.graph.enums import NO_ACTIVATION, RELU, RELU6, RELU_N1_TO_1, SAME, TANH, VALID
from sdk.graph.records import Graph, Operator

Value = Any  # a tf.Tensor, or a numpy array that TensorFlow converts

_PADDINGS = {SAME: "SAME", VALID: "VALID"}  # TensorFlow's names


@dataclass(frozen=True)
class Context:
    """One operator of a graph, with what its implementation asks about it."""

    graph: Graph
    operator: Operator
    batched: frozenset[int]  # tensors that depend on the input, whose first axis must stay the batch

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the operator."""
        return self.operator.options

    def input_shape(self, position: int) -> tuple[int, ...]:
        """Shape of an input in the graph, where the batch is 1."""
        return self.graph.tensors[self.operator.inputs[position]].shape

    def output_shape(self, position: int = 0) -> tuple[int, ...]:
        """Shape of an output in the graph, where the batch is 1."""
        return self.graph.tensors[self.operator.outputs[position]].shape

    @property
    def mixes_samples(self) -> bool:
        """Whether touching the first axis would touch the batch; not so among constants."""
        return self.operator.outputs[0] in self.batched

    def parameter(self, value: Value, what: str) -> np.ndarray:
        """An input that must be a constant such as axes, paddings or sizes, flat: (n,). Raises UnsupportedOperator."""
        if not isinstance(value, np.ndarray):
            raise self.refused(f"a constant {what}", "one computed at run time")
        return value.reshape(-1)

    def axes(self, value: Value, rank: int) -> list[int]:
        """Constant axes counted from the front, none of them the batch."""
        axes = [int(a) % rank for a in self.parameter(value, "axis")]
        if 0 in axes and self.mixes_samples:
            raise self.refused("axes other than the batch", f"axes {axes}")
        return axes

    def activate(self, value: Value) -> Value:
        """The activation fused into the operator."""
        tf, code = _tf(), self.options.get("fusedActivationFunction", NO_ACTIVATION)
        if code == NO_ACTIVATION:
            return value
        if code == RELU:
            return tf.nn.relu(value)
        if code == RELU6:
            return tf.nn.relu6(value)
        if code == RELU_N1_TO_1:
            return tf.clip_by_value(value, -1.0, 1.0)
        if code == TANH:
            return tf.tanh(value)
        raise self.refused("a fused RELU, RELU6, RELU_N1_TO_1 or TANH", f"activation {code}")

    def refused(self, expected: str, found: str) -> UnsupportedOperator:
        """The error that says why this operator cannot be run."""
        what = f"this {self.operator.kind} cannot be run in TensorFlow"
        return UnsupportedOperator(what, expected=expected, found=found)


# Operators that may meet a value whose batch axis the graph's shape leaves out: they do not count axes.
AXIS_FREE = frozenset(
    {
        "RESHAPE",
        "SQUEEZE",
        "EXPAND_DIMS",
        "ADD",
        "SUB",
        "MUL",
        "DIV",
        "MAXIMUM",
        "MINIMUM",
        "RELU",
        "RELU6",
        "HARD_SWISH",
        "LOGISTIC",
        "TANH",
    }
)

# (context, inputs with None where one is left out) -> the values of the outputs, in order.
Implementation = Callable[[Context, list[Value]], Sequence[Value]]
IMPLEMENTATIONS: dict[str, Implementation] = {}


def _operator(*kinds: str) -> Callable[[Implementation], Implementation]:
    def register(function: Implementation) -> Implementation:
        for kind in kinds:
            IMPLEMENTATIONS[kind] = function
        return function

    return register


def _tf() -> Any:
    import tensorflow

    return tensorflow


def _lost_batch(at: Context, position: int) -> bool:
    """Whether an input's shape in the graph leaves out the batch axis that its value has."""
    tensor = at.operator.inputs[position]
    return tensor in at.batched and at.graph.tensors[tensor].shape[:1] != (1,)


def _axis_option(at: Context, rank: int) -> int:
    axis = int(at.options["axis"]) % rank
    if axis == 0 and at.mixes_samples:
        raise at.refused("an axis other than the batch", "axis 0")
    return axis


# ------------------------------------------------------------------------------------------- layers with weights


@_operator("CONV_2D")
def _conv_2d(at: Context, inputs: list[Value]) -> list[Value]:
    tf, options = _tf(), at.options
    value, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    kernel = tf.transpose(weight, (1, 2, 3, 0))  # (out, h, w, in / groups) -> (h, w, in / groups, out)
    groups = at.input_shape(0)[3] // at.input_shape(1)[3]

    def convolve(part: Value, part_kernel: Value) -> Value:
        return tf.nn.conv2d(
            part,
            part_kernel,
            strides=(options["strideH"], options["strideW"]),
            padding=_PADDINGS[options["padding"]],
            dilations=(options["dilationHFactor"], options["dilationWFactor"]),
        )

    if groups == 1:
        out = convolve(value, kernel)
    else:
        # TensorFlow has no gradient for grouped convolutions on a CPU, so each group is one convolution.
        parts = zip(tf.split(value, groups, axis=3), tf.split(kernel, groups, axis=3), strict=True)
        out = tf.concat([convolve(part, part_kernel) for part, part_kernel in parts], axis=3)
    return [at.activate(out if bias is None else out + bias)]


@_operator("DEPTHWISE_CONV_2D")
def _depthwise_conv_2d(at: Context, inputs: list[Value]) -> list[Value]:
    tf, options = _tf(), at.options
    value, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    _, height, width, outputs = at.input_shape(1)
    channels = at.input_shape(0)[3]
    if options["strideH"] != options["strideW"]:
        raise at.refused("equal strides", f"{options['strideH']}x{options['strideW']}")
    out = tf.nn.depthwise_conv2d(
        value,
        tf.reshape(weight, (height, width, channels, outputs // channels)),
        strides=(1, options["strideH"], options["strideW"], 1),
        padding=_PADDINGS[options["padding"]],
        dilations=(options["dilationHFactor"], options["dilationWFactor"]),
    )
    return [at.activate(out if bias is None else out + bias)]


@_operator("FULLY_CONNECTED")
def _fully_connected(at: Context, inputs: list[Value]) -> list[Value]:
    tf = _tf()
    value, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    shape = at.output_shape()
    if shape[0] != 1:
        raise at.refused("one output row per sample", f"shape {shape}")
    rows = tf.reshape(value, (-1, at.input_shape(1)[1]))
    out = tf.matmul(rows, weight, transpose_b=True)
    out = out if bias is None else out + bias
    return [tf.reshape(at.activate(out), (-1, *shape[1:]))]


@_operator("TRANSPOSE_CONV")
def _transpose_conv(at: Context, inputs: list[Value]) -> list[Value]:
    tf, options = _tf(), at.options
    weight, value, bias = inputs[1], inputs[2], inputs[3] if len(inputs) > 3 else None
    out = tf.nn.conv2d_transpose(
        value,
        tf.transpose(weight, (1, 2, 0, 3)),
        (tf.shape(value)[0], *at.output_shape()[1:]),
        strides=(options["strideH"], options["strideW"]),
        padding=_PADDINGS[options["padding"]],
    )
    return [at.activate(out if bias is None else out + bias)]


# -------------------------------------------------------------------------------------------------- element-wise

_BINARY = {
    "ADD": lambda tf: tf.add,
    "SUB": lambda tf: tf.subtract,
    "MUL": lambda tf: tf.multiply,
    "DIV": lambda tf: tf.divide,
    "MAXIMUM": lambda tf: tf.maximum,
    "MINIMUM": lambda tf: tf.minimum,
    "POW": lambda tf: tf.pow,
    "SQUARED_DIFFERENCE": lambda tf: tf.math.squared_difference,
}


@_operator(*_BINARY)
def _binary(at: Context, inputs: list[Value]) -> list[Value]:
    inputs = [_aligned(at, position, value) for position, value in enumerate(inputs)]
    return [at.activate(_BINARY[at.operator.kind](_tf())(inputs[0], inputs[1]))]


def _aligned(at: Context, position: int, value: Value) -> Value:
    """A value whose batch went unwritten, shaped so that it broadcasts as the graph's shapes do."""
    shape, rank = at.input_shape(position), len(at.output_shape())
    if not _lost_batch(at, position) or rank <= len(shape):
        return value
    return _tf().reshape(value, (-1, *(1,) * (rank - 1 - len(shape)), *shape))


_UNARY: Mapping[str, Callable[[Any, Value], Value]] = {
    "ABS": lambda tf, x: tf.abs(x),
    "ELU": lambda tf, x: tf.nn.elu(x),
    "EXP": lambda tf, x: tf.exp(x),
    "HARD_SWISH": lambda tf, x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "L2_NORMALIZATION": lambda tf, x: tf.math.l2_normalize(x, axis=-1),
    "LOGISTIC": lambda tf, x: tf.sigmoid(x),
    "LOG_SOFTMAX": lambda tf, x: tf.nn.log_softmax(x),
    "NEG": lambda tf, x: -x,
    "RELU": lambda tf, x: tf.nn.relu(x),
    "RELU6": lambda tf, x: tf.nn.relu6(x),
    "RELU_0_TO_1": lambda tf, x: tf.clip_by_value(x, 0.0, 1.0),
    "RELU_N1_TO_1": lambda tf, x: tf.clip_by_value(x, -1.0, 1.0),
    "RSQRT": lambda tf, x: tf.math.rsqrt(x),
    "SQRT": lambda tf, x: tf.sqrt(x),
    "SQUARE": lambda tf, x: tf.square(x),
    "TANH": lambda tf, x: tf.tanh(x),
}


@_operator(*_UNARY)
def _unary(at: Context, inputs: list[Value]) -> list[Value]:
    return [at.activate(_UNARY[at.operator.kind](_tf(), inputs[0]))]


@_operator("SOFTMAX")
def _softmax(at: Context, inputs: list[Value]) -> list[Value]:
    return [_tf().nn.softmax(inputs[0] * at.options.get("beta", 1.0))]


@_operator("LEAKY_RELU")
def _leaky_relu(at: Context, inputs: list[Value]) -> list[Value]:
    return [_tf().nn.leaky_relu(inputs[0], at.options["alpha"])]


@_operator("PRELU")
def _prelu(at: Context, inputs: list[Value]) -> list[Value]:
    tf = _tf()
    return [tf.nn.relu(inputs[0]) + inputs[1] * tf.minimum(inputs[0], 0.0)]


@_operator("GELU")
def _gelu(at: Context, inputs: list[Value]) -> list[Value]:
    return [_tf().nn.gelu(inputs[0], approximate=at.options.get("approximate", False))]


@_operator("LOCAL_RESPONSE_NORMALIZATION")
def _lrn(at: Context, inputs: list[Value]) -> list[Value]:
    o = at.options
    return [_tf().nn.lrn(inputs[0], o["radius"], o["bias"], o["alpha"], o["beta"])]


@_operator("DEQUANTIZE", "CAST")
def _to_float(at: Context, inputs: list[Value]) -> list[Value]:
    described = at.graph.tensors[at.operator.outputs[0]]
    if described.dtype != "FLOAT32":
        raise at.refused("a float32 result", described.dtype)
    return [_tf().cast(inputs[0], "float32")]


# ---------------------------------------------------------------------------------------- pooling and reductions


@_operator("FAKE_QUANT")
def _fake_quant(at: Context, inputs: list[Value]) -> list[Value]:
    o = at.options
    bits, narrow = int(o["numBits"]), bool(o["narrowRange"])
    rounded = _tf().quantization.fake_quant_with_min_max_args
    return [rounded(inputs[0], o["min"], o["max"], num_bits=bits, narrow_range=narrow)]


@_operator("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool_2d(at: Context, inputs: list[Value]) -> list[Value]:
    tf, o = _tf(), at.options
    pool = tf.nn.max_pool2d if at.operator.kind == "MAX_POOL_2D" else tf.nn.avg_pool2d
    window, strides = (o["filterHeight"], o["filterWidth"]), (o["strideH"], o["strideW"])
    return [at.activate(pool(inputs[0], window, strides, _PADDINGS[o["padding"]]))]


_REDUCTIONS = {
    "MEAN": "reduce_mean",
    "SUM": "reduce_sum",
    "REDUCE_MAX": "reduce_max",
    "REDUCE_MIN": "reduce_min",
}


@_operator(*_REDUCTIONS)
def _reduce(at: Context, inputs: list[Value]) -> list[Value]:
    axes = at.axes(inputs[1], len(at.input_shape(0)))
    reduce = getattr(_tf(), _REDUCTIONS[at.operator.kind])
    return [reduce(inputs[0], axis=axes, keepdims=bool(at.options["keepDims"]))]


# ------------------------------------------------------------------------------------------------- data movement


@_operator("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(at: Context, inputs: list[Value]) -> list[Value]:
    before, after = at.input_shape(0), at.output_shape()
    if not at.mixes_samples:
        return [_tf().reshape(inputs[0], after)]
    if after[:1] == (1,):
        return [_tf().reshape(inputs[0], (-1, *after[1:]))]
    # The converter squeezes (1, 1, 1, channels) to (channels,) for an addition, and back: the batch goes unwritten.
    if np.prod(before) != np.prod(after) or _lost_batch(at, 0) or before[:1] != (1,):
        raise at.refused("shapes whose first axis is the batch", f"{before} to {after}")
    return [_tf().reshape(inputs[0], (-1, *after))]


@_operator("TRANSPOSE")
def _transpose(at: Context, inputs: list[Value]) -> list[Value]:
    order = [int(a) for a in at.parameter(inputs[1], "permutation")]
    if order[0] != 0 and at.mixes_samples:
        raise at.refused("a permutation that keeps the batch first", f"{order}")
    return [_tf().transpose(inputs[0], order)]


@_operator("CONCATENATION")
def _concatenation(at: Context, inputs: list[Value]) -> list[Value]:
    rank = len(at.output_shape())
    axis = _axis_option(at, rank)
    return [at.activate(_tf().concat(inputs, axis))]


@_operator("SPLIT", "SPLIT_V")
def _split(at: Context, inputs: list[Value]) -> Sequence[Value]:
    value, axis = (inputs[1], inputs[0]) if at.operator.kind == "SPLIT" else (inputs[0], inputs[2])
    rank = len(at.output_shape())
    (axis,) = at.axes(axis, rank)
    sizes = [at.output_shape(i)[axis] for i in range(len(at.operator.outputs))]
    return list(_tf().split(value, sizes, axis))


@_operator("PAD", "PADV2", "MIRROR_PAD")
def _pad(at: Context, inputs: list[Value]) -> list[Value]:
    tf = _tf()
    widths = at.parameter(inputs[1], "padding").reshape(-1, 2)
    if widths[0].any() and at.mixes_samples:
        raise at.refused("no padding of the batch", f"{widths[0]}")
    if at.operator.kind == "MIRROR_PAD":
        return [tf.pad(inputs[0], widths, ("REFLECT", "SYMMETRIC")[at.options["mode"]])]
    value = 0.0 if at.operator.kind == "PAD" else float(np.asarray(inputs[2]).reshape(-1)[0])
    return [tf.pad(inputs[0], widths, constant_values=value)]


@_operator("SLICE", "STRIDED_SLICE")
def _slice(at: Context, inputs: list[Value]) -> list[Value]:
    shape, o = at.input_shape(0), at.options
    begin = at.parameter(inputs[1], "begin")
    end = at.parameter(inputs[2], "end")
    steps = np.ones_like(begin)
    masks: tuple[int, ...] = (0, 0, 0)
    if at.operator.kind == "SLICE":
        end = np.where(end < 0, shape, begin + end)
    else:
        steps = at.parameter(inputs[3], "strides")
        masks = (o["beginMask"], o["endMask"], o["shrinkAxisMask"])
        if o["ellipsisMask"] or o["newAxisMask"] or o.get("offset"):
            raise at.refused("plain begin, end and strides", "an ellipsis or a new axis")
    index: list[Any] = []
    for axis in range(len(begin)):
        start, stop, step = int(begin[axis]), int(end[axis]), int(steps[axis])
        bounds = slice(None if masks[0] >> axis & 1 else start, None if masks[1] >> axis & 1 else stop, step)
        index.append(start if masks[2] >> axis & 1 else bounds)
    whole = isinstance(index[0], slice) and index[0].indices(shape[0]) == (0, shape[0], 1)
    if at.mixes_samples and not whole:
        raise at.refused("the whole batch", f"{index[0]}")
    if whole:
        index[0] = slice(None)
    return [_tf().convert_to_tensor(inputs[0])[tuple(index)]]


@_operator("TILE")
def _tile(at: Context, inputs: list[Value]) -> list[Value]:
    times = at.parameter(inputs[1], "multiples")
    if times[0] != 1 and at.mixes_samples:
        raise at.refused("a batch that is not repeated", f"{times}")
    return [_tf().tile(inputs[0], times)]


@_operator("GATHER")
def _gather(at: Context, inputs: list[Value]) -> list[Value]:
    axis = _axis_option(at, len(at.input_shape(0)))
    return [_tf().gather(inputs[0], inputs[1], axis=axis)]


@_operator("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(at: Context, inputs: list[Value]) -> list[Value]:
    tf, o = _tf(), at.options
    resize = (
        tf.raw_ops.ResizeBilinear
        if at.operator.kind == "RESIZE_BILINEAR"
        else tf.raw_ops.ResizeNearestNeighbor
    )
    size = at.parameter(inputs[1], "size")
    corners, centers = bool(o["alignCorners"]), bool(o["halfPixelCenters"])
    return [resize(images=inputs[0], size=size, align_corners=corners, half_pixel_centers=centers)]


@_operator("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _blocks(at: Context, inputs: list[Value]) -> list[Value]:
    move = getattr(_tf().nn, at.operator.kind.lower())
    return [move(inputs[0], at.options["blockSize"])]
