"""How channels flow through a graph: where each is made, which operators carry it on, and who reads it.

A channel gets a number where a layer makes it (a convolution, a fully connected layer), and keeps it through operators
that treat channels by themselves, through depthwise convolutions, concatenations, splits and shuffles.  So every tensor
has the numbers of the channels along its last axis, in order.  The same walk, begun with fewer channels, says what is
left of every tensor, and in which order (:mod:`sdk.compress.rewrite.cut_channels`).

A :class:`Listener` is told which channels a sum joins, which must stay equal in number, and which must stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sdk.compress.rewrite.structure import CHANNEL_WISE, Shuffle, find_shuffles, groups_of
from sdk.errors import ModelError
from sdk.graph.records import Graph, Operator

Numbers = np.ndarray  # (channels,) int64, of the channels along the last axis of a tensor

#: Layers whose channels may go: each row of the weight's first axis makes one, its last axis reads them.
MAKERS = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 2}  # and which input they read
_CARRIES = CHANNEL_WISE | frozenset(
    {"SQUARE", "EXP", "RSQRT", "RELU_0_TO_1", "GELU", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"}
)
_REDUCES = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"})
_PADS = frozenset({"PAD", "PADV2", "MIRROR_PAD"})
#: Of two values, element by element; a constant is one of them at times.
JOINS = frozenset({"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU"})


class Listener:
    """Receives the constraints that the structure of a graph puts on its channels. This one allows everything."""

    def joined(self, first: Numbers, second: Numbers) -> None:
        """Each channel of the first and its neighbour of the second are one."""

    def fixed(self, numbers: Numbers) -> None:
        """These stay as they are."""

    def equal(self, parts: Sequence[Numbers]) -> None:
        """The parts must stay equally large."""

    def shuffled(self, rows: np.ndarray) -> None:
        """Rows (groups, n) stay equally long, and are dealt out one after another."""


class ChannelFlow:
    """The numbers of the channels of every tensor of a graph: ``numbers`` by tensor."""

    def __init__(
        self, graph: Graph, made: Callable[[int, int], Numbers], listener: Listener | None = None
    ) -> None:
        """``made(tensor, count)`` numbers the channels of a tensor that something makes."""
        self.graph, self._made, self._told = graph, made, listener or Listener()
        self.numbers: dict[int, Numbers] = {}
        self._readers = graph.consumers()
        self.shuffles: dict[int, Shuffle] = {s.operators[0]: s for s in find_shuffles(graph)}
        inside = {n for shuffle in self.shuffles.values() for n in shuffle.operators[1:]}
        self._moved: set[int] = set()  # tensors whose channels a shuffle has dealt out
        for tensor in graph.inputs:
            self._stays(tensor)
        for index, operator in enumerate(graph.operators):
            if index in inside:
                continue
            if self._shuffle(index) or self._maker(operator):
                continue
            if not self._carrier(operator):
                self._opaque(operator)
            elif self._moved.intersection(operator.inputs):
                self._moved.update(operator.outputs)
        for tensor in graph.outputs:
            self._told.fixed(self.numbers[tensor])

    # Makers.

    def is_maker(self, operator: Operator) -> bool:
        """Whether an operator is a layer with float constants of its own, whose channels may go."""
        if operator.kind == "DEPTHWISE_CONV_2D":
            return self.graph.tensors[operator.inputs[0]].shape[3] == 1 and self._owns(operator.inputs[1:3])
        if operator.kind not in MAKERS:
            return False
        return self._owns(
            t for place, t in enumerate(operator.inputs[1:4], 1) if place != MAKERS[operator.kind]
        )

    def _owns(self, tensors: object) -> bool:
        for tensor in tensors:  # type: ignore[attr-defined]
            if tensor < 0:
                continue
            described = self.graph.tensors[tensor]
            if (
                not described.is_dense_array
                or described.dtype != "FLOAT32"
                or len(self._readers[tensor]) != 1
            ):
                return False
        return True

    def _maker(self, operator: Operator) -> bool:
        if not self.is_maker(operator):
            return False
        if operator.kind == "DEPTHWISE_CONV_2D":  # of one channel: each output is a channel of its own
            self._told.fixed(self.numbers[operator.inputs[0]])
            self._make(operator.outputs[0])
            return True
        read = columns(self.graph, operator, self.numbers)
        if read is None:
            return False
        groups = groups_of(self.graph, operator) if operator.kind == "CONV_2D" else 1
        self._make(operator.outputs[0])
        if groups > 1:
            for numbers in (read, self.numbers[operator.outputs[0]]):
                self._told.equal(np.array_split(numbers, groups))
        return True

    def _make(self, tensor: int) -> None:
        shape = self.graph.tensors[tensor].shape
        self.numbers[tensor] = self._made(tensor, shape[-1] if shape else 1)

    # What carries channels on.

    def _carrier(self, operator: Operator) -> bool:
        source = operator.inputs[0] if operator.inputs else -1
        if operator.kind in ("CONCATENATION", "SPLIT", "SPLIT_V"):
            return self._concatenated(operator) if operator.kind == "CONCATENATION" else self._split(operator)
        if operator.kind in JOINS:
            return self._joined(operator)
        if source not in self.numbers or len(operator.outputs) != 1:
            return False
        before, after = (self.graph.tensors[t].shape for t in (source, operator.outputs[0]))
        if not before or not after:
            return False
        numbers = self.numbers[source]
        if operator.kind == "DEPTHWISE_CONV_2D":
            if not self._owns(operator.inputs[1:3]):
                return False
            numbers = np.repeat(numbers, after[-1] // before[-1])
        elif operator.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
            places = flattened(before, after)
            if places is None:
                return False
            numbers = np.tile(numbers, places)
        elif not self._keeps_each(operator, before, after):
            return False
        self.numbers[operator.outputs[0]] = numbers
        return True

    def _keeps_each(self, operator: Operator, before: Sequence[int], after: Sequence[int]) -> bool:
        """Whether every channel is treated by itself, and none is added."""
        if before[-1] != after[-1]:
            return False
        if operator.kind in _REDUCES:
            axes = self.graph.tensors[operator.inputs[1]].data
            return axes is not None and len(before) - 1 not in {int(a) % len(before) for a in axes.ravel()}
        if operator.kind in _PADS:
            amounts = self.graph.tensors[operator.inputs[1]].data
            return amounts is not None and not amounts[-1].any()
        return operator.kind in _CARRIES

    def _joined(self, operator: Operator) -> bool:
        output = operator.outputs[0]
        width = self.graph.tensors[output].shape[-1] if self.graph.tensors[output].shape else 0
        computed = [t for t in operator.inputs if t in self.numbers]
        constants = [t for t in operator.inputs if t not in self.numbers]
        wide = [t for t in computed if self.graph.tensors[t].shape[-1:] == (width,)]
        if not wide or not all(self._cuttable(t, width) for t in constants):
            return False
        for narrow in (t for t in computed if t not in wide):
            self._told.fixed(self.numbers[narrow])
        for other in wide[1:]:
            self._told.joined(self.numbers[wide[0]], self.numbers[other])
            if other != wide[0] and self._moved.intersection(
                wide
            ):  # the two may be dealt out in other orders
                self._told.fixed(self.numbers[other])
        self.numbers[output] = self.numbers[wide[0]]
        return True

    def _cuttable(self, tensor: int, width: int) -> bool:
        """Whether a constant counts for all channels alike, or can be cut along its last axis."""
        described = self.graph.tensors[tensor]
        if described.data is None:
            return False
        if described.shape[-1:] != (width,):
            return described.elements == 1 or described.shape[-1:] == (1,)
        return width == 1 or (described.is_dense_array and len(self._readers[tensor]) == 1)

    def _concatenated(self, operator: Operator) -> bool:
        shape = self.graph.tensors[operator.outputs[0]].shape
        if any(t not in self.numbers for t in operator.inputs):
            return False
        numbers = [self.numbers[t] for t in operator.inputs]
        if operator.options.get("axis", 0) % len(shape) == len(shape) - 1:
            self.numbers[operator.outputs[0]] = np.concatenate(numbers)
            return True
        for other in numbers[1:]:
            self._told.joined(numbers[0], other)
            if self._moved.intersection(operator.inputs):
                self._told.fixed(other)
        self.numbers[operator.outputs[0]] = numbers[0]
        return True

    def _split(self, operator: Operator) -> bool:
        place = 0 if operator.kind == "SPLIT_V" else 1
        source, axis = (
            operator.inputs[place],
            self.graph.tensors[operator.inputs[2 if place == 0 else 0]].data,
        )
        shape = self.graph.tensors[source].shape
        if axis is None or source not in self.numbers or operator.kind == "SPLIT_V":
            return False
        if int(axis.ravel()[0]) % len(shape) != len(shape) - 1:
            self.numbers.update(dict.fromkeys(operator.outputs, self.numbers[source]))
            return True
        parts = np.array_split(self.numbers[source], len(operator.outputs))
        self._told.equal(parts)
        self.numbers.update(zip(operator.outputs, parts, strict=True))
        return True

    def _shuffle(self, index: int) -> bool:
        shuffle = self.shuffles.get(index)
        if shuffle is None:
            return False
        numbers, groups = self.numbers[shuffle.source], dealt(shuffle.permutation)
        if groups is None:
            self._told.fixed(numbers)
            self.numbers[shuffle.output] = numbers[list(shuffle.permutation)]
        elif len(numbers) % groups:
            raise ModelError(
                "a shuffle needs equally many channels of each group",
                expected=f"a multiple of {groups}",
                found=str(len(numbers)),
            )
        else:
            rows = numbers.reshape(groups, -1)
            self._told.shuffled(rows)
            self.numbers[shuffle.output] = rows.T.ravel()
        self._moved.add(shuffle.output)
        return True

    # And what nobody knows.

    def _opaque(self, operator: Operator) -> None:
        for tensor in operator.inputs:
            if tensor in self.numbers:
                self._told.fixed(self.numbers[tensor])
        for tensor in operator.outputs:
            self._stays(tensor)

    def _stays(self, tensor: int) -> None:
        self._make(tensor)
        self._told.fixed(self.numbers[tensor])


def columns(graph: Graph, operator: Operator, numbers: Mapping[int, Numbers]) -> Numbers | None:
    """The channels that a maker's weight reads along its last axis, by the ``numbers`` of each tensor's.

    It is None where they are not those of its input.
    """
    source, weight = operator.inputs[MAKERS[operator.kind]], operator.inputs[1]
    shape, width = graph.tensors[source].shape, graph.tensors[weight].shape[-1]
    if operator.kind != "FULLY_CONNECTED" or width == shape[-1]:
        return numbers[source]
    # A flattening inside: channels are the fastest axis.
    return np.tile(numbers[source], width // shape[-1]) if width % shape[-1] == 0 else None


def flattened(before: Sequence[int], after: Sequence[int]) -> int | None:
    """How many times the channels of a value of shape ``before`` stand side by side after a RESHAPE; None where that
    mixes them in another way."""
    if before[-1] == after[-1]:
        return 1
    for axis in range(len(before)):
        if int(np.prod(before[axis:])) == after[-1]:
            return after[-1] // before[-1]
    return None


def dealt(permutation: Sequence[int]) -> int | None:
    """The number of groups of a shuffle that takes a channel of each group in turn; None for every other."""
    count = len(permutation)
    length = permutation[1] if count > 1 else 1
    if length < 1 or count % length:
        return None
    expected = np.arange(count).reshape(-1, length).T.ravel()
    return count // length if list(expected) == list(permutation) else None


def positions(all_of_them: Numbers, left: Numbers) -> np.ndarray:
    """Where the channels that are ``left`` of a tensor, (n,), stood in it, (n,): the n-th with a number is the n-th of
    those with that number."""
    places: dict[int, list[int]] = {}
    for place, number in enumerate(all_of_them.tolist()):
        places.setdefault(number, []).append(place)
    taken: dict[int, int] = {}
    found = []
    for number in left.tolist():
        turn = taken.get(number, 0)
        taken[number] = turn + 1
        found.append(places[number][turn])
    return np.array(found, np.int64)


def channel_numbers(graph: Graph) -> Mapping[int, int]:
    """Where the numbers of each tensor's channels begin, if every tensor made its own: tensor to number."""
    starts, total = {}, 0
    for tensor, described in enumerate(graph.tensors):
        starts[tensor] = total
        total += described.shape[-1] if described.shape else 1
    return starts
