"""The calibration level: every layer rounded to a codebook, one after another, against the float original's outputs.

For each layer, in the order of execution, it takes the student's input (with all earlier layers already rounded) and
the teacher's, finds the weights that turn the student's input into the teacher's output as well as possible, rounds
them (:mod:`sdk.compress.solve.layer`), and sets the bias that makes the mean of every output channel exact. One price,
nats of loss per bit, holds for all layers, so bits go where they count without a search over layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sdk.compress.solve.layer import LEVELS, Problem, Solution, solve, solve_on_grid
from sdk.compress.solve.matrices import SOLVED_KINDS, LayerShape
from sdk.compress.solve.statistics import (
    GraphRunner,
    Images,
    LayerPlace,
    Moments,
    Sensitivity,
    Streams,
    Taught,
    sensitivities,
)
from sdk.compress.weights.biases import rounded_bias
from sdk.compress.weights.blocks import block_of
from sdk.compress.weights.selection import select_weights
from sdk.graph.records import Graph, Tensor, Weight
from sdk.tools.progress import Progress

DAMPING = 0.01  # of the mean of the covariance's diagonal, added to it
SMALLEST_EIGENVALUE = 1e-9  # of the largest: below it a covariance is not safe to invert in float64
ROUNDING = 1e-5  # of the uncentred mean square: what float32 sums may leave of a covariance that is zero


def silent(stage: str, done: int, total: int) -> None:
    """No progress."""


@dataclass(frozen=True)
class SolvedLayer:
    """A layer that is solved: its weight, unfolding, input tensor and bias tensor."""

    weight: Weight
    shape: LayerShape
    source: int
    bias: int


@dataclass(frozen=True)
class Wish:
    """Settings of one layer that differ from the others': a factor of the ``price``, least zeros, most levels.

    ``block`` is only read in the settings for all layers: output channels that share their zeros
    (:mod:`sdk.compress.weights.blocks`). With ``one_scale`` all channels of a layer have the same scale.
    """

    price: float = 1.0
    sparsity: float | None = None
    levels: int | None = None
    block: int = 1
    one_scale: bool = False


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration, by tensor number: weights and biases; for each weight its solution and problem."""

    constants: dict[int, np.ndarray]
    solutions: dict[int, Solution]
    problems: dict[int, Problem]

    @property
    def bits(self) -> float:
        """Entropy of all symbols."""
        return sum(solution.bits for solution in self.solutions.values())

    @property
    def loss(self) -> float:
        """Nats that the quadratic model expects to lose."""
        return sum(solution.loss for solution in self.solutions.values())


def with_biases(graph: Graph) -> Graph:
    """The graph with a bias of its own in every layer that can have one: calibration corrects biases.

    A layer that has none gets zeros.  Converters store equal biases once (a network with fresh weights has one for all
    layers of a width): each layer after the first that shares a bias gets a copy.
    """
    tensors, operators = list(graph.tensors), list(graph.operators)
    taken: set[int] = set()
    for use in _uses(graph):
        operator = operators[use.operator_index]
        bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
        if operator.kind not in SOLVED_KINDS or (bias >= 0 and bias not in taken):
            taken.add(bias)
            continue
        channels = use.tensor.shape[use.channel_axis]
        tensor = Tensor(f"{use.tensor.name}/bias", (channels,), "FLOAT32", np.zeros(channels, np.float32))
        if bias >= 0:
            data = tensors[bias].data
            tensor = replace(tensors[bias], name=tensor.name, data=None if data is None else data.copy())
        tensors.append(tensor)
        operators[use.operator_index] = replace(
            operator, inputs=(*operator.inputs[:2], len(tensors) - 1, *operator.inputs[3:])
        )
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators))


def _uses(graph: Graph) -> Iterator[Weight]:
    """The weights of a graph, each as often as a layer reads it: first every one as its first reader does, as
    :meth:`Graph.weights` says, then as the others do."""
    weights = list(graph.weights())
    yield from weights
    readers = graph.consumers()
    for weight in weights:
        first = graph.operators[weight.operator_index]
        for number in readers.get(weight.tensor_index, ()):
            operator = graph.operators[number]
            same = operator.kind == first.kind and operator.inputs[1] == weight.tensor_index
            if same and number != weight.operator_index:
                yield replace(weight, operator_index=number)


def solved_layers(graph: Graph) -> tuple[SolvedLayer, ...]:
    """The layers that calibration works on: float weights of a known kind, with a bias of their own."""
    found, taken = [], set()
    for weight in graph.weights():
        operator = graph.operators[weight.operator_index]
        shape = LayerShape.of(graph, weight)
        if shape is None or not weight.tensor.is_dense_array or weight.array.dtype != np.float32:
            continue
        bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
        if bias >= 0 and bias not in taken and graph.tensors[bias].is_dense_array:
            taken.add(bias)
            found.append(SolvedLayer(weight, shape, operator.inputs[0], bias))
    return tuple(found)


def read_again(graph: Graph, layers: Sequence[SolvedLayer]) -> tuple[SolvedLayer, ...]:
    """The other layers that read a weight of ``layers``: what is solved for its first one is theirs, too, and their
    biases are their own."""
    solved = {layer.weight.tensor_index: layer for layer in layers}
    taken = {layer.bias for layer in layers}
    found = []
    for use in _uses(graph):
        operator, first = graph.operators[use.operator_index], solved.get(use.tensor_index)
        if first is None or use.operator_index == first.weight.operator_index:
            continue
        bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
        if bias >= 0 and bias not in taken and graph.tensors[bias].is_dense_array:
            taken.add(bias)
            found.append(SolvedLayer(use, first.shape, operator.inputs[0], bias))
    return tuple(found)


def all_readers(graph: Graph, layers: Sequence[SolvedLayer]) -> list[SolvedLayer]:
    """These layers and the others that read their weights, in the order of execution."""
    return sorted((*layers, *read_again(graph, layers)), key=lambda layer: layer.weight.operator_index)


def output_sensitivities(
    runner: GraphRunner, images: Images, count: int, *, seed: int = 0, progress: Progress = silent
) -> dict[int, Sensitivity]:
    """For each solved layer (by operator number) what errors of its output cost; see ``statistics``."""
    layers = solved_layers(runner.graph)
    again: dict[int, dict[int, int]] = {}
    for other in read_again(runner.graph, layers):
        again.setdefault(other.weight.tensor_index, {})[other.weight.operator_index] = other.bias
    places = {
        layer.weight.operator_index: LayerPlace(
            layer.weight.tensor_index, layer.bias, layer.shape, again.get(layer.weight.tensor_index, {})
        )
        for layer in layers
    }
    return sensitivities(runner, places, images, count, seed=seed, progress=progress)


def calibrate(
    runner: GraphRunner,
    images: Images,
    count: int,
    price: float,
    fisher: Mapping[int, Sensitivity],
    *,
    usual: Wish = Wish(),
    taught: Taught | None = None,
    wishes: Mapping[int, Wish] | None = None,
    progress: Progress = silent,
    watch: Callable[[float], None] = lambda bits: None,
) -> Calibrated:
    """Rounds all layers at ``price`` nats per bit, on ``count`` images, given the sensitivities of their outputs.

    ``usual``: the settings of all layers without their own; its sparsity is the least share of zeros of pruned layers
    (1x1, other convolutions but the first, fully connected). ``taught``: data that calibrations of one runner on the
    same images share. ``wishes``: settings of single layers, by their weight's tensor number. ``watch`` is called after
    every layer with the bits of all layers until then, and may raise to end a run that leads nowhere.
    """
    pruned = {weight.tensor_index for weight in select_weights(runner.graph)}
    wished = wishes or {}

    def decide(layer: SolvedLayer, problem: Problem) -> Solution:
        tensor = layer.weight.tensor_index
        wish = wished.get(tensor, Wish())
        least = (usual.sparsity or 0.0) if tensor in pruned else 0.0
        levels = usual.levels if wish.levels is None else wish.levels
        return solve(
            problem,
            price * usual.price * wish.price,
            levels=LEVELS if levels is None else levels,
            sparsity=least if wish.sparsity is None else wish.sparsity,
            block=block_of(layer.weight, usual.block),
            one_scale=wish.one_scale,
        )

    streams = Streams(runner, images, count, taught=taught)
    return _layer_by_layer(streams, decide, fisher, progress, watch)


def round_to_grids(
    runner: GraphRunner,
    images: Images,
    count: int,
    grids: Mapping[int, np.ndarray],
    *,
    progress: Progress = silent,
) -> Calibrated:
    """Rounds the weights of the tensors in ``grids`` to whole numbers of -127 to 127 times these scales.

    There is a scale for every output channel, (channels,), as in an int8 graph. Errors of rounding are compensated as
    in :func:`calibrate`; nothing is priced, so no sensitivities are needed, and weights that are zero stay zero.
    """

    def decide(layer: SolvedLayer, problem: Problem) -> Solution:
        scales = grids[layer.weight.tensor_index].reshape(layer.shape.groups, layer.shape.rows)
        return solve_on_grid(problem, scales, layer.shape.unfold(layer.weight.array) == 0)

    return _layer_by_layer(Streams(runner, images, count), decide, {}, progress, only=grids.keys())


def _layer_by_layer(
    streams: Streams,
    decide: Callable[[SolvedLayer, Problem], Solution],
    fisher: Mapping[int, Sensitivity],
    progress: Progress,
    watch: Callable[[float], None] = lambda bits: None,
    only: Collection[int] | None = None,
) -> Calibrated:
    graph = streams.runner.graph
    layers = solved_layers(graph)
    if only is not None:
        layers = tuple(layer for layer in layers if layer.weight.tensor_index in only)
    readers = all_readers(graph, layers)
    constants: dict[int, np.ndarray] = {}
    solutions: dict[int, Solution] = {}
    problems: dict[int, Problem] = {}
    for number, layer in enumerate(readers):
        progress("calibrate", number, len(readers))
        tensor = layer.weight.tensor_index
        streams.advance(layer.weight.operator_index, constants)
        if tensor in constants:
            constants[layer.bias] = compensating(streams, layer, constants[tensor])
            continue
        moments = streams.moments(layer.shape, layer.source)
        weights = layer.shape.unfold(layer.weight.array).astype(np.float64)
        covariance = regular(moments, moments.covariance)
        costs = np.ones(layer.shape.channels)
        if (sensitivity := fisher.get(layer.weight.operator_index)) is not None:
            seen = regular(moments, moments.teacher_covariance)
            costs = sensitivity.channels * sensitivity.coherence(seen, moments.teacher_mean)
        problem = Problem(
            _target(weights, moments, covariance),
            covariance,
            costs.reshape(layer.shape.groups, layer.shape.rows),
        )
        solution = decide(layer, problem)
        constants[tensor] = layer.shape.fold(solution.weights)
        wanted = (weights @ moments.teacher_mean[..., None]).reshape(-1)
        reached = (solution.weights.astype(np.float64) @ moments.student_mean[..., None]).reshape(-1)
        bias = graph.tensors[layer.bias].data
        constants[layer.bias] = rounded_bias(bias + (wanted - reached))
        solutions[tensor], problems[tensor] = solution, problem
        watch(sum(solved.bits for solved in solutions.values()))
    progress("calibrate", len(readers), len(readers))
    return Calibrated(constants, solutions, problems)


def compensating(streams: Streams, layer: SolvedLayer, weight: np.ndarray) -> np.ndarray:
    """The bias of a layer, (channels,), with which its outputs keep their means when its weight is this one."""
    bias = streams.runner.graph.tensors[layer.bias].data
    assert bias is not None
    taught, seen = streams.means(layer.shape, layer.source)
    before, after = (layer.shape.unfold(one).astype(np.float64) for one in (layer.weight.array, weight))
    return rounded_bias(bias + (before @ taught[..., None] - after @ seen[..., None]).reshape(-1))


def regular(moments: Moments, covariance: np.ndarray) -> np.ndarray:
    """A covariance (groups, columns, columns) of these moments without its chance correlations, and safe to invert."""
    diagonal = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0)
    covariance = covariance * (1 - moments.noise)[:, None, None]
    rounding = ROUNDING * moments.energy
    damping = np.maximum(DAMPING * diagonal.mean(axis=1), np.maximum(rounding, 1e-12))
    added = moments.noise[:, None] * diagonal + damping[:, None]
    regular = covariance + added[..., None] * np.eye(diagonal.shape[1])
    # Where all that came before was pruned away, an input is constant and its covariance nothing but rounding errors.
    if _surely_regular(regular):
        return regular
    eigenvalues = np.linalg.eigvalsh(regular)  # ascending
    smallest, largest = eigenvalues[:, 0], eigenvalues[:, -1]
    lacking = np.where(smallest < SMALLEST_EIGENVALUE * largest, largest - smallest, 0.0)
    return regular + lacking[:, None, None] * np.eye(diagonal.shape[1])


def _surely_regular(matrices: np.ndarray) -> bool:
    """Whether all smallest eigenvalues are above their limit, by a factorisation, which is faster than a spectrum.

    The largest eigenvalue is at most the trace; the matrix minus the limit for it must be positive definite.
    """
    traces = np.trace(matrices, axis1=1, axis2=2)
    try:
        np.linalg.cholesky(
            matrices - (SMALLEST_EIGENVALUE * traces)[:, None, None] * np.eye(matrices.shape[1])
        )
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(traces).all())


def _target(weights: np.ndarray, moments: Moments, regular: np.ndarray) -> np.ndarray:
    """The real-valued weights that come closest to the teacher's output on the student's input."""
    difference = weights @ ((moments.cross - moments.covariance) * (1 - moments.noise)[:, None, None])
    return weights + made_up_for(difference, regular)


def made_up_for(missing: np.ndarray, regular: np.ndarray) -> np.ndarray:
    """What is added to weights whose output lacks something that has the cross-covariance ``missing`` (groups, rows,
    columns) with what they read, the covariance of which is ``regular`` (groups, columns, columns)."""
    return np.swapaxes(np.linalg.solve(regular, np.swapaxes(missing, 1, 2)), 1, 2)
