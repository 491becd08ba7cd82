"""How much faster is calibration than in another checkout, at the same results?

    python -m benchmarks.speed.calibration MODEL.tflite --images FOLDER --against CHECKOUT [--samples 200]

Both do the same attempts at the same prices, each in a process of its own, one after the other and ``--rounds`` times.
Processor time counts, because it hardly depends on what else the machine does; with ``--threads 1`` least of all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import benchmark

ROOT = Path(__file__).parent.parent.parent
CHILD = """
import json, resource, sys, time
import tensorflow as tf
model, folder, preprocess, samples, attempts, threads = sys.argv[1:]
if int(threads):
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(int(threads))
from sdk.compress.recipes.recipe import Recipe, Workshop
from sdk.compress.recipes.walks import price_of
from sdk.data.loading import load_dataset
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
graph = read_graph(open(model, "rb").read())
images = load_dataset(folder, input_shape=graph.tensors[graph.inputs[0]].shape[1:], preprocess=preprocess)
shop = Workshop(graph, images.take(int(samples)), 0, lambda stage, done, total: None)
made, begun, wall = [], time.process_time(), time.perf_counter()
for n in range(int(attempts)):
    price = float(f"{price_of(graph, 1.0) * 1.5**n:.4g}")
    made.append(shop.run(Recipe(effort="calibrate", sparsity=0.0, clusters=0, price=price)))
cpu, wall = time.process_time() - begun, time.perf_counter() - wall
print(json.dumps({
    "cpu_seconds": round(cpu, 1), "seconds": round(wall, 1),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "expected_loss_nats": [loss for _, loss in made],
    "package_bytes": [len(pack(write_graph(graph))) for graph, _ in made],
}))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--against", type=Path, required=True, help="a checkout of another commit")
    parser.add_argument("--preprocess", default="tf")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--attempts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, default=1, help="of each process; 0: as many as there are cores"
    )


def calibrated(tree: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the attempts took in one checkout, and what they came to."""
    asked = (arguments.model, arguments.images, arguments.preprocess, arguments.samples, arguments.attempts)
    threads = {"OPENBLAS_NUM_THREADS": str(arguments.threads)} if arguments.threads else {}
    found = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, asked), str(arguments.threads)],
        env={**os.environ, **threads, "PYTHONPATH": str(tree.resolve()), "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=tree,
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(json.loads(found.stdout.splitlines()[-1]))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds, memory and results of both, and the ratio of the least of the first."""
    arguments.model, arguments.images = arguments.model.resolve(), arguments.images.resolve()
    trees = {"before": arguments.against, "now": ROOT}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    for _ in range(arguments.rounds):
        for name, tree in trees.items():
            rounds[name].append(calibrated(tree, arguments))
            print(f"{name}: {rounds[name][-1]['cpu_seconds']} s of processor time", flush=True)
    least = {name: min(one["cpu_seconds"] for one in all_of_them) for name, all_of_them in rounds.items()}
    print(f"{least['before'] / least['now']:.2f} times as fast")
    return {
        "model": arguments.model.name,
        "images": arguments.samples,
        "attempts": arguments.attempts,
        "threads": arguments.threads,
        **rounds,
        "faster": round(least["before"] / least["now"], 2),
    }


if __name__ == "__main__":
    benchmark(__doc__, measure, add_arguments)
