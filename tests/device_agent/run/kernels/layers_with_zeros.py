"""Small networks with zeros, for tests of the kernels."""

from __future__ import annotations

import numpy as np

from sdk.graph.records import Graph, Operator, Signature, Tensor
from sdk.graph.writer import write_graph


def sparse_matrix(
    rows: int, columns: int, keep: float, *, block: int = 1, values: int | None = 15, seed: int = 0
) -> np.ndarray:
    """(rows, columns) float32 of which a share is kept in blocks of rows, of so many values (None: of any)."""
    rng = np.random.default_rng(seed)
    mask = np.repeat(rng.random((-(-rows // block), columns)) < keep, block, axis=0)[:rows]
    full = rng.standard_normal((rows, columns))
    if values is not None:
        full = rng.standard_normal(values)[rng.integers(0, values, (rows, columns))]
    return np.where(mask, full, 0.0).astype(np.float32)


def classifier(matrices: list[np.ndarray], *, batch: int = 1, activation: int = 1) -> bytes:
    """A .tflite of fully connected layers, one matrix (outputs, inputs) each; all but the last have an activation."""
    rng = np.random.default_rng(1)
    tensors = [Tensor("x", (batch, matrices[0].shape[1]), "FLOAT32")]
    operators = []
    for number, matrix in enumerate(matrices):
        rows = matrix.shape[0]
        bias = rng.standard_normal(rows).astype(np.float32)
        tensors += [
            Tensor(f"weights{number}", matrix.shape, "FLOAT32", matrix),
            Tensor(f"bias{number}", (rows,), "FLOAT32", bias),
            Tensor(f"y{number}", (batch, rows), "FLOAT32"),
        ]
        last = len(tensors) - 1
        options = {"fusedActivationFunction": activation if number < len(matrices) - 1 else 0}
        inputs = (last - 3, last - 2, last - 1)
        operators.append(Operator("FULLY_CONNECTED", inputs, (last,), options, "FullyConnectedOptions"))
    last = len(tensors) - 1
    signature = Signature("serving_default", (("x", 0),), (("y", last),))
    return write_graph(Graph(tuple(tensors), tuple(operators), (0,), (last,), signatures=(signature,)))
