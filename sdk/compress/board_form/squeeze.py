"""Squeeze-and-excitation branches (arXiv 1709.01507) in the form that XNNPACK's sparse path knows; exact.

MobileNet V3 and EfficientNet weigh their channels by a mean over space. Such a mean stands inside the sparse path
(:mod:`sdk.compress.board_form.sparse_path`), whose channels-first values may leave it through a mean but not go on
behind one: the runtime gets the shape behind it wrong, and then cannot prepare the model. So the mean becomes a chain
of depthwise convolutions, each of which sums blocks of 2x2, and the branch's constants get four axes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor, depthwise, pad
from sdk.compress.rewrite.structure import last_mean, reduces_space, zeros
from sdk.graph.records import Graph, Operator

#: Of a 3x3 window at stride 2, padded by one: the taps of the block of 2x2 that belongs to it alone.
_BLOCK = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 1]], np.float32)


def inner_means_as_depthwise(graph: Graph) -> Graph:
    """Every MEAN over space but the last as depthwise convolutions that halve height and width until one pixel is left.

    A sum of H x W values in ceil(log2(max(H, W))) steps, the last of which divides.
    """
    editor, last = Editor(graph), last_mean(graph)
    for index, operator in enumerate(graph.operators):
        output = _pixel(graph, index)
        if index == last or output is None:
            continue
        if output != operator.outputs[0]:
            # A RESHAPE gave the axes back that the mean had dropped.
            editor.replace(graph.producers()[output], [])
        editor.replace(index, _halvings(editor, operator.inputs[0], output))
    return editor.graph()


def _pixel(graph: Graph, index: int) -> int | None:
    """The value (1, 1, 1, channels) that a mean over space makes, by itself or through a RESHAPE; else None."""
    operator = graph.operators[index]
    if operator.kind != "MEAN" or not reduces_space(graph, index):
        return None
    source, output = graph.tensors[operator.inputs[0]], operator.outputs[0]
    if source.dtype != "FLOAT32":
        return None
    if not operator.options["keepDims"]:
        readers = graph.consumers().get(output, [])
        if len(readers) != 1 or graph.operators[readers[0]].kind != "RESHAPE" or output in graph.outputs:
            return None
        output = graph.operators[readers[0]].outputs[0]
    return output if graph.tensors[output].shape == (1, 1, 1, source.shape[3]) else None


def _halvings(editor: Editor, source: int, output: int) -> list[Operator]:
    _, height, width, channels = editor.shape(source)
    name = editor.tensors[output].name
    padding = editor.constant(f"{name}_padding", np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32))
    bias = editor.constant(f"{name}_bias", zeros(channels))
    ones = np.repeat(_BLOCK[None, :, :, None], channels, axis=3)
    adds = editor.constant(f"{name}_block", ones)
    divides = editor.constant(f"{name}_last_block", ones / np.float32(height * width))
    steps = max(1, math.ceil(math.log2(max(height, width))))
    operators: list[Operator] = []
    for step in range(steps):
        padded = editor.value(f"{name}_{step}_padded", (1, height + 2, width + 2, channels))
        height, width = -(-height // 2), -(-width // 2)
        final = step == steps - 1
        halved = output if final else editor.value(f"{name}_{step}", (1, height, width, channels))
        weight = divides if final else adds
        operators += [pad(source, padding, padded), depthwise(padded, weight, bias, halved, stride=2)]
        source = halved
    return operators


def constants_with_four_axes(graph: Graph) -> Graph:
    """ADD and MUL of a value (1, height, width, channels) and a number or one for each channel: the constant gets four
    axes and comes first, as XNNPACK's sparse path wants to see it.
    """
    editor = Editor(graph)
    for index, operator in enumerate(graph.operators):
        if operator.kind not in ("ADD", "MUL"):
            continue
        constants = [t for t in operator.inputs if graph.tensors[t].data is not None]
        values = [t for t in operator.inputs if graph.tensors[t].data is None]
        if len(constants) != 1 or len(graph.tensors[values[0]].shape) != 4:
            continue
        constant, channels = graph.tensors[constants[0]], graph.tensors[values[0]].shape[3]
        # One number, or one for each channel along the last axis.
        alike = constant.elements in (1, channels) and constant.elements == math.prod(constant.shape[-1:])
        if constant.data is None or constant.dtype != "FLOAT32" or not alike:
            continue
        wide = constants[0]
        if len(constant.shape) != 4:
            wide = editor.constant(f"{constant.name}_wide", constant.data.reshape(1, 1, 1, -1))
        editor.replace(index, [replace(operator, inputs=(wide, values[0]))])
    return editor.graph()
