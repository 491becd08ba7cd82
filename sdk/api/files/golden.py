"""Golden pairs: an input and the host's own answer to it, which a board has to come close to before it runs a model.

Answers are remembered in the cache: to decode a package and to run it takes longer than to ask a board whether it runs
that package already.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import platform
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC
from sdk.graph.on_host.evaluate import predict
from sdk.graph.reader import read_graph
from sdk.graph.records import NUMPY_DTYPES, Graph
from sdk.package.release import Golden
from sdk.tools.system import folders
from sdk.tools.system.files import FileError, write_file

#: How far an int8 model's answers may be from the host's: steps of its output, and a share of the largest answer.
INT8_STEPS = 6
INT8_TOLERANCE = 0.25
#: Changes whenever :func:`golden_pair` would make another pair of the same model.
PAIR_VERSION = 1
#: Pairs that the cache holds; the oldest go first.
MAX_REMEMBERED = 64


def remembered_golden(model: bytes) -> Golden:
    """As :func:`golden_pair`, from the cache where the same host made it before with the same runtime."""
    folder = folders.cache_folder("golden")
    runtime = ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        runtime = metadata.version("ai-edge-litert")
    made_with = repr((PAIR_VERSION, runtime, np.__version__, platform.machine())).encode()
    path = folder / f"{hashlib.sha256(made_with + hashlib.sha256(model).digest()).hexdigest()}.npz"
    unreadable = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*unreadable), np.load(path, allow_pickle=False) as kept:
        return Golden(kept["inputs"], kept["outputs"], float(kept["tolerance"]))
    golden = golden_pair(model)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=golden.inputs, outputs=golden.outputs, tolerance=golden.tolerance)
    with contextlib.suppress(
        OSError, FileError
    ):  # a full disk or a read-only cache only costs time the next time
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, buffer.getvalue())
        _forget_the_oldest(folder)
    return golden


def _forget_the_oldest(folder: Path) -> None:
    kept = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
    for path in kept[:-MAX_REMEMBERED]:
        path.unlink(missing_ok=True)


def golden_pair(model: bytes, *, inputs: Any = None, tolerance: float = 1e-3) -> Golden:
    """One input (seeded noise where none is given) and the host's answer, which the board must come close to.

    ``model`` is a package or a ``.tflite``.

    ``tolerance`` is relative to the largest answer: runtimes and processors round differently.  An int8 model rounds
    by whole steps, layer after layer: there it is a quarter of the largest answer, or some steps of the output.
    """
    tflite = package_format.unpack(model).tflite if model.startswith(MAGIC) else model
    graph = read_graph(tflite)
    if inputs is None:
        inputs = noise_for(graph)
    outputs = predict(tflite, inputs).astype(np.float32)
    if step := _output_step(graph):
        largest = float(np.max(np.abs(outputs), initial=0.0))
        return Golden(inputs, outputs, max(INT8_STEPS * step, INT8_TOLERANCE * largest))
    return Golden(inputs, outputs, tolerance * max(1.0, float(np.max(np.abs(outputs), initial=0.0))))


def _output_step(graph: Graph) -> float:
    """What one step of the quantised output is worth, where the graph ends with a DEQUANTIZE; else 0."""
    last = [op for op in graph.operators if graph.outputs[0] in op.outputs]
    if not last or last[0].kind != "DEQUANTIZE":
        return 0.0
    quantization = graph.tensors[last[0].inputs[0]].quantization
    return 0.0 if quantization is None else float(quantization.scales.max())


def noise_for(graph: Graph) -> np.ndarray:
    """One seeded input of the shape and type that the graph takes, such as (1, 224, 224, 3) float32 in -1 ... 1.

    Images are 8 x 8 fields of noise: as hard for the network as any, and a few kilobytes when compressed.
    """
    entry = graph.tensors[graph.inputs[0]]
    rng = np.random.default_rng(0)
    dtype = NUMPY_DTYPES[entry.dtype]
    image = len(entry.shape) == 4
    coarse = [min(n, 8) if image and axis in (1, 2) else n for axis, n in enumerate(entry.shape)]
    if dtype.kind == "f":
        values = rng.uniform(-1.0, 1.0, coarse).astype(dtype)
    else:
        bounds = np.iinfo(dtype)
        values = rng.integers(bounds.min, bounds.max, coarse, dtype=dtype, endpoint=True)
    for axis, (few, many) in enumerate(zip(coarse, entry.shape, strict=True)):
        values = np.take(values, np.arange(many) * few // max(many, 1), axis=axis)
    return values
