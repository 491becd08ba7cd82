"""Roughly how many instructions one inference takes on an ARM core, to choose between two forms of one graph.

The rates are instructions for one unit of work, fitted to counts of whole networks and of single operators: QEMU's
Cortex-A72, ai-edge-litert 2.3, one thread, float32 (``benchmarks/speed/graph_passes.py`` counts them again). They hold
within some 10 % for a whole network, enough to tell 90 M from 60 M; reported figures are always counted, never
estimated by this.
"""

from __future__ import annotations

import numpy as np

from sdk.compress.rewrite.structure import groups_of
from sdk.graph.records import Graph, Operator

#: Output channels that one pass of XNNPACK's float32 matrix kernel makes (4x8 and 6x8 on ARM).
KERNEL_WIDTH = 8
#: Instructions that the narrow kernel takes for those of the wide one, for the same products.
NARROW_KERNEL_COST = 1.6

# Dense kernels, a multiply-accumulate.
_MATRIX = 0.335
_MATRIX_OUTPUT = 2.6  # each output besides: addresses, bias, limits, storing
_FEW_CHANNELS = 0.66  # a convolution of 3 channels
_DEPTHWISE = 0.9
_VECTOR = 0.46  # fully connected: one row of values
# Channels-first kernels.
_SPARSE = {1: 0.73, 2: 0.48, 4: 0.60}  # a multiply-accumulate, by output channels that share their zeros
_SPARSE_OUTPUT = 1.1
_DEPTHWISE_FIRST = 0.78
_DEPTHWISE_ROW = 38.0  # each row of a channel besides
_ENTRY = 0.39
_DISPATCH = 2000.0  # each operator, whatever its size
# An element of the output.
_ELEMENT_WISE = 1.05
_LOGISTIC = 8.3
_MOVE = 0.7
_TRANSPOSE = 4.2
_REVERSE = 9.0
_POOL = 0.7  # and of the window
_SPARSE_BLOCK_FILL = {4: 3.6, 2: 1.8}  # non-zeros that a block must have on average (convolution-nchw.c)


def instructions(graph: Graph, channels_first: frozenset[int] | set[int] = frozenset()) -> float:
    """Estimated instructions of one inference; the operators in ``channels_first`` run in the sparse path."""
    costs = [_cost(graph, op, index in channels_first) for index, op in enumerate(graph.operators)]
    return sum(costs) + _DISPATCH * sum(cost > 0 for cost in costs)


def operator_instructions(graph: Graph, operator: Operator, *, channels_first: bool = False) -> float:
    """Estimated instructions of one operator, in the sparse path where ``channels_first``."""
    found = _cost(graph, operator, channels_first)
    return found + _DISPATCH * (found > 0)


def kernel_block(weight: np.ndarray) -> int:
    """Output channels (1, 2 or 4) that XNNPACK's sparse kernel takes at once for this 1x1 weight (out, 1, 1, in)."""
    used = weight.reshape(len(weight), -1) != 0
    for block, fill in _SPARSE_BLOCK_FILL.items():
        whole = used[: len(used) // block * block].reshape(-1, block, used.shape[1])
        blocks = np.count_nonzero(whole.any(axis=1))
        if blocks and np.count_nonzero(whole) >= fill * blocks:
            return block
    return 1


def _cost(graph: Graph, operator: Operator, channels_first: bool) -> float:
    output = graph.tensors[operator.outputs[0]]
    fused = bool(operator.options.get("fusedActivationFunction"))
    if operator.kind == "CONV_2D":
        return _convolution(graph, operator, channels_first)
    if operator.kind == "DEPTHWISE_CONV_2D":
        window = graph.tensors[operator.inputs[1]].shape
        products = output.elements * window[1] * window[2]
        if channels_first:
            return products * _DEPTHWISE_FIRST + output.shape[1] * output.shape[3] * _DEPTHWISE_ROW
        return products * _DEPTHWISE
    if operator.kind == "FULLY_CONNECTED":
        return graph.tensors[operator.inputs[1]].elements * _VECTOR
    if operator.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        window = (operator.options["filterHeight"], operator.options["filterWidth"])
        return output.elements * window[0] * window[1] * _POOL
    if operator.kind == "TRANSPOSE":
        return output.elements * _TRANSPOSE
    if operator.kind == "LOGISTIC":
        return output.elements * _LOGISTIC
    if operator.kind == "REVERSE_V2":
        return output.elements * _REVERSE
    if operator.kind == "PAD":
        readers = [op for op in graph.operators if output is graph.tensors[op.inputs[0]]]
        # In front of a convolution it is part of it.
        return 0 if all("CONV_2D" in op.kind for op in readers) else output.elements * 2 * _MOVE
    if operator.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "DENSIFY"):
        return 0
    if operator.kind in ("CONCATENATION", "SPLIT", "SLICE", "STRIDED_SLICE", "DEPTH_TO_SPACE"):
        return sum(graph.tensors[t].elements for t in operator.outputs) * _MOVE
    return output.elements * _ELEMENT_WISE * (2 if fused else 1)


def _convolution(graph: Graph, operator: Operator, channels_first: bool) -> float:
    output, weight = graph.tensors[operator.outputs[0]], graph.tensors[operator.inputs[1]]
    pixels = output.elements // output.shape[3]
    if channels_first and weight.shape[1:3] == (1, 1):
        if not weight.is_dense_array or weight.data is None:  # behind the DENSIFY: the smallest of them
            return output.elements * _SPARSE_OUTPUT
        rate = _SPARSE[kernel_block(weight.data)]
        return np.count_nonzero(weight.data) * pixels * rate + output.elements * _SPARSE_OUTPUT
    if channels_first:
        return weight.elements * pixels * _ENTRY
    if weight.shape[3] < 4 and groups_of(graph, operator) == 1:
        return weight.elements * pixels * _FEW_CHANNELS
    groups = groups_of(graph, operator)
    rows = weight.shape[0] // groups
    wide = -(-rows // KERNEL_WIDTH) * KERNEL_WIDTH
    if groups == 1 and wide != rows:
        stretched = min(NARROW_KERNEL_COST, wide / rows) if rows < KERNEL_WIDTH else NARROW_KERNEL_COST
    else:
        stretched = wide / rows
    return (weight.elements * pixels * _MATRIX + output.elements * _MATRIX_OUTPUT) * stretched
