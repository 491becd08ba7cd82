"""Operators that only move values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdk.graph.in_tensorflow.context import Context, Value, axis_option, lost_batch, operator, tensorflow


@operator("RESHAPE", "SQUEEZE", "EXPAND_DIMS", axis_free=True)
def _reshape(at: Context, inputs: list[Value]) -> list[Value]:
    before, after = at.input_shape(0), at.output_shape()
    if not at.mixes_samples:
        return [tensorflow().reshape(inputs[0], after)]
    if after[:1] == (1,):
        return [tensorflow().reshape(inputs[0], (-1, *after[1:]))]
    # The converter squeezes (1, 1, 1, channels) to (channels,) for an addition, and back: the batch goes unwritten.
    if np.prod(before) != np.prod(after) or lost_batch(at, 0) or before[:1] != (1,):
        raise at.refused("shapes whose first axis is the batch", f"{before} to {after}")
    return [tensorflow().reshape(inputs[0], (-1, *after))]


@operator("TRANSPOSE")
def _transpose(at: Context, inputs: list[Value]) -> list[Value]:
    order = [int(a) for a in at.parameter(inputs[1], "permutation")]
    if order[0] != 0 and at.mixes_samples:
        raise at.refused("a permutation that keeps the batch first", f"{order}")
    return [tensorflow().transpose(inputs[0], order)]


@operator("CONCATENATION")
def _concatenation(at: Context, inputs: list[Value]) -> list[Value]:
    axis = axis_option(at, len(at.output_shape()))
    return [at.activate(tensorflow().concat(_for_each_sample(at, inputs), axis))]


def _for_each_sample(at: Context, inputs: list[Value]) -> list[Value]:
    """Values that lie side by side; what is the same for every sample, such as a class's token, once per sample."""
    tf = tensorflow()
    batched = [tensor in at.batched for tensor in at.operator.inputs]
    if all(batched) or not any(batched):
        return inputs
    count = tf.shape(inputs[batched.index(True)])[0]
    return [
        value if own else tf.repeat(value, count, axis=0) for own, value in zip(batched, inputs, strict=True)
    ]


@operator("SPLIT", "SPLIT_V")
def _split(at: Context, inputs: list[Value]) -> Sequence[Value]:
    value, axis = (inputs[1], inputs[0]) if at.operator.kind == "SPLIT" else (inputs[0], inputs[2])
    rank = len(at.output_shape())
    (axis,) = at.axes(axis, rank)
    sizes = [at.output_shape(i)[axis] for i in range(len(at.operator.outputs))]
    return list(tensorflow().split(value, sizes, axis))


@operator("PAD", "PADV2", "MIRROR_PAD")
def _pad(at: Context, inputs: list[Value]) -> list[Value]:
    tf = tensorflow()
    widths = at.parameter(inputs[1], "padding").reshape(-1, 2)
    if widths[0].any() and at.mixes_samples:
        raise at.refused("no padding of the batch", f"{widths[0]}")
    if at.operator.kind == "MIRROR_PAD":
        return [tf.pad(inputs[0], widths, ("REFLECT", "SYMMETRIC")[at.options["mode"]])]
    value = 0.0 if at.operator.kind == "PAD" else float(np.asarray(inputs[2]).reshape(-1)[0])
    return [tf.pad(inputs[0], widths, constant_values=value)]


@operator("SLICE", "STRIDED_SLICE")
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
    return [tensorflow().convert_to_tensor(inputs[0])[tuple(index)]]


@operator("TILE")
def _tile(at: Context, inputs: list[Value]) -> list[Value]:
    times = at.parameter(inputs[1], "multiples")
    if times[0] != 1 and at.mixes_samples:
        raise at.refused("a batch that is not repeated", f"{times}")
    return [tensorflow().tile(inputs[0], times)]


@operator("GATHER")
def _gather(at: Context, inputs: list[Value]) -> list[Value]:
    tf, shape = tensorflow(), at.input_shape(0)
    if at.options.get("batchDims", 0):
        raise at.refused("no batch dimensions", f"{at.options['batchDims']}")
    if at.operator.inputs[0] in at.batched:  # the numbers are then the same for every sample
        if at.operator.inputs[1] in at.batched:
            raise at.refused("a table or numbers that are constant", "both computed from the input")
        return [tf.gather(inputs[0], inputs[1], axis=axis_option(at, len(shape)))]
    axis = int(at.options["axis"]) % len(shape)
    if axis and at.mixes_samples:
        raise at.refused("rows of a table, along its first axis", f"axis {axis}")
    return [tf.gather(inputs[0], inputs[1], axis=axis)]


@operator("EMBEDDING_LOOKUP")
def _embedding_lookup(at: Context, inputs: list[Value]) -> list[Value]:
    return [tensorflow().gather(inputs[1], inputs[0])]


@operator("SHAPE", axis_free=True)
def _shape(at: Context, inputs: list[Value]) -> list[Value]:
    """The shape in the graph, where the batch is 1: what reads it is told that the batch may be larger."""
    return [np.array(at.input_shape(0), np.int32)]


@operator("FILL")
def _fill(at: Context, inputs: list[Value]) -> list[Value]:
    return [tensorflow().fill(at.parameter(inputs[0], "shape"), inputs[1])]


@operator("RANGE")
def _range(at: Context, inputs: list[Value]) -> list[Value]:
    start, limit, delta = (at.parameter(value, "limit")[0] for value in inputs)
    return [np.arange(start, limit, delta)]


@operator("BROADCAST_TO")
def _broadcast_to(at: Context, inputs: list[Value]) -> list[Value]:
    tf, shape = tensorflow(), at.parameter(inputs[1], "shape")
    if not at.mixes_samples:
        return [tf.broadcast_to(inputs[0], shape)]
    if shape[0] != 1 or len(shape) != len(at.input_shape(0)):
        raise at.refused("a batch that is not repeated", f"shape {tuple(shape)}")
    return [tf.broadcast_to(inputs[0], (tf.shape(inputs[0])[0], *shape[1:]))]


@operator("PACK", axis_free=True)
def _pack(at: Context, inputs: list[Value]) -> list[Value]:
    rank = len(at.output_shape())
    if at.input_shape(0)[:1] == (1,) or not at.mixes_samples:
        axis = int(at.options["axis"]) % rank
        if axis == 0 and at.mixes_samples:
            if at.output_shape()[:1] != (1,):
                raise at.refused("an axis other than the batch", "axis 0")
            return [tensorflow().expand_dims(inputs[0], 1)]  # one row per sample, and one sample per row
        return [tensorflow().stack(_for_each_sample(at, inputs), axis)]
    raise at.refused("values whose first axis is the batch", f"shape {at.input_shape(0)}")


@operator("UNPACK")
def _unpack(at: Context, inputs: list[Value]) -> list[Value]:
    rank, count = len(at.input_shape(0)), int(at.options["num"])
    axis = int(at.options["axis"]) % rank
    if axis or not at.mixes_samples:
        return list(tensorflow().unstack(inputs[0], count, axis))
    if count == 1 and at.output_shape()[:1] == (1,):  # the next axis becomes the batch: both have one row
        return [tensorflow().squeeze(inputs[0], 1)]
    raise at.refused("an axis other than the batch", "axis 0")


@operator("REVERSE_V2")
def _reverse(at: Context, inputs: list[Value]) -> list[Value]:
    return [tensorflow().reverse(inputs[0], at.axes(inputs[1], len(at.input_shape(0))))]


@operator("CUMSUM")
def _cumsum(at: Context, inputs: list[Value]) -> list[Value]:
    (axis,) = at.axes(inputs[1], len(at.input_shape(0)))
    o = at.options
    return [tensorflow().cumsum(inputs[0], axis, exclusive=bool(o["exclusive"]), reverse=bool(o["reverse"]))]


@operator("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(at: Context, inputs: list[Value]) -> list[Value]:
    tf, o = tensorflow(), at.options
    resize = (
        tf.raw_ops.ResizeBilinear
        if at.operator.kind == "RESIZE_BILINEAR"
        else tf.raw_ops.ResizeNearestNeighbor
    )
    size = at.parameter(inputs[1], "size")
    corners, centers = bool(o["alignCorners"]), bool(o["halfPixelCenters"])
    return [resize(images=inputs[0], size=size, align_corners=corners, half_pixel_centers=centers)]


@operator("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _blocks(at: Context, inputs: list[Value]) -> list[Value]:
    move = getattr(tensorflow().nn, at.operator.kind.lower())
    return [move(inputs[0], at.options["blockSize"])]
