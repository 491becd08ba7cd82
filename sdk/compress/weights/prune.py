"""Magnitude pruning: the smallest weights become zero (Han et al., NIPS 2015, arXiv 1506.02626).

Works on the graph, after batch norm has been folded, so that the magnitudes compared are those that run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from sdk.compress.weights.blocks import block_of, check_block, energies, sizes, smallest, spread
from sdk.compress.weights.selection import PRUNED_LAYERS, float_weights, pruned_weights
from sdk.errors import ModelError
from sdk.graph.records import Graph


def prune(
    graph: Graph,
    sparsity: float,
    *,
    scope: str = "layer",
    layers: Collection[str] = PRUNED_LAYERS,
    skip_first: bool = True,
    block: int = 1,
    own: Mapping[int, float] | None = None,
) -> Graph:
    """Sets the ``floor(sparsity * n)`` weights of smallest magnitude to zero.

    ``scope`` "layer" counts in each layer by itself; "global" compares all of them, so that layers with small weights
    lose more. Ties are broken by position, so the count is exact and the result the same every time. ``block``
    neighbouring output channels of a 1x1 convolution share their zeros and are judged by their mean square
    (:mod:`sdk.compress.weights.blocks`); the count is then exact to within a block. ``own``: sparsities of single
    layers of any kind, by their weight's tensor number; these are counted separately. Raises :class:`ModelError` for a
    sparsity outside [0, 1), a block below 1 or an unknown scope.
    """
    own = own or {}
    for share in (sparsity, *own.values()):
        if not 0.0 <= share < 1.0:
            raise ModelError("the sparsity is out of range", expected="0 <= sparsity < 1", found=str(share))
    if scope not in ("layer", "global"):
        raise ModelError("unknown pruning scope", expected="'layer' or 'global'", found=repr(scope))
    check_block(block)
    selected = pruned_weights(graph, layers, skip_first=skip_first)
    apart = [w for w in float_weights(graph) if w.tensor_index in own] if own else []
    selected = [w for w in selected if w.tensor_index not in own]
    graph = graph.with_data(
        {w.tensor_index: prune_array(w.array, own[w.tensor_index], block_of(w, block)) for w in apart}
    )
    if not selected or not sparsity:
        return graph
    if scope == "layer":
        return graph.with_data(
            {w.tensor_index: prune_array(w.array, sparsity, block_of(w, block)) for w in selected}
        )

    scores = [energies(w.array, block_of(w, block)) for w in selected]
    unit_sizes = [sizes(w.array.shape, block_of(w, block)) for w in selected]
    count = int(np.floor(sparsity * sum(w.array.size for w in selected)))
    gone = smallest(np.concatenate(scores), np.concatenate(unit_sizes), count)
    starts = np.cumsum([0, *(s.size for s in scores)])
    return graph.with_data(
        {
            w.tensor_index: _without(w.array, gone[start : start + s.size], block_of(w, block))
            for w, s, start in zip(selected, scores, starts, strict=False)
        }
    )


def prune_array(array: np.ndarray, sparsity: float, block: int = 1) -> np.ndarray:
    """A copy of the same shape with the ``floor(sparsity * size)`` elements of smallest magnitude at zero.

    Of equal ones the earlier goes first.  ``block``: see :mod:`sdk.compress.weights.blocks`.
    """
    count = int(np.floor(sparsity * array.size))
    gone = smallest(energies(array, block), sizes(array.shape, block), count)
    return _without(array, gone, block)


def _without(array: np.ndarray, gone: np.ndarray, block: int) -> np.ndarray:
    pruned = array.copy()
    pruned[spread(gone, array.shape, block)] = 0.0
    return pruned
