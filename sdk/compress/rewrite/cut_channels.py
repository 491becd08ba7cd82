"""Whole channels are taken out of a graph: of every layer that makes them, reads them, or stands between.

The rest computes what the whole graph would compute if no weight read the removed channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from sdk.compress.rewrite.channel_flow import JOINS, ChannelFlow, columns, positions
from sdk.compress.rewrite.coupled_channels import Coupling, left_after
from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.structure import groups_of
from sdk.errors import ModelError
from sdk.graph.records import Graph, Operator


def cut_channels(graph: Graph, coupling: Coupling, gone: Iterable[int]) -> Graph:
    """The graph without the sets of channels ``gone``, numbered as in its ``coupling``.

    Raises :class:`ModelError` where the rest does not fit together: sets are removed by whole steps of a family.
    """
    sets = np.array(sorted(gone), np.int64)
    if not len(sets):
        return graph
    left = left_after(graph, coupling.numbers, coupling.set_of, sets)
    return _Cut(graph, coupling, left).graph()


def places_left(graph: Graph, coupling: Coupling, gone: Iterable[int]) -> dict[int, np.ndarray]:
    """Where the channels that stay stood, (n,), for each tensor of the graph that has channels; as ``cut_channels``."""
    left = left_after(graph, coupling.numbers, coupling.set_of, np.array(sorted(gone), np.int64))
    return {tensor: positions(coupling.numbers[tensor], numbers) for tensor, numbers in left.numbers.items()}


class _Cut:
    """The work on one graph."""

    def __init__(self, graph: Graph, coupling: Coupling, left: ChannelFlow) -> None:
        self.original, self.coupling, self.left = graph, coupling, left
        self.editor = Editor(graph)
        self._places: dict[int, np.ndarray] = {}

    def graph(self) -> Graph:
        """The smaller graph."""
        for tensor, numbers in self.left.numbers.items():
            self._resize(tensor, len(numbers))
        for index, operator in enumerate(self.original.operators):
            if index in self.left.shuffles:
                self._shuffle(index)
            elif self.left.is_maker(operator):
                self._maker(index, operator)
            elif operator.kind == "DEPTHWISE_CONV_2D" and operator.outputs[0] in self.left.numbers:
                for tensor in operator.inputs[1:3]:
                    self._take(tensor, self.places(operator.outputs[0]))
            elif operator.kind in JOINS:
                self._beside(operator)
            elif operator.kind == "RESHAPE":
                self._reshape(index, operator)
        return self.editor.graph()

    def places(self, tensor: int) -> np.ndarray:
        """Where the channels that are left of a tensor stood in it."""
        if tensor not in self._places:
            self._places[tensor] = positions(self.coupling.numbers[tensor], self.left.numbers[tensor])
        return self._places[tensor]

    def _resize(self, tensor: int, channels: int) -> None:
        described = self.editor.tensors[tensor]
        if described.shape and described.shape[-1] != channels:
            shape = (*described.shape[:-1], channels)
            self.editor.tensors[tensor] = replace(described, shape=shape, shape_signature=None)

    def _set(self, tensor: int, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array)
        self.editor.tensors[tensor] = replace(self.editor.tensors[tensor], data=array, shape=array.shape)

    def _take(self, tensor: int, places: np.ndarray) -> None:
        data = self.editor.data(tensor)
        if data is not None:
            self._set(tensor, data[..., places])

    def _maker(self, index: int, operator: Operator) -> None:
        made = self.places(operator.outputs[0])
        weight = self.editor.data(operator.inputs[1])
        assert weight is not None
        if operator.kind == "DEPTHWISE_CONV_2D":
            for tensor in operator.inputs[1:3]:
                self._take(tensor, made)
            self.editor.replace(index, [operator.with_options(depthMultiplier=len(made))])
            return
        whole, left = (
            columns(self.original, operator, numbers)
            for numbers in (self.coupling.numbers, self.left.numbers)
        )
        assert whole is not None
        assert left is not None
        read = positions(whole, left)
        groups = groups_of(self.original, operator) if operator.kind == "CONV_2D" else 1
        rows = weight[made]
        self._set(operator.inputs[1], np.concatenate([*_in_groups(rows, read, groups, weight.shape[-1])]))
        biases = operator.inputs[3:4] if operator.kind == "TRANSPOSE_CONV" else operator.inputs[2:3]
        for tensor in biases:
            if tensor >= 0:
                self._take(tensor, made)
        if operator.kind == "TRANSPOSE_CONV":
            shape = np.array(self.editor.shape(operator.outputs[0]), np.int32)
            self._constant_input(index, operator, 0, shape)

    def _beside(self, operator: Operator) -> None:
        output = operator.outputs[0]
        if output not in self.left.numbers:
            return
        width = self.original.tensors[output].shape[-1:]
        for tensor in operator.inputs:
            if tensor not in self.left.numbers and self.original.tensors[tensor].shape[-1:] == width != (1,):
                self._take(tensor, self.places(output))

    def _reshape(self, index: int, operator: Operator) -> None:
        output = operator.outputs[0]
        shape = self.editor.shape(output)
        if output in self.left.numbers and shape != self.original.tensors[output].shape:
            self._shaped(index, operator, shape)

    def _shaped(self, index: int, operator: Operator, shape: tuple[int, ...]) -> None:
        """A RESHAPE to another shape."""
        inputs = operator.inputs
        if len(inputs) > 1:
            name = self.original.tensors[inputs[1]].name
            inputs = (inputs[0], self.editor.constant(name, np.array(shape, np.int32)))
        changed = replace(operator, inputs=inputs)
        if "newShape" in operator.options:
            changed = changed.with_options(newShape=list(shape))
        self.editor.replace(index, [changed])

    def _constant_input(self, index: int, operator: Operator, place: int, array: np.ndarray) -> None:
        inputs = list(operator.inputs)
        inputs[place] = self.editor.constant(self.original.tensors[inputs[place]].name, array)
        self.editor.replace(index, [replace(operator, inputs=tuple(inputs))])

    def _shuffle(self, index: int) -> None:
        shuffle = self.left.shuffles[index]
        count = len(self.left.numbers[shuffle.output])
        if count == len(shuffle.permutation):
            return
        reshape, transpose, back = (self.original.operators[n] for n in shuffle.operators)
        parted, turned = reshape.outputs[0], transpose.outputs[0]
        shape = self.original.tensors[parted].shape
        groups = len(shuffle.permutation) // shuffle.permutation[1]
        # (..., groups, channels of each), and turned (..., channels of each, groups).
        length = count // groups
        cut = tuple(_swapped(shape, groups, shuffle.permutation[1], length))
        order = self.original.tensors[transpose.inputs[1]].data
        assert order is not None
        for tensor, made in ((parted, cut), (turned, tuple(cut[int(n)] for n in order.ravel()))):
            described = self.editor.tensors[tensor]
            self.editor.tensors[tensor] = replace(described, shape=made, shape_signature=None)
        self._shaped(shuffle.operators[0], reshape, cut)
        self._shaped(shuffle.operators[2], back, self.editor.shape(back.outputs[0]))


def _in_groups(rows: np.ndarray, read: np.ndarray, groups: int, width: int) -> Iterator[np.ndarray]:
    """The rows of each group with the columns that it still reads; ``width`` is how many it read."""
    for group, (part, places) in enumerate(
        zip(np.array_split(rows, groups), np.array_split(read, groups), strict=True)
    ):
        own = places - group * width
        if groups > 1 and (own.min() < 0 or own.max() >= width):
            raise ModelError(
                "a group of a convolution would read the channels of another",
                expected=f"channels {group * width} to {(group + 1) * width - 1}",
                found=str(places.tolist()),
            )
        yield part[..., own]


def _swapped(shape: tuple[int, ...], groups: int, length: int, left: int) -> Iterator[int]:
    """The shape (..., groups, ``length``) with ``left`` in place of ``length``, the last of its axes so long."""
    places = [axis for axis in range(len(shape)) if shape[axis] == length]
    if not places:
        raise ModelError(
            "a shuffle is written in a way that is not known",
            expected=f"an axis of {length}",
            found=str(shape),
        )
    for axis, size in enumerate(shape):
        yield left if axis == places[-1] else size
