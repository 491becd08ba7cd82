"""Functions on files: convert, pack, unpack, inspect, and the zoo."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_agent.package import kernel as kernels
from device_agent.package import reader as package_format
from sdk.api.files.usage import metadata_of_tflite, usage_of, with_usage
from sdk.api.results import Converted, Packed, UnpackedFile, ZooModel
from sdk.api.values import PathLike
from sdk.deploy.provision.kernel import KernelBuildError, build
from sdk.errors import ModelError
from sdk.explain import theory
from sdk.graph.on_host.convert import convert, from_keras
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.schema import FILE_IDENTIFIER
from sdk.graph.writer import write_graph
from sdk.package import inspection
from sdk.package import pack as packer
from sdk.package.diff import PackageDiff, compare_packages
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import read_file, write_file
from sdk.tools.system.quiet import quiet_tensorflow

A_TFLITE = "a .tflite file"
A_PACKAGE = "a .armlet package"


def convert_model(
    source: PathLike,
    output: PathLike,
    *,
    input_shape: Sequence[int] | None = None,
    preprocess: str | None = None,
    labels: PathLike | None = None,
    progress: Progress = silent,
) -> Converted:
    """Keras file, SavedModel folder or ``.tflite`` -> ``.tflite`` of batch 1 at ``output``.

    ``preprocess`` and ``labels`` (a text file, one label per line) are written into it, for the board to go by.
    """
    progress("convert", 0, 0)
    graph = convert(source, input_shape=input_shape)
    graph = with_usage(graph, usage_of(graph, preprocess=preprocess, labels=labels))
    return _write_graph(graph, str(source), Path(output))


def pack_model(
    source: PathLike,
    output: PathLike,
    *,
    preprocess: str | None = None,
    labels: PathLike | None = None,
    progress: Progress = silent,
) -> Packed:
    """Any ``.tflite`` -> package at ``output`` that decodes to the very same bytes.

    ``preprocess`` and ``labels`` (a text file, one label per line) tell the board what is done to an image and what the
    classes are called; without them the package says what the model's own metadata do.
    """
    source, output = Path(source), Path(output)
    tflite = read_file(source, A_TFLITE)
    if tflite[4:8] != FILE_IDENTIFIER:
        raise ModelError(
            f"{source} is not a TFLite model",
            expected=f"the identifier {FILE_IDENTIFIER.decode()} at byte 4",
            found=repr(tflite[4:8])[1:],
            hint="Other kinds go through `sdk convert` or `sdk compress`.",
        )
    metadata = {"name": source.stem, **metadata_of_tflite(tflite, preprocess=preprocess, labels=labels)}
    started = time.perf_counter()
    data = packer.pack(tflite, metadata=metadata, progress=lambda i, n: progress("pack", i, n))
    seconds = time.perf_counter() - started
    package = package_format.read(data)
    write_file(output, data)
    return Packed(str(source), output, len(tflite), len(data), len(package.sections), seconds)


def unpack_package(source: PathLike, output: PathLike, *, kernel: str = "auto") -> UnpackedFile:
    """Package -> the ``.tflite`` that was packed, at ``output``. ``kernel`` is "auto", "c" or "numpy"."""
    data = read_file(Path(source), A_PACKAGE)
    if kernel != "numpy":
        use_host_kernel()
    started = time.perf_counter()
    decoded = package_format.unpack(data, kernel=kernel)
    seconds = time.perf_counter() - started
    write_file(Path(output), decoded.tflite)
    return UnpackedFile(
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
    try:
        kernels.use(str(build()))
    except KernelBuildError:
        return


def inspect_package(source: PathLike) -> inspection.Inspection:
    """The per-layer table of a package."""
    return inspect_bytes(read_file(Path(source), A_PACKAGE))


def diff_packages(before: PathLike, after: PathLike) -> PackageDiff:
    """Which sections differ between two packages, and how many bytes a push of the second would send."""
    return compare_packages(read_file(Path(before), A_PACKAGE), read_file(Path(after), A_PACKAGE))


def inspect_bytes(data: bytes) -> inspection.Inspection:
    """The per-layer table of package bytes."""
    decoded = package_format.unpack(data)
    return inspect_decoded(decoded, read_graph(decoded.tflite))


def inspect_decoded(decoded: package_format.Unpacked, graph: Graph) -> inspection.Inspection:
    """The same of a package that is decoded and read already."""
    package = decoded.package
    rows = inspection.layer_rows(graph, _coded_weights(graph, decoded.tflite, package.sections))
    return inspection.Inspection(
        name=str(package.metadata.get("name", "")),
        rows=rows,
        package_bytes=package.package_size,
        tflite_bytes=package.tflite_size,
        other_bytes=package.package_size - sum(r.coded_bytes for r in rows),
        original_other_bytes=package.tflite_size - sum(r.original_bytes for r in rows),
        format_version=package.format_version,
        package_sha256=package.package_sha256,
        tflite_sha256=package.tflite_sha256,
    )


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
    input_size: int | tuple[int, int] | None = None,
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
    input_size: int | tuple[int, int] | None = None,
    classes: int | None = None,
    channels: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    **options: Any,
) -> Converted:
    """A network of the zoo with fresh weights -> ``.tflite`` at ``output``."""
    from sdk import models

    shape = {"input_size": input_size, "classes": classes, "channels": channels, **options}
    described = models.describe(name, **shape)
    progress("build", 0, 0)
    with quiet_tensorflow():
        model = models.build(name, seed=seed, **shape)
    progress("convert", 0, 0)
    written = _write_graph(read_graph(from_keras(model)), name, Path(output))
    # The converter keeps equal constants once, and the biases of a fresh network are all zero.
    return replace(written, parameters=described.parameters)


def _write_graph(graph: Graph, source: str, output: Path) -> Converted:
    data = write_graph(graph)
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


def name_of(source: PathLike) -> str:
    """The name that a file gives its model."""
    return Path(source).stem or Path(source).name
