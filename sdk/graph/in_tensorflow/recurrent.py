"""Recurrent layers, one step after another, each sample from the state zero."""

from __future__ import annotations

from typing import Any

from sdk.graph.in_tensorflow.context import Context, Value, operator, tensorflow

MOST_STEPS = 256  # each becomes operations of its own
_GATES = ("input", "forget", "cell", "output")  # in the order of the operator's inputs
# Places of the LSTM's inputs.
_FROM_INPUT, _FROM_STATE, _BIASES, _PROJECTION, _PROJECTION_BIAS = 1, 5, 12, 16, 17
_PEEPHOLES, _NORMS = range(9, 12), range(20, 24)


def _given(inputs: list[Value], place: int) -> Any:
    return inputs[place] if place < len(inputs) else None


def _steps(at: Context) -> int:
    """How many steps the input (batch, steps, values) has."""
    shape = at.input_shape(0)
    if at.options.get("timeMajor") or len(shape) != 3:
        raise at.refused("an input (batch, steps, values)", f"shape {shape}, time first")
    if shape[1] > MOST_STEPS:
        raise at.refused(f"at most {MOST_STEPS} steps", f"{shape[1]}")
    return shape[1]


@operator("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _lstm(at: Context, inputs: list[Value]) -> list[Value]:
    tf, steps, options = tensorflow(), _steps(at), at.options
    if any(_given(inputs, place) is not None for place in (*_PEEPHOLES, *_NORMS)):
        raise at.refused("an LSTM without peepholes and layer norms", "some")
    gates = [
        gate for gate in range(4) if inputs[_FROM_INPUT + gate] is not None
    ]  # the input gate may be coupled
    ahead = []  # what the input adds to each gate, at all steps
    for gate in gates:
        bias = _given(inputs, _BIASES + gate)
        product = tf.matmul(inputs[0], inputs[_FROM_INPUT + gate], transpose_b=True)
        ahead.append(product if bias is None else product + bias)
    projection, offset = _given(inputs, _PROJECTION), _given(inputs, _PROJECTION_BIAS)
    batch = tf.shape(inputs[0])[0]
    cell = tf.zeros((batch, at.input_shape(_FROM_STATE + 3)[0]))
    state = tf.zeros((batch, at.input_shape(_FROM_STATE + 3)[1]))
    found = []
    for step in range(steps):
        sums = {
            _GATES[gate]: product[:, step] + tf.matmul(state, inputs[_FROM_STATE + gate], transpose_b=True)
            for gate, product in zip(gates, ahead, strict=True)
        }
        forget = tf.sigmoid(sums["forget"])
        enter = tf.sigmoid(sums["input"]) if "input" in sums else 1.0 - forget
        cell = _clipped(forget * cell + enter * at.activate(sums["cell"]), options.get("cellClip", 0.0))
        state = tf.sigmoid(sums["output"]) * at.activate(cell)
        if projection is not None:
            state = tf.matmul(state, projection, transpose_b=True)
            state = _clipped(state if offset is None else state + offset, options.get("projClip", 0.0))
        found.append(state)
    return [tf.stack(found, axis=1)]


@operator("UNIDIRECTIONAL_SEQUENCE_RNN")
def _rnn(at: Context, inputs: list[Value]) -> list[Value]:
    tf, steps = tensorflow(), _steps(at)
    ahead = tf.matmul(inputs[0], inputs[1], transpose_b=True) + inputs[3]
    state = tf.zeros((tf.shape(inputs[0])[0], at.input_shape(2)[0]))
    found = []
    for step in range(steps):
        state = at.activate(ahead[:, step] + tf.matmul(state, inputs[2], transpose_b=True))
        found.append(state)
    return [tf.stack(found, axis=1)]


def _clipped(value: Value, limit: float) -> Value:
    return tensorflow().clip_by_value(value, -limit, limit) if limit else value
