"""Layers with weights: convolutions of all kinds and products of matrices."""

from __future__ import annotations

import struct

from sdk.graph.in_tensorflow.context import PADDINGS, Context, Value, operator, tensorflow


@operator("CONV_2D")
def _conv_2d(at: Context, inputs: list[Value]) -> list[Value]:
    tf, options = tensorflow(), at.options
    value, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    kernel = tf.transpose(weight, (1, 2, 3, 0))  # (out, h, w, in / groups) -> (h, w, in / groups, out)
    groups = at.input_shape(0)[3] // at.input_shape(1)[3]

    def convolve(part: Value, part_kernel: Value) -> Value:
        return tf.nn.conv2d(
            part,
            part_kernel,
            strides=(options["strideH"], options["strideW"]),
            padding=PADDINGS[options["padding"]],
            dilations=(options["dilationHFactor"], options["dilationWFactor"]),
        )

    if groups == 1:
        out = convolve(value, kernel)
    else:
        # TensorFlow has no gradient for grouped convolutions on a CPU, so each group is one convolution.
        parts = zip(tf.split(value, groups, axis=3), tf.split(kernel, groups, axis=3), strict=True)
        out = tf.concat([convolve(part, part_kernel) for part, part_kernel in parts], axis=3)
    return [at.activate(out if bias is None else out + bias)]


@operator("DEPTHWISE_CONV_2D")
def _depthwise_conv_2d(at: Context, inputs: list[Value]) -> list[Value]:
    tf, options = tensorflow(), at.options
    value, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    _, height, width, outputs = at.input_shape(1)
    channels = at.input_shape(0)[3]
    if options["strideH"] != options["strideW"]:
        raise at.refused("equal strides", f"{options['strideH']}x{options['strideW']}")
    out = tf.nn.depthwise_conv2d(
        value,
        tf.reshape(weight, (height, width, channels, outputs // channels)),
        strides=(1, options["strideH"], options["strideW"], 1),
        padding=PADDINGS[options["padding"]],
        dilations=(options["dilationHFactor"], options["dilationWFactor"]),
    )
    return [at.activate(out if bias is None else out + bias)]


@operator("FULLY_CONNECTED")
def _fully_connected(at: Context, inputs: list[Value]) -> list[Value]:
    tf = tensorflow()
    value, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    shape = at.output_shape()
    if shape[0] != 1:
        raise at.refused("one output row per sample", f"shape {shape}")
    rows = tf.reshape(value, (-1, at.input_shape(1)[1]))
    out = tf.reshape(tf.matmul(rows, weight, transpose_b=True), (-1, *shape[1:]))
    return [at.activate(out if bias is None else out + bias)]


@operator("TRANSPOSE_CONV")
def _transpose_conv(at: Context, inputs: list[Value]) -> list[Value]:
    options, bias = at.options, inputs[3] if len(inputs) > 3 else None
    strides = options["strideH"], options["strideW"]
    out = _transposed(at, inputs[2], inputs[1], strides, PADDINGS[options["padding"]])
    return [at.activate(out if bias is None else out + bias)]


@operator("Convolution2DTransposeBias")
def _mediapipe_transpose_conv(at: Context, inputs: list[Value]) -> list[Value]:
    """MediaPipe's: value, weights (out, height, width, in), bias; its options are padding (1: SAME) and two strides."""
    options = at.operator.custom_options or b""
    if len(options) < 12:
        raise at.refused("padding and strides", f"options of {len(options)} bytes")
    padding, across, down = struct.unpack_from("<3i", options)
    out = _transposed(at, inputs[0], inputs[1], (down, across), "SAME" if padding == 1 else "VALID")
    return [out + inputs[2]]


def _transposed(at: Context, value: Value, weight: Value, strides: tuple[int, int], padding: str) -> Value:
    """A transposed convolution with weights (out, height, width, in); ``strides`` down and across."""
    tf = tensorflow()
    shape = (tf.shape(value)[0], *at.output_shape()[1:])
    return tf.nn.conv2d_transpose(value, tf.transpose(weight, (1, 2, 0, 3)), shape, strides, padding)


@operator("CONV_3D")
def _conv_3d(at: Context, inputs: list[Value]) -> list[Value]:
    tf, options = tensorflow(), at.options
    dilations = tuple(options.get(f"dilation{axis}Factor", 1) for axis in "DHW")
    if dilations != (1, 1, 1):  # TensorFlow has none on a CPU
        raise at.refused("no dilation", f"dilations {dilations}")
    out = tf.nn.conv3d(
        inputs[0],
        inputs[1],
        strides=(1, options["strideD"], options["strideH"], options["strideW"], 1),
        padding=PADDINGS[options["padding"]],
    )
    return [at.activate(out if len(inputs) < 3 or inputs[2] is None else out + inputs[2])]


@operator("BATCH_MATMUL")
def _batch_matmul(at: Context, inputs: list[Value]) -> list[Value]:
    for position, tensor in enumerate(at.operator.inputs[:2]):
        if tensor in at.batched and len(at.input_shape(position)) < 3:
            raise at.refused("a batch of matrices", f"shape {at.input_shape(position)}")
    first, second = bool(at.options["adjX"]), bool(at.options["adjY"])
    return [tensorflow().matmul(inputs[0], inputs[1], transpose_a=first, transpose_b=second)]
