"""Pools and reductions."""

from __future__ import annotations

from sdk.graph.in_tensorflow.context import PADDINGS, Context, Value, operator, tensorflow


@operator("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool_2d(at: Context, inputs: list[Value]) -> list[Value]:
    tf, o = tensorflow(), at.options
    pool = tf.nn.max_pool2d if at.operator.kind == "MAX_POOL_2D" else tf.nn.avg_pool2d
    window, strides = (o["filterHeight"], o["filterWidth"]), (o["strideH"], o["strideW"])
    return [at.activate(pool(inputs[0], window, strides, PADDINGS[o["padding"]]))]


_REDUCTIONS = {
    "MEAN": "reduce_mean",
    "SUM": "reduce_sum",
    "REDUCE_MAX": "reduce_max",
    "REDUCE_MIN": "reduce_min",
    "REDUCE_PROD": "reduce_prod",
    "REDUCE_ANY": "reduce_any",
    "REDUCE_ALL": "reduce_all",
}


@operator("ARG_MAX", "ARG_MIN")
def _place(at: Context, inputs: list[Value]) -> list[Value]:
    (axis,) = at.axes(inputs[1], len(at.input_shape(0)))
    find = tensorflow().argmax if at.operator.kind == "ARG_MAX" else tensorflow().argmin
    return [find(inputs[0], axis=axis, output_type=at.graph.tensors[at.operator.outputs[0]].dtype.lower())]


@operator(*_REDUCTIONS)
def _reduce(at: Context, inputs: list[Value]) -> list[Value]:
    axes = at.axes(inputs[1], len(at.input_shape(0)))
    reduce = getattr(tensorflow(), _REDUCTIONS[at.operator.kind])
    return [reduce(inputs[0], axis=axes, keepdims=bool(at.options["keepDims"]))]
