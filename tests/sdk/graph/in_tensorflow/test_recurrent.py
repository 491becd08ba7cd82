"""Recurrent layers in TensorFlow answer as the interpreter does, with all that an LSTM may have or lack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sdk.errors import UnsupportedOperator
from sdk.graph.enums import NO_ACTIVATION, TANH
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph, Operator, Tensor
from tests.sdk.graph.small_graphs import check_against_interpreter, samples

pytestmark = pytest.mark.tensorflow

STEPS, VALUES, CELLS, SHORT = 6, 3, 5, 4


class Parts:
    """Tensors of a graph, added one by one."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self._random = np.random.default_rng(0)

    def value(self, *shape: int, is_variable: bool = False) -> int:
        """The number of a tensor that is computed."""
        self.tensors.append(Tensor(f"value {len(self.tensors)}", shape, "FLOAT32", is_variable=is_variable))
        return len(self.tensors) - 1

    def constant(self, *shape: int) -> int:
        """The number of a constant of noise."""
        data = self._random.normal(0, 0.5, shape).astype(np.float32)
        self.tensors.append(Tensor(f"constant {len(self.tensors)}", shape, "FLOAT32", data))
        return len(self.tensors) - 1


def lstm(*, coupled: bool = False, short: bool = False, clip: float = 0.0, **changes: object) -> Graph:
    """One LSTM: with a coupled input gate, a projection to fewer values, or a cell that is clipped."""
    parts = Parts()
    state = SHORT if short else CELLS
    source = parts.value(1, STEPS, VALUES)
    gates = [parts.constant(CELLS, VALUES) for _ in range(4)]
    back = [parts.constant(CELLS, state) for _ in range(4)]
    biases = [parts.constant(CELLS) for _ in range(4)]
    if coupled:
        gates[0] = back[0] = biases[0] = -1
    projection = (parts.constant(SHORT, CELLS), parts.constant(SHORT)) if short else (-1, -1)
    held = parts.value(1, state, is_variable=True), parts.value(1, CELLS, is_variable=True)
    target = parts.value(1, STEPS, state)
    options = {
        "fusedActivationFunction": TANH,
        "cellClip": clip,
        "projClip": 0.3 if short else 0.0,
        "timeMajor": False,
        "asymmetricQuantizeInputs": False,
        "diagonalRecurrentTensors": False,
    }
    operator = Operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        (source, *gates, *back, -1, -1, -1, *biases, *projection, *held, -1, -1, -1, -1),
        (target,),
        {**options, **changes},
        "UnidirectionalSequenceLSTMOptions",
    )
    return Graph(tuple(parts.tensors), (operator,), (source,), (target,))


def rnn(activation: int) -> Graph:
    """One plain recurrent layer."""
    parts = Parts()
    source = parts.value(1, STEPS, VALUES)
    weights = parts.constant(CELLS, VALUES), parts.constant(CELLS, CELLS), parts.constant(CELLS)
    held, target = parts.value(1, CELLS, is_variable=True), parts.value(1, STEPS, CELLS)
    options = {
        "timeMajor": False,
        "fusedActivationFunction": activation,
        "asymmetricQuantizeInputs": False,
    }
    operator = Operator(
        "UNIDIRECTIONAL_SEQUENCE_RNN", (source, *weights, held), (target,), options, "SequenceRNNOptions"
    )
    return Graph(tuple(parts.tensors), (operator,), (source,), (target,))


@pytest.mark.parametrize(
    "graph",
    [lstm(), lstm(coupled=True), lstm(short=True), lstm(clip=0.2), rnn(TANH), rnn(NO_ACTIVATION)],
    ids=["plain", "coupled", "projected", "clipped", "rnn", "linear rnn"],
)
def test_each_sample_begins_without_a_state(graph: Graph) -> None:
    check_against_interpreter(graph)


def test_gradients_reach_what_lies_behind_the_steps() -> None:
    import tensorflow as tf

    graph = lstm()
    executor = Executor(graph)
    back = graph.operators[0].inputs[5]
    weight = tf.Variable(graph.tensors[back].data)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(executor(samples(graph), {back: weight})))
    assert float(tf.norm(tape.gradient(loss, weight))) > 0


def test_what_is_not_computed_is_refused_by_name() -> None:
    turned = lstm(timeMajor=True)
    with pytest.raises(UnsupportedOperator, match="UNIDIRECTIONAL_SEQUENCE_LSTM"):
        Executor(turned).check()
    peeping = lstm()
    operator = peeping.operators[0]
    peepholes = replace(
        operator, inputs=(*operator.inputs[:9], *operator.inputs[12:15], *operator.inputs[12:])
    )
    with pytest.raises(UnsupportedOperator, match="peepholes"):
        Executor(replace(peeping, operators=(peepholes,))).check()
