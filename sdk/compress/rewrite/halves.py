"""float16 constants, which DEQUANTIZE makes floats of before a layer reads them, as float32 ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.graph.records import Graph


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
