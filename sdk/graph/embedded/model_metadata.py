"""TFLite metadata: what the author of a model says of its inputs, its outputs and the files that come with it.

They are a flatbuffer of their own (``metadata_schema.fbs`` of TFLite Support, identifier M001) in the model's buffer
:data:`TFLITE_METADATA`. Field numbers are those of that schema. Anything longer than the limits below is not taken for
metadata.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdk.graph.embedded.flatbuffer import BrokenFlatbuffer, Flatbuffer

#: Name of the metadata entry of a ``.tflite`` that holds them, and the identifier at byte 4 of its buffer.
TFLITE_METADATA = "TFLITE_METADATA"
_IDENTIFIER = b"M001"

MAX_BYTES = 16 << 20
_MAX_TENSORS = 256
_MAX_FILES = 64
_MAX_UNITS = 16
_MAX_CHANNELS = 256
_MAX_TEXT = 1 << 17
#: All texts together; aliased tables could otherwise say the same text many thousand times.
_MAX_TEXTS = 4 << 20

#: What a file is for, by its number in the schema.
FILE_KINDS = ("unknown", "descriptions", "axis labels", "value labels", "score calibration", "vocabulary")
#: What a tensor holds, by the number of its properties.
CONTENTS = ("", "feature", "image", "bounding box")
_NORMALIZATION, _THRESHOLDING = 1, 3


@dataclass(frozen=True)
class AssociatedFile:
    """A file of the zip behind the model, as the metadata name it. ``kind`` is one of :data:`FILE_KINDS`."""

    name: str
    kind: str = "unknown"
    locale: str = ""
    description: str = ""


@dataclass(frozen=True)
class TensorMetadata:
    """The metadata of one input or output. ``content`` is one of :data:`CONTENTS`.

    ``mean`` and ``deviation``: of a pixel of 0 to 255, one value or one per channel; empty where not stated.
    ``threshold``: scores below it do not count.
    """

    name: str = ""
    description: str = ""
    content: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    threshold: float | None = None
    files: tuple[AssociatedFile, ...] = ()

    def file_of(self, *kinds: str) -> AssociatedFile | None:
        """The first file of one of these kinds; of several languages, English or none is taken before others."""
        found = [file for file in self.files if file.kind in kinds]
        plain = [file for file in found if file.locale.lower()[:2] in ("", "en")]
        return next(iter(plain or found), None)


@dataclass(frozen=True)
class ModelMetadata:
    """All that the metadata say; ``inputs`` and ``outputs`` in the order of the graph's own."""

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    files: tuple[AssociatedFile, ...] = ()

    @property
    def all_files(self) -> tuple[AssociatedFile, ...]:
        """Every file that is named anywhere, each name once."""
        tensors = (*self.inputs, *self.outputs)
        files = [file for tensor in tensors for file in tensor.files] + list(self.files)
        return tuple({file.name: file for file in reversed(files)}.values())[::-1]


def read_model_metadata(raw: bytes) -> ModelMetadata | None:
    """The metadata in the bytes of the buffer; None where they are none."""
    if len(raw) > MAX_BYTES or raw[4:8] != _IDENTIFIER:
        return None
    try:
        return _Reader(raw).model()
    except BrokenFlatbuffer:
        return None


def metadata_entry(tflite: bytes, name: str = TFLITE_METADATA) -> bytes | None:
    """The bytes of an entry of a ``.tflite``'s metadata, of whatever graph; None where it has none of that name."""
    data = Flatbuffer(tflite)
    try:
        if tflite[4:8] != b"TFL3":
            return None
        model = data.follow(0)
        for entry in data.tables(model, 6, _MAX_TENSORS):
            if data.text(entry, 0, _MAX_TEXT) == name:
                buffers = data.tables(model, 4)
                buffer = buffers[data.scalar(entry, 1, "<I")]
                start, size = data.scalar(buffer, 1, "<Q"), data.scalar(buffer, 2, "<Q")
                if start > 1:  # the buffer lies behind the flatbuffer
                    return tflite[start : start + size] if size <= MAX_BYTES else None
                return data.bytes_of(buffer, 0, MAX_BYTES)
    except (BrokenFlatbuffer, IndexError):
        pass
    return None


class _Reader:
    """Walks one buffer of metadata."""

    def __init__(self, raw: bytes) -> None:
        self.data = Flatbuffer(raw)
        self.texts = 0

    def model(self) -> ModelMetadata:
        root = self.data.follow(0)
        subgraphs = self.data.tables(root, 3, _MAX_TENSORS)
        main = subgraphs[0] if subgraphs else None  # the schema calls the first one the main one
        return ModelMetadata(
            name=self.text(root, 0),
            description=self.text(root, 1),
            version=self.text(root, 2),
            author=self.text(root, 4),
            license=self.text(root, 5),
            inputs=() if main is None else self.tensors(main, 2),
            outputs=() if main is None else self.tensors(main, 3),
            files=self.files(root, 6) + (() if main is None else self.files(main, 4)),
        )

    def tensors(self, table: int, number: int) -> tuple[TensorMetadata, ...]:
        return tuple(self.tensor(one) for one in self.data.tables(table, number, _MAX_TENSORS))

    def tensor(self, table: int) -> TensorMetadata:
        mean: tuple[float, ...] = ()
        deviation: tuple[float, ...] = ()
        threshold = None
        for unit in self.data.tables(table, 4, _MAX_UNITS):
            kind, options = self.data.scalar(unit, 0, "<B"), self.data.table(unit, 1)
            if options is None:
                continue
            if kind == _NORMALIZATION:
                mean = self.data.floats(options, 0, _MAX_CHANNELS)
                deviation = self.data.floats(options, 1, _MAX_CHANNELS)
            elif kind == _THRESHOLDING:
                threshold = self.threshold(options)
        content, kind = self.data.table(table, 3), 0
        if content is not None:
            kind = self.data.scalar(content, 0, "<B")
        return TensorMetadata(
            self.text(table, 0),
            self.text(table, 1),
            CONTENTS[kind] if kind < len(CONTENTS) else "",
            mean,
            deviation,
            threshold,
            self.files(table, 6),
        )

    def threshold(self, options: int) -> float | None:
        field = self.data.field(options, 0)
        return None if field is None else self.data.number(field)

    def files(self, table: int, number: int) -> tuple[AssociatedFile, ...]:
        found = []
        for file in self.data.tables(table, number, _MAX_FILES):
            kind = self.data.scalar(file, 2, "<B")
            found.append(
                AssociatedFile(
                    self.text(file, 0),
                    FILE_KINDS[kind] if kind < len(FILE_KINDS) else FILE_KINDS[0],
                    self.text(file, 3),
                    self.text(file, 1),
                )
            )
        return tuple(found)

    def text(self, table: int, number: int) -> str:
        found = self.data.text(table, number, _MAX_TEXT)
        self.texts += len(found)
        if self.texts > _MAX_TEXTS:
            raise BrokenFlatbuffer
        return found
