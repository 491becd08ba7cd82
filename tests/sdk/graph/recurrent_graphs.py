"""Graphs of one recurrent layer, made by hand: Keras makes loops of them, which have several subgraphs."""

from __future__ import annotations

import numpy as np

from sdk.graph.enums import TANH
from sdk.graph.records import Graph, Operator, Tensor

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


def samples_of_steps(count: int) -> np.ndarray:
    """Noise for either layer, (count, 6, 3) float32."""
    return np.random.default_rng(1).normal(0, 1, (count, STEPS, VALUES)).astype(np.float32)
