"""Does the same thing come out the same twice, and is a slowdown of 5 % told?

    python -m benchmarks.speed.same_twice [--board local] [--pairs 201] [-o benchmarks/results/speed/same_twice.json]

Each run is one `sdk bench` of default length: copies of one package, and the same network on an image that is wider,
by as much as a first run finds to take 5 % longer. Copies are put into pairs, each copy into one. Counted are the pairs
whose 95 % interval contains 1.00; those whose interval would not, were one of the two 5 % slower in every sample; the
runs that call the wider one slower; and the answers of `sdk compare --fail-if-slower 5%` between one run and the next,
though nothing changed.

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

import numpy as np

import sdk.models
from benchmarks.record import benchmark
from device_agent.record import intervals
from device_agent.record.measurement import Measurement
from sdk.api.board_requests import Bench
from sdk.api.files.golden import golden_pair
from sdk.deploy.session import Session, open_session
from sdk.explain import compare, theory, verdict
from sdk.graph.on_host.input_size import at_size
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph

COPIES = 6
SAME = "same-twice"
HEIGHT, WIDTHS = 16, (160, 164, 168, 172, 176)  # pixels
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
    versions = networks(read_graph(arguments.model.read_bytes()))
    runs: list[tuple[Measurement, ...]] = []
    seconds = []
    plan = Bench(host=arguments.host)
    with open_session(arguments.board, plan) as session, load(arguments.load):
        for name, graph in versions.items():
            tflite = write_graph(graph)
            session.agent.deploy(tflite, name, golden=golden_pair(tflite))
        slower = nearest(session, plan, list(versions))
        for number in range(math.ceil(arguments.pairs / (COPIES // 2))):
            begun = time.monotonic()
            runs.append(one_run(session, plan, [*[SAME] * COPIES, slower]))
            seconds.append(time.monotonic() - begun)
            print(f"run {number + 1}, {seconds[-1]:.0f} s: {summary(levels_of(runs))}", flush=True)
        session.agent.forget(list(versions))
    first = runs[0][0]
    builds = [
        verdict.judge(old[0], new[0], compared(old[0], new[0]), SLOWER_BY).answer
        for old, new in itertools.pairwise(runs)
    ]
    return {
        "model": arguments.model.name,
        "machine": first.machine,
        "cpus": os.cpu_count() if arguments.board == "local" else len(first.cpus),
        "python": platform.python_version(),
        "runtime": f"{first.runtime} {first.runtime_version}",
        "processes_of_load": arguments.load,
        "load_average_of_host": round(os.getloadavg()[2], 1),
        "seconds_per_model": statistics.median(seconds) / (COPIES + 1),
        **counts(levels_of(runs)),
        "builds": {answer: builds.count(answer) for answer in dict.fromkeys(builds)},
        "loadings": statistics.median(run[0].loadings for run in runs),
        "spread": vars(runs[len(runs) // 2][0].spread()),
    }


def networks(graph: Graph) -> dict[str, Graph]:
    """By name the network on an image of one width, and on wider ones. Raises ModelError for one of fixed size."""
    return {
        SAME if width == WIDTHS[0] else f"{SAME}-{width}": at_size(graph, HEIGHT, width) for width in WIDTHS
    }


def nearest(session: Session, plan: Bench, names: list[str]) -> str:
    """The wider version that takes most nearly 5 % longer than the first."""
    first, *wider = one_run(session, plan, names)
    ratios = {m.model: m.median / first.median for m in wider}
    print(", ".join(f"{name} {ratio:.3f}x" for name, ratio in ratios.items()), flush=True)
    return min(ratios, key=lambda name: abs(ratios[name] - 1.0 - SLOWER_BY))


def one_run(session: Session, plan: Bench, names: list[str]) -> tuple[Measurement, ...]:
    """These models, as `sdk bench` measures them on one thread."""
    return session.agent.bench(
        names, kernel=session.kernel, min_samples=plan.samples, max_seconds=plan.seconds
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


Levels = list[list[np.ndarray]]  # of each run, of each model of it: the levels of its loadings, (loadings,)


def levels_of(runs: list[tuple[Measurement, ...]]) -> Levels:
    """In seconds."""
    return [[intervals.levels(m.samples_seconds, m.turns) for m in run] for run in runs]


def counts(levels: Levels) -> dict[str, Any]:
    """What is counted, with the widths of the intervals."""
    logs = [[np.log(of_model) for of_model in of_run] for of_run in levels]
    pairs = [intervals.mean_interval(run[i] - run[i + 1]) for run in logs for i in range(0, COPIES, 2)]
    told = [intervals.mean_interval(run[0] - run[-1]) for run in logs]
    return {
        "pairs": len(pairs),
        "intervals_that_contain_1": sum(p.low <= 0.0 <= p.high for p in pairs),
        "half_width_median": math.expm1(statistics.median((p.high - p.low) / 2.0 for p in pairs)),
        "ratio_farthest_from_1": math.exp(max((p.value for p in pairs), key=abs)),
        "pairs_in_which_5_percent_more_is_told": sum(p.high < math.log1p(SLOWER_BY) for p in pairs),
        "runs": len(told),
        "slower_ratio_median": math.exp(-statistics.median(t.value for t in told)),
        "runs_that_tell_slower": sum(t.high < 0.0 for t in told),
    }


def summary(levels: Levels) -> str:
    """The counts so far, in words."""
    c = counts(levels)
    return (
        f"{c['intervals_that_contain_1']} of {c['pairs']} intervals contain 1.00 (half as wide as "
        f"{100 * c['half_width_median']:.1f} %), 5 % more is told in {c['pairs_in_which_5_percent_more_is_told']}; "
        f"{c['runs_that_tell_slower']} of {c['runs']} runs tell the wider one ({c['slower_ratio_median']:.3f}x)"
    )


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
