"""Which layers compression works on, and why it leaves the others as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdk.compress.weights.selection import PRUNED_LAYERS, select_weights
from sdk.graph.records import Graph, Tensor

#: A constant of so many elements, and of two dimensions or more, makes its operator a layer with weights.
_LEAST_WEIGHTS = 64
#: Characters of a layer's name in a line.
_NAME_LENGTH = 48
#: Operators that have weights, however few.
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL")
#: Operators between a constant and the layer that reads it.
_UNPACKING = ("DEQUANTIZE", "DENSIFY")


@dataclass(frozen=True)
class LeftAlone:
    """A layer that stays as it is: the name of its weight, and the reason."""

    layer: str
    reason: str


@dataclass(frozen=True)
class Reach:
    """How many of a graph's layers with weights compression works on, and the others."""

    layers: int
    compressed: int
    left_alone: tuple[LeftAlone, ...]

    @property
    def reasons(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the layers left alone, by reason."""
        found: dict[str, list[str]] = {}
        for one in self.left_alone:
            found.setdefault(one.reason, []).append(one.layer)
        return {reason: tuple(names) for reason, names in found.items()}

    def lines(self, most: int = 3) -> list[str]:
        """For each reason one line: how many layers, why, and the names of the first ``most``."""
        lines = []
        for reason, names in self.reasons.items():
            more = f" and {len(names) - most} more" if len(names) > most else ""
            word = "layer" if len(names) == 1 else "layers"
            lines.append(f"{len(names)} {word}: {reason} ({', '.join(map(_short, names[:most]))}{more})")
        return lines


def _short(name: str) -> str:
    """Converters join the names of everything that they fuse; the end of the first one says most."""
    first = name.partition(";")[0]
    return first if len(first) <= _NAME_LENGTH else "..." + first[3 - _NAME_LENGTH :]


def reach(graph: Graph, *, by_magnitude: bool) -> Reach:
    """What compression of a graph works on.

    ``by_magnitude``: pruning and sharing without images, which leave the first layer and depthwise ones alone; else
    all float32 layers of a known kind are solved or trained.
    """
    selected = {weight.tensor_index for weight in select_weights(graph)}
    roles = {weight.tensor_index: weight for weight in graph.weights()}
    constants = _weights(graph)
    left, compressed = [], 0
    for index, kind in constants.items():
        tensor = graph.tensors[index]
        reason = _storage(graph, index, tensor)
        if not reason and index not in roles:
            reason = f"weights of {kind} are not compressed"
        if not reason and by_magnitude and index not in selected:
            layer = roles[index].layer
            reason = (
                "the first layer, which sees the input itself" if layer in PRUNED_LAYERS else f"{layer} layer"
            )
        if reason:
            left.append(LeftAlone(tensor.name or f"tensor {index}", reason))
        else:
            compressed += 1
    return Reach(len(constants), compressed, tuple(left))


def _weights(graph: Graph) -> dict[int, str]:
    """Every constant that counts as a layer's weights, with the kind of the operator that reads it."""
    found = {weight.tensor_index: graph.operators[weight.operator_index].kind for weight in graph.weights()}
    producers = graph.producers()
    for operator in graph.operators:
        if operator.kind in _UNPACKING:
            continue
        for number in operator.inputs:
            source = _behind(graph, number, producers)
            tensor = graph.tensors[source] if source >= 0 else None
            if tensor is None or tensor.data is None or source in found:
                continue
            least = 1 if operator.kind in _LAYERS else _LEAST_WEIGHTS
            if len(tensor.shape) > 1 and tensor.elements >= least and tensor.dtype != "STRING":
                found[source] = operator.kind
    return found


def _behind(graph: Graph, number: int, producers: Mapping[int, int]) -> int:
    """The tensor from which DEQUANTIZE and DENSIFY make this one."""
    for _ in _UNPACKING:
        maker = graph.operators[producers[number]] if number in producers else None
        if maker is None or maker.kind not in _UNPACKING or not maker.inputs:
            break
        number = maker.inputs[0]
    return number


def _storage(graph: Graph, index: int, tensor: Tensor) -> str:
    """The reason that lies in how the weights are stored; "" for dense float32."""
    if tensor.sparsity is not None:
        return "stored sparse, behind DENSIFY"
    if tensor.is_dense_array and tensor.data is not None and tensor.data.dtype == np.float32:
        return ""
    behind = any(op.kind in _UNPACKING and index in op.inputs for op in graph.operators)
    return f"{tensor.dtype.lower()} weights" + (" behind DEQUANTIZE" if behind else "")
