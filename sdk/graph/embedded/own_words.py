"""All that a ``.tflite`` says of itself, in one record: metadata, attached files, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass

from sdk.graph.embedded.attached import NO_FILES, AttachedFiles, read_attached
from sdk.graph.embedded.exporter_notes import ExporterNotes, read_notes
from sdk.graph.embedded.label_text import label_lines
from sdk.graph.embedded.model_metadata import (
    FILE_KINDS,
    TFLITE_METADATA,
    ModelMetadata,
    TensorMetadata,
    metadata_entry,
    read_model_metadata,
)

#: Files that hold labels, by the kinds that metadata give them. Some writers leave the kind open.
LABEL_KINDS = ("axis labels", "value labels")


@dataclass(frozen=True)
class OwnWords:
    """``metadata`` and ``notes`` are None where the model has none; ``problems`` says what could not be read."""

    metadata: ModelMetadata | None = None
    attached: AttachedFiles = NO_FILES
    notes: ExporterNotes | None = None
    problems: tuple[str, ...] = ()

    def input(self, position: int) -> TensorMetadata:
        """The metadata of an input; empty if there are none."""
        return _at(self.metadata.inputs if self.metadata else (), position)

    def output(self, position: int) -> TensorMetadata:
        """The metadata of an output; empty if there are none."""
        return _at(self.metadata.outputs if self.metadata else (), position)

    def labels_of(self, position: int) -> tuple[str, ...]:
        """The labels that the metadata give this output, by number; empty where they give none that can be read."""
        file = self.output(position).file_of(*LABEL_KINDS)
        return self._labels_in(file.name) if file is not None else ()

    def loose_labels(self, count: int | None = None) -> tuple[str, ...]:
        """Labels that belong to no output by name: the exporter's, or those of the only file that can hold some.

        ``count``: how many scores the model gives, where that is known; a file of this many lines holds labels.
        """
        if self.notes is not None:
            return self.notes.names
        kinds = {file.name: file.kind for file in self.metadata.all_files} if self.metadata else {}
        files = {name: self._labels_in(name) for name, _ in self.attached.files}
        named = [name for name in files if kinds.get(name) in LABEL_KINDS]
        unnamed = [name for name in files if kinds.get(name, FILE_KINDS[0]) == FILE_KINDS[0]]
        called = [name for name in unnamed if "label" in name.lower()]
        counted = [name for name in unnamed if name.lower().endswith(".txt") and len(files[name]) == count]
        for found in (named, called, counted):
            if len(found) == 1:
                return files[found[0]]
        return ()

    def _labels_in(self, name: str) -> tuple[str, ...]:
        content = self.attached.get(name)
        try:
            return () if content is None else label_lines(content.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return ()


def words_in(tflite: bytes) -> OwnWords:
    """The words in the bytes of any ``.tflite``, also of one whose operators are not read. Never raises."""
    return words_of(metadata_entry(tflite), read_attached(tflite))


def words_of(raw: bytes | None, attached: AttachedFiles) -> OwnWords:
    """The same of the parts: the buffer of metadata, None where there is none, and the attached files."""
    metadata = None if raw is None else read_model_metadata(raw)
    problems = list(attached.problems)
    if raw is not None and metadata is None:
        problems.append(f"the entry {TFLITE_METADATA} cannot be read: it is kept, and not used")
    for file in () if metadata is None else metadata.all_files:
        content = attached.get(file.name)
        if content is None:
            problems.append(f"the metadata name the file {file.name}, which is not attached to the model")
        elif file.kind in LABEL_KINDS:
            try:
                content.decode("utf-8-sig")
            except UnicodeDecodeError:
                problems.append(
                    f"the attached file {file.name} is not text in UTF-8: its labels are not used"
                )
    return OwnWords(metadata, attached, read_notes(attached), tuple(problems))


def _at(tensors: tuple[TensorMetadata, ...], position: int) -> TensorMetadata:
    return tensors[position] if position < len(tensors) else TensorMetadata()
