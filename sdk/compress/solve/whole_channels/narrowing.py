"""The choice of channels to remove, so that a share of the work goes, and the other weights, solved on images.

The families' channels are ordered by their cost (:mod:`sdk.compress.solve.whole_channels.costs`), which is scaled by
the network's measured loss without them (:mod:`sdk.compress.solve.whole_channels.losses`); across families those with
the fewest nats per saved multiply-accumulate are removed next. Then, layer by layer in the order of execution, the
remaining weights are fitted to the original's output, on the smaller network's values for the images (as in He et al.,
arXiv 1707.06168): first before the activation, with biases that make the mean of every output exact, then behind it
(:mod:`sdk.compress.solve.activated`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sdk.compress.rewrite.coupled_channels import Coupling, coupled_channels
from sdk.compress.rewrite.cut_channels import cut_channels, places_left
from sdk.compress.solve.activated import Seen, cuts_of, met_behind
from sdk.compress.solve.calibrate import (
    SolvedLayer,
    output_sensitivities,
    regular,
    solved_layers,
    with_biases,
)
from sdk.compress.solve.statistics import GraphRunner, Images, Moments, Streams
from sdk.compress.solve.whole_channels.choice import chosen, macs_of, steps
from sdk.compress.solve.whole_channels.costs import Order, column_sets, orders, seen_by
from sdk.compress.solve.whole_channels.cross_validation import (
    LEAST_IMAGES,
    MOST_COLUMNS,
    PARTS,
    chance_by_parts,
)
from sdk.compress.solve.whole_channels.losses import measured, solved
from sdk.errors import ModelError
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from sdk.graph.dataset import Dataset

COUNTED_ON = 256  # images that tell what errors cost
SEEN_ON = 768  # that tell which channels say the same
TRIED_ON = 64  # others, that tell what a family costs
SHARE_STEPS = 10**6  # of the multiply-accumulates: a share is told in these


@dataclass(frozen=True, eq=False)
class Narrowed:
    """A graph with fewer channels: what it computes the more cheaply, and the nats that it was expected to cost.

    ``places``: where the channels of each tensor stood in the original, (n,), by the tensor's name.
    """

    graph: Graph
    macs: int
    original_macs: int
    expected_loss_nats: float
    places: Mapping[str, np.ndarray]


def narrowed(
    runner: GraphRunner,
    images: Images,
    count: int,
    share: float,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Narrowed:
    """The graph without so many channels that at least ``share`` of its multiply-accumulates is gone.

    ``runner`` runs a graph :func:`~sdk.compress.solve.calibrate.with_biases`.  Raises :class:`ModelError` where no
    channels may go, and where all that may are not enough.
    """
    graph = runner.graph
    before = macs_of(graph)
    coupling, ordered = _ordered(runner, images, count, seed, progress)
    gone, nats = chosen(graph, coupling, ordered, (1 - share) * before)
    constants = solved_without(runner, images, count, coupling, gone, progress)
    cut = cut_channels(graph.with_data(constants), coupling, gone)
    places = {graph.tensors[t].name: where for t, where in places_left(graph, coupling, gone).items()}
    return Narrowed(cut, macs_of(cut), before, nats, places)


def _ordered(
    runner: GraphRunner, images: Images, count: int, seed: int, progress: Progress
) -> tuple[Coupling, list[Order]]:
    """What goes together, and the order in which each family goes; none where nothing may go."""
    coupling, layers = coupled_channels(runner.graph), solved_layers(runner.graph)
    if not coupling.families:
        return coupling, []
    tried = min(TRIED_ON, count // 4)
    seen = seen_by(runner, layers, images, min(count - tried, SEEN_ON), progress)
    few = min(count - tried, COUNTED_ON)
    fisher = output_sensitivities(runner, images, few, seed=seed, progress=progress)
    found = orders(coupling, layers, seen, fisher, progress)
    if not tried:
        return coupling, found
    samples = range(count - tried, count)
    return coupling, measured(runner, coupling, layers, seen, found, images, samples, progress)


def solved_without(
    runner: GraphRunner,
    images: Images,
    count: int,
    coupling: Coupling,
    gone: np.ndarray,
    progress: Progress = silent,
) -> dict[int, np.ndarray]:
    """Weights and biases by tensor number, of the whole graph's shapes, that compensate for the sets ``gone``, (n,).

    Weights that make or read these are zero.
    """
    graph = runner.graph
    layers = solved_layers(graph)
    streams = Streams(runner, images, count)
    constants: dict[int, np.ndarray] = {}
    begun = False
    for number, layer in enumerate(layers):
        progress("solve", number, len(layers))
        operator = graph.operators[layer.weight.operator_index]
        made = np.isin(coupling.sets(operator.outputs[0]), gone)
        read = np.isin(coupling.sets(layer.source), gone)
        bias = np.array(graph.tensors[layer.bias].data, np.float64)
        matrices = layer.shape.unfold(layer.weight.array).astype(np.float64)
        begun |= bool(read.any())
        if begun:  # up to here the two networks are one
            streams.advance(layer.weight.operator_index, constants)
            moments = streams.moments(layer.shape, layer.source)
            kept = ~np.isin(column_sets(coupling.sets(layer.source), layer.shape), gone)
            if count >= LEAST_IMAGES and layer.shape.columns <= MOST_COLUMNS:
                parts = streams.moments_of_parts(layer.shape, layer.source, PARTS)
                share = chance_by_parts(matrices, parts, kept, ~made.reshape(matrices.shape[:2]))
                moments = replace(moments, noise=np.full(len(matrices), share))
            matrices, bias = _behind_activation(
                streams, layer, moments, kept, (matrices, bias), solved(matrices, moments, kept)
            )
        matrices = matrices.reshape(layer.shape.channels, -1)
        matrices[made] = 0
        bias[made] = 0
        folded = layer.shape.fold(matrices.reshape(layer.shape.groups, layer.shape.rows, -1))
        constants[layer.weight.tensor_index] = folded.astype(np.float32)
        constants[layer.bias] = bias.astype(np.float32)
    progress("solve", len(layers), len(layers))
    return constants


def _behind_activation(
    streams: Streams,
    layer: SolvedLayer,
    moments: Moments,
    kept: np.ndarray,
    original: tuple[np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (groups, rows, columns) and the bias (channels,) of a layer that was solved: where it has an activation,
    so that what is behind that comes as close as it can.

    ``original`` are the layer's own, ``found`` the solved weights and the change of the bias, and ``kept`` (groups,
    columns) says which columns are read.
    """
    shape = layer.shape
    weights, bias = found[0], original[1] + found[1]
    cuts = cuts_of(streams.runner.graph.operators[layer.weight.operator_index])
    if cuts is None or not kept.any():
        return weights, bias
    taught, read = streams.samples(shape, layer.source)
    wanted = taught @ np.swapaxes(original[0], 1, 2).astype(np.float32)
    wanted += original[1].reshape(shape.groups, 1, shape.rows).astype(np.float32)
    covariance = moments.covariance * (kept[:, :, None] & kept[:, None, :])
    weights, biases = met_behind(
        weights,
        bias.reshape(shape.groups, shape.rows),
        Seen(wanted, read * kept[:, None, :]),
        cuts,
        regular(moments, covariance),
        moments.noise,
    )
    return weights, biases.reshape(-1)


def narrow(graph: Graph, dataset: Dataset, share: float, seed: int, progress: Progress) -> Narrowed:
    """:func:`narrowed` of any graph, on all images of a data set."""
    runner, count = Executor(with_biases(graph)), len(dataset)
    return narrowed(runner, mixed(dataset, seed).images, count, share, seed=seed, progress=progress)


def share_that_fits(
    graph: Graph, dataset: Dataset, fits: Callable[[Graph], bool], seed: int, progress: Progress
) -> float:
    """The least share of the multiply-accumulates to remove so that the rest ``fits``, for :func:`narrow`.

    ``fits`` is called with graphs of the right shapes, whose weights are not solved. Raises :class:`ModelError` where
    the smallest does not fit.
    """
    whole = with_biases(graph)
    if fits(whole):
        return 0.0
    images = mixed(dataset, seed).images
    coupling, ordered = _ordered(Executor(whole), images, len(dataset), seed, progress)
    taken = list(steps(whole, coupling, ordered))

    def cut(number: int) -> Graph:
        return cut_channels(whole, coupling, np.concatenate([step.sets for step in taken[:number]]))

    if not taken or not fits(cut(len(taken))):
        raise ModelError(
            "the target is below what whole channels can reach",
            expected="a target that the network meets without most of its channels",
            found="missed even without all channels that may go",
        )
    low, high = 0, len(taken)  # steps that are too few, and enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(cut(middle)) else (middle, high)
    before = macs_of(whole)
    return int(SHARE_STEPS * (1 - taken[high - 1].left / before)) / SHARE_STEPS


def mixed(dataset: Dataset, seed: int) -> Dataset:
    """All images in a mixed order: folders are sorted by class, and much is counted on the first images alone."""
    return dataset.subset(np.random.default_rng(seed).permutation(len(dataset)))
