"""TFLite metadata made by hand, as the tools of others write them: a flatbuffer, and files behind the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import flatbuffers

from sdk.graph.embedded.attached import AttachedFiles
from sdk.graph.embedded.model_metadata import (
    CONTENTS,
    FILE_KINDS,
    TFLITE_METADATA,
    AssociatedFile,
    ModelMetadata,
    TensorMetadata,
)
from sdk.graph.records import Graph

Field = tuple[int, Callable[[flatbuffers.Builder], None]]


def metadata_bytes(metadata: ModelMetadata) -> bytes:
    """The buffer of these metadata."""
    builder = flatbuffers.Builder(1024)
    subgraph = _table(
        builder,
        [
            _offset(2, _vector(builder, [_tensor(builder, t) for t in metadata.inputs])),
            _offset(3, _vector(builder, [_tensor(builder, t) for t in metadata.outputs])),
        ],
    )
    words = [metadata.name, metadata.description, metadata.version, metadata.author, metadata.license]
    texts = [
        _offset(number, builder.CreateString(word))
        for number, word in zip((0, 1, 2, 4, 5), words, strict=True)
    ]
    files = _vector(builder, [_file(builder, file) for file in metadata.files])
    root = _table(builder, [*texts, _offset(3, _vector(builder, [subgraph])), _offset(6, files)])
    builder.Finish(root, file_identifier=b"M001")
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, fields: Sequence[Field]) -> int:
    builder.StartObject(8)
    for _, add in fields:
        add(builder)
    return int(builder.EndObject())


def _offset(number: int, value: int) -> Field:
    return number, lambda builder: builder.PrependUOffsetTRelativeSlot(number, value, 0)


def _byte(number: int, value: int) -> Field:
    return number, lambda builder: builder.PrependUint8Slot(number, value, 0)


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())


def _file(builder: flatbuffers.Builder, file: AssociatedFile) -> int:
    texts = [builder.CreateString(word) for word in (file.name, file.description, file.locale)]
    fields = [_offset(number, text) for number, text in zip((0, 1, 3), texts, strict=True)]
    return _table(builder, [*fields, _byte(2, FILE_KINDS.index(file.kind))])


def _tensor(builder: flatbuffers.Builder, tensor: TensorMetadata) -> int:
    units = []
    if tensor.mean or tensor.deviation:
        mean, deviation = _floats(builder, tensor.mean), _floats(builder, tensor.deviation)
        options = _table(builder, [_offset(0, mean), _offset(1, deviation)])
        units.append(_table(builder, [_byte(0, 1), _offset(1, options)]))
    if tensor.threshold is not None:
        threshold = tensor.threshold
        options = _table(builder, [(0, lambda b: b.PrependFloat32Slot(0, threshold, 0.0))])
        units.append(_table(builder, [_byte(0, 3), _offset(1, options)]))
    fields = [
        _offset(0, builder.CreateString(tensor.name)),
        _offset(1, builder.CreateString(tensor.description)),
        _offset(4, _vector(builder, units)),
        _offset(6, _vector(builder, [_file(builder, file) for file in tensor.files])),
    ]
    if tensor.content:
        content = _table(builder, [_byte(0, CONTENTS.index(tensor.content)), _offset(1, _table(builder, []))])
        fields.append(_offset(3, content))
    return _table(builder, fields)


def with_words(graph: Graph, metadata: ModelMetadata | None, **files: str | bytes) -> Graph:
    """The graph with metadata, and files attached: ``labels_txt="a\\nb"`` is ``labels.txt``."""
    entries = graph.metadata
    if metadata is not None:
        entries = (*entries, (TFLITE_METADATA, metadata_bytes(metadata)))
    attached = tuple(
        (name.replace("_", "."), content.encode() if isinstance(content, str) else content)
        for name, content in files.items()
    )
    return replace(graph, metadata=entries, attached=AttachedFiles(attached))


def labels_file(kind: str = "axis labels", name: str = "labels.txt", locale: str = "") -> AssociatedFile:
    """A file of labels as metadata name it."""
    return AssociatedFile(name, kind, locale)
