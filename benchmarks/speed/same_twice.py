"""Does the same thing come out the same twice, and is a slowdown of 5 % told?

    python -m benchmarks.speed.same_twice [--board local] [--pairs 201] [-o benchmarks/results/speed/same_twice.json]

Each run is one `sdk bench` of default length: a number of copies of one package, and the same network on an image that
is 5 % wider, which therefore has 5 % more to do in every layer. Copies are put into pairs, each copy into one. Counted
are the pairs whose 95 % interval contains 1.00, the runs that call the wider one slower, and the builds that
`sdk compare --fail-if-slower 5%` would have failed between one run and the next, though nothing changed.

What else runs on the machine is part of the answer: `--load N` starts N processes that compute without pause.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sdk.models
from benchmarks.record import benchmark
from device_agent.record import intervals
from device_agent.record.measurement import Measurement
from sdk.api.board_requests import Bench
from sdk.api.files.golden import golden_pair
from sdk.deploy.session import Session, open_session
from sdk.errors import ModelError
from sdk.explain import compare, theory, verdict
from sdk.graph.on_host.input_size import at_size
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph

COPIES = 6
SAME, SLOWER = "same-twice", "same-twice-slower"
SLOWER_BY = 0.05
DIGITS = Path(sdk.models.__file__).parent / "trained" / "mobilenet_v1_digits.tflite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", type=Path, default=DIGITS, help="default: that of `sdk demo`")
    parser.add_argument("--board", default="local", help="default: this machine")
    parser.add_argument("--host")
    parser.add_argument("--pairs", type=int, default=201, help="default: 201")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="processes that compute meanwhile")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The counts, and the conditions that they were taken under."""
    same, slower, factor = networks(read_graph(arguments.model.read_bytes()))
    runs: list[tuple[Measurement, ...]] = []
    seconds = []
    plan = Bench(host=arguments.host)
    with open_session(arguments.board, plan) as session, load(arguments.load):
        for name, graph in ((SAME, same), (SLOWER, slower)):
            tflite = write_graph(graph)
            session.agent.deploy(tflite, name, golden=golden_pair(tflite))
        for number in range(math.ceil(arguments.pairs / (COPIES // 2))):
            begun = time.monotonic()
            runs.append(one_run(session, plan))
            seconds.append(time.monotonic() - begun)
            print(f"run {number + 1}, {seconds[-1]:.0f} s: {summary(runs)}", flush=True)
        session.agent.forget([SAME, SLOWER])
    first = runs[0][0]
    return {
        "model": arguments.model.name,
        "machine": first.machine,
        "cpus": os.cpu_count() if arguments.board == "local" else len(first.cpus),
        "python": platform.python_version(),
        "runtime": f"{first.runtime} {first.runtime_version}",
        "processes_of_load": arguments.load,
        "load_average_of_host": round(os.getloadavg()[2], 1),
        "slower_has_more_work_by": factor - 1.0,
        "seconds_per_model": statistics.median(seconds) / (COPIES + 1),
        **counts(runs),
        # Of each run, of each copy and the slower one: the level of each loading, to be looked at in other ways.
        "levels_microseconds": [
            [[round(1e6 * s, 2) for s in intervals.levels(m.samples_seconds, m.turns)] for m in run]
            for run in runs
        ],
    }


def networks(graph: Graph) -> tuple[Graph, Graph, float]:
    """The network on an image of one strip and on one that is 5 % wider, and the ratio of their work."""
    for side in (8, 16, 32, 64):
        same, slower = (at_size(graph, side, side * columns) for columns in (20, 21))
        macs = [theory.totals(theory.operator_costs(g)).macs for g in (same, slower)]
        if abs(macs[1] / macs[0] - 1.0 - SLOWER_BY) < 0.002:
            return same, slower, macs[1] / macs[0]
    raise ModelError("no image of this network has 5 % more to do", expected="a network that ends in a mean")


def one_run(session: Session, plan: Bench) -> tuple[Measurement, ...]:
    """The copies, then the slower network, as `sdk bench` measures them on one thread."""
    return session.agent.bench(
        [*[SAME] * COPIES, SLOWER],
        kernel=session.kernel,
        min_samples=plan.samples,
        max_seconds=plan.seconds,
    )


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Processes that compute without pause while the body runs."""
    started = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        yield
    finally:
        for process in started:
            process.terminate()


def _compute() -> None:
    while True:
        sum(range(100_000))


def compared(first: Measurement, second: Measurement) -> compare.Comparison:
    """One measurement against another, without theory."""
    work = theory.totals(())
    [found] = compare.compare(
        compare.Contender("first", work, first), [compare.Contender("second", work, second)]
    )
    return found


def counts(runs: list[tuple[Measurement, ...]]) -> dict[str, Any]:
    """What is counted, with the widths of the intervals."""
    pairs = [compared(run[i], run[i + 1]) for run in runs for i in range(0, COPIES, 2)]
    told = [compared(run[0], run[-1]) for run in runs]
    builds = [
        verdict.judge(old[0], new[0], compared(old[0], new[0]), SLOWER_BY)
        for old, new in itertools.pairwise(runs)
    ]
    return {
        "pairs": len(pairs),
        "intervals_that_contain_1": sum(c.measured_low <= 1.0 <= c.measured_high for c in pairs),
        "half_width_median": statistics.median(
            math.sqrt(c.measured_high / c.measured_low) - 1 for c in pairs
        ),
        "ratio_farthest_from_1": max((c.measured_speedup for c in pairs), key=lambda r: abs(math.log(r))),
        "runs": len(told),
        "slower_median_ratio": statistics.median(1.0 / c.measured_speedup for c in told),
        "runs_that_tell_slower": sum(c.measured_high < 1.0 for c in told),
        "builds": len(builds),
        "builds_failed": sum(v.answer == verdict.SLOWER for v in builds),
        "builds_of_which_nobody_can_tell": sum(v.answer == verdict.CANNOT_TELL for v in builds),
        "loadings": statistics.median(run[0].loadings for run in runs),
        "spread": vars(runs[len(runs) // 2][0].spread()),
    }


def summary(runs: list[tuple[Measurement, ...]]) -> str:
    """The counts so far, in words."""
    c = counts(runs)
    return (
        f"{c['intervals_that_contain_1']} of {c['pairs']} intervals contain 1.00 (half as wide as "
        f"{100 * c['half_width_median']:.1f} %), {c['runs_that_tell_slower']} of {c['runs']} tell the slower one "
        f"({c['slower_median_ratio']:.3f}x), {c['builds_failed']} of {c['builds']} builds failed, "
        f"of {c['builds_of_which_nobody_can_tell']} nobody can tell"
    )


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
