"""A `.tflite` of a stranger costs what its bytes are worth, and whatever is odd in it ends in one clear error."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable

import flatbuffers
import numpy as np
import pytest

from sdk.cli import main
from sdk.errors import ModelError, UnsupportedOperator
from sdk.graph.embedded import attached
from sdk.graph.embedded.attached import read_attached
from sdk.graph.embedded.exporter_notes import read_notes
from sdk.graph.reader import read_graph, read_subgraphs
from sdk.graph.schema import schema_classes
from sdk.graph.writer import write_graph
from tests.sdk.graph.small_graphs import small_network

READERS = pytest.mark.parametrize("read", [read_graph, read_subgraphs])


def repeated(count: int, length: int, *, name: bytes = b"") -> bytes:
    """A model of tensors that all are one table, whose shape has this many dimensions."""
    schema, builder = schema_classes(), flatbuffers.Builder(1 << 16)
    schema.TensorStartShapeVector(builder, length)
    for _ in range(length):
        builder.PrependInt32(1)
    shape = builder.EndVector()
    text = builder.CreateString(name)
    schema.TensorStart(builder)
    schema.TensorAddShape(builder, shape)
    schema.TensorAddName(builder, text)
    tensor = schema.TensorEnd(builder)

    def vector(start: Callable, table: int, times: int) -> int:
        start(builder, times)
        for _ in range(times):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()

    tensors = vector(schema.SubGraphStartTensorsVector, tensor, count)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraphs = vector(schema.ModelStartSubgraphsVector, schema.SubGraphEnd(builder), 1)
    schema.BufferStart(builder)
    buffers = vector(schema.ModelStartBuffersVector, schema.BufferEnd(builder), 1)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def changed(change: Callable) -> bytes:
    """The small network with something of its object tree changed."""
    model = schema_classes().ModelT.InitFromPackedBuf(write_graph(small_network(size=16)), 0)
    change(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@READERS
@pytest.mark.parametrize("how", ["shapes", "names"])
def test_tensors_that_share_everything_cost_what_their_bytes_do(read: Callable, how: str) -> None:
    data = repeated(20_000, 20_000 if how == "shapes" else 1, name=b"" if how == "shapes" else b"x" * 20_000)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="says the same thing too often"):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < 200 * len(data)
    finally:
        tracemalloc.stop()


@READERS
def test_a_shape_that_some_tensors_share_is_no_attack(read: Callable) -> None:
    found = read(repeated(100, 4, name=b"t"))
    graph = found if read is read_graph else found[0]
    assert {tensor.shape for tensor in graph.tensors} == {(1, 1, 1, 1)}


def test_buffers_that_many_name_are_copied_once() -> None:
    def share(model) -> None:
        schema = schema_classes()
        model.buffers[0].data = np.zeros(1 << 20, np.uint8)
        model.metadata = []
        for number in range(1000):
            entry = schema.MetadataT()
            entry.name, entry.buffer = f"m{number}", 0
            model.metadata.append(entry)
        for tensor in model.subgraphs[0].tensors:
            tensor.buffer = tensor.buffer or 1

    data = changed(share)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):  # the buffer of some tensor has the wrong size
            read_graph(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("verb", ["inspect", "pack", "convert", "compress"])
def test_names_that_are_no_text_are_kept_and_never_a_traceback(verb: str, tmp_path, capsys) -> None:
    data = write_graph(small_network(size=16))
    assert data.count(b"image") > 1  # of a tensor, and in the signature
    path = tmp_path / "net.tflite"
    path.write_bytes(data.replace(b"image", b"\xff\xfe\x80\xc0\xff"))
    output = tmp_path / "out"
    assert main([verb, str(path), *([] if verb == "inspect" else ["-o", str(output)])]) == 0
    capsys.readouterr()
    if verb == "convert":
        assert b"\xff\xfe\x80\xc0\xff" in output.read_bytes()


def test_a_type_that_nobody_knows_is_named(tmp_path, capsys) -> None:
    data = changed(lambda model: setattr(model.subgraphs[0].tensors[0], "type", -128))
    with pytest.raises(UnsupportedOperator, match="type -128"):
        read_graph(data)
    assert read_subgraphs(data)[0].tensors[0].dtype == "type -128"
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    for verb, status in (("inspect", 0), ("pack", 0), ("convert", 0), ("compress", 2)):
        found = main([verb, str(path), *([] if verb == "inspect" else ["-o", str(tmp_path / f"{verb}.out")])])
        assert found == status, capsys.readouterr()
        assert "Traceback" not in capsys.readouterr().err


def test_a_zip_that_unpacks_to_too_much_again_and_again_is_left(monkeypatch) -> None:
    monkeypatch.setattr(attached, "MAX_BYTES", 1000)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(100):
            archive.writestr(f"large{number}", bytes(5000))
        archive.writestr("labels.txt", b"a")
    found = read_attached(stream.getvalue())
    assert len(found.problems) == attached.MAX_FAILURES + 1
    assert "the others were left out" in found.problems[-1]


def test_few_files_are_looked_into_for_notes() -> None:
    files = tuple((f"meta{n}.json", b"{}") for n in range(10))
    notes = attached.AttachedFiles((*files, ("metadata.json", b'{"names": ["a"]}')))
    assert read_notes(notes) is None
    assert read_notes(attached.AttachedFiles(notes.files[-1:])) is not None
