"""Memory of graphs whose lifetimes can be counted by hand."""

from __future__ import annotations

import numpy as np

from sdk.explain.soaking.memory import plan_memory
from sdk.graph.records import Graph, Operator, Tensor
from tests.sdk.graph.small_graphs import small_network


def value(name: str, count: int) -> Tensor:
    return Tensor(name, (1, count), "FLOAT32")


def test_a_chain_holds_two_neighbours_and_its_input():
    tensors = tuple(value(name, count) for name, count in (("in", 16), ("a", 64), ("b", 32), ("out", 16)))
    operators = tuple(Operator("RELU", (i,), (i + 1,)) for i in range(3))
    plan = plan_memory(Graph(tensors, operators, (0,), (3,)))
    assert plan is not None
    # In bytes: the input stays; a; then a and b; then b and the output.
    assert plan.alive_bytes == (64 + 256, 64 + 256 + 128, 64 + 128 + 64)
    assert (plan.peak, plan.kind, plan.name) == (1, "RELU", "b")
    assert plan.arena_bytes == 64 + 256 + 128
    assert plan.weight_bytes == 0


def test_a_branch_lives_until_it_is_joined():
    tensors = tuple(value(name, 16) for name in ("in", "skip", "a", "b", "out"))
    operators = (
        Operator("RELU", (0,), (1,)),
        Operator("RELU", (1,), (2,)),
        Operator("RELU", (2,), (3,)),
        Operator("ADD", (3, 1), (4,)),
    )
    plan = plan_memory(Graph(tensors, operators, (0,), (4,)))
    assert plan is not None
    assert plan.alive_bytes == (128, 192, 256, 256)
    assert plan.arena_bytes == 256  # a's place is taken by the output


def test_weights_count_each_buffer_once_and_half_precision_twice_over():
    shared = np.zeros((4, 8), np.float16)
    tensors = (
        value("in", 8),
        Tensor("half", (4, 8), "FLOAT16", shared),
        Tensor("again", (4, 8), "FLOAT16", shared),
        Tensor("full", (4, 8), "FLOAT32"),
        value("out", 4),
    )
    operators = (Operator("DEQUANTIZE", (1,), (3,)), Operator("FULLY_CONNECTED", (0, 3, -1), (4,)))
    plan = plan_memory(Graph(tensors, operators, (0,), (4,)))
    assert plan is not None
    assert plan.weight_bytes == 64 + 128
    assert max(plan.alive_bytes) == 32 + 16


def test_the_arena_of_a_network_is_no_smaller_than_its_peak_and_hardly_larger():
    graph = small_network(size=64, channels=24)
    plan = plan_memory(graph)
    assert plan is not None
    assert plan.peak_bytes <= plan.arena_bytes <= 1.1 * plan.peak_bytes
    assert plan.kind == "CONV_2D"
    stored = [t.data.nbytes for t in graph.tensors if t.data is not None]
    assert plan.weight_bytes == sum(stored)


def test_of_a_file_that_was_not_understood_nothing_is_said():
    assert plan_memory(Graph((), (), (), ())) is None
