"""Pruning in the pattern that XNNPACK's sparse kernels like best: two output channels, one set of zeros.

The kernels multiply 32 pixels by one, two or four output channels that share their non-zeros; XNNPACK looks at each
weight and takes the widest block of which 90 % is filled (``src/operators/convolution-nchw.c``).  Instructions for a
multiply-accumulate, counted on Cortex-A72 with ai-edge-litert 2.3, MobileNet V1 at 80 % zeros: single channels 0.76,
pairs 0.51, fours 0.63 (the kernel for four runs out of registers).  So pairs are worth 1.5 times at equal sparsity.
The price is that two weights stay or go together: a pair is judged by the sum of its squares.
"""

from __future__ import annotations

import numpy as np

from sdk.errors import ModelError
from sdk.graph import Graph

#: Output channels that share their zeros, in the kernel that costs least for a product.
BLOCK = 2


def prune_blocks(graph: Graph, sparsity: float, *, block: int = BLOCK) -> Graph:
    """Sets the share ``sparsity`` of every float 1x1 convolution to zero, ``block`` output channels at a time.

    Neighbouring output channels share a pattern; a layer whose channels ``block`` does not divide keeps its last ones.
    Blocks do not cross the borders of groups where the groups' channels are a multiple of ``block``.
    Raises :class:`ModelError` for a sparsity outside [0, 1) or a block below 1.
    """
    if not 0.0 <= sparsity < 1.0:
        raise ModelError("the sparsity is out of range", expected="0 <= sparsity < 1", found=str(sparsity))
    if block < 1:
        raise ModelError("the block is out of range", expected="1 or more", found=str(block))
    changes = {}
    for weight in graph.weights():
        if (
            weight.layer == "convolution 1x1"
            and weight.tensor.is_dense_array
            and weight.array.dtype == np.float32
        ):
            changes[weight.tensor_index] = _prune(weight.array, sparsity, block)
    return graph.with_data(changes)


def _prune(array: np.ndarray, sparsity: float, block: int) -> np.ndarray:
    rows = len(array) // block * block
    blocks = array[:rows].reshape(rows // block, block, -1)
    energy = np.square(blocks, dtype=np.float64).sum(axis=1)
    gone = np.argsort(energy, axis=None, kind="stable")[: int(np.floor(sparsity * energy.size))]
    keep = np.ones(energy.size, bool)
    keep[gone] = False
    pruned = array.copy()
    pruned[:rows] = (blocks * keep.reshape(energy.shape)[:, None, :]).reshape(pruned[:rows].shape)
    return pruned
