"""Magnitude pruning: the smallest weights become zero (Han et al., NIPS 2015, arXiv 1506.02626).

Works on the graph, after batch norm has been folded, so that the magnitudes compared are those that run.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from sdk.errors import ModelError
from sdk.graph import Graph, Weight

# Depthwise kernels hold a percent of a MobileNet's weights and lose accuracy first, so they are left alone.
PRUNED_LAYERS = ("convolution 1x1", "convolution", "fully connected")


def select_weights(
    graph: Graph, layers: Collection[str] = PRUNED_LAYERS, *, skip_first: bool = True
) -> list[Weight]:
    """The float weights that a pass works on: of the layers named, without the network's first layer.

    The first layer sees the image itself, is small, and is as sensitive as the depthwise ones.
    """
    weights = list(graph.weights())
    first = weights[0].tensor_index if weights and skip_first and len(weights) > 1 else -1
    return [
        w
        for w in weights
        if w.layer in layers
        and w.tensor_index != first
        and w.tensor.is_dense_array
        and w.array.dtype == np.float32
    ]


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
