"""Which weights the passes work on: one definition for all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from sdk.graph.before_choice import behind_all_values
from sdk.graph.records import Graph, Tensor, Weight

# Depthwise kernels hold a percent of a MobileNet's weights and lose accuracy first, so they are left alone.
PRUNED_LAYERS = ("convolution 1x1", "convolution", "fully connected", "recurrent", "embedding")
#: A constant of this many elements, and of two dimensions or more, makes its operator a layer with weights.
LEAST_WEIGHTS = 64
#: Operators that have weights, however few.
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL")
#: Operators between a constant and the layer that reads it.
UNPACKING = ("DEQUANTIZE", "DENSIFY")
#: What a table calls the constants of operators that are not a layer of :data:`sdk.graph.records.WEIGHT_ROLES`.
_ROLES = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "recurrent",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "recurrent",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "recurrent",
    "BIDIRECTIONAL_SEQUENCE_RNN": "recurrent",
    "LSTM": "recurrent",
    "RNN": "recurrent",
    "SVDF": "recurrent",
    "GATHER": "embedding",
    "EMBEDDING_LOOKUP": "embedding",
    "EMBEDDING_LOOKUP_SPARSE": "embedding",
    "BATCH_MATMUL": "fully connected",
    "CONV_3D_TRANSPOSE": "convolution",
}
_FLOATS = ("FLOAT32", "FLOAT16")
_EIGHT_BITS = ("INT8", "UINT8")


def constant_weights(graph: Graph) -> list[Weight]:
    """Every constant that counts as weights, in the order of execution, each once, however it is stored.

    They are those of :meth:`Graph.weights`, and the constants that other operators read, through DEQUANTIZE and
    DENSIFY: matrices of recurrent layers, tables of embeddings, constants of products. ``layer`` is the kind of the
    operator where it has no name.
    """
    roles = {weight.tensor_index: weight for weight in graph.weights()}
    producers = graph.producers()
    found: dict[int, Weight] = {}
    for place, operator in enumerate(graph.operators):
        if operator.kind in UNPACKING:
            continue
        for number in operator.inputs:
            source = behind_unpacking(graph, number, producers)
            tensor = graph.tensors[source] if source >= 0 else None
            if tensor is None or tensor.data is None or source in found:
                continue
            if source in roles:
                found[source] = roles[source]
                continue
            least = 1 if operator.kind in _LAYERS else LEAST_WEIGHTS
            if len(tensor.shape) > 1 and tensor.elements >= least and tensor.dtype != "STRING":
                found[source] = Weight(place, source, _layer(graph, place, number, tensor), tensor, 0)
    return list(found.values())


def _layer(graph: Graph, place: int, number: int, tensor: Tensor) -> str:
    """What a table calls the layer that reads this tensor."""
    operator = graph.operators[place]
    if len(operator.inputs) > 1 and number == operator.inputs[1]:
        if operator.kind == "CONV_2D":
            return "convolution 1x1" if tensor.shape[1:3] == (1, 1) else "convolution"
        if operator.kind in ("TRANSPOSE_CONV", "CONV_3D"):
            return "convolution"
        if operator.kind == "DEPTHWISE_CONV_2D":
            return "depthwise"
        if operator.kind == "FULLY_CONNECTED":
            return "fully connected"
    return _ROLES.get(operator.kind, operator.custom_code or operator.kind)


def behind_unpacking(graph: Graph, number: int, producers: Mapping[int, int]) -> int:
    """The tensor from which DEQUANTIZE and DENSIFY make this one."""
    for _ in UNPACKING:
        maker = graph.operators[producers[number]] if number in producers else None
        if maker is None or maker.kind not in UNPACKING or not maker.inputs:
            break
        number = maker.inputs[0]
    return number


def is_float(tensor: Tensor) -> bool:
    """Whether a constant holds dense float32 or float16 values, which pruning and sharing work on."""
    return tensor.is_dense_array and tensor.dtype in _FLOATS


def float_weights(graph: Graph) -> list[Weight]:
    """The constant weights that are stored as dense float32 or float16, of every kind of operator.

    Those that only a choice reads, such as a detector's anchors, stay as they are, here and below.
    """
    return [weight for weight in _before_choice(graph) if is_float(weight.tensor)]


def is_stored(tensor: Tensor) -> bool:
    """Whether a constant holds dense 8-bit numbers with a scale, which a coarser grid works on."""
    scaled = tensor.quantization is not None and len(tensor.quantization.scales) > 0
    return tensor.is_dense_array and tensor.dtype in _EIGHT_BITS and scaled


def stored_weights(graph: Graph) -> list[Weight]:
    """The constant weights that are stored as dense 8-bit numbers with scales, of every kind of operator."""
    return [weight for weight in _before_choice(graph) if is_stored(weight.tensor)]


def _before_choice(graph: Graph) -> list[Weight]:
    behind = behind_all_values(graph)
    return [weight for weight in constant_weights(graph) if weight.operator_index not in behind]


def pruned_weights(
    graph: Graph, layers: Collection[str] = PRUNED_LAYERS, *, skip_first: bool = True
) -> list[Weight]:
    """The float weights to which one share for all applies: of the layers named, without the network's first layer.

    The first layer sees the image itself, is small, and is as sensitive as the depthwise ones.
    """
    weights = _before_choice(graph)
    first = weights[0].tensor_index if weights and skip_first and len(weights) > 1 else -1
    return [w for w in weights if w.layer in layers and w.tensor_index != first and is_float(w.tensor)]


def select_weights(
    graph: Graph, layers: Collection[str] = PRUNED_LAYERS, *, skip_first: bool = True
) -> list[Weight]:
    """The weights that are solved and trained: as :func:`pruned_weights`, float32 of the kinds of Graph.weights."""
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
    known = list(graph.weights())
    numbers = {weight.tensor_index for weight in known}
    for weight in (*known, *(w for w in constant_weights(graph) if w.tensor_index not in numbers)):
        name, number = weight.tensor.name, 1
        while name in found:
            number += 1
            name = f"{weight.tensor.name} ({number})"
        found[name] = weight
    return found
