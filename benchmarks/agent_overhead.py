"""What the agent itself costs: a model that computes nothing, measured by the agent and by a loop written by hand.

    python -m benchmarks.agent_overhead [--json benchmarks/results/agent_overhead.json]

Both time one addition of two numbers in the same process, interleaved. ``bench`` is what a measurement holds, ``bare``
the loop, and their difference is what measuring adds to every latency. ``predict`` is what an application pays for
``LoadedModel.predict`` on top: checks, a copy in and a copy out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from device_agent.measuring import bench
from device_agent.record.measurement import bootstrap_median_interval
from device_agent.run.loaded import LoadedModel
from sdk.graph.isolate import null_model

ROUNDS, SAMPLES = 20, 500


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the result")
    arguments = parser.parse_args()
    taken: dict[str, list[float]] = {"bench": [], "bare": [], "predict": []}
    with LoadedModel(null_model()) as agent, LoadedModel(null_model()) as other:
        for each in (agent, other):
            bench.set_inputs(each)
        invoke, one = other.model.invoke, np.ones(other.model.inputs[0].shape, np.float32)
        plan = bench.BenchPlan(min_samples=SAMPLES, max_warmup_seconds=0.0)
        for _ in range(ROUNDS):
            taken["bench"] += bench.take_samples([agent.model.invoke], plan)[0].samples_seconds
            taken["bare"] += _loop(invoke)
            taken["predict"] += _loop(lambda: other.predict(one))
        identity = agent.model.identity
    result = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "runtime": f"{identity.name} {identity.version}",
        "samples_each": ROUNDS * SAMPLES,
        "median_microseconds": {k: 1e6 * statistics.median(v) for k, v in taken.items()},
        "interval_microseconds": {
            k: [1e6 * s for s in bootstrap_median_interval(v)] for k, v in taken.items()
        },
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _loop(function) -> list[float]:
    seconds = []
    for _ in range(SAMPLES):
        start = time.perf_counter_ns()
        function()
        seconds.append((time.perf_counter_ns() - start) / 1e9)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
