"""Output channels rounded up to the width of the matrix kernel, with rows of zeros.

XNNPACK multiplies with a kernel that makes 8 output channels at once. Where the channels of a convolution are not a
multiple of 8 it may fall back to one that makes 2 (counted on Cortex-A72, ai-edge-litert 2.3: 24 -> 60 channels at
56x56 takes 3.10 M instructions, 24 -> 64 takes 1.92 M). So the weight gets rows of zeros, the depthwise convolutions
behind follow, and the next ordinary convolution ignores the surplus channels (columns of zeros), or they are cut off
where they would be seen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdk.compress.board_form.cost import KERNEL_WIDTH, NARROW_KERNEL_COST
from sdk.compress.rewrite.edit import Editor
from sdk.compress.rewrite.structure import groups_of
from sdk.graph.records import Graph, Operator


def widen(graph: Graph) -> Graph:
    """Rounds the output channels of every ordinary float convolution up to a multiple of 8 where that pays."""
    done: set[str] = set()
    while True:
        for index, operator in enumerate(graph.operators):
            name = graph.tensors[operator.outputs[0]].name
            if name not in done and _pays(graph, operator):
                done.add(name)
                graph = _Widening(graph, index).run()
                break
        else:
            return graph


def _pays(graph: Graph, operator: Operator) -> bool:
    if not _is_ordinary(graph, operator) or operator.outputs[0] in graph.outputs:
        return False
    if len(operator.inputs) < 3 or not graph.tensors[operator.inputs[2]].is_dense_array:
        return False
    channels = graph.tensors[operator.inputs[1]].shape[0]
    wide = -(-channels // KERNEL_WIDTH) * KERNEL_WIDTH
    return channels != wide and wide / channels < NARROW_KERNEL_COST


def _is_ordinary(graph: Graph, operator: Operator) -> bool:
    """True for a CONV_2D without groups whose float weight is stored densely."""
    if operator.kind != "CONV_2D" or groups_of(graph, operator) != 1:
        return False
    weight = graph.tensors[operator.inputs[1]]
    return weight.is_dense_array and weight.dtype == "FLOAT32"


def _follows(graph: Graph, operator: Operator) -> bool:
    """True for a depthwise convolution that can take, and make, more channels."""
    return (
        operator.kind == "DEPTHWISE_CONV_2D"
        and operator.options["depthMultiplier"] == 1
        and len(operator.inputs) > 2
        and all(
            graph.tensors[t].is_dense_array and graph.tensors[t].dtype == "FLOAT32"
            for t in operator.inputs[1:]
        )
    )


class _Widening:
    """One convolution made wider, and what stands behind it as far as the extra channels reach."""

    def __init__(self, graph: Graph, index: int) -> None:
        self.graph, self.index, self.editor = graph, index, Editor(graph)
        self.extra = -graph.tensors[graph.operators[index].outputs[0]].shape[3] % KERNEL_WIDTH

    def run(self) -> Graph:
        graph, consumers = self.graph, self.graph.consumers()
        place, operator = self.index, graph.operators[self.index]
        wide = self.wider(place, operator, operator.inputs[0], axis=0)
        while True:
            narrow = operator.outputs[0]
            readers = consumers.get(narrow, [])
            if len(readers) != 1 or narrow in graph.outputs:
                break
            reader = graph.operators[readers[0]]
            if _is_ordinary(graph, reader):
                inputs = (wide, self.padded(reader.inputs[1], 3), *reader.inputs[2:])
                self.editor.replace(readers[0], [replace(reader, inputs=inputs)])
                return self.editor.graph()
            if not _follows(graph, reader):
                break
            place, operator = readers[0], reader
            wide = self.wider(place, operator, wide, axis=3)
        self.editor.replace(place, [*self.editor.slot(place), self.cut(wide, operator.outputs[0])])
        return self.editor.graph()

    def wider(self, place: int, operator: Operator, source: int, axis: int) -> int:
        """Puts the operator in its place with more channels, and returns its output."""
        old = self.graph.tensors[operator.outputs[0]]
        output = self.editor.value(f"{old.name}_widened", (*old.shape[:3], old.shape[3] + self.extra))
        inputs = (source, self.padded(operator.inputs[1], axis), self.padded(operator.inputs[2], 0))
        self.editor.replace(place, [replace(operator, inputs=inputs, outputs=(output,))])
        return output

    def padded(self, tensor: int, axis: int) -> int:
        data = self.editor.data(tensor)
        assert data is not None  # _is_ordinary and _follows looked
        amounts = [(0, self.extra if n == axis else 0) for n in range(data.ndim)]
        return self.editor.constant(f"{self.graph.tensors[tensor].name}_widened", np.pad(data, amounts))

    def cut(self, wide: int, narrow: int) -> Operator:
        """SLICE: the channels that were there before."""
        begin = self.editor.constant("first_channels_begin", np.zeros(4, np.int32))
        size = self.editor.constant("first_channels_size", np.array(self.editor.shape(narrow), np.int32))
        return Operator("SLICE", (wide, begin, size), (narrow,), {}, "SliceOptions")
