"""8-bit weights under float values, which the runtime rounds to 8 bits as they come: no images are needed.

Weights of convolutions without groups and of fully connected layers are rounded, with one scale per output channel (per
layer where it is fully connected), as TFLite's dynamic-range quantisation does; biases and depthwise layers stay float.
This is twice as fast on cores with dot-product instructions (Cortex-A76), and no faster on others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.structure import groups_of
from sdk.graph.records import Graph, Quantization

LEAST_WEIGHTS = 1024  # smaller layers stay float, as in TFLite
MOST = 127
#: Versions of the operators whose kernels take 8-bit weights and float values (TFLite, op_version.cc).
_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 3}


def dynamic_range(graph: Graph) -> Graph:
    """The graph with 8-bit weights wherever the kernels take them beside float values; the others stay."""
    tensors, operators = list(graph.tensors), list(graph.operators)
    readers = graph.consumers()
    for weight in graph.weights():
        operator, tensor = operators[weight.operator_index], weight.tensor
        if (
            operator.kind not in _VERSIONS
            or tensor.dtype != "FLOAT32"
            or not tensor.is_dense_array
            or tensor.elements < LEAST_WEIGHTS
            or len(readers[weight.tensor_index]) != 1
            or graph.tensors[operator.inputs[0]].dtype != "FLOAT32"
            or (operator.kind == "CONV_2D" and groups_of(graph, operator) > 1)
        ):
            continue
        rows = weight.array.reshape(len(weight.array), -1)
        largest = np.abs(rows).max(axis=1)
        if operator.kind == "FULLY_CONNECTED":
            largest = largest.max(keepdims=True)
        # A channel of zeros has the scale of the largest: a scale of 0 is not allowed.
        scales = np.where(largest > 0, largest, max(float(largest.max()), 1e-6)).astype(np.float32) / MOST
        numbers = np.clip(np.rint(rows / scales[:, None]), -MOST, MOST).astype(np.int8)
        tensors[weight.tensor_index] = replace(
            tensor,
            dtype="INT8",
            data=numbers.reshape(tensor.shape),
            quantization=Quantization(scales, np.zeros(len(scales), np.int64), axis=0),
        )
        operators[weight.operator_index] = replace(
            operator, version=max(operator.version, _VERSIONS[operator.kind])
        )
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators))
