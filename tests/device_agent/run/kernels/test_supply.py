"""Weights go from a package to the delegate without their floats: same answers, and floats wherever another reads."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from device_agent.package import kernel, reader
from device_agent.package.codec.format import ResultDigestMismatch
from device_agent.run.kernels import delegate, supply
from device_agent.run.loaded import LoadedModel
from sdk.graph.reader import read_graph
from sdk.graph.writer import write_graph
from sdk.package.pack import pack
from tests.device_agent.run.kernels.layers_with_zeros import Images, classifier, sparse_matrix
from tests.device_agent.run.kernels.test_columns import Kernels, Matrix

INPUT = np.random.default_rng(0).standard_normal((1, 700)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def libraries(c_kernel: Path, c_delegate: Path) -> None:
    del c_kernel, c_delegate


@pytest.fixture(scope="module")
def flats(c_delegate: Path) -> ctypes.CDLL:
    library = delegate.load_library(str(c_delegate))
    library.flat_write.argtypes = [ctypes.c_void_p] * 2
    return library


def layers(*, keep: float = 0.1, second: float = 0.1) -> list[np.ndarray]:
    return [
        sparse_matrix(300, 700, keep, values=31),
        sparse_matrix(200, 300, second, values=15, block=4, seed=1),
        sparse_matrix(10, 200, 0.5, values=15, seed=2),
    ]


def test_a_model_runs_without_its_floats() -> None:
    data = classifier(layers())
    package = pack(data)
    loaded, plain = (LoadedModel(package, kernels=kernels) for kernels in ("armlet", "runtime"))
    np.testing.assert_allclose(loaded.predict(INPUT), plain.predict(INPUT), rtol=1e-4, atol=1e-4)
    assert len(loaded.model.armlet_operators()) == 2
    there = np.count_nonzero(np.frombuffer(loaded.model.content, np.uint8))
    assert (
        there < 10_000 + 4 * 1000 < 4 * 0.05 * 270_000
    )  # the small layer's and the graph, neither large one's
    assert loaded.model.tflite == data  # all of it, decoded again
    assert loaded.tflite_sha256 == plain.tflite_sha256


def test_layers_that_are_left_to_the_runtime_have_their_floats() -> None:
    data = classifier(layers(second=0.95))
    package = pack(data)
    loaded, plain = (LoadedModel(package, kernels=kernels) for kernels in ("armlet", "runtime"))
    assert [op.node for op in loaded.model.armlet_operators()] == [0]
    np.testing.assert_allclose(loaded.predict(INPUT), plain.predict(INPUT), rtol=1e-4, atol=1e-4)
    dense = classifier([sparse_matrix(300, 700, 0.9, values=15), *layers(second=0.95)[1:2]])
    loaded = LoadedModel(pack(dense), kernels="armlet")
    assert loaded.model.content == loaded.model.tflite == dense


def test_weights_that_something_else_reads_are_written() -> None:
    graph = read_graph(classifier([sparse_matrix(300, 300, 0.1), sparse_matrix(300, 300, 0.1, seed=1)]))
    first, second = (op.inputs for op in graph.operators)
    output = dataclasses.replace(graph, outputs=(*graph.outputs, first[1]), signatures=())
    loaded = LoadedModel(pack(write_graph(output)), kernels="armlet")
    assert len(loaded.model.armlet_operators()) == 2
    assert np.array_equal(
        loaded.predict(INPUT[:, :300], output=1).reshape(300, 300), graph.tensors[first[1]].data
    )
    operators = list(graph.operators)
    operators[1] = dataclasses.replace(operators[1], inputs=(second[0], first[1], second[2]))
    shared = write_graph(dataclasses.replace(graph, operators=tuple(operators)))
    loaded, plain = (LoadedModel(pack(shared), kernels=kernels) for kernels in ("armlet", "runtime"))
    np.testing.assert_allclose(
        loaded.predict(INPUT[:, :300]), plain.predict(INPUT[:, :300]), rtol=1e-4, atol=1e-4
    )


def convolutions(values: int | None, block: int, *, dense: bool = False) -> tuple[bytes, list[bytes]]:
    """A network of all kinds of convolutions and a layer, and the weights of those that hold 64 KB and more."""
    g = Images(8, 8, 64)
    x = g.convolve(0, 128, 3, keep=0.1, block=block)
    x = g.convolve(x, 128, 3, depthwise=True, keep=1.0)
    x = g.convolve(x, 132, 1, keep=0.1, block=block)
    x = g.convolve(x, 144, 5, groups=3, stride=2, keep=0.1, block=block)
    x = g.convolve(x, 48, 3, keep=1.0 if dense else 0.1, block=block, dilation=2)
    graph = read_graph(g.model(g.classify(g.flatten(x), 64)))
    changed = {}
    for number, weights in enumerate(graph.weights()):
        if weights.array.ndim == 4 and weights.array.shape[0] > 1:
            keep, rows = (1.0 if dense and len(weights.array) == 48 else 0.1), len(weights.array)
            new = sparse_matrix(
                rows, weights.array.size // rows, keep, values=values, block=block, seed=number
            )
            changed[weights.tensor_index] = (new / np.float32(8)).reshape(weights.array.shape)
    graph = graph.with_data(changed)
    return write_graph(graph), [w.array.tobytes() for w in graph.weights() if w.array.nbytes >= 1 << 16]


@pytest.mark.parametrize(("values", "block"), [(15, 4), (200, 1), (None, 2)])
def test_convolutions_and_layers_of_a_chain_run_without_their_floats(values: int | None, block: int) -> None:
    data, large = convolutions(values, block)
    loaded, plain = (LoadedModel(pack(data), kernels=kernels) for kernels in ("armlet", "runtime"))
    image = np.random.default_rng(0).standard_normal((1, 8, 8, 64)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict(image), plain.predict(image), rtol=1e-4, atol=1e-3)
    of_file = LoadedModel(data, kernels="armlet")  # packed from floats: the same operators, bit by bit
    assert loaded.model.armlet_operators() == of_file.model.armlet_operators()
    np.testing.assert_array_equal(loaded.predict(image), of_file.predict(image))
    assert [op.code for op in loaded.model.armlet_operators()].count(3) == 4
    assert all(weights in data for weights in large)
    # Of convolutions with more values than a codebook holds a package has the floats; the layer behind has 15 values.
    kept = [values is None] * 4 + [False]
    assert [weights in loaded.model.content for weights in large] == kept
    assert loaded.model.tflite == data


def test_a_convolution_that_is_an_output_too_has_its_floats() -> None:
    data, _ = convolutions(15, 4)
    graph = read_graph(data)
    weights = graph.operators[0].inputs[1]
    twice = dataclasses.replace(graph, outputs=(*graph.outputs, weights), signatures=())
    loaded = LoadedModel(pack(write_graph(twice)), kernels="armlet")
    assert graph.tensors[weights].data.tobytes() in loaded.model.content


def test_nothing_is_supplied_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    data = classifier(layers())
    package = pack(data)
    assert supply.unpack(package)[1] is not None
    assert supply.unpack(package, kernel="numpy")[1] is None
    monkeypatch.setattr(supply, "LEAST_BYTES", 1 << 30)
    unpacked, none = supply.unpack(package)
    assert (unpacked.tflite, none) == (data, None)


def test_the_digest_of_the_model_counts_what_is_supplied() -> None:
    package = bytearray(pack(classifier(layers())))
    opened = reader.read_table(bytes(package))
    package[20:52] = bytes(32)
    import zlib

    end = opened.header_size - 4
    package[end : end + 4] = zlib.crc32(package[:end]).to_bytes(4, "little")
    with pytest.raises(ResultDigestMismatch):
        supply.unpack(bytes(package))


def test_a_runtime_that_takes_the_kernels_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device_agent.run.runtime.Model.armlet_operators", lambda _: ())
    with pytest.raises(Exception, match="took the model's kernels away again"):
        LoadedModel(pack(classifier(layers())), kernels="armlet")


def kept(values: np.ndarray, flats: ctypes.CDLL, step: int = 1000) -> int:
    flat = flats.flat_start()
    for first in range(0, len(values), step):
        part = np.ascontiguousarray(values[first : first + step])
        flats.flat_add(flat, part.ctypes.data, part.size)
    return flat


@pytest.mark.parametrize("distinct", [1, 255, 256, 257, None])
def test_a_flat_keeps_every_bit(flats: ctypes.CDLL, distinct: int | None) -> None:
    values = sparse_matrix(1, 40_000, 0.02, values=distinct).reshape(-1)
    values[5_000:9_000] = 0.0
    values[7_000], values[100], values[-1] = -0.0, np.nan, 1e-45
    values[-600:-1] = 0.0
    flat = kept(values, flats)
    found = np.full(values.size, np.inf, np.float32)
    flats.flat_write(flat, found.ctypes.data)
    flats.flat_free(flat)
    assert found.tobytes() == values.tobytes()


@pytest.mark.parametrize("block", [0, 1, 2, 4])
@pytest.mark.parametrize("values", [3, 200, None])
def test_a_matrix_is_packed_alike_from_a_flat(
    flats: ctypes.CDLL, c_delegate: Path, block: int, values: int | None
) -> None:
    kernels = Kernels(c_delegate)
    for rows, columns, parts in ((5, 17, 1), (64, 33, 3), (1030, 20, 4), (2100, 3, 16)):
        weights = sparse_matrix(rows, columns, 0.05, block=max(block, 1), values=values)
        weights[0, 0] = -0.0
        flat = kept(weights.reshape(-1), flats)
        ours = kernels.c.columns_pack(ctypes.byref(Matrix(None, flat, rows, columns)), block, parts)
        theirs = kernels.pack(weights, block, parts)
        for name in ("block", "values", "centroids", "parts", "kept", "blocks", "bytes"):
            assert getattr(ours.contents, name) == getattr(theirs.contents, name), name
        assert bytes(ours.contents.centroid) == bytes(theirs.contents.centroid)
        for number in range(ours.contents.parts):
            a, b = ours.contents.part[number], theirs.contents.part[number]
            starts = [np.ctypeslib.as_array(one.starts, (columns + 1,)) for one in (a, b)]
            assert np.array_equal(*starts)
            size = int(starts[0][-1])
            assert ctypes.string_at(a.entries, size) == ctypes.string_at(b.entries, size)
        flats.flat_free(flat)
        for packed in (ours, theirs):
            kernels.c.columns_free(packed)


def test_a_flat_of_another_size_is_refused(flats: ctypes.CDLL, c_delegate: Path) -> None:
    kernels = Kernels(c_delegate)
    flat = kept(np.ones(30, np.float32), flats)
    assert not kernels.c.columns_pack(ctypes.byref(Matrix(None, flat, 5, 7)), 1, 1)
    flats.flat_free(flat)


def test_pieces_are_the_section(monkeypatch: pytest.MonkeyPatch) -> None:
    c = kernel.load()
    sparse = sparse_matrix(400, 700, 0.1, values=31)
    sparse[100:300] = 0.0
    dense = sparse_matrix(400, 300, 1.0, values=31)
    scaled = dense * np.linspace(1, 2, 400, dtype=np.float32)[:, None]
    data = classifier([sparse, dense, np.ascontiguousarray(scaled.T)])
    package = pack(data)
    came = []
    for section, entry in zip(
        reader.read(package).sections, reader.read_table(package).sections[1:], strict=True
    ):
        blob = np.frombuffer(package, np.uint8)[entry.offset : entry.offset + entry.coded_size]
        for most in (256, 4100, 40_000, 1 << 20):
            monkeypatch.setattr(kernel, "PIECE_BYTES", most)
            pieces: list[bytes] = []
            came.append(
                c.decode_pieces(blob, entry.size, lambda piece, pieces=pieces: pieces.append(piece.tobytes()))
            )
            assert not pieces or max(map(len, pieces)) <= most
            if came[-1]:
                with pytest.raises(ZeroDivisionError):
                    c.decode_pieces(blob, entry.size, lambda _: 1 // 0)
                offset = section.offset
                assert b"".join(pieces) == data[offset : offset + section.size], section.layout
            else:
                assert not pieces
    assert True in came
    assert False in came
