"""A branch of zeros, which lets XNNPACK run a network sparse from less than two thirds of zeros on.

XNNPACK runs a cluster sparse if more than two thirds of its 1x1 weights are zero, a threshold for weights pruned one by
one. In pairs of channels the sparse kernels win earlier, from about a third of zeros on. So where the share is too
small, the value before the last mean, which has the fewest pixels, gets nothing added: two 1x1 convolutions whose
weights are all zero, and a sum. The sparse kernels skip every one of those weights; only some zeros are written, a
thousandth of the inference. The file grows by the zeros, the package does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor, add, convolution
from sdk.compress.rewrite.structure import last_mean, zeros
from sdk.errors import UnsupportedOperator
from sdk.graph.records import Graph


def zero_branch(graph: Graph, count: int) -> Graph:
    """Adds nothing to the value that the last mean over space reads, by way of at least ``count`` weights of zero.

    Raises :class:`UnsupportedOperator` where the graph has no such mean or it reads something else than float32.
    """
    mean = last_mean(graph)
    value = graph.operators[mean].inputs[0] if mean is not None else -1
    if mean is None or graph.tensors[value].dtype != "FLOAT32":
        raise UnsupportedOperator(
            "a branch of zeros has no place", expected="a MEAN of float32 over space", found="none"
        )
    editor = Editor(graph)
    shape = graph.tensors[value].shape
    channels = shape[3]
    inner = -(-count // (2 * channels))
    name = graph.tensors[value].name
    nothing = editor.value(f"{name}_zeros", (*shape[:3], inner))
    back = editor.value(f"{name}_zeros_back", shape)
    result = editor.value(f"{name}_with_zeros", shape)
    operators = [
        convolution(
            value,
            editor.constant(f"{name}_zero_weight", np.zeros((inner, 1, 1, channels), np.float32)),
            editor.constant(f"{name}_zero_bias", zeros(inner)),
            nothing,
        ),
        convolution(
            nothing,
            editor.constant(f"{name}_zero_weight_back", np.zeros((channels, 1, 1, inner), np.float32)),
            editor.constant(f"{name}_zero_bias_back", zeros(channels)),
            back,
        ),
        add(value, back, result),
    ]
    (operator,) = editor.slot(mean)
    inputs = (result, *operator.inputs[1:])
    editor.replace(mean, [*operators, replace(operator, inputs=inputs)])
    return editor.graph()
