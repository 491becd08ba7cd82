"""A graph as a differentiable TensorFlow function: the compression passes that learn run it.

``Executor(graph)`` computes what the TFLite interpreter computes, for any batch size (the graph itself has batch 1),
out of ``tf.nn``, with the constants of the caller's choice in place of the graph's own, so that gradients reach them.

The operators are those of convolutional classifiers: all networks of the zoo, MobileNet V3, EfficientNet-Lite and their
relatives. Any other operator, and one that mixes the samples of a batch, is refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from sdk.errors import UnsupportedOperator
from sdk.graph.execute_operators import AXIS_FREE, IMPLEMENTATIONS, Context, Value
from sdk.graph.records import Graph, Operator


class Executor:
    """Runs a graph in TensorFlow. Raises :class:`UnsupportedOperator` at once for what it cannot run."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        for operator in graph.operators:
            if operator.kind not in IMPLEMENTATIONS:
                raise UnsupportedOperator(
                    f"operator {operator.custom_code or operator.kind} cannot be run in TensorFlow",
                    expected=", ".join(sorted(IMPLEMENTATIONS)),
                    found=operator.custom_code or operator.kind,
                    hint="Compress without data (--effort none), which runs nothing.",
                )
        self._producers = graph.producers()
        batched = set(graph.inputs)
        for operator in graph.operators:
            if batched.intersection(operator.inputs):
                batched.update(operator.outputs)
        self._batched = frozenset(batched)

    @property
    def scores(self) -> int:
        """The tensor that ranks the classes: the first output, or what a final SOFTMAX reads.

        Losses want these numbers; after the softmax their differences are lost to rounding.
        """
        tensor = self.graph.outputs[0]
        producer = self._producers.get(tensor)
        if producer is not None and self.graph.operators[producer].kind == "SOFTMAX":
            return self.graph.operators[producer].inputs[0]
        return tensor

    def __call__(
        self, images: Value, constants: Mapping[int, Value] | None = None, *, wanted: int | None = None
    ) -> Value:
        """The first output (or tensor ``wanted``) for ``images`` (n, height, width, channels).

        ``constants`` replaces constants of the graph by tensor number, in the graph's own layout.
        """
        target = self.graph.outputs[0] if wanted is None else wanted
        return self.run({self.graph.inputs[0]: images}, constants=constants, wanted=(target,))[target]

    def run(
        self,
        values: Mapping[int, Value],
        *,
        wanted: Collection[int],
        constants: Mapping[int, Value] | None = None,
    ) -> dict[int, Value]:
        """The tensors ``wanted``, computed from the ``values`` given; only operators that they need are run."""
        computed: dict[int, Value] = dict(values)
        constants = constants or {}
        plan = self.plan(values, wanted)
        for step, index in enumerate(plan):
            operator = self.graph.operators[index]
            self._check_batch_axis(operator)
            inputs = [None if t < 0 else self._value(t, computed, constants) for t in operator.inputs]
            results = IMPLEMENTATIONS[operator.kind](Context(self.graph, operator, self._batched), inputs)
            computed.update(zip(operator.outputs, results, strict=False))
            needed = {t for later in plan[step + 1 :] for t in self.graph.operators[later].inputs}
            computed = {t: v for t, v in computed.items() if t in needed or t in wanted}
        return {t: self._value(t, computed, constants) for t in wanted}

    def _check_batch_axis(self, operator: Operator) -> None:
        for tensor in self._batched.intersection(operator.inputs):
            if self.graph.tensors[tensor].shape[:1] != (1,) and operator.kind not in AXIS_FREE:
                raise UnsupportedOperator(
                    f"this {operator.kind} cannot be run in TensorFlow for several samples",
                    expected="an input whose first axis is a batch of 1",
                    found=f"{self.graph.tensors[tensor].name!r} of shape {self.graph.tensors[tensor].shape}",
                )

    def plan(self, given: Iterable[int], wanted: Iterable[int]) -> list[int]:
        """The operators to run, in order, for the tensors ``wanted`` when those ``given`` are known."""
        known, needed, queue = set(given), set(), list(wanted)
        while queue:
            tensor = queue.pop()
            producer = self._producers.get(tensor)
            if tensor in known or producer is None or producer in needed:
                continue
            needed.add(producer)
            queue.extend(t for t in self.graph.operators[producer].inputs if t >= 0)
        return sorted(needed)

    def _value(self, tensor: int, computed: Mapping[int, Value], constants: Mapping[int, Value]) -> Value:
        if tensor in computed:
            return computed[tensor]
        if tensor in constants:
            return constants[tensor]
        return self.constant(tensor)

    def constant(self, tensor: int) -> np.ndarray:
        """The graph's own constant, of the shape of its tensor.

        Raises :class:`UnsupportedOperator` for sparse storage, quantised values and types that numpy lacks.
        """
        described = self.graph.tensors[tensor]
        if not described.is_dense_array or (
            described.quantization is not None and described.dtype != "INT32"
        ):
            raise UnsupportedOperator(
                f"tensor {described.name!r} cannot be run in TensorFlow",
                expected="a float constant that is stored densely",
                found="no data" if described.data is None else f"{described.dtype}, sparse or quantised",
                hint="Compress the float model, before it is quantised or given its sparse hint.",
            )
        assert described.data is not None
        return described.data
