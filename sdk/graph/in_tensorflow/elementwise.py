"""Operators that work on each value by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sdk.graph.in_tensorflow.context import Context, Value, lost_batch, operator, tensorflow

_BINARY = {
    "ADD": lambda tf: tf.add,
    "SUB": lambda tf: tf.subtract,
    "MUL": lambda tf: tf.multiply,
    "DIV": lambda tf: tf.divide,
    "MAXIMUM": lambda tf: tf.maximum,
    "MINIMUM": lambda tf: tf.minimum,
    "POW": lambda tf: tf.pow,
    "SQUARED_DIFFERENCE": lambda tf: tf.math.squared_difference,
    "FLOOR_DIV": lambda tf: tf.math.floordiv,
    "FLOOR_MOD": lambda tf: tf.math.floormod,
    "ATAN2": lambda tf: tf.math.atan2,
    "EQUAL": lambda tf: tf.equal,
    "NOT_EQUAL": lambda tf: tf.not_equal,
    "LESS": lambda tf: tf.less,
    "LESS_EQUAL": lambda tf: tf.less_equal,
    "GREATER": lambda tf: tf.greater,
    "GREATER_EQUAL": lambda tf: tf.greater_equal,
    "LOGICAL_AND": lambda tf: tf.logical_and,
    "LOGICAL_OR": lambda tf: tf.logical_or,
}


@operator(*_BINARY, axis_free=True)
def _binary(at: Context, inputs: list[Value]) -> list[Value]:
    inputs = [_aligned(at, position, value) for position, value in enumerate(inputs)]
    return [at.activate(_BINARY[at.operator.kind](tensorflow())(inputs[0], inputs[1]))]


@operator("SELECT", "SELECT_V2", axis_free=True)
def _select(at: Context, inputs: list[Value]) -> list[Value]:
    chosen, first, second = (_aligned(at, position, value) for position, value in enumerate(inputs))
    if at.operator.kind == "SELECT" and at.input_shape(0) != at.input_shape(1):
        raise at.refused("a condition of the values' shape", f"shape {at.input_shape(0)}")
    return [tensorflow().where(chosen, first, second)]


def _aligned(at: Context, position: int, value: Value) -> Value:
    """A value whose batch went unwritten, shaped so that it broadcasts as the graph's shapes do."""
    shape, rank = at.input_shape(position), len(at.output_shape())
    if not lost_batch(at, position) or rank <= len(shape):
        return value
    return tensorflow().reshape(value, (-1, *(1,) * (rank - 1 - len(shape)), *shape))


_FLOAT = ("FLOAT32",)
_CASTS = (*_FLOAT, "INT32", "INT64", "BOOL")

_UNARY: Mapping[str, Callable[[Any, Value], Value]] = {
    "ABS": lambda tf, x: tf.abs(x),
    "CEIL": lambda tf, x: tf.math.ceil(x),
    "COS": lambda tf, x: tf.cos(x),
    "ELU": lambda tf, x: tf.nn.elu(x),
    "EXP": lambda tf, x: tf.exp(x),
    "FLOOR": lambda tf, x: tf.floor(x),
    "HARD_SWISH": lambda tf, x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "L2_NORMALIZATION": lambda tf, x: tf.math.l2_normalize(x, axis=-1),
    "LOG": lambda tf, x: tf.math.log(x),
    "LOGICAL_NOT": lambda tf, x: tf.logical_not(x),
    "LOGISTIC": lambda tf, x: tf.sigmoid(x),
    "LOG_SOFTMAX": lambda tf, x: tf.nn.log_softmax(x),
    "NEG": lambda tf, x: -x,
    "RELU": lambda tf, x: tf.nn.relu(x),
    "RELU6": lambda tf, x: tf.nn.relu6(x),
    "RELU_0_TO_1": lambda tf, x: tf.clip_by_value(x, 0.0, 1.0),
    "RELU_N1_TO_1": lambda tf, x: tf.clip_by_value(x, -1.0, 1.0),
    "ROUND": lambda tf, x: tf.round(x),
    "RSQRT": lambda tf, x: tf.math.rsqrt(x),
    "SIGN": lambda tf, x: tf.sign(x),
    "SIN": lambda tf, x: tf.sin(x),
    "SQRT": lambda tf, x: tf.sqrt(x),
    "SQUARE": lambda tf, x: tf.square(x),
    "TANH": lambda tf, x: tf.tanh(x),
}


# The others look along the last axis, so it must be there.
@operator(*(_UNARY.keys() - {"L2_NORMALIZATION", "LOG_SOFTMAX"}), axis_free=True)
@operator("L2_NORMALIZATION", "LOG_SOFTMAX")
def _unary(at: Context, inputs: list[Value]) -> list[Value]:
    return [at.activate(_UNARY[at.operator.kind](tensorflow(), inputs[0]))]


@operator("SOFTMAX")
def _softmax(at: Context, inputs: list[Value]) -> list[Value]:
    return [tensorflow().nn.softmax(inputs[0] * at.options.get("beta", 1.0))]


@operator("LEAKY_RELU")
def _leaky_relu(at: Context, inputs: list[Value]) -> list[Value]:
    return [tensorflow().nn.leaky_relu(inputs[0], at.options["alpha"])]


@operator("PRELU")
def _prelu(at: Context, inputs: list[Value]) -> list[Value]:
    tf = tensorflow()
    return [tf.nn.relu(inputs[0]) + inputs[1] * tf.minimum(inputs[0], 0.0)]


@operator("GELU")
def _gelu(at: Context, inputs: list[Value]) -> list[Value]:
    return [tensorflow().nn.gelu(inputs[0], approximate=at.options.get("approximate", False))]


@operator("LOCAL_RESPONSE_NORMALIZATION")
def _lrn(at: Context, inputs: list[Value]) -> list[Value]:
    o = at.options
    return [tensorflow().nn.lrn(inputs[0], o["radius"], o["bias"], o["alpha"], o["beta"])]


@operator("DEQUANTIZE", "CAST", axis_free=True)
def _cast(at: Context, inputs: list[Value]) -> list[Value]:
    dtype = at.graph.tensors[at.operator.outputs[0]].dtype
    if dtype not in (_FLOAT if at.operator.kind == "DEQUANTIZE" else _CASTS):
        raise at.refused("a float32 result" if at.operator.kind == "DEQUANTIZE" else ", ".join(_CASTS), dtype)
    return [tensorflow().cast(inputs[0], dtype.lower())]


@operator("FAKE_QUANT")
def _fake_quant(at: Context, inputs: list[Value]) -> list[Value]:
    o = at.options
    bits, narrow = int(o["numBits"]), bool(o["narrowRange"])
    rounded = tensorflow().quantization.fake_quant_with_min_max_args
    return [rounded(inputs[0], o["min"], o["max"], num_bits=bits, narrow_range=narrow)]
