"""float16 weights, which DEQUANTIZE makes floats of before a layer reads them: from float32 ones, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.graph.records import Graph, Operator

LEAST_WEIGHTS = 64  # of fewer the operator takes more bytes than halves save
HALVES_VERSION = 3  # of DEQUANTIZE (TFLite, op_version.cc)


def without_halves(graph: Graph) -> Graph:
    """The graph with all its float16 constants behind DEQUANTIZE as float32 ones, exactly; tensors are renumbered."""
    halves: dict[int, np.ndarray] = {}
    for operator in graph.operators:
        tensor = graph.tensors[operator.inputs[0]] if operator.kind == "DEQUANTIZE" else None
        if (
            tensor is not None
            and tensor.dtype == "FLOAT16"
            and tensor.is_dense_array
            and tensor.data is not None
        ):
            halves[operator.inputs[0]] = tensor.data.astype(np.float32)
    return as_floats(graph, halves)


def with_halves(graph: Graph) -> Graph:
    """The graph with its float32 weights as float16 ones, as TFLite's float16 quantisation writes them.

    They take half the bytes; the runtime makes floats of them once, when it loads them. Weights that float16 cannot
    hold stay; tensors are renumbered.
    """
    editor = Editor(graph)
    made: set[int] = set()
    for weight in graph.weights():
        number, tensor = weight.tensor_index, weight.tensor
        if number in made or tensor.dtype != "FLOAT32" or not tensor.is_dense_array:
            continue
        if tensor.elements < LEAST_WEIGHTS or np.abs(weight.array).max() > np.finfo(np.float16).max:
            continue
        made.add(number)
        half = editor.constant(f"{tensor.name}/half", weight.array.astype(np.float16))
        editor.tensors[number] = replace(tensor, data=None)
        unpack = Operator("DEQUANTIZE", (half,), (number,), {}, "DequantizeOptions", version=HALVES_VERSION)
        first = min(place for place, one in enumerate(graph.operators) if number in one.inputs)
        editor.replace(first, [unpack, *editor.slot(first)])
    return editor.graph() if made else graph


def as_floats(graph: Graph, values: Mapping[int, np.ndarray]) -> Graph:
    """The graph in which what DEQUANTIZE makes of some tensors are constants; tensors are renumbered.

    ``values``: float32 arrays of their shapes, such as (64, 3, 3, 32), by the number of the unpacked tensor.
    """
    if not values:
        return graph
    editor = Editor(graph)
    for place, operator in enumerate(graph.operators):
        if operator.kind == "DEQUANTIZE" and operator.inputs[0] in values:
            made = operator.outputs[0]
            editor.tensors[made] = replace(editor.tensors[made], data=values[operator.inputs[0]])
            editor.replace(place, [])
    return editor.graph()
