"""Which weights the passes work on: one definition for all of them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from sdk.graph.records import Graph, Weight

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


def layer_names(graph: Graph) -> dict[str, Weight]:
    """The layers with weights, under the names by which a recipe knows them: the weight's, numbered if not unique."""
    found: dict[str, Weight] = {}
    for weight in graph.weights():
        name, number = weight.tensor.name, 1
        while name in found:
            number += 1
            name = f"{weight.tensor.name} ({number})"
        found[name] = weight
    return found
