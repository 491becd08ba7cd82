"""Models that nobody meant to load: the process lives, and what the runtime answers too is answered alike.

The long run, with sanitizers and ten thousand loads, is `python -m benchmarks.hostile_models`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import hostile_models
from device_agent.run.runtime import Model
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from tests.device_agent.run.kernels.layers_with_zeros import Images

pytestmark = pytest.mark.usefixtures("c_delegate")


def test_mutants_end_no_process_and_get_no_other_answers() -> None:
    ends = hostile_models.attack(seed=7, count=12)
    assert sum(ends.values()) == 12
    assert ends["answered, with the delegate answered"] >= 3
    assert not [end for end in ends if end.startswith("FINDING")]


def test_operators_out_of_order_are_left_to_the_runtime() -> None:
    images = Images(12, 12, 16)
    x = images.convolve(0, 32, 3, keep=0.1, block=4)
    graph = read_graph(images.model(images.mean(images.convolve(x, 32, keep=0.1, block=4))))
    data = write_graph(replace(graph, operators=graph.operators[::-1]))
    assert len(Model(write_graph(graph), kernels="armlet").armlet_operators()) == 3
    assert Model(data, kernels="armlet").armlet_operators() == Model(data).armlet_operators() == ()


def test_loads_leave_nothing_behind() -> None:
    # What other tests left to the allocator may come back in the first round; a leak comes back in both.
    assert any(hostile_models.loads(40)["grown_bytes"] < 2_000_000 for _ in range(2))


def test_a_reshape_or_mean_that_makes_another_shape_than_the_file_says_is_left_to_the_runtime() -> None:
    images = Images(24, 24, 32)
    x = images.convolve(images.convolve(0, 64, 3, keep=0.05, block=4), 64, 3, keep=0.05, block=4)
    shuffled = images.shuffle(x, 4)
    graph = read_graph(images.model(shuffled, images.mean(x, keep=True), images.flatten(x)))
    assert len(Model(write_graph(graph), kernels="armlet").armlet_operators()) == 7
    image = np.random.default_rng(0).standard_normal((1, 24, 24, 32)).astype(np.float32)
    (apart, _, together, mean, flat) = range(2, 7)
    for at, said, left in (
        (apart, (1, 576, 16, 4), 4),
        (together, (1, 12, 48, 64), 4),
        (flat, (2, 18432), 6),
        (mean, None, 6),
    ):
        operator, tensors = graph.operators[at], list(graph.tensors)
        changed = operator.with_options(keepDims=False)
        if said is not None:
            tensors.append(
                replace(tensors[operator.inputs[1]], data=np.array(said, np.int32), shape=(len(said),))
            )
            changed = replace(operator, inputs=(operator.inputs[0], len(tensors) - 1))
        operators = (*graph.operators[:at], changed, *graph.operators[at + 1 :])
        data = write_graph(replace(graph, tensors=tuple(tensors), operators=operators))
        ours, plain = Model(data, kernels="armlet"), Model(data)
        assert len(ours.armlet_operators()) == left
        for found, expected in zip(
            ours.run_all([image]).values(), plain.run_all([image]).values(), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
