"""The public functions: every one does what the command of the same name does, and returns a record.

This is where stages are put together; they do not know each other.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent import package as package_format
from device_agent.format import MAGIC
from sdk import compare, inspection, theory
from sdk import pack as packer
from sdk.compress.recipe import Recipe
from sdk.compress.recipe import apply as apply_recipe
from sdk.convert import convert, from_keras
from sdk.deploy import Golden
from sdk.errors import ModelError
from sdk.evaluate import predict, top1
from sdk.files import read_file, write_file
from sdk.graph import FILE_IDENTIFIER, NUMPY_DTYPES, Graph
from sdk.progress import Progress, silent
from sdk.report.record import Accuracy, ModelRecord, Report
from sdk.results import Compressed, Converted, Deployment, Fetched, Packed, Unpacked, ZooModel
from sdk.session import Session, Target, open_session

if TYPE_CHECKING:
    from sdk.data import Dataset

PathLike = str | os.PathLike[str]

A_TFLITE = "a .tflite file"
A_PACKAGE = "a .armlet package"


def convert_model(
    source: PathLike,
    output: PathLike,
    *,
    input_shape: Sequence[int] | None = None,
    progress: Progress = silent,
) -> Converted:
    """Keras file, SavedModel folder or ``.tflite`` -> ``.tflite`` of batch 1 at ``output``."""
    progress("convert", 0, 0)
    graph = convert(source, input_shape=input_shape)
    return _write_graph(graph, str(source), Path(output))


def pack_model(source: PathLike, output: PathLike, *, progress: Progress = silent) -> Packed:
    """Any ``.tflite`` -> package at ``output`` that decodes to the very same bytes."""
    source, output = Path(source), Path(output)
    tflite = read_file(source, A_TFLITE)
    if tflite[4:8] != FILE_IDENTIFIER:
        raise ModelError(
            f"{source} is not a TFLite model",
            expected=f"the identifier {FILE_IDENTIFIER.decode()} at byte 4",
            found=repr(tflite[4:8])[1:],
            hint="Other kinds go through `sdk convert` or `sdk compress`.",
        )
    started = time.perf_counter()
    data = packer.pack(tflite, metadata={"name": source.stem}, progress=lambda i, n: progress("pack", i, n))
    seconds = time.perf_counter() - started
    package = package_format.read(data)
    write_file(output, data)
    return Packed(str(source), output, len(tflite), len(data), len(package.sections), seconds)


def unpack_package(source: PathLike, output: PathLike, *, kernel: str = "auto") -> Unpacked:
    """Package -> the ``.tflite`` that was packed, at ``output``. ``kernel`` is "auto", "c" or "numpy"."""
    data = read_file(Path(source), A_PACKAGE)
    if kernel != "numpy":
        use_host_kernel()
    started = time.perf_counter()
    decoded = package_format.unpack(data, kernel=kernel)
    seconds = time.perf_counter() - started
    write_file(Path(output), decoded.tflite)
    return Unpacked(
        source=str(source),
        output=Path(output),
        package_bytes=len(data),
        tflite_bytes=len(decoded.tflite),
        tflite_sha256=decoded.package.tflite_sha256,
        kernel=decoded.kernel,
        seconds=seconds,
    )


def use_host_kernel() -> None:
    """Makes the C decoder for this machine the one that ``unpack`` finds; without it, numpy decodes."""
    from device_agent import kernel as kernels
    from sdk.kernel import KernelBuildError, build

    try:
        kernels.use(str(build()))
    except KernelBuildError:
        return


def compress_model(
    source: PathLike,
    output: PathLike,
    *,
    sparsity: float = 0.7,
    clusters: int = 32,
    scope: str = "layer",
    data: PathLike | None = None,
    preprocess: str = "tf",
    input_shape: Sequence[int] | None = None,
    progress: Progress = silent,
) -> Compressed:
    """Any model that :func:`convert_model` reads -> pruned, clustered and packed at ``output``.

    With ``data`` (a folder of images or an ``.npz``) the accuracy before and after is measured on it.
    """
    progress("convert", 0, 0)
    graph = convert(source, input_shape=input_shape)
    original = graph.write()
    recipe = Recipe(sparsity=sparsity, scope=scope, clusters=clusters)
    package = compress_graph(graph, recipe, name=_name(source), progress=progress)
    accuracy = None
    if data is not None:
        accuracy = check_accuracy(
            original,
            package_format.unpack(package).tflite,
            _dataset(graph, data, preprocess),
            progress=progress,
        )
    write_file(Path(output), package)
    return Compressed(
        source=str(source),
        output=Path(output),
        original_bytes=len(original),
        sparsity=sparsity,
        clusters=clusters,
        inspection=inspect_bytes(package),
        accuracy=accuracy,
    )


def compress_graph(
    graph: Graph,
    recipe: Recipe,
    *,
    name: str,
    metadata: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> bytes:
    """A graph -> package bytes, whose metadata name the recipe and the original that they came from."""
    original = graph.write()
    compressed = apply_recipe(graph, recipe, progress)
    provenance = {
        "recipe": recipe.to_json(),
        "original_sha256": hashlib.sha256(original).hexdigest(),
        "original_bytes": len(original),
    }
    return packer.pack(
        compressed.write(),
        metadata={"name": name, **(metadata or {}), "provenance": provenance},
        progress=lambda done, total: progress("pack", done, total),
    )


def check_accuracy(
    original: bytes, compressed: bytes, dataset: Dataset, *, progress: Progress = silent
) -> Accuracy:
    """Top-1 of two ``.tflite`` models on the host. Without labels, the original's answers count as right."""
    images = dataset.images()
    count = len(images)
    before = top1(predict(original, images, progress=lambda i, n: progress("check the original", i, n)))
    after = top1(predict(compressed, images, progress=lambda i, n: progress("check the compressed", i, n)))
    right = before if dataset.labels is None else dataset.labels
    what = dataset.name if dataset.labels is not None else f"{dataset.name}, agreement with the original"
    return Accuracy(what, count, int(np.sum(before == right)), int(np.sum(after == right)))


def inspect_package(source: PathLike) -> inspection.Inspection:
    """The per-layer table of a package."""
    return inspect_bytes(read_file(Path(source), A_PACKAGE))


def inspect_bytes(data: bytes) -> inspection.Inspection:
    """The per-layer table of package bytes."""
    decoded = package_format.unpack(data)
    package = decoded.package
    graph = Graph.read(decoded.tflite)
    coded = _coded_weights(graph, decoded.tflite, package.sections)
    rows = inspection.layer_rows(graph, coded)
    return inspection.Inspection(
        name=str(package.metadata.get("name", "")),
        rows=rows,
        package_bytes=len(data),
        tflite_bytes=package.tflite_size,
        other_bytes=len(data) - sum(r.coded_bytes for r in rows),
        original_other_bytes=package.tflite_size - sum(r.original_bytes for r in rows),
        format_version=package.format_version,
        package_sha256=package.package_sha256,
        tflite_sha256=package.tflite_sha256,
    )


def fetch_runtimes(
    board: str, *, python_version: str | None = None, all_runtimes: bool = False, progress: Progress = silent
) -> list[Fetched]:
    """Fetches runtime and decoder for a board into the cache, so that a later deploy needs no internet.

    For the ``local`` board the board itself is asked what it is; for others its file says, and ``python_version``.
    """
    from sdk import prefetch

    return prefetch.fetch_runtimes(
        board, python_version=python_version, all_runtimes=all_runtimes, progress=progress
    )


def deploy_model(board: str, source: PathLike, *, progress: Progress = silent, **target: Any) -> Deployment:
    """Pushes a package (or any model, packed on the way) and makes it what runs on the board under its name.

    The board runs the host's golden input before it confirms the new release. ``target``: see
    :class:`sdk.session.Target`.
    """
    name, package = _package_of(source, progress)
    with open_session(board, Target(**target), progress) as session:
        deployed = session.agent.deploy(package, name, golden=golden_pair(package), progress=progress)
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
    threads: int = 1,
    samples: int = 1024,
    seconds: float = 10.0,
    progress: Progress = silent,
    **target: Any,
) -> Report:
    """Deploys the models and measures them on the board, interleaved; the first is what others are compared with."""
    packages = [_package_of(source, progress) for source in sources]
    names = [name for name, _ in packages]
    if len(set(names)) < len(names):
        raise ModelError(
            "two models have the same name, and would replace each other on the board",
            expected="different file names",
            found=", ".join(names),
        )
    with open_session(board, Target(**target), progress) as session:
        for name, package in packages:
            session.agent.deploy(package, name, golden=golden_pair(package), progress=progress)
        return measure(
            session, packages, threads=threads, samples=samples, seconds=seconds, progress=progress
        )


def measure(
    session: Session,
    packages: Sequence[tuple[str, bytes]],
    *,
    threads: int = 1,
    samples: int = 1024,
    seconds: float = 10.0,
    accuracies: Mapping[str, Accuracy] | None = None,
    progress: Progress = silent,
) -> Report:
    """Measures deployed packages (name, bytes) and puts theory beside: the report of a run."""
    measurements = session.agent.bench(
        [name for name, _ in packages],
        threads=threads,
        kernel=session.kernel,
        min_samples=samples,
        max_seconds=seconds,
        emulated=session.board.emulated,
        progress=progress,
    )
    records, contenders = [], []
    for (name, data), measurement in zip(packages, measurements, strict=True):
        decoded = package_format.unpack(data)
        graph = Graph.read(decoded.tflite)
        totals = theory.totals(theory.operator_costs(graph))
        provenance = decoded.package.metadata.get("provenance", {})
        zeros = sum(w.array.size - int(np.count_nonzero(w.array)) for w in graph.weights())
        records.append(
            ModelRecord(
                name=name,
                original_bytes=provenance.get("original_bytes", len(decoded.tflite)),
                package_bytes=len(data),
                parameters=theory.parameters(graph),
                sparsity=zeros / max(1, sum(w.array.size for w in graph.weights())),
                macs=totals.macs,
                effective_macs=totals.effective_macs,
                measurement=measurement,
                accuracy=(accuracies or {}).get(name),
                original_sha256=provenance.get("original_sha256", decoded.package.tflite_sha256),
                stages=inspect_bytes(data).stages,
            )
        )
        contenders.append(compare.Contender(name, totals, measurement))
    return Report(
        board=session.board.name,
        board_title=session.board.title,
        emulated=session.board.emulated,
        models=tuple(records),
        comparisons=compare.compare(contenders[0], contenders[1:]),
        notes=_notes(records),
    )


def _notes(records: Sequence[ModelRecord]) -> tuple[str, ...]:
    notes = []
    if any(r.sparsity > 0.05 for r in records):
        notes.append(
            "zeros make these packages smaller; whether they make them faster depends on the runtime's sparse "
            "kernels, which need a network prepared for them"
        )
    if any(r.accuracy is None for r in records):
        notes.append("accuracy was not checked in this run")
    return tuple(notes)


def golden_pair(package: bytes, *, inputs: Any = None, tolerance: float = 1e-3) -> Golden:
    """One input (seeded noise where none is given) and the host's answer, which the board must come close to.

    ``tolerance`` is relative to the largest answer: runtimes and processors round differently.
    """
    tflite = package_format.unpack(package).tflite
    if inputs is None:
        inputs = noise_for(Graph.read(tflite))
    outputs = predict(tflite, inputs).astype(np.float32)
    return Golden(inputs, outputs, tolerance * max(1.0, float(np.max(np.abs(outputs), initial=0.0))))


def noise_for(graph: Graph) -> np.ndarray:
    """One seeded input of the shape and type that the graph takes."""
    entry = graph.tensors[graph.inputs[0]]
    rng = np.random.default_rng(0)
    dtype = NUMPY_DTYPES[entry.dtype]
    if dtype.kind == "f":
        return rng.uniform(-1.0, 1.0, entry.shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, entry.shape, dtype=dtype, endpoint=True)


def _package_of(source: PathLike, progress: Progress) -> tuple[str, bytes]:
    """Name and package bytes of a file that is a package, or a model that becomes one without loss."""
    path = Path(source)
    if path.is_file():
        data = read_file(path, A_PACKAGE)
        if data.startswith(MAGIC):
            name = package_format.read(data).metadata.get("name") or path.stem
            return _release_name(str(name)), data
    progress("convert", 0, 0)
    tflite = convert(path).write()
    name = _release_name(_name(path))
    return name, packer.pack(
        tflite, metadata={"name": name}, progress=lambda done, total: progress("pack", done, total)
    )


def _release_name(name: str) -> str:
    """The name as the board's store takes it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "model"


def _coded_weights(
    graph: Graph, tflite: bytes, sections: Sequence[package_format.Section]
) -> dict[int, inspection.CodedWeight]:
    """By tensor number, what the package spends on it. Small tensors share a section; each bears its part by size."""
    sections_by_offset = {offset: section for section in sections for offset, _ in section.spans}
    numbers = {tensor.name: index for index, tensor in enumerate(graph.tensors)}
    coded = {}
    for span in packer.weight_buffers(tflite):
        section = sections_by_offset.get(span.offset)
        if section is not None and span.name in numbers:
            share = round(section.coded_size * span.size / sum(size for _, size in section.spans))
            coded[numbers[span.name]] = inspection.CodedWeight(section.layout, share)
    return coded


def list_zoo() -> list[ZooModel]:
    """Every network of the zoo, at its paper's size."""
    from sdk import models

    return [describe_zoo_model(entry.name) for entry in models.catalogue()]


def describe_zoo_model(
    name: str,
    *,
    input_size: int | None = None,
    classes: int | None = None,
    channels: int | None = None,
    **options: Any,
) -> ZooModel:
    """Parameters and MACs of a network of the zoo."""
    from sdk import models

    entry = models.entry(name)
    network = models.describe(name, input_size=input_size, classes=classes, channels=channels, **options)
    return ZooModel(
        name=name,
        title=entry.title,
        paper=entry.paper,
        parameters=network.parameters,
        macs=network.macs,
        input_shape=tuple(network.input.shape),
        classes=classes or entry.default_classes,
        options=entry.resolve(options),
    )


def write_zoo_model(
    name: str,
    output: PathLike,
    *,
    input_size: int | None = None,
    classes: int | None = None,
    channels: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    **options: Any,
) -> Converted:
    """A network of the zoo with fresh weights -> ``.tflite`` at ``output``."""
    from sdk import models

    models.describe(name, input_size=input_size, classes=classes, channels=channels, **options)
    progress("build", 0, 0)
    model = models.build(
        name, input_size=input_size, classes=classes, channels=channels, seed=seed, **options
    )
    progress("convert", 0, 0)
    return _write_graph(Graph.read(from_keras(model)), name, Path(output))


def _write_graph(graph: Graph, source: str, output: Path) -> Converted:
    data = graph.write()
    write_file(output, data)
    return Converted(
        source=source,
        output=output,
        tflite_bytes=len(data),
        operators=len(graph.operators),
        parameters=theory.parameters(graph),
        macs=theory.totals(theory.operator_costs(graph)).macs,
        input_shape=graph.tensors[graph.inputs[0]].shape,
        output_shape=graph.tensors[graph.outputs[0]].shape,
    )


def _dataset(graph: Graph, path: PathLike, preprocess: str) -> Dataset:
    from sdk.data import has_splits, load_dataset

    return load_dataset(
        path,
        input_shape=graph.tensors[graph.inputs[0]].shape[1:],
        preprocess=preprocess,
        split="test" if has_splits(path) else None,
    )


def _name(source: PathLike) -> str:
    return Path(source).stem or Path(source).name
