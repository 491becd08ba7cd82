"""What the agent itself costs: a model that computes nothing, measured by the agent and by a loop written by hand.

    python -m benchmarks.speed.agent_overhead [-o benchmarks/results/speed/agent_overhead.json]

Both time one addition of two numbers in the same process, interleaved. ``bench`` is the measured latency, ``bare`` that
of the loop; measuring adds the difference to every latency. ``predict`` is what an application pays for
``LoadedModel.predict`` on top: checks, a copy in and a copy out.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.record import benchmark, text_of
from device_agent.measuring import bench
from device_agent.record.intervals import bootstrap_median_interval
from device_agent.run.loaded import LoadedModel
from sdk.graph.isolate import null_model

ROUNDS, SAMPLES = 20, 500


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians and their intervals of the three, in microseconds."""
    taken: dict[str, list[float]] = {"bench": [], "bare": [], "predict": []}
    with LoadedModel(null_model()) as agent, LoadedModel(null_model()) as other:
        for each in (agent, other):
            bench.set_inputs(each)
        invoke, one = other.model.invoke, np.ones(other.model.inputs[0].shape, np.float32)
        plan = bench.LoadingPlan(SAMPLES, max_warmup_seconds=0.0)
        for _ in range(ROUNDS):
            taken["bench"] += bench.take_turns([agent.model.invoke], plan)[0].samples_seconds
            taken["bare"] += _loop(invoke)
            taken["predict"] += _loop(lambda: other.predict(one))
        identity = agent.model.identity
    record = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "runtime": f"{identity.name} {identity.version}",
        "samples_each": ROUNDS * SAMPLES,
        "median_microseconds": {k: 1e6 * statistics.median(v) for k, v in taken.items()},
        "interval_microseconds": {
            k: [1e6 * s for s in bootstrap_median_interval(v)] for k, v in taken.items()
        },
    }
    print(text_of(record), end="")
    return record


def _loop(function) -> list[float]:
    seconds = []
    for _ in range(SAMPLES):
        start = time.perf_counter_ns()
        function()
        seconds.append((time.perf_counter_ns() - start) / 1e9)
    return seconds


if __name__ == "__main__":
    benchmark(__doc__, measure)
