"""How small does calibration make an ImageNet network, and what does it lose?

    python -m benchmarks.compression mobilenet_v1 MODEL.tflite --calibrate FOLDER --check FOLDER [--target-size BYTES]
    python -m benchmarks.compression mobilenet_v1_int8 MODEL.tflite --calibrate FOLDER --check FOLDER

Both folders hold one subfolder per class, named by the class number. Calibration uses no labels. The package is
unpacked again and its model run by the TFLite interpreter on every image of the check folder, which
calibration has not seen. ``--int8`` makes 8-bit weights and values of it by the function behind `sdk compress`, for
``--board``, at ``--price`` nats per bit; ``--save-tflite FILE`` keeps that model, to count its instructions with
``python -m benchmarks.speed.instructions FILE --cpu cortex-a76``.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import text_of
from device_agent.package import reader as package
from sdk.api.files.compressing import compress_model
from sdk.compress.recipes.recipe import Recipe
from sdk.compress.recipes.targets import Settings, compress
from sdk.data.loading import load_dataset
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.evaluate import predict, top1
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.writer import write_graph
from sdk.package.pack import pack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--check", type=Path, required=True)
    parser.add_argument("--preprocess", default="tf")
    parser.add_argument("--target-size", type=int)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--price", type=float, help="nats per bit of --int8")
    parser.add_argument("--board", default="rpi5", help="whose form --int8 has")
    parser.add_argument("--save-tflite", type=Path, help="the model of --int8")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bytes and answers before and after, and the recipe with the curve that it was found on."""
    graph = convert(arguments.model)
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    calibration, check = (
        load_dataset(folder, input_shape=shape, preprocess=arguments.preprocess)
        for folder in (arguments.calibrate, arguments.check)
    )
    started = time.perf_counter()
    if arguments.int8:
        packed, recipe, curve = _in_eight_bits(arguments, calibration)
    else:
        # A tenth of the check images guides the search (and is stated in the curve); all of them are measured below.
        settings = Settings(effort="calibrate", target_bytes=arguments.target_size, samples=arguments.samples)
        result = compress(graph, calibration, settings, _progress(), check=check.take(len(check) // 10))
        packed, recipe = pack(write_graph(result.graph)), result.recipe
        curve = [(p.recipe.price, p.package_bytes, p.expected_loss_nats) for p in result.curve]
    seconds = time.perf_counter() - started

    labels, images = check.labels, check.images()
    assert labels is not None
    before = top1(predict(write_graph(graph), images, threads=2))
    after = top1(predict(package.unpack(packed).tflite, images, threads=2))
    record = {
        "model": arguments.model.name,
        "original_bytes": len(write_graph(graph)),
        "package_bytes": len(packed),
        "top1_percent": [float(100 * np.mean(a == labels)) for a in (before, after)],
        "agreement_percent": float(100 * np.mean(before == after)),
        "check_images": len(labels),
        "recipe": recipe.to_json(),
        "curve": curve,
        "seconds": round(seconds),
        "machine": platform.machine(),
    }
    print(text_of(record), end="")
    return record


def _in_eight_bits(
    arguments: argparse.Namespace, calibration: Dataset
) -> tuple[bytes, Recipe, list[tuple[float, int, float | None]]]:
    """The package of the int8 model, by a recipe that `sdk compress --recipe` replays; the recipe, and no curve."""
    kept = calibration.take(arguments.samples)
    recipe = Recipe(
        sparsity=0.0,
        clusters=0,
        effort="calibrate",
        price=arguments.price,
        samples=len(kept),
        data_sha256=kept.digest(),
        fitted=True,
        int8=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        written, output = Path(folder) / "recipe.toml", Path(folder) / "out.armlet"
        written.write_text(recipe.to_toml())
        compress_model(
            arguments.model,
            output,
            recipe=written,
            data=arguments.calibrate,
            preprocess=arguments.preprocess,
            board=arguments.board,
            save_tflite=arguments.save_tflite,
            progress=_progress(),
        )
        return output.read_bytes(), recipe, []


def _progress():  # type: ignore[no-untyped-def]
    last = ""

    def report(stage: str, done: int, total: int) -> None:
        nonlocal last
        text = f"{stage} {100 * done // max(total, 1)} %"
        if text != last and (done * 10 // max(total, 1)) != (done - 1) * 10 // max(total, 1):
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)
        last = text

    return report
