"""The layers that become two of low rank, judged by the effort that follows, and the graph with those.

Composes like :mod:`sdk.compress.recipes.recipe`, whose ``ranks`` this module finds and applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from device_agent.record.kinds import TableKind
from device_agent.record.named_kinds import Size, TensorName
from sdk.compress.rewrite.low_rank import CHANNEL_BITS, SAVING, candidates, factorise, factors, winning_rank
from sdk.compress.solve.calibrate import output_sensitivities, with_biases
from sdk.compress.solve.layer import STEP_FACTOR, entropy_bits
from sdk.compress.solve.statistics import input_covariances
from sdk.compress.weights.cluster import cluster_array
from sdk.compress.weights.prune import prune_array
from sdk.compress.weights.selection import layer_names
from sdk.errors import ModelError
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import Progress

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

if TYPE_CHECKING:
    Ranks = tuple[tuple[str, int], ...]  # by the names of ``layer_names``
else:
    Ranks = TableKind(TensorName, Size, as_pairs=True)

SAMPLES = 64  # images that tell what a layer sees: the decision needs no more
# How factors may be coded without data: sparsity and centroids, the hardest first.
CODINGS = ((0.7, 32), (0.5, 64), (0.25, 128), (0.0, 256))


def without_data(graph: Graph, sparsity: float, clusters: int) -> tuple[Ranks, dict[str, tuple[float, int]]]:
    """The ranks that win where weights are pruned and shared, and the sparsity and centroids of the factors.

    A rank is first found with the bits of rounding in place of pruning and sharing, which is quick. Then it is tried:
    it is kept where the pruned and shared factors take fewer bits than the layer's own pruned and shared weights, and
    their product is no further from the original.
    """
    names = {weight.tensor_index: name for name, weight in layer_names(graph).items()}
    ranks, codings = [], {}
    for weight in candidates(graph):
        matrix = weight.array.reshape(weight.array.shape[0], -1)
        now = _shared(matrix, sparsity, clusters)
        error = _squared(matrix - now)
        step = float(np.sqrt(12 * error / matrix.size))
        won = winning_rank(matrix, step) if step > 0 else None
        coding = None if won is None else _coding(matrix, won[0], SAVING * entropy_bits(now), error)
        if won is not None and coding is not None:
            name = names[weight.tensor_index]
            ranks.append((name, won[0]))
            codings.update({f"{name}/in": coding, f"{name}/out": coding})
    return tuple(ranks), codings


def _coding(matrix: np.ndarray, rank: int, bits: float, error: float) -> tuple[float, int] | None:
    """The hardest coding of both factors with an error no larger, if it takes fewer bits."""
    pair = factors(matrix, rank)
    for coding in CODINGS:
        first, second = (_shared(factor, *coding) for factor in pair)
        if _squared(matrix - first @ second) <= error:
            needed = entropy_bits(first) + entropy_bits(second) + CHANNEL_BITS * rank
            return coding if needed < bits else None
    return None


def with_data(graph: Graph, dataset: Dataset, price: float, report: Progress) -> Ranks:
    """The ranks that win where layers are calibrated at ``price`` nats per bit."""
    if not candidates(graph):
        return ()
    names = {weight.tensor_index: name for name, weight in layer_names(graph).items()}
    whole = with_biases(graph)  # adds biases at the end: tensors keep their numbers
    executor, few = Executor(whole), dataset.take(SAMPLES)

    def images(samples: object) -> np.ndarray:
        return few.images(list(samples))  # type: ignore[call-overload]

    fisher = output_sensitivities(executor, images, len(few), progress=report)
    seen = _covariances(graph, few, report)
    found = []
    for weight in candidates(graph):
        matrix = weight.array.reshape(weight.array.shape[0], -1)
        won = winning_rank(
            matrix,
            float(np.sqrt(STEP_FACTOR * price)),
            fisher[weight.operator_index].channels,
            seen[weight.tensor_index],
        )
        if won is not None:
            found.append((names[weight.tensor_index], won[0]))
    return tuple(found)


def factorised(graph: Graph, ranks: Ranks, dataset: Dataset | None, report: Progress) -> Graph:
    """The graph with its layers of low rank; where there are images, nearest in what the layers make of those."""
    if not ranks:
        return graph
    names = layer_names(graph)
    if unknown := [name for name, _ in ranks if name not in names]:
        raise ModelError(
            "the recipe is for another model",
            expected=f"a layer {unknown[0]!r}",
            found=", ".join(list(names)[:3]),
        )
    seen = {} if dataset is None else _covariances(graph, dataset.take(SAMPLES), report)
    return factorise(graph, {names[name].tensor_index: rank for name, rank in ranks}, seen)


def _covariances(graph: Graph, dataset: Dataset, report: Progress) -> dict[int, np.ndarray]:
    layers = candidates(graph)
    found = input_covariances(
        Executor(graph), [w.operator_index for w in layers], dataset.images, len(dataset), report
    )
    return {w.tensor_index: found[w.operator_index] for w in layers}


def _shared(matrix: np.ndarray, sparsity: float, clusters: int) -> np.ndarray:
    pruned = prune_array(matrix, sparsity) if sparsity else matrix
    return cluster_array(pruned, clusters) if clusters else pruned


def _squared(matrix: np.ndarray) -> float:
    return float(np.square(matrix, dtype=np.float64).sum())
