"""What the agent measures is what a loop written by hand measures, and what the agent itself costs is bounded."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest

from device_agent.measuring import bench
from device_agent.record.intervals import bootstrap_median_interval
from device_agent.run.loaded import LoadedModel
from sdk.graph.isolate import null_model
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

#: The issue's promise: the medians agree within this.
AGREES = 0.03
ROUND = 60
#: Pairs of loadings before the first look at the ratios (each look comes after twice as many), and the most seconds.
FIRST_LOOK = 40
MOST_SECONDS = 60.0
pytestmark = pytest.mark.alone


def agents_median(agent: LoadedModel, samples: int) -> float:
    """As the verb ``bench`` measures it."""
    plan = bench.LoadingPlan(samples, max_seconds=60.0, max_warmup_seconds=0.0)
    (record,) = bench.measure_loading([agent], plan, cpus=(0,), emulated=False)
    assert len(record.samples_seconds) == samples
    return record.median


def bare_interpreter(tflite: bytes):
    """An interpreter as its documentation says, with noise as input."""
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreter_module.Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]
    interpreter.set_tensor(entry["index"], np.random.default_rng(0).random(entry["shape"], np.float32))
    return interpreter


def bare_median(interpreter, samples: int) -> float:
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        interpreter.invoke()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def loaded_by_the_agent(tflite: bytes, slower: float = 1.0) -> float:
    """The agent's median of a loading of its own, in seconds; each inference takes ``slower`` times its time."""
    with LoadedModel(tflite) as agent:
        bench.set_inputs(agent)
        if slower > 1.0:
            invoke = agent.model.invoke

            def invoke_slower() -> None:
                start = time.perf_counter()
                invoke()
                end = time.perf_counter()
                while time.perf_counter() - start < slower * (end - start):
                    pass

            agent.model.invoke = invoke_slower  # type: ignore[method-assign]
        return agents_median(agent, ROUND)


def ratio_of_medians(ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float]:
    """The 99 % interval of the median of ours / theirs: measured until it says whether they agree, or the time is over.

    Each ratio is of a new loading on either side: where a loading's memory lies makes it some percent faster or
    slower for as long as it lives, and a pair that is loaded once only tells which of the two was luckier.
    """
    ratios: list[float] = []
    deadline, look = time.monotonic() + MOST_SECONDS, FIRST_LOOK
    while True:
        # Interleaved, with the order turned round each time, so that drift and warmth favour neither.
        if len(ratios) % 2:
            of_ours = ours()
            ratios.append(of_ours / theirs())
        else:
            of_theirs = theirs()
            ratios.append(ours() / of_theirs)
        is_late = time.monotonic() > deadline
        if len(ratios) == look or is_late:
            low, high = bootstrap_median_interval(ratios, 0.99)
            if is_late or agree(low, high) is not None:
                return low, high
            look *= 2


def agree(low: float, high: float) -> bool | None:
    """Whether two medians agree by the interval of their ratio; None while it does not say."""
    if low > 1 - AGREES and high < 1 + AGREES:
        return True
    return False if high < 1 - AGREES or low > 1 + AGREES else None


@pytest.mark.parametrize(("slower", "is_same"), [(1.0, True), (1.1, False)])
def test_the_median_agrees_within_3_percent_with_a_loop_written_by_hand(slower: float, is_same: bool):
    """And an agent that takes a tenth more is found out."""
    # A third of a millisecond: rarely hit by anything else.
    tflite = write_graph(small_network(size=64, channels=32))
    low, high = ratio_of_medians(
        lambda: loaded_by_the_agent(tflite, slower), lambda: bare_median(bare_interpreter(tflite), ROUND)
    )
    if agree(low, high) is None:
        pytest.skip(f"the machine is too busy to tell: ratio of medians between {low:.3f} and {high:.3f}")
    assert agree(low, high) is is_same, (low, high)


def test_the_agent_adds_microseconds_to_a_model_that_computes_nothing():
    tflite = null_model()
    interpreter = bare_interpreter(tflite)
    with LoadedModel(tflite) as agent:
        bench.set_inputs(agent)
        added = min(agents_median(agent, 500) - bare_median(interpreter, 500) for _ in range(10))
    assert added < 20e-6
