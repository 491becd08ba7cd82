"""Recurrent layers in TensorFlow answer as the interpreter does, with all that an LSTM may have or lack."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdk.errors import UnsupportedOperator
from sdk.graph.enums import NO_ACTIVATION, TANH
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.records import Graph
from tests.sdk.graph.recurrent_graphs import lstm, rnn
from tests.sdk.graph.small_graphs import check_against_interpreter, samples

pytestmark = pytest.mark.tensorflow


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
