"""Single weights, pairs or fours: what does a network lose at equal work?

    python -m benchmarks.compression cifar_blocks_resnet_8 --data cifar10.npz [--work FOLDER] [--sparsities 0.6 0.85]

A network that was trained on CIFAR-10 (``cifar`` trains it, where the work folder does not hold it yet) is solved on
images for each block and sparsity. Work is the instructions of an inference in the kernels of Armlet on an emulated
Cortex-A72; where these claim nothing, in the runtime. Accuracy at equal work lies on the line between two points.
Pairs are pruned in 1x1 convolutions alone; fours in every layer but depthwise ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compression.cifar import trained_float
from benchmarks.compression.cifar_training import NETWORKS
from benchmarks.compression.lenet import error_percent
from sdk.compress.board_form.armlet_kernels import layer_costs
from sdk.compress.recipes.recipe import Workshop, split
from sdk.compress.recipes.targets import calibration_recipe
from sdk.compress.rewrite.fuse import fuse
from sdk.deploy.provision.instructions import count_inference
from sdk.deploy.provision.kernel import build_delegate
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.tools.progress import silent

NAMES = {1: "single", 2: "pairs", 4: "fours"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="mobilenet_v1")
    parser.add_argument("--blocks", type=int, nargs="+", choices=(1, 2, 4), default=[1, 2, 4])
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.6, 0.75, 0.85])
    parser.add_argument("--samples", type=int, default=500, help="images that are solved on")
    parser.add_argument("--float-epochs", type=int, default=24)
    parser.add_argument("--work", type=Path, default=Path("."))


def counted(graph: Graph) -> int:
    """Instructions of an inference on a Cortex-A72, in the kernels of Armlet where they claim something."""
    claimed = any(one.claimed for one in layer_costs(graph))
    delegate = build_delegate("aarch64") if claimed else None
    return count_inference(write_graph(graph), delegate=delegate, inferences=1).instructions


def at_equal_work(points: Sequence[dict[str, Any]], work: float) -> float | None:
    """Percent of right answers between the points of one block, by their instructions; None beyond them."""
    told = sorted((one["instructions"], one["right_percent"]) for one in points)
    if not told[0][0] <= work <= told[-1][0]:
        return None
    return float(np.interp(work, [one[0] for one in told], [one[1] for one in told]))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Right answers and instructions of each block and sparsity, and answers at equal work."""
    train, test, original = trained_float(arguments)
    graph = read_graph(original.read_bytes())
    kept, _ = split(train, arguments.samples, 0)
    recipe = calibration_recipe(graph, kept, arguments.samples, 0)
    workshop = Workshop(graph, kept, recipe.seed, silent)
    dense = {
        "instructions": count_inference(original.read_bytes(), inferences=1).instructions,
        "right_percent": 100.0 - error_percent(original.read_bytes(), test),
    }
    print(f"dense: {dense['instructions'] / 1e6:.2f} M, {dense['right_percent']:.1f} %", flush=True)
    points: list[dict[str, Any]] = []
    for block in arguments.blocks:
        for sparsity in arguments.sparsities:
            wanted = replace(recipe, sparsity=sparsity, block=block)
            made = fuse(workshop.run(wanted)[0])
            point = {
                "block": block,
                "sparsity": sparsity,
                "instructions": counted(made),
                "right_percent": 100.0 - error_percent(write_graph(made), test),
            }
            print(
                f"{NAMES[block]:7} {100 * sparsity:.0f} % zero: {point['instructions'] / 1e6:.2f} M, "
                f"{point['right_percent']:.1f} %",
                flush=True,
            )
            points.append(point)
    return {
        "network": arguments.network,
        "images": [len(train), len(test)],
        "samples": arguments.samples,
        "dense": dense,
        "points": points,
        "equal_work": equal_work(points, arguments.blocks),
    }


def equal_work(points: Sequence[dict[str, Any]], blocks: Sequence[int]) -> list[dict[str, Any]]:
    """Right answers of each block where all of them have points: at three amounts of work, evenly apart."""
    of_block = {block: [one for one in points if one["block"] == block] for block in blocks}
    low = max(min(one["instructions"] for one in own) for own in of_block.values())
    high = min(max(one["instructions"] for one in own) for own in of_block.values())
    rows = []
    for work in np.linspace(low, high, 3) if low < high else ():
        right = {NAMES[block]: at_equal_work(own, float(work)) for block, own in of_block.items()}
        print(f"at {work / 1e6:.2f} M: " + ", ".join(f"{n} {r:.1f} %" for n, r in right.items()), flush=True)
        rows.append({"instructions": float(work), **right})
    return rows
