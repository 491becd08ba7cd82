"""Models that nobody meant to load: the process lives, and what the runtime answers too is answered alike.

The long run, with sanitizers and ten thousand loads, is `python -m benchmarks.hostile_models`.
"""

from __future__ import annotations

from dataclasses import replace

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
    assert min(hostile_models.loads(40)["grown_bytes"] for _ in range(2)) < 2_000_000
