"""Functions on boards: deploy a model, measure models, fetch what a board will need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_agent import package as package_format
from device_agent.format import MAGIC
from sdk import pack as packer
from sdk import signing
from sdk.api.files import A_PACKAGE, PathLike, name_of
from sdk.api.measuring import Threads, measure
from sdk.api.usage import metadata_of_tflite
from sdk.convert import convert
from sdk.deploy import NO_LIMITS, Limits
from sdk.errors import ModelError
from sdk.evaluate import predict
from sdk.files import read_file
from sdk.graph import NUMPY_DTYPES, Graph
from sdk.input_size import at_size
from sdk.prepared import Golden
from sdk.progress import Progress, silent
from sdk.report.record import Report
from sdk.results import Deployment
from sdk.session import Target, open_session
from sdk.suites import Size, size_text

#: How far an int8 model's answers may be from the host's: steps of its output, and a share of the largest answer.
INT8_STEPS = 6
INT8_TOLERANCE = 0.25


def deploy_model(
    board: str,
    source: PathLike,
    *,
    keep_on_trial: bool = False,
    keep: int | None = None,
    limits: Limits = NO_LIMITS,
    progress: Progress = silent,
    **target: Any,
) -> Deployment:
    """Pushes a package (or any model, packed on the way) and makes it what runs on the board under its name.

    The board runs the host's golden input before it confirms the new release; with ``keep_on_trial`` it leaves the
    old one running until :func:`sdk.confirm_model`. A signature beside the package (``sdk sign``) goes with it.
    ``keep``: how many releases of that name the board keeps, the current one included; None: as the board's file says
    (``keep_releases``), else as before, at first 2. ``limits``: what the new release may need there. ``target``: see
    :class:`sdk.session.Target`.
    """
    name, package = package_of(source, progress)
    signature = signing.signature_of(source, package)
    with open_session(board, Target(**target), progress) as session:
        deployed = session.agent.deploy(
            package,
            name,
            golden=golden_pair(package),
            signature=signature,
            limits=limits,
            keep_on_trial=keep_on_trial,
            keep=session.board.keep_releases if keep is None else keep,
            progress=progress,
        )
        return Deployment(
            board=session.board.name,
            address=session.connection.address,
            name=name,
            release=deployed.release,
            state=deployed.state,
            package_bytes=deployed.package_bytes,
            sent_bytes=deployed.sent_bytes,
            provisioned_bytes=session.provisioned.sent_bytes,
            largest_difference=deployed.largest_difference,
            runtime=session.provisioned.runtime,
            runtime_version=session.provisioned.runtime_version,
            decode_kernels=session.provisioned.decode_kernels,
        )


def bench_models(
    board: str,
    sources: Sequence[PathLike],
    *,
    sizes: Sequence[Size] | None = None,
    threads: Threads | Sequence[Threads] = 1,
    samples: int = 1024,
    seconds: float = 10.0,
    profile: bool = True,
    progress: Progress = silent,
    **target: Any,
) -> Report:
    """Deploys the models and measures them on the board, interleaved; the first is what others are compared with.

    Packages of one model are told apart by the names of their files. With ``sizes``, (height, width) each, every model
    is measured for images of these sizes instead of its own.
    ``threads``, ``samples``, ``seconds`` and ``profile``: see :func:`sdk.api.measuring.measure`.
    """
    packages = _told_apart(sources, [package_of(source, progress) for source in sources])
    if sizes is not None:
        packages = [_at_size(*package, size, progress) for size in sizes for package in packages]
    names = [name for name, _ in packages]
    if len(set(names)) < len(names):
        raise ModelError(
            "two models have the same name, and would replace each other on the board",
            expected="different file names",
            found=", ".join(names),
        )
    if sizes is None:
        signatures = [signing.signature_of(s, p) for s, (_, p) in zip(sources, packages, strict=True)]
    else:
        signatures = [None] * len(packages)  # nobody has signed what was made just now
    with open_session(board, Target(**target), progress) as session:
        for (name, package), signature in zip(packages, signatures, strict=True):
            session.agent.deploy(
                package, name, golden=golden_pair(package), signature=signature, progress=progress
            )
        return measure(
            session,
            packages,
            threads=threads,
            samples=samples,
            seconds=seconds,
            profile=profile,
            progress=progress,
        )


def _told_apart(
    sources: Sequence[PathLike], packages: Sequence[tuple[str, bytes]]
) -> list[tuple[str, bytes]]:
    """Packages that carry one name, such as several that were made of one model, go by the names of their files."""
    names = [name for name, _ in packages]
    return [
        (release_name(name_of(source)) if names.count(name) > 1 else name, package)
        for source, (name, package) in zip(sources, packages, strict=True)
    ]


def _at_size(name: str, package: bytes, size: Size, progress: Progress) -> tuple[str, bytes]:
    """The same model for images of another size; written as it is, since nothing but its time is asked for."""
    text = size_text(size)
    progress(f"{name} at {text}", 0, 0)
    graph = Graph.read(package_format.unpack(package).tflite)
    return f"{name}-{text}", at_size(graph, *size).write()


def golden_pair(model: bytes, *, inputs: Any = None, tolerance: float = 1e-3) -> Golden:
    """One input (seeded noise where none is given) and the host's answer, which the board must come close to.

    ``model`` is a package or a ``.tflite``.

    ``tolerance`` is relative to the largest answer: runtimes and processors round differently.  An int8 model rounds
    by whole steps, layer after layer: there it is a quarter of the largest answer, or some steps of the output.
    """
    tflite = package_format.unpack(model).tflite if model.startswith(MAGIC) else model
    graph = Graph.read(tflite)
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
    """One seeded input of the shape and type that the graph takes.

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


def package_of(source: PathLike, progress: Progress) -> tuple[str, bytes]:
    """Name and package bytes of a file that is a package, or a model that becomes one without loss."""
    path = Path(source)
    if path.is_file():
        data = read_file(path, A_PACKAGE)
        if data.startswith(MAGIC):
            name = package_format.read(data).metadata.get("name") or path.stem
            return release_name(str(name)), data
    progress("convert", 0, 0)
    tflite = convert(path).write()
    name = release_name(name_of(path))
    return name, packer.pack(
        tflite,
        metadata={"name": name, **metadata_of_tflite(tflite)},
        progress=lambda done, total: progress("pack", done, total),
    )


def release_name(name: str) -> str:
    """The name as the board's store takes it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "model"
