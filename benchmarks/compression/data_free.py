"""What the tricks that need no data are worth: pruned and shared weights, with equalised channels and corrected biases.

    python -m benchmarks.compression data_free_mobilenet_v1 MODEL.tflite --check DATA [--preprocess tf] \
        [--sparsity 0.3] [--clusters 128] [--limit 500]

Four packages of one model, at the same sparsity and number of centroids: plain, ``--equalise``, ``--correct-biases``
(of networks for colour images), and both. Accuracy is that of the TFLite interpreter on images with labels, which
nothing learned from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.package import reader as package
from sdk.compress.recipes.targets import Settings, compress
from sdk.compress.rewrite.equalise import pairs
from sdk.data.loading import has_splits, load_dataset
from sdk.graph.on_host.evaluate import predict, top1
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.writer import write_graph
from sdk.package.pack import pack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path)
    parser.add_argument("--check", type=Path, required=True)
    parser.add_argument("--preprocess", default="tf")
    parser.add_argument("--sparsity", type=float, default=0.3)
    parser.add_argument("--clusters", type=int, default=128)
    parser.add_argument("--limit", type=int, default=500)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Answers and bytes of the four packages."""
    graph = convert(arguments.model)
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    split = "test" if has_splits(arguments.check) else None
    check = load_dataset(arguments.check, input_shape=shape, preprocess=arguments.preprocess, split=split)
    check = check.take(arguments.limit)
    images, labels = check.images(), check.labels
    assert labels is not None
    before = top1(predict(write_graph(graph), images, threads=2))
    rows = []
    for equalise in (False, True) if pairs(graph) else (False,):
        for biases in (False, True) if shape[2] == 3 else (False,):
            settings = Settings(
                sparsity=arguments.sparsity,
                clusters=arguments.clusters,
                low_rank=False,
                equalise=equalise,
                made_up=arguments.preprocess if biases else "",
            )
            packed = pack(write_graph(compress(graph, settings=settings).graph))
            after = top1(predict(package.unpack(packed).tflite, images, threads=2))
            rows.append(
                {
                    "equalise": equalise,
                    "correct_biases": biases,
                    "package_bytes": len(packed),
                    "top1_percent": round(float(100 * np.mean(after == labels)), 2),
                    "agreement_percent": round(float(100 * np.mean(after == before)), 2),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return {
        "model": arguments.model.name,
        "sparsity": arguments.sparsity,
        "clusters": arguments.clusters,
        "check_images": len(labels),
        "float_top1_percent": round(float(100 * np.mean(before == labels)), 2),
        "pairs_equalised": len(pairs(graph)),
        "rows": rows,
    }
