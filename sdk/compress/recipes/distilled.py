"""A network without some of its channels learns from the original, layer by layer.

Composes like :mod:`sdk.compress.recipes.recipe`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdk.compress.solve.calibrate import SolvedLayer, solved_layers, with_biases
from sdk.compress.solve.whitening import Whitening, whitenings
from sdk.compress.solve.whole_channels.narrowing import Narrowed, mixed
from sdk.compress.train.distilling import Distillation, Hint, WhitenedLayer, distil
from sdk.compress.train.moving import moves_borne
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import Progress

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset


def distilled(
    narrowed: Narrowed, original: Graph, dataset: Dataset, epochs: int, seed: int, progress: Progress
) -> Graph:
    """The narrow graph after it learned for some epochs what the layers of ``original`` make of the images."""
    small, whole = Executor(narrowed.graph), Executor(with_biases(original))
    dataset = mixed(dataset, seed)
    solved = solved_layers(narrowed.graph)
    white = whitenings(small, solved, dataset.images, len(dataset))
    # A weight of two layers stays as it is, and that of a layer too wide to be whitened.
    read = Counter(layer.weight.tensor_index for layer in solved)
    layers = [
        _layer(one, white[one.weight.operator_index])
        for one in solved
        if one.weight.operator_index in white and read[one.weight.tensor_index] == 1
    ]
    flip, shift = moves_borne(whole, dataset)
    how = Distillation(epochs, crops=shift > 0, flip=flip, seed=seed)
    hints = _hints(small, whole.graph, narrowed.places, solved)
    return distil(small, whole, layers, hints, dataset, how, progress)


def _layer(solved: SolvedLayer, whitening: Whitening) -> WhitenedLayer:
    return WhitenedLayer(
        solved.weight.tensor_index,
        solved.bias,
        solved.shape.unfold(solved.weight.array),
        whitening.mean,
        whitening.white,
        whitening.back,
        solved.shape.kind == "DEPTHWISE_CONV_2D",
    )


def _hints(
    small: Executor, whole: Graph, places: Mapping[str, np.ndarray], solved: Sequence[SolvedLayer]
) -> list[Hint]:
    """What layers make, but depthwise ones and the last, and what fully connected ones read: tensors whose name stands
    for one tensor in both graphs."""
    narrow, answers = small.graph, {tensor for tensor, _ in small.answers}
    wanted = []
    for layer in solved:
        made = narrow.operators[layer.weight.operator_index].outputs[0]
        if layer.shape.kind != "DEPTHWISE_CONV_2D" and made not in answers:
            wanted.append(made)
        if int(np.prod(narrow.tensors[layer.source].shape[1:-1])) == 1:
            wanted.append(layer.source)
    once = [Counter(tensor.name for tensor in graph.tensors) for graph in (narrow, whole)]
    number = {tensor.name: n for n, tensor in enumerate(whole.tensors)}
    return [
        Hint(tensor, number[name], places[name])
        for tensor in dict.fromkeys(wanted)
        if (name := narrow.tensors[tensor].name) in places and all(count[name] == 1 for count in once)
    ]
