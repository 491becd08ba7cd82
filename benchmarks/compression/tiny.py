"""The reference models of MLPerf Tiny through ``sdk compress``: how small, and how often do they answer as before?

    python -m benchmarks.compression tiny_keywords kws_ref_model_float32.tflite
    python -m benchmarks.compression tiny_wake_words vww_96.h5 [--check FOLDER]
    python -m benchmarks.compression tiny_wake_words_calibrated vww_96.h5 --photos FOLDER --check FOLDER

The metric is agreement with the original, because their data sets are not needed for that: the share of inputs on
which the largest output is the same one, the cosine of all answers together, and the signal-to-noise ratio. Without
folders the inputs are made up (others than those that the command looked at); ``--photos`` are calibrated on, and
those of ``--check``, which nothing else saw, are answered by both. ``--quality`` is what the suite asks of the
original.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_models_compressed import other_inputs, worst_output
from benchmarks.record import text_of
from device_agent.package import reader as package_format
from device_agent.record.usage import Usage
from sdk.api.files.compressing import compress_model
from sdk.data.loading import load_dataset
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path)
    parser.add_argument("--photos", type=Path, help="a folder of pictures without labels to calibrate on")
    parser.add_argument("--check", type=Path, help="another one, which both models answer")
    parser.add_argument("--preprocess", default="01")
    parser.add_argument("--target-size", type=int, help="bytes, with --photos")
    parser.add_argument("--cases", type=int, default=400, help="inputs that both answer")
    parser.add_argument("--quality", default="")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes before and after, and how far the answers agree."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.armlet"
        options: dict[str, Any] = {}
        if arguments.photos:
            options = {"data": arguments.photos, "preprocess": arguments.preprocess, "effort": "calibrate"}
            options["target_bytes"] = arguments.target_size
        made = compress_model(arguments.model, output, allow_unchanged=True, **options)
        packed = output.read_bytes()
    original = write_graph(convert(arguments.model))
    unpacked = package_format.unpack(packed)
    usage = Usage.from_metadata(unpacked.package.metadata)
    record = {
        "model": arguments.model.name,
        "quality_asked": arguments.quality,
        "effort": made.effort,
        "original_bytes": len(original),
        "package_bytes": len(packed),
        "ratio": round(len(original) / len(packed), 2),
        **_agreement(original, unpacked.tflite, arguments, usage),
    }
    print(text_of(record), end="")
    return record


def _agreement(
    original: bytes, compressed: bytes, arguments: argparse.Namespace, usage: Usage
) -> dict[str, Any]:
    graph = read_graph(original)
    with HostModel(original) as one, HostModel(compressed) as other:
        if arguments.check:
            shape = graph.tensors[graph.inputs[0]].shape[1:]
            photos = load_dataset(arguments.check, input_shape=shape, preprocess=arguments.preprocess)
            cases = [[image[None]] for image in photos.images(list(range(min(arguments.cases, len(photos)))))]
        else:
            cases = other_inputs(one, graph, arguments.cases, usage)
        worst, answers = worst_output(one, other, cases)
    largest = [np.array([int(np.argmax(case[0])) for case in side]) for side in answers]
    return {
        "answered": f"{len(cases)} {'photos' if arguments.check else 'made-up inputs'}",
        "same_largest_percent": round(float(100 * np.mean(largest[0] == largest[1])), 2),
        **worst,
    }
