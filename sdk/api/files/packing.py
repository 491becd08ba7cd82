"""Functions on files: convert, pack, unpack, inspect, and the zoo."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.package import kernel as kernels
from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC, MAX_TFLITE_SIZE
from device_agent.record.usage import Usage
from sdk.api.file_requests import Convert, DescribeZoo, Pack, UnpackPackage, WriteZoo
from sdk.api.files.layout import with_channels_last
from sdk.api.files.opening import reading
from sdk.api.files.usage import (
    metadata_of_tflite,
    package_metadata,
    readable_part,
    usage_notes,
    usage_of,
    with_usage,
)
from sdk.api.results import Converted, Packed, UnpackedFile, ZooModel
from sdk.api.values import PathLike
from sdk.deploy.provision import kernel as kernel_builder
from sdk.errors import ModelError, UnsupportedOperator
from sdk.explain import theory
from sdk.graph.on_host.input_size import closed
from sdk.graph.on_host.sources.convert import not_read, tflite_bytes
from sdk.graph.on_host.sources.keras_files import from_keras
from sdk.graph.on_host.sources.kinds import kind_of
from sdk.graph.reader import read_graph, read_subgraphs
from sdk.graph.records import Graph
from sdk.graph.schema import FILE_IDENTIFIER
from sdk.graph.writer import write_graph
from sdk.package import inspection
from sdk.package import pack as packer
from sdk.package.diff import PackageDiff, compare_packages
from sdk.package.spans import BufferSpan
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.system.files import read_file, write_file
from sdk.tools.system.outputs import check_outputs, suffix_notes
from sdk.tools.system.quiet import quiet_tensorflow

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import (
        ConvertOptions,
        DescribeZooOptions,
        PackOptions,
        UnpackPackageOptions,
        WriteZooOptions,
    )

A_TFLITE = "a .tflite file"
A_PACKAGE = "a .armlet package"


def convert_model(
    source: PathLike, output: PathLike, *, progress: Progress = silent, **options: Unpack[ConvertOptions]
) -> Converted:
    """Keras file, SavedModel folder or ``.tflite`` -> ``.tflite`` of batch 1 at ``output``.

    ``preprocess`` and ``labels`` (a text file, one label per line) are written into it, for the board to go by.
    ``options``: see :class:`sdk.api.file_requests.Convert`. Raises TypeError for others.
    """
    request = build(Convert, options, function="convert_model")
    code = [name.rpartition(":")[0] for name in request.custom_objects]
    check_outputs([output], [source, request.labels, *code])
    progress("convert", 0, 0)
    told: list[str] = []
    tflite = tflite_bytes(Path(source), note=told.append, **reading(request))
    said: dict[str, Any] = {
        "preprocess": request.preprocess,
        "labels": request.labels,
        "task": request.task,
        "fit": request.fit,
    }
    try:
        graph = read_graph(tflite)
        if request.input_shape is not None:
            graph = closed(graph)  # the shapes inside are still those of the file
    except UnsupportedOperator as error:  # converted all the same; nothing can be written into it here
        if any(value is not None for value in said.values()):
            raise ModelError(
                f"{source} is converted; its preprocessing, labels and task cannot be written into it: {error.what}",
                expected="a model of one subgraph, or no such option",
                hint="Give the option to `sdk pack` or `sdk deploy` instead.",
            ) from error
        written = _write_tflite(tflite, read_subgraphs(tflite)[0], str(source), Path(output))
        return replace(written, notes=(*told, *written.notes))
    graph, layout = with_channels_last(graph)
    usage = usage_of(graph, **said)
    written = _write_graph(with_usage(graph, usage), str(source), Path(output))
    return replace(written, notes=(*told, *layout, *usage_notes(graph, usage), *written.notes), usage=usage)


def pack_model(
    source: PathLike, output: PathLike, *, progress: Progress = silent, **options: Unpack[PackOptions]
) -> Packed:
    """Any ``.tflite`` -> package at ``output`` that decodes to the very same bytes.

    ``preprocess`` and ``labels`` (a text file, one label per line) tell the board what is done to an image and what the
    classes are called; without them the package takes both from the model's own metadata. ``options``: see
    :class:`sdk.api.file_requests.Pack`. Raises TypeError for others.
    """
    request = build(Pack, options, function="pack_model")
    source, output = Path(source), Path(output)
    check_outputs([output], [source, request.labels])
    tflite = read_file(source, A_TFLITE)
    if tflite[4:8] != FILE_IDENTIFIER:
        raise _not_packed(source)
    graph = readable_part(tflite)
    usage = usage_of(
        graph,
        preprocess=request.preprocess,
        labels=request.labels,
        task=request.task,
        fit=request.fit,
    )
    metadata = {"name": name_of(source), **package_metadata(graph, usage)}
    notes = (*usage_notes(graph, usage), *suffix_notes(output, ".armlet"))
    started = time.perf_counter()
    data = packer.pack(tflite, metadata=metadata, progress=lambda i, n: progress("pack", i, n))
    seconds = time.perf_counter() - started
    package = package_format.read(data)
    write_file(output, data)
    return Packed(str(source), output, len(tflite), len(data), len(package.sections), seconds, notes, usage)


def _not_packed(source: Path) -> ModelError:
    """The error for what is not a ``.tflite``: what it is, and what makes one of it."""
    kind = kind_of(source)
    if not kind.reader:
        return not_read(source, kind, expected=A_TFLITE)
    return ModelError(
        f"{source} is not a TFLite model",
        expected=A_TFLITE,
        found=kind.words,
        hint="`sdk convert`, `sdk compress` and `sdk deploy` take it.",
    )


def unpack_package(
    source: PathLike, output: PathLike, **options: Unpack[UnpackPackageOptions]
) -> UnpackedFile:
    """Package -> the ``.tflite`` that was packed, at ``output``. ``kernel`` is "auto", "c" or "numpy".

    ``options``: see :class:`sdk.api.file_requests.UnpackPackage`. Raises TypeError for others.
    """
    kernel = build(UnpackPackage, options, function="unpack_package").kernel
    check_outputs([output], [source])
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
        notes=suffix_notes(output, ".tflite"),
    )


def use_host_kernel() -> None:
    """Makes the C decoder for this machine the one that ``unpack`` finds; without it, numpy decodes."""
    try:
        kernels.use(str(kernel_builder.build()))
    except kernel_builder.KernelBuildError:
        return


def inspect_package(source: PathLike) -> inspection.Inspection:
    """The per-layer table of a package, or of the package that ``sdk pack`` would make of a ``.tflite``."""
    data = read_file(Path(source), A_PACKAGE)
    if data[4:8] == FILE_IDENTIFIER:
        data = packer.pack(data, metadata={"name": name_of(source), **metadata_of_tflite(data)})
    elif not data.startswith(MAGIC):
        raise _not_packed(Path(source))
    return inspect_bytes(data)


def diff_packages(before: PathLike, after: PathLike) -> PackageDiff:
    """Which sections differ between two packages, and how many bytes a push of the second would send."""
    return compare_packages(read_file(Path(before), A_PACKAGE), read_file(Path(after), A_PACKAGE))


def inspect_bytes(data: bytes) -> inspection.Inspection:
    """The per-layer table of package bytes."""
    return inspect_decoded(package_format.unpack(data))


def inspect_decoded(decoded: package_format.Unpacked) -> inspection.Inspection:
    """The same of a package that is decoded already. Raises ModelError where what it holds is not a model."""
    package = decoded.package
    rows: list[inspection.LayerRow] = []
    sections = {offset: section for section in package.sections for offset, _ in section.spans}
    spans = {span.name: span for span in packer.weight_buffers(decoded.tflite) if span.offset in sections}
    for graph in read_subgraphs(decoded.tflite):
        rows += inspection.layer_rows(graph, _coded_weights(graph, spans, sections))
    rows = inspection.with_names(rows)
    return inspection.Inspection(
        name=str(package.metadata.get("name", "")),
        rows=tuple(rows),
        package_bytes=package.package_size,
        tflite_bytes=package.tflite_size,
        other_bytes=package.package_size - sum(r.coded_bytes for r in rows),
        original_other_bytes=package.tflite_size - sum(r.original_bytes for r in rows),
        format_version=package.format_version,
        package_sha256=package.package_sha256,
        tflite_sha256=package.tflite_sha256,
        usage=Usage.from_metadata(package.metadata),
        given_bytes=_given_bytes(package.metadata),
    )


def _given_bytes(metadata: Mapping[str, Any]) -> int | None:
    """The size of the model that a package was made of, as it says; None where it says no such thing."""
    provenance = metadata.get("provenance")
    said = provenance.get("original_bytes") if isinstance(provenance, Mapping) else None
    return said if type(said) is int and 0 < said <= MAX_TFLITE_SIZE else None


def _coded_weights(
    graph: Graph, spans: dict[str, BufferSpan], sections: Mapping[int, package_format.Section]
) -> dict[int, inspection.CodedWeight]:
    """By tensor number, what the package spends on it; takes what it finds out of ``spans``, by name of the tensor.

    Small tensors share a section; its cost is divided among them by size.
    """
    coded = {}
    for number, tensor in enumerate(graph.tensors):
        span = spans.pop(tensor.name, None) if tensor.data is not None else None
        if span is not None:
            section = sections[span.offset]
            share = round(section.coded_size * span.size / sum(size for _, size in section.spans))
            coded[number] = inspection.CodedWeight(section.layout, share)
    return coded


def list_zoo() -> list[ZooModel]:
    """Every network of the zoo, at its paper's size."""
    from sdk import models

    return [describe_zoo_model(entry.name) for entry in models.catalogue()]


def describe_zoo_model(name: str, **options: Unpack[DescribeZooOptions]) -> ZooModel:
    """Parameters and MACs of a network of the zoo.

    ``options``: see :class:`sdk.api.file_requests.DescribeZoo`. Raises TypeError for others, and ModelError for those
    that this network does not have.
    """
    from sdk import models

    request = build(DescribeZoo, options, function="describe_zoo_model")
    entry = models.entry(name)
    own = _own_options(request)
    network = models.describe(name, **_shape(request), **own)
    return ZooModel(
        name=name,
        title=entry.title,
        paper=entry.paper,
        parameters=network.parameters,
        macs=network.macs,
        input_shape=tuple(network.input.shape),
        classes=request.classes or entry.default_classes,
        options=entry.resolve(own),
    )


def _shape(request: DescribeZoo) -> dict[str, Any]:
    """What every network of the zoo can be asked for."""
    return {name: getattr(request, name) for name in ("input_size", "classes", "channels")}


def _own_options(request: DescribeZoo) -> dict[str, Any]:
    """What some networks can be asked for, of what was given."""
    given = {entry.name: getattr(request, entry.name) for entry in fields(DescribeZoo)}
    return {name: value for name, value in given.items() if value is not None and name not in _shape(request)}


def write_zoo_model(
    name: str, output: PathLike, *, progress: Progress = silent, **options: Unpack[WriteZooOptions]
) -> Converted:
    """A network of the zoo with fresh weights -> ``.tflite`` at ``output``.

    ``options``: see :class:`sdk.api.file_requests.WriteZoo`. Raises TypeError for others, and ModelError for those
    that this network does not have.
    """
    from sdk import models

    request = build(WriteZoo, options, function="write_zoo_model")
    shape = {**_shape(request), **_own_options(request)}
    described = models.describe(name, **shape)
    progress("build", 0, 0)
    with quiet_tensorflow():
        model = models.build(name, seed=request.seed, **shape)
    progress("convert", 0, 0)
    written = _write_graph(read_graph(from_keras(model)), name, Path(output))
    # The converter keeps equal constants once, and the biases of a fresh network are all zero.
    return replace(written, parameters=described.parameters)


def _write_graph(graph: Graph, source: str, output: Path) -> Converted:
    return _write_tflite(write_graph(graph), graph, source, output)


def _write_tflite(data: bytes, graph: Graph, source: str, output: Path) -> Converted:
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
        notes=suffix_notes(output, ".tflite"),
    )


def name_of(source: PathLike) -> str:
    """The name that a file gives its model."""
    name = Path(source).stem or Path(source).name
    return os.fsencode(name).decode("utf-8", "backslashreplace")  # names of files need not be text


def title_of(package: bytes) -> str | None:
    """The display name of a package's model; None if it has none or is not a package."""
    if not package.startswith(MAGIC):
        return None
    said = package_format.read(package).metadata.get("name")
    return said if isinstance(said, str) and said else None
