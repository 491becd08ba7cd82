"""Magnitude pruning: the smallest weights become zero (Han et al., NIPS 2015, arXiv 1506.02626).

Works on the graph, after batch norm has been folded, so that the magnitudes compared are those that run.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from sdk.compress.selection import PRUNED_LAYERS, select_weights
from sdk.errors import ModelError
from sdk.graph import Graph


def prune(
    graph: Graph,
    sparsity: float,
    *,
    scope: str = "layer",
    layers: Collection[str] = PRUNED_LAYERS,
    skip_first: bool = True,
) -> Graph:
    """Sets the ``floor(sparsity * n)`` weights of smallest magnitude to zero.

    ``scope`` "layer" counts in each layer by itself; "global" compares all of them, so that layers with small
    weights lose more.  Ties are broken by position, so the count is exact and the result the same every time.
    Raises :class:`ModelError` for a sparsity outside [0, 1) or an unknown scope.
    """
    if not 0.0 <= sparsity < 1.0:
        raise ModelError("the sparsity is out of range", expected="0 <= sparsity < 1", found=str(sparsity))
    if scope not in ("layer", "global"):
        raise ModelError("unknown pruning scope", expected="'layer' or 'global'", found=repr(scope))
    selected = select_weights(graph, layers, skip_first=skip_first)
    if not selected:
        return graph
    if scope == "layer":
        return graph.with_data({w.tensor_index: prune_array(w.array, sparsity) for w in selected})

    flat = np.concatenate([w.array.ravel() for w in selected])
    flat = prune_array(flat, sparsity)
    changes, start = {}, 0
    for weight in selected:
        end = start + weight.array.size
        changes[weight.tensor_index] = flat[start:end].reshape(weight.array.shape)
        start = end
    return graph.with_data(changes)


def prune_array(array: np.ndarray, sparsity: float) -> np.ndarray:
    """A copy with the ``floor(sparsity * size)`` elements of smallest magnitude at zero; ties go by position."""
    pruned = array.copy()
    count = int(np.floor(sparsity * array.size))
    order = np.argsort(np.abs(array), axis=None, kind="stable")
    pruned.reshape(-1)[order[:count]] = 0.0
    return pruned
