"""Do the parts of the gap add up? Networks of the zoo on the local board, with both runtimes: for each, on every number
of threads, what share of the median operators, dispatch and threads account for.

    python -m benchmarks.speed.gap_adds_up [--runtimes ai-edge-litert tflite-runtime] [--threads 1 2] [-o FILE]

Beside that the raw ratios of the profile behind it: operators to an inference without the profiler in turn with them,
and that to the median. Figures within 95 to 105 % need a machine that does nothing else.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.record import benchmark
from sdk.api.measuring.suites import run_suite
from sdk.explain.suites import Member, Suite

SUITE = Suite(
    name="gap",
    source="",
    members=(
        Member("MobileNet V1 1.0", "mobilenet_v1"),
        Member("MobileNet V1 0.25", "mobilenet_v1", {"width": 0.25}),
        Member("MobileNet V2 1.0", "mobilenet_v2"),
        Member("ShuffleNet V1 1x", "shufflenet_v1", {"scale": 1.0, "groups": 3}),
        Member("ShuffleNet V1 0.5x", "shufflenet_v1", {"scale": 0.5, "groups": 3}),
        Member("SqueezeNet", "squeezenet"),
        Member("AlexNet", "alexnet"),
    ),
    sizes=((224, 224),),
)


def rows(runtime: str, threads: list[int]) -> list[dict[str, Any]]:
    """One row per model and number of threads; the first model is the baseline of the others."""
    run = run_suite("local", SUITE, threads=threads, samples=300, seconds=5.0, profile=True, runtime=runtime)
    (report,) = (report for _, report in run.runs)
    profiles = {model.name: (model, profile) for model in report.models if (profile := model.profile)}
    return [
        {
            "runtime": runtime,
            "model": gap.candidate,
            "threads": gap.threads,
            "accounted": gap.accounted,
            "baseline_accounted": gap.baseline_accounted,
            "adds_up": gap.adds_up,
            "operators_of_plain": profile.kernel_seconds / profile.unprofiled_seconds,
            "plain_of_median": profile.unprofiled_seconds / model.measurement.median,
            "doubts": list(gap.doubts),
            "p90_of_median": timed.p90 / timed.median,
            "preemptions": timed.preemptions,
            "samples": len(timed.samples_seconds),
            "causes": list(gap.causes),
        }
        for gap in report.gaps
        for model, profile in [profiles[gap.candidate]]
        for timed in model.measurements
        if timed.threads == gap.threads
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runtimes", nargs="+", default=["ai-edge-litert", "tflite-runtime"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of every runtime."""
    found = [row for runtime in arguments.runtimes for row in rows(runtime, arguments.threads)]
    for row in found:
        print(
            f"{row['runtime']:15} {row['model']:28} {row['threads']} threads: {row['accounted']:6.1%} of its median, "
            f"{row['baseline_accounted']:6.1%} of the baseline's; operators {row['operators_of_plain']:6.1%} of a "
            f"plain inference, that {row['plain_of_median']:6.1%} of the median; p90 {row['p90_of_median']:.1%}, "
            f"preempted {row['preemptions']} times in {row['samples']}; "
            f"{'; '.join(c.split(',')[0] for c in row['causes'])}"
        )
    print(f"{sum(row['adds_up'] for row in found)} of {len(found)} within 5 %")
    return found


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
