"""Structural edits of a graph: operators are inserted, replaced and dropped, and unread tensors are removed.

A pass opens an :class:`Editor` on a graph, edits, and takes :meth:`Editor.graph`.  Old tensor numbers stay valid while
the editor is open; the finished graph is renumbered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sdk.graph.enums import NO_ACTIVATION, VALID
from sdk.graph.records import NUMPY_DTYPES, Graph, Operator, Quantization, Signature, Tensor

_NUMPY_TO_SCHEMA = {dtype.name: name for name, dtype in NUMPY_DTYPES.items()}


class Editor:
    """A graph that is being edited. Operators stand in one slot for every operator of the original graph."""

    def __init__(self, graph: Graph) -> None:
        self.original = graph
        self.tensors: list[Tensor] = list(graph.tensors)
        self.outputs: list[int] = list(graph.outputs)
        self.metadata: dict[str, bytes] = dict(graph.metadata)
        self._slots: list[list[Operator]] = [[operator] for operator in graph.operators]
        self._names = {tensor.name for tensor in graph.tensors}

    # Tensors.

    def value(self, name: str, shape: Iterable[int], like: int | None = None) -> int:
        """A new tensor that is computed at run time: float32, or of type and quantisation of tensor ``like``."""
        dtype, quantization = "FLOAT32", None
        if like is not None:
            dtype, quantization = self.tensors[like].dtype, self.tensors[like].quantization
        return self._append(Tensor(self._free(name), tuple(shape), dtype, None, quantization))

    def constant(self, name: str, array: np.ndarray, quantization: Quantization | None = None) -> int:
        """The number of a new constant tensor: ``array`` of any shape, of a type that the schema has."""
        array = np.ascontiguousarray(array)
        kind = _NUMPY_TO_SCHEMA[array.dtype.name]
        return self._append(Tensor(self._free(name), array.shape, kind, array, quantization))

    def data(self, tensor: int) -> np.ndarray | None:
        """The constant of a tensor, in any shape; None where it is computed, or absent (-1)."""
        return self.tensors[tensor].data if tensor >= 0 else None

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self.tensors[tensor].shape

    def _append(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _free(self, name: str) -> str:
        free, number = name, 1
        while free in self._names:
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return free

    # Operators.

    @property
    def operators(self) -> list[Operator]:
        """All operators as they stand now, in the order of execution."""
        return [operator for slot in self._slots for operator in slot]

    def replace(self, index: int, operators: Sequence[Operator]) -> None:
        """Puts operators in the place of operator ``index`` of the original graph; none removes it."""
        self._slots[index] = list(operators)

    def slot(self, index: int) -> list[Operator]:
        """The operators that now replace operator ``index`` of the original graph."""
        return list(self._slots[index])

    def redirect(self, old: int, new: int) -> None:
        """Lets every present reader of tensor ``old``, the graph's outputs included, read ``new`` instead."""
        for slot in self._slots:
            for place, operator in enumerate(slot):
                if old in operator.inputs:
                    inputs = tuple(new if tensor == old else tensor for tensor in operator.inputs)
                    slot[place] = replace(operator, inputs=inputs)
        self.outputs = [new if tensor == old else tensor for tensor in self.outputs]

    # The result.

    def graph(self) -> Graph:
        """The edited graph: operators and tensors that lead to no output are gone, the rest is renumbered."""
        operators = _live(self.operators, self.outputs)
        used = {t for op in operators for t in (*op.inputs, *op.outputs, *op.intermediates) if t >= 0}
        used |= {*self.original.inputs, *self.outputs}
        number = {old: new for new, old in enumerate(sorted(used))}
        moved = dict(zip(self.original.outputs, self.outputs, strict=True))
        return replace(
            self.original,
            tensors=tuple(self.tensors[old] for old in sorted(used)),
            operators=tuple(_renumber(operator, number) for operator in operators),
            inputs=tuple(number[t] for t in self.original.inputs),
            outputs=tuple(number[t] for t in self.outputs),
            metadata=tuple(self.metadata.items()),
            signatures=tuple(_renumber_signature(s, moved, number) for s in self.original.signatures),
        )


def _live(operators: Sequence[Operator], outputs: Iterable[int]) -> list[Operator]:
    wanted = set(outputs)
    kept = []
    for operator in reversed(operators):
        if operator.outputs and wanted.isdisjoint(operator.outputs):
            continue
        wanted.update(operator.inputs)
        kept.append(operator)
    return kept[::-1]


def _renumber(operator: Operator, number: Mapping[int, int]) -> Operator:
    return replace(
        operator,
        inputs=tuple(number[t] if t >= 0 else t for t in operator.inputs),
        outputs=tuple(number[t] for t in operator.outputs),
        intermediates=tuple(number[t] for t in operator.intermediates),
    )


def _renumber_signature(
    signature: Signature, moved: Mapping[int, int], number: Mapping[int, int]
) -> Signature:
    return replace(
        signature,
        inputs=tuple((name, number[t]) for name, t in signature.inputs),
        outputs=tuple((name, number[moved.get(t, t)]) for name, t in signature.outputs),
    )


# Operators that passes put in, with every option that the runtime reads.


def convolution(source: int, weight: int, bias: int, output: int, *, stride: int = 1) -> Operator:
    """CONV_2D without padding and activation; the weight is (out, height, width, in)."""
    window = _window(stride, VALID, NO_ACTIVATION)
    return Operator("CONV_2D", (source, weight, bias), (output,), window, "Conv2DOptions")


def depthwise(
    source: int,
    weight: int,
    bias: int,
    output: int,
    *,
    stride: int = 1,
    padding: int = VALID,
    activation: int = NO_ACTIVATION,
) -> Operator:
    """DEPTHWISE_CONV_2D with multiplier 1; the weight is (1, height, width, channels)."""
    options = {**_window(stride, padding, activation), "depthMultiplier": 1}
    return Operator("DEPTHWISE_CONV_2D", (source, weight, bias), (output,), options, "DepthwiseConv2DOptions")


def _window(stride: int, padding: int, activation: int) -> dict[str, Any]:
    return {
        "padding": padding,
        "strideW": stride,
        "strideH": stride,
        "dilationWFactor": 1,
        "dilationHFactor": 1,
        "fusedActivationFunction": activation,
    }


def add(first: int, second: int, output: int, activation: int = NO_ACTIVATION) -> Operator:
    """ADD of two tensors of one shape."""
    return Operator("ADD", (first, second), (output,), {"fusedActivationFunction": activation}, "AddOptions")


def multiply(first: int, second: int, output: int) -> Operator:
    """MUL of two tensors of one shape."""
    options = {"fusedActivationFunction": NO_ACTIVATION}
    return Operator("MUL", (first, second), (output,), options, "MulOptions")


def pad(source: int, amounts: int, output: int) -> Operator:
    """PAD with zeros; ``amounts`` is an int32 constant (rank, 2)."""
    return Operator("PAD", (source, amounts), (output,), {}, "PadOptions")
