"""A graph as a differentiable TensorFlow function: the compression passes that learn run it.

``Executor(graph)`` computes what the TFLite interpreter computes, for any batch size (the graph itself has batch 1),
out of ``tf.nn``, with the constants of the caller's choice in place of the graph's own, so that gradients reach them.

The operators are those of convolutional networks, of text classifiers with tables of embeddings, and recurrent layers.
Any other operator, and one that mixes the samples of a batch, is refused by name. What depends on no input is computed
once, as numbers, so that shapes and axes may be the result of operators.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from sdk.errors import DataError, UnsupportedOperator
from sdk.graph.before_choice import before_choice
from sdk.graph.in_tensorflow import elementwise, layers, movement, pooling, recurrent
from sdk.graph.in_tensorflow.context import (
    AXIS_FREE,
    IMPLEMENTATIONS,
    WITHOUT,
    Context,
    Implementation,
    Value,
    kind_of,
    tensorflow,
)
from sdk.graph.own_task import ranking
from sdk.graph.records import Graph, Operator

#: Whose operators are registered; each module registers its own.
_REGISTERED = (elementwise, layers, movement, pooling, recurrent)
#: Samples of a trial: more than one, so that what mixes them shows.
_TRIAL_SAMPLES = 2


class Executor:
    """Runs a graph in TensorFlow. Raises :class:`UnsupportedOperator` at once for what it cannot run.

    Its answers are the values that are chosen by where the graph ends in a choice, such as an ARG_MAX. The choice
    itself may be one that TensorFlow cannot run: then its ``outputs`` are those values, else the graph's.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        #: Its outputs are the answers: class numbers tell nothing of a small change, and have no gradient.
        self._answering = before_choice(graph)
        self._producers = graph.producers()
        for number in self.plan(graph.inputs, self._answering.outputs):
            _implementation_of(graph.operators[number])
        runs_all = all(kind_of(operator) in IMPLEMENTATIONS for operator in graph.operators)
        self.outputs = graph.outputs if runs_all else self._answering.outputs
        batched = set(graph.inputs)
        for operator in graph.operators:
            if operator.kind != "SHAPE" and batched.intersection(operator.inputs):
                batched.update(operator.outputs)
        self._batched = frozenset(batched)

    @property
    def scores(self) -> int:
        """The tensor that ranks the classes: the first output, or what a final SOFTMAX reads.

        Losses want these numbers; after the softmax their differences are lost to rounding.
        """
        return self._before_softmax(self._answering.outputs[0])

    @property
    def answers(self) -> tuple[tuple[int, bool], ...]:
        """All outputs of real numbers: (tensor, whether it ranks classes); of those that do, what a SOFTMAX reads."""
        return tuple(
            (self._before_softmax(tensor) if ranks else tensor, ranks)
            for tensor, ranks in zip(self._answering.outputs, ranking(self._answering), strict=True)
            if self.graph.tensors[tensor].dtype == "FLOAT32"
        )

    def _before_softmax(self, tensor: int) -> int:
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
        target = self._answering.outputs[0] if wanted is None else wanted
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
            inputs = [
                # A variable is the state that a recurrent layer begins with: none.
                None
                if t < 0 or (self.graph.tensors[t].is_variable and t not in computed)
                else self._value(t, computed, constants)
                for t in operator.inputs
            ]
            results = self._results(operator, inputs)
            computed.update(zip(operator.outputs, results, strict=False))
            needed = {t for later in plan[step + 1 :] for t in self.graph.operators[later].inputs}
            computed = {t: v for t, v in computed.items() if t in needed or t in wanted}
        return {t: self._value(t, computed, constants) for t in wanted}

    def _results(self, operator: Operator, inputs: list[Value]) -> Sequence[Value]:
        """The outputs of an operator; numbers where all that it reads are numbers."""
        implementation = _implementation_of(operator)
        at = Context(self.graph, operator, self._batched)
        if self._batched.intersection(operator.outputs) or not all(
            value is None or isinstance(value, np.ndarray) for value in inputs
        ):
            try:
                return implementation(at, inputs)
            except tensorflow().errors.InvalidArgumentError as error:
                raise DataError(
                    f"the network's {operator.kind} cannot compute with these data",
                    expected="values that the network was made for, such as numbers of words that it knows",
                    found=_said(error),
                ) from error
        with tensorflow().init_scope():
            return [np.asarray(value) for value in implementation(at, inputs)]

    def check(self) -> None:
        """Runs the graph on two samples of zeros. Raises :class:`UnsupportedOperator` for what it cannot run."""
        tf = tensorflow()
        given = {}
        for number in self.graph.inputs:
            tensor = self.graph.tensors[number]
            if tensor.shape[:1] != (1,):
                raise UnsupportedOperator(
                    f"input {tensor.name!r} cannot be run in TensorFlow for several samples",
                    expected="an input whose first axis is a batch of 1",
                    found=f"shape {tensor.shape}",
                    hint=WITHOUT,
                )
            given[number] = np.zeros((_TRIAL_SAMPLES, *tensor.shape[1:]), tensor.dtype.lower())
        wanted = [tensor for tensor, _ in self.answers]
        if not wanted:
            raise self._not_each("an output of real numbers", "whole numbers alone")
        try:
            found = self.run(given, wanted=wanted)
        except (tf.errors.OpError, DataError, ValueError, TypeError) as error:
            raise self._not_each("operators that know them", str(error).splitlines()[0][:200]) from error
        for value in found.values():
            if tuple(value.shape[:1]) != (_TRIAL_SAMPLES,):
                raise self._not_each("one answer per sample", f"shape {value.shape} for {_TRIAL_SAMPLES}")

    @staticmethod
    def _not_each(expected: str, found: str) -> UnsupportedOperator:
        what = "this model cannot be run in TensorFlow for several samples"
        return UnsupportedOperator(what, expected=expected, found=found, hint=WITHOUT)

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
        return sorted(self.graph.needed(wanted, set(given), self._producers))

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


def _implementation_of(operator: Operator) -> Implementation:
    kind = kind_of(operator)
    if kind not in IMPLEMENTATIONS:
        raise UnsupportedOperator(
            f"operator {kind} cannot be run in TensorFlow",
            expected=f"the {len(IMPLEMENTATIONS)} kinds of operator that training and calibration know",
            found=kind,
            hint=WITHOUT,
        )
    return IMPLEMENTATIONS[kind]


def _said(error: Exception) -> str:
    """TensorFlow's own words, without the names of its functions around them."""
    first = str(error).splitlines()[0]
    return first.rpartition("}} ")[2].partition(" [Op:")[0][:200]
