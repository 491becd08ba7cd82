"""Channels made alike in size before a network becomes int8, so that 8 bits fit the values of each of them.

An int8 tensor has one scale for all its channels; the quietest of a MobileNet V2 reach a hundredth of the loudest and
are left with two or three steps. A channel may be multiplied by s where it is made and divided by s where it is read,
and the answers stay. Cross-layer equalisation (Nagel et al. 2019, arXiv 1906.04721) finds s from weights, and stops at
ReLU6. Here s comes from the values on images: a channel behind ReLU6 that never comes near 6 may be scaled until it
does, which only clips what no image reached. Channels that meet in a sum have one s.

Where weights are on a grid already only what depthwise layers alone read is scaled: their weights have a scale for each
channel that they read, as layers have for each that they make, so that weights stay on their grids. Each s is a power
of two, so that products are exact and scales take no more bytes.

Before weights are put on a grid s is free, and the channels of sums and of layers without an activation are scaled as
well, whose loudest sets the step of all: in the last sums of MobileNet V2 it reaches seventeen times the quietest, and
rounding these cost more than all other values together. Their s is the root of what would make all alike, because the
tensors of one sum have their loudest channels in different places.

Sums and layers without an activation have long tails: a range that leaves out the largest values has finer steps for
all others. :func:`ranges` finds the one of least squared error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from sdk.compress.rewrite.structure import groups_of
from sdk.compress.solve.statistics import GraphRunner, Images
from sdk.graph.enums import NO_ACTIVATION, RELU, RELU6
from sdk.graph.records import Graph, Operator
from sdk.tools.progress import Progress, silent

RANGED_AT_ONCE = 8  # images
BATCH_VALUES = 1 << 25  # of all tensors together, that are held at once
MARGIN = 1.1  # behind ReLU6: how much larger than on any image a value may be before it is clipped
TAILS = tuple(round(1 - 0.05 * step, 2) for step in range(15))  # shares of a range that are tried
MOST_SAMPLED = 20_000  # values of a tensor that a batch gives to choose a range by
LIMIT = 64.0  # channels are not scaled further: one that is that quiet says little
SUM_LIMIT = 8.0  # channels of sums are not
SIX = 6.0
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")
_BOUNDS = {"RELU": RELU, "RELU6": RELU6}
_KEPT = (NO_ACTIVATION, RELU, RELU6)


def evened(
    runner: GraphRunner, images: Images, count: int, progress: Progress = silent, *, free: bool = False
) -> Graph:
    """The runner's graph with channels that are alike in size on ``count`` images; the answers stay but for rounding.

    ``images``: as of calibration. Values behind ReLU6 that are larger than on any of the images, by a tenth, are
    clipped. ``free``: no weight is on a grid yet. The graph as it is where no channel may be scaled.
    """
    coupled = _Coupled(runner.graph)
    families = [
        members
        for members in coupled.families()
        if coupled.read_by_channel(members) or (free and coupled.without_bounds(members))
    ]
    wanted = {tensor for members in families for tensor in members}
    if not wanted:
        return runner.graph
    largest = _largest(runner, images, count, wanted, progress)
    factors: dict[int, np.ndarray] = {}
    for members in families:
        seen = np.max([largest[tensor] for tensor in members], axis=0)
        bounded = any(tensor in coupled.bounded for tensor in members)
        most = SIX / MARGIN if bounded else float(seen.max())
        with np.errstate(divide="ignore"):
            ratio = np.where(seen > 0, np.clip(most / seen, 1.0, LIMIT), 1.0)
        if not free:
            ratio = 2.0 ** np.floor(np.log2(ratio))
        elif not coupled.read_by_channel(members):
            ratio = np.minimum(np.sqrt(ratio), SUM_LIMIT)
        factors |= dict.fromkeys(members, ratio)
    return _scaled(runner.graph, factors)


def ranges(runner: GraphRunner, images: Images, count: int) -> dict[str, tuple[float, float]]:
    """The range of least squared error in 8 bits, (lowest, highest), of each tensor with tails, by its name."""
    graph = runner.graph
    tensors = tuple(
        operator.outputs[0]
        for operator in graph.operators
        if operator.kind in (*_LAYERS, "ADD")
        and operator.options.get("fusedActivationFunction", NO_ACTIVATION) == NO_ACTIVATION
        and operator.outputs[0] not in graph.outputs
    )
    rng = np.random.default_rng(0)
    sampled: dict[int, list[np.ndarray]] = {tensor: [] for tensor in tensors}
    ends: dict[int, tuple[float, float]] = dict.fromkeys(tensors, (0.0, 0.0))
    for first in range(0, count if tensors else 0, RANGED_AT_ONCE):
        samples = images(range(first, min(first + RANGED_AT_ONCE, count)))
        for tensor, value in runner.run({graph.inputs[0]: samples}, wanted=tensors).items():
            flat = np.asarray(value).reshape(-1)
            low, high = ends[tensor]
            ends[tensor] = min(low, float(flat.min())), max(high, float(flat.max()))
            sampled[tensor].append(rng.choice(flat, min(flat.size, MOST_SAMPLED), replace=False))
    return {
        graph.tensors[tensor].name: _best_range(np.concatenate(sampled[tensor]), *ends[tensor])
        for tensor in tensors
        if ends[tensor][0] < ends[tensor][1]
    }


def _best_range(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    def error(share: float) -> float:
        step = share * (high - low) / 255
        rounded = np.clip(np.rint(values / step) * step, share * low, share * high)
        return float(np.square(values - rounded, dtype=np.float64).sum())

    best = min(TAILS, key=error)
    return best * low, best * high


class _Coupled:
    """Which tensors have their channels scaled alike, and which must stay: a walk over all operators."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.bounded: set[int] = set()  # what comes out of ReLU6
        self._above: dict[int, int] = {}
        self._stay: set[int] = {*graph.inputs, *graph.outputs}
        self._computed = {*graph.inputs, *(t for one in graph.operators for t in one.outputs)}
        self._readers = graph.consumers()
        self._producers = graph.producers()
        for operator in graph.operators:
            self._walk(operator)

    def families(self) -> Iterator[tuple[int, ...]]:
        """The tensors that share their factors, for each family that may be scaled."""
        members: dict[int, list[int]] = {}
        for tensor in sorted(self._above):
            members.setdefault(self._root(tensor), []).append(tensor)
        stay = {self._root(tensor) for tensor in self._stay}
        for root, tensors in members.items():
            if root not in stay and len({self._channels(tensor) for tensor in tensors}) == 1:
                yield tuple(tensors)

    def read_by_channel(self, tensors: Collection[int]) -> bool:
        """Whether depthwise layers alone read these tensors, but for what makes others of them."""
        operators = [self.graph.operators[place] for tensor in tensors for place in self._readers[tensor]]
        return all(one.kind == "DEPTHWISE_CONV_2D" or one.outputs[0] in tensors for one in operators)

    def without_bounds(self, tensors: Collection[int]) -> bool:
        """Whether some of these tensors are sums, or none comes out of an activation."""
        made = [self._producers[tensor] for tensor in tensors if tensor in self._producers]
        operators = [self.graph.operators[place] for place in made]
        if any(one.kind == "ADD" for one in operators):
            return True
        return all(
            one.kind not in _BOUNDS
            and one.options.get("fusedActivationFunction", NO_ACTIVATION) == NO_ACTIVATION
            for one in operators
        )

    def _walk(self, operator: Operator) -> None:
        made, read = operator.outputs[0], operator.inputs[0]
        activation = operator.options.get("fusedActivationFunction", NO_ACTIVATION)
        activation = _BOUNDS.get(operator.kind, activation)
        values = [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor in self._computed]
        for tensor in values:
            self._root(tensor)
        if activation == RELU6:
            self.bounded.add(made)
        if activation not in _KEPT:
            self._stay.update(values)
        elif operator.kind in _LAYERS:
            self._layer(operator, made, read)
        elif operator.kind == "ADD" and all(tensor in self._computed for tensor in operator.inputs):
            for tensor in operator.inputs:
                self._join(tensor, made)
        elif self._passes(operator):
            self._join(read, made)
        else:
            self._stay.update(values)

    def _layer(self, operator: Operator, made: int, read: int) -> None:
        """A layer's weights take the factors of what it reads and makes, where they are its own and lie that way."""
        shape = self.graph.tensors[operator.inputs[1]].shape
        own = all(self._is_own(tensor) for tensor in operator.inputs[1:3] if tensor >= 0)
        makes = shape[-1] if operator.kind == "DEPTHWISE_CONV_2D" else shape[0]
        if not own or len(operator.inputs) < 3 or operator.inputs[2] < 0 or makes != self._channels(made):
            self._stay.update((made, read))
        elif shape[-1] != self._channels(read) or (
            operator.kind == "CONV_2D" and groups_of(self.graph, operator) > 1
        ):
            self._stay.add(read)

    def _is_own(self, tensor: int) -> bool:
        described = self.graph.tensors[tensor]
        return (
            described.is_dense_array
            and described.dtype == "FLOAT32"
            and described.quantization is None
            and len(self._readers[tensor]) == 1
        )

    def _passes(self, operator: Operator) -> bool:
        """Whether each channel goes through by itself, and as well when it is scaled."""
        if operator.kind == "MEAN":
            axes = self.graph.tensors[operator.inputs[1]].data
            return axes is not None and sorted(np.ravel(axes).tolist()) == [1, 2]
        if operator.kind == "PAD":
            return self._channels(operator.inputs[0]) == self._channels(operator.outputs[0])
        return operator.kind in _POOLS or operator.kind in _BOUNDS

    def _channels(self, tensor: int) -> int:
        shape = self.graph.tensors[tensor].shape
        return shape[-1] if shape else 0

    def _root(self, tensor: int) -> int:
        self._above.setdefault(tensor, tensor)
        while self._above[tensor] != tensor:
            tensor = self._above[tensor]
        return tensor

    def _join(self, one: int, other: int) -> None:
        self._above[self._root(one)] = self._root(other)


def _largest(
    runner: GraphRunner, images: Images, count: int, wanted: Iterable[int], progress: Progress
) -> dict[int, np.ndarray]:
    """The largest magnitude in each channel of these tensors on all images, (channels,) each."""
    graph, tensors = runner.graph, tuple(wanted)
    values = sum(graph.tensors[tensor].elements for tensor in tensors)
    batch = int(np.clip(BATCH_VALUES // max(values, 1), 1, 32))
    found: dict[int, np.ndarray] = {}
    for first in range(0, count, batch):
        progress("ranges of channels", first, count)
        samples = images(range(first, min(first + batch, count)))
        for tensor, value in runner.run({graph.inputs[0]: samples}, wanted=tensors).items():
            array = np.abs(np.asarray(value))
            most = array.reshape(-1, array.shape[-1]).max(axis=0)
            found[tensor] = np.maximum(found[tensor], most) if tensor in found else most
    return found


def _scaled(graph: Graph, factors: Mapping[int, np.ndarray]) -> Graph:
    """The graph whose layers make channels times their factors, and read them divided by these."""
    arrays: dict[int, np.ndarray] = {}
    for operator in graph.operators:
        read, made = factors.get(operator.inputs[0]), factors.get(operator.outputs[0])
        if operator.kind not in _LAYERS or (read is None and made is None):
            continue
        weight = np.array(graph.tensors[operator.inputs[1]].data, np.float64)
        if read is not None:
            weight /= read
        if made is not None:
            lies = (-1, *[1] * (weight.ndim - 1)) if operator.kind != "DEPTHWISE_CONV_2D" else (-1,)
            weight *= made.reshape(lies)
            bias = np.array(graph.tensors[operator.inputs[2]].data, np.float64) * made
            arrays[operator.inputs[2]] = bias.astype(np.float32)
        arrays[operator.inputs[1]] = weight.astype(np.float32)
    return graph.with_data(arrays)
