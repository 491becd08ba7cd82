"""The register of TFLite operators in terms of ``tf.nn``, for a batch of any size, and what each asks about its graph.

Semantics follow the operators' reference kernels (tensorflow/lite/kernels); options carry the names of schema.fbs.
An operator that would mix the samples of a batch is refused, because the graph was written for a batch of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdk.errors import UnsupportedOperator
from sdk.graph.enums import NO_ACTIVATION, RELU, RELU6, RELU_N1_TO_1, SAME, TANH, VALID
from sdk.graph.records import Graph, Operator

Value = Any  # a tf.Tensor, or a numpy array that TensorFlow converts

WITHOUT = "Compress without data (--effort none), which runs nothing in TensorFlow."

PADDINGS = {SAME: "SAME", VALID: "VALID"}  # TensorFlow's names


@dataclass(frozen=True)
class Context:
    """One operator of a graph, with what its implementation asks about it."""

    graph: Graph
    operator: Operator
    batched: frozenset[int]  # tensors that depend on the input, whose first axis must stay the batch

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the operator."""
        return self.operator.options

    def input_shape(self, position: int) -> tuple[int, ...]:
        """Shape of an input in the graph, where the batch is 1."""
        return self.graph.tensors[self.operator.inputs[position]].shape

    def output_shape(self, position: int = 0) -> tuple[int, ...]:
        """Shape of an output in the graph, where the batch is 1."""
        return self.graph.tensors[self.operator.outputs[position]].shape

    @property
    def mixes_samples(self) -> bool:
        """Whether touching the first axis would touch the batch; not so among constants."""
        return self.operator.outputs[0] in self.batched

    def parameter(self, value: Value, what: str) -> np.ndarray:
        """An input that must be a constant such as axes, paddings or sizes, flat: (n,). Raises UnsupportedOperator."""
        if not isinstance(value, np.ndarray):
            raise self.refused(f"a constant {what}", "one computed at run time")
        return value.reshape(-1)

    def axes(self, value: Value, rank: int) -> list[int]:
        """Constant axes counted from the front, none of them the batch."""
        axes = [int(a) % rank for a in self.parameter(value, "axis")]
        if 0 in axes and self.mixes_samples:
            raise self.refused("axes other than the batch", f"axes {axes}")
        return axes

    def activate(self, value: Value) -> Value:
        """The activation fused into the operator."""
        tf, code = tensorflow(), self.options.get("fusedActivationFunction", NO_ACTIVATION)
        if code == NO_ACTIVATION:
            return value
        if code == RELU:
            return tf.nn.relu(value)
        if code == RELU6:
            return tf.nn.relu6(value)
        if code == RELU_N1_TO_1:
            return tf.clip_by_value(value, -1.0, 1.0)
        if code == TANH:
            return tf.tanh(value)
        raise self.refused("a fused RELU, RELU6, RELU_N1_TO_1 or TANH", f"activation {code}")

    def refused(self, expected: str, found: str) -> UnsupportedOperator:
        """The error that says why this operator cannot be run."""
        what = f"this {self.operator.kind} cannot be run in TensorFlow"
        return UnsupportedOperator(what, expected=expected, found=found, hint=WITHOUT)


# (context, inputs with None where one is left out) -> the values of the outputs, in order.
Implementation = Callable[[Context, list[Value]], Sequence[Value]]
IMPLEMENTATIONS: dict[str, Implementation] = {}
#: Operators that may meet a value whose batch axis the graph's shape leaves out: they do not count axes.
AXIS_FREE: set[str] = set()


def kind_of(operator: Operator) -> str:
    """The name by which an operator is known: a custom one's own."""
    return operator.custom_code or operator.kind


def operator(*kinds: str, axis_free: bool = False) -> Callable[[Implementation], Implementation]:
    """Registers an implementation for these kinds; ``axis_free``: it does not count axes."""

    def register(function: Implementation) -> Implementation:
        for kind in kinds:
            IMPLEMENTATIONS[kind] = function
        if axis_free:
            AXIS_FREE.update(kinds)
        return function

    return register


def tensorflow() -> Any:
    """TensorFlow, imported when an operator first runs."""
    import tensorflow

    return tensorflow


def lost_batch(at: Context, position: int) -> bool:
    """Whether an input's shape in the graph leaves out the batch axis that its value has."""
    tensor = at.operator.inputs[position]
    return tensor in at.batched and at.graph.tensors[tensor].shape[:1] != (1,)


def axis_option(at: Context, rank: int) -> int:
    """The option ``axis`` counted from the front; UnsupportedOperator where it is the batch."""
    axis = int(at.options["axis"]) % rank
    if axis == 0 and at.mixes_samples:
        raise at.refused("an axis other than the batch", "axis 0")
    return axis
