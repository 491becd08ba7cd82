"""One DENSIFY operator: the hint that lets XNNPACK run the zeros of all 1x1 convolutions sparse.

XNNPACK has kernels that multiply channels-first values by sparse 1x1 weights (Fast Sparse ConvNets, arXiv 1911.09723).
TFLite's delegate turns them on when the model holds a DENSIFY operator (tensorflow/lite/delegates/xnnpack/README.md,
"Sparse Inference"), and one is enough: every other weight stays an ordinary tensor with zeros in it.  So the smallest
1x1 weight is stored sparsely (compressed rows) behind a DENSIFY, and nothing else changes.

Whether the kernels are then used depends on the rest of the graph; :mod:`sdk.compress.board_form.sparse_path` says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.structure import has_sparse_hint
from sdk.errors import ModelError
from sdk.graph.enums import DENSE, INT32_VECTOR, SPARSE_CSR
from sdk.graph.records import Graph, Operator, Tensor


def sparse_hint(graph: Graph) -> Graph:
    """Puts the smallest 1x1 weight that holds a zero behind a DENSIFY; a graph that has one stays as it is.

    Raises :class:`ModelError` where no float32 1x1 convolution holds a zero.
    """
    if has_sparse_hint(graph):
        return graph
    candidates = [
        weight
        for weight in graph.weights()
        if weight.layer == "convolution 1x1"
        and weight.tensor.dtype == "FLOAT32"
        and weight.tensor.is_dense_array
        and 0 < np.count_nonzero(weight.array) < weight.array.size
    ]
    if not candidates:
        raise ModelError(
            "there is nothing to run sparse",
            expected="a float32 1x1 convolution with zeros in it",
            found="none",
        )
    chosen = min(candidates, key=lambda weight: np.count_nonzero(weight.array))
    editor = Editor(graph)
    dense = editor.value(chosen.tensor.name, chosen.tensor.shape)
    editor.redirect(chosen.tensor_index, dense)
    editor.tensors[chosen.tensor_index] = compressed_rows(chosen.tensor)
    # In front of everything: the readers of the weight may be several.
    first = editor.slot(0)
    editor.replace(0, [Operator("DENSIFY", (chosen.tensor_index,), (dense,), {}, "DensifyOptions"), *first])
    return editor.graph()


def compressed_rows(tensor: Tensor) -> Tensor:
    """The tensor with its zeros left out: all axes dense but the last, whose non-zeros are listed row by row."""
    from ai_edge_litert import schema_py_generated as schema

    assert tensor.data is not None
    rows = tensor.data.reshape(-1, tensor.shape[-1])
    segments = np.concatenate([[0], np.cumsum(np.count_nonzero(rows, axis=1))]).astype(np.int32)
    row, column = np.nonzero(rows)
    return replace(
        tensor,
        name=f"{tensor.name}_sparse",
        data=np.ascontiguousarray(rows[row, column]).view(np.uint8),
        sparsity=_sparsity(schema, tensor.shape, segments, column.astype(np.int32)),
    )


def _sparsity(schema: Any, shape: tuple[int, ...], segments: np.ndarray, columns: np.ndarray) -> Any:
    def vector(values: np.ndarray) -> Any:
        out = schema.Int32VectorT()
        out.values = values
        return out

    axes = []
    for length in shape[:-1]:
        axis = schema.DimensionMetadataT()
        axis.format, axis.denseSize = DENSE, length
        axes.append(axis)
    last = schema.DimensionMetadataT()
    last.format = SPARSE_CSR
    last.arraySegmentsType, last.arraySegments = INT32_VECTOR, vector(segments)
    last.arrayIndicesType, last.arrayIndices = INT32_VECTOR, vector(columns)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = np.arange(len(shape), dtype=np.int32)
    sparsity.dimMetadata = [*axes, last]
    return sparsity
