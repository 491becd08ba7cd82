"""Model files -> ``.tflite`` bytes or a :class:`~sdk.graph.records.Graph`: the door that every command goes through.

The kind of the file decides what happens. The input gets a static batch of one (an edge device answers one image at a
time; a dynamic batch makes the converter compute shapes at run time, which keeps operators from being fused).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sdk.errors import ModelError
from sdk.graph.on_host.converted_before import converted_once
from sdk.graph.on_host.input_shapes import Shapes, with_input_shapes
from sdk.graph.on_host.input_size import closed
from sdk.graph.on_host.sources.elsewhere import onnx_bytes, torch_program_bytes
from sdk.graph.on_host.sources.keras_files import Note, keras_file_bytes
from sdk.graph.on_host.sources.kinds import kind_of
from sdk.graph.on_host.sources.magic import Kind
from sdk.graph.on_host.sources.saved_models import saved_model_bytes
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph
from sdk.graph.schema import FILE_IDENTIFIER

READABLE = "a .keras, .h5, .pt2 or .onnx file, a SavedModel folder or a .tflite file"


def convert(
    path: str | os.PathLike[str],
    *,
    input_shape: Shapes | None = None,
    signature: str | None = None,
    custom_objects: Sequence[str] = (),
    note: Note = lambda text: None,
) -> Graph:
    """Reads the model at ``path`` and returns its graph.

    ``input_shape`` is (height, width, channels), with or without a batch of 1 in front, and is needed only where the
    model leaves them open; of several inputs, shapes by name. The others are as in :func:`tflite_bytes`.
    Raises :class:`ModelError` when there is no such file, when it is of another kind, or when it is broken.
    """
    path = Path(path)
    graph = read_graph(
        tflite_bytes(
            path, input_shape=input_shape, signature=signature, custom_objects=custom_objects, note=note
        )
    )
    if input_shape is not None and is_tflite(path):
        return closed(graph)  # the shapes inside are still those of the file
    return graph


def tflite_bytes(
    path: Path,
    *,
    input_shape: Shapes | None = None,
    signature: str | None = None,
    custom_objects: Sequence[str] = (),
    note: Note = lambda text: None,
) -> bytes:
    """The model at ``path`` as ``.tflite`` bytes; a ``.tflite`` is given back as it is, but for ``input_shape``.

    ``signature``: of a SavedModel that has several. ``custom_objects``: of a Keras file, each "FILE.py:Class", which is
    imported. ``note`` is called with remarks on a model that was converted all the same.
    """
    if not path.exists():
        raise ModelError(f"there is no model at {path}", expected=READABLE, found="no such file")
    kind = kind_of(path)
    if signature is not None and kind.reader != "saved_model":
        raise ModelError(
            f"{path} has no signatures to choose from", expected="a SavedModel folder", found=kind.words
        )
    if custom_objects and not kind.reader.startswith("keras"):
        raise ModelError(f"{path} has no layers of custom code", expected="a Keras file", found=kind.words)
    if kind.reader == "tflite":
        return with_input_shapes(_all_of(path), input_shape)
    if kind.reader == "saved_model":
        return saved_model_bytes(path, input_shape=input_shape, signature=signature)
    if kind.reader.startswith("keras"):
        return _keras_bytes(path, kind.reader == "keras 2", input_shape, custom_objects, note)
    if kind.reader == "torch":
        return torch_program_bytes(path, input_shape=input_shape)
    if kind.reader == "onnx":
        return onnx_bytes(path, input_shape=input_shape)
    raise not_read(path, kind)


def _keras_bytes(
    path: Path, keras_2: bool, input_shape: Shapes | None, custom_objects: Sequence[str], note: Note
) -> bytes:
    def made(remark: Note) -> bytes:
        return keras_file_bytes(
            path, keras_2=keras_2, input_shape=input_shape, custom_objects=custom_objects, note=remark
        )

    if custom_objects:
        return made(note)
    return converted_once(path, (keras_2, input_shape), made, note)


def not_read(path: Path, kind: Kind | None = None, *, expected: str = READABLE) -> ModelError:
    """The error for a file of a kind that is not read: which kind it is, and what to do with it."""
    kind = kind or kind_of(path)
    return ModelError(f"{path} is {kind.words}", expected=expected, hint=kind.hint or None)


def is_tflite(path: Path) -> bool:
    """Whether there is a file at ``path`` that begins as a ``.tflite`` does."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:8] == FILE_IDENTIFIER
    except OSError:
        return False


def _all_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read", expected="a readable file", found=str(error)) from error
