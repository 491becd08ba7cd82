"""Cross-layer equalisation: channels get similar ranges on both sides of an activation, and the answers stay.

Where one layer's channels are read by one other layer alone, with nothing between that is not homogeneous (ReLU, pools,
a flattening), channel i may be divided by a positive s and the weights that read it multiplied by s.  With s =
sqrt(r1 / r2), from the largest weights that make and that read a channel, both ranges become sqrt(r1 r2) (Nagel et al.
2019, arXiv 1906.04721, section 4.1), so that centroids which a layer's channels share fit all of them.

ReLU6 is not homogeneous: 6 is 6 on either side.  Such pairs are left alone, which leaves out most of a MobileNet.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sdk.compress.rewrite.structure import groups_of
from sdk.graph.enums import NO_ACTIVATION, RELU
from sdk.graph.records import Graph, Operator

ROUNDS = 20  # over all pairs; a layer in the middle belongs to two
SETTLED = 1e-3  # a round that changes no channel by more ends it
LIMIT = 1e4  # channels are not scaled further than this, in all
_HOMOGENEOUS = frozenset({"RELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE"})


def pairs(graph: Graph) -> list[tuple[int, int]]:
    """Operator numbers of layers that follow each other and may be scaled against each other."""
    return list(_pairs(graph))


def equalise(graph: Graph) -> Graph:
    """The graph with alike channels; its answers differ by rounding alone."""
    found = pairs(graph)
    arrays = {
        t: np.array(graph.tensors[t].data, np.float64)
        for pair in found
        for index in pair
        for t in graph.operators[index].inputs[1:3]
        if t >= 0
    }
    total = {pair: np.ones(_channels(graph, pair[0])) for pair in found}
    for _ in range(ROUNDS):
        furthest = 0.0
        for pair in found:
            made, read = (
                _by_channel(graph, n, arrays, reads=n == pair[1], channels=len(total[pair])) for n in pair
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                scale = np.sqrt(np.abs(made).max(axis=1) / np.abs(read).max(axis=1))
            scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
            scale = np.clip(scale * total[pair], 1 / LIMIT, LIMIT) / total[pair]
            total[pair] *= scale
            _scale(graph, pair, arrays, scale)
            furthest = max(furthest, float(np.abs(np.log(scale)).max()))
        if furthest < SETTLED:
            break
    return graph.with_data({t: array.astype(np.float32) for t, array in arrays.items()})


def _pairs(graph: Graph) -> Iterator[tuple[int, int]]:
    consumers = graph.consumers()
    for index, operator in enumerate(graph.operators):
        if not _is_layer(graph, operator):
            continue
        passed, tensor = operator, operator.outputs[0]
        while passed.options.get("fusedActivationFunction", NO_ACTIVATION) in (NO_ACTIVATION, RELU):
            readers = consumers.get(tensor, [])
            if len(readers) != 1 or tensor in graph.outputs:
                break
            passed = graph.operators[readers[0]]
            if _is_layer(graph, passed):
                if passed.inputs[0] == tensor and _reads_channels(graph, operator, passed):
                    yield index, readers[0]
                break
            if not _keeps_channels(graph, passed):
                break
            tensor = passed.outputs[0]


def _is_layer(graph: Graph, operator: Operator) -> bool:
    """A layer whose float weights and bias nobody else reads; a depthwise one makes one channel of each."""
    if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return False
    consumers = graph.consumers()
    for tensor in operator.inputs[1:3]:
        described = graph.tensors[tensor] if tensor >= 0 else None
        if described is not None and not (
            described.is_dense_array and described.dtype == "FLOAT32" and len(consumers[tensor]) == 1
        ):
            return False
    if operator.kind == "CONV_2D":
        return groups_of(graph, operator) == 1
    return operator.kind == "FULLY_CONNECTED" or operator.options.get("depthMultiplier", 1) == 1


def _keeps_channels(graph: Graph, operator: Operator) -> bool:
    if operator.kind not in _HOMOGENEOUS:
        return False
    before, after = (graph.tensors[t].shape for t in (operator.inputs[0], operator.outputs[0]))
    if operator.kind == "RESHAPE":  # a flattening: channels are the fastest axis
        return len(before) in (2, 4) and after == (1, int(np.prod(before)))
    return before[-1] == after[-1]


def _channels(graph: Graph, index: int) -> int:
    operator = graph.operators[index]
    shape = graph.tensors[operator.inputs[1]].shape
    return shape[3] if operator.kind == "DEPTHWISE_CONV_2D" else shape[0]


def _reads_channels(graph: Graph, maker: Operator, reader: Operator) -> bool:
    made = graph.tensors[maker.outputs[0]].shape[-1]
    return graph.tensors[reader.inputs[1]].shape[-1] % made == 0


def _by_channel(
    graph: Graph, index: int, arrays: dict[int, np.ndarray], *, reads: bool, channels: int
) -> np.ndarray:
    """(channels, weights): what makes each channel, or what reads it."""
    operator = graph.operators[index]
    array = arrays[operator.inputs[1]]
    if operator.kind == "DEPTHWISE_CONV_2D" or reads:
        return np.moveaxis(array.reshape(-1, channels), 1, 0)
    return array.reshape(channels, -1)


def _scale(graph: Graph, pair: tuple[int, int], arrays: dict[int, np.ndarray], scale: np.ndarray) -> None:
    maker, reader = (graph.operators[index] for index in pair)
    made = arrays[maker.inputs[1]]
    shape = (-1, *[1] * (made.ndim - 1)) if maker.kind != "DEPTHWISE_CONV_2D" else (-1,)
    made /= scale.reshape(shape)
    if len(maker.inputs) > 2 and maker.inputs[2] >= 0:
        arrays[maker.inputs[2]] /= scale
    read = arrays[reader.inputs[1]]
    arrays[reader.inputs[1]] = (read.reshape(-1, len(scale)) * scale).reshape(read.shape)
