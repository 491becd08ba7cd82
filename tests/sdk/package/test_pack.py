"""Packing: whatever the bytes, unpacking gives them back; and the layouts are chosen by what they cost."""

from __future__ import annotations

import io
import lzma
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.package.size import best_entropy, code_bytes
from device_agent.package import reader as package
from device_agent.package.codec.format import LimitExceeded
from sdk.compress.board_form.sparse_hint import sparse_hint
from sdk.compress.weights.prune import prune
from sdk.graph.writer import write_graph
from sdk.package import pack as packing
from sdk.package.pack import pack, weight_buffers
from tests.device_agent.package.package_samples import clustered, flatbuffer
from tests.device_agent.tiny_models import tiny_convolution
from tests.sdk.compress.layered_graphs import small_mobilenet

BOTH = ("c", "numpy")
slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def comes_back(tflite: bytes, packed: bytes | None = None) -> package.Package:
    packed = pack(tflite) if packed is None else packed
    for kernel in BOTH:
        unpacked = package.unpack(packed, kernel=kernel)
        assert unpacked.tflite == tflite
        assert type(unpacked.tflite) is bytes
        assert unpacked.kernel == kernel
        assert unpacked.package == package.read(packed)
    return package.read(packed)


def layouts(tflite: bytes) -> list[str]:
    return [section.layout for section in comes_back(tflite).sections]


@pytest.fixture(autouse=True)
def _kernel(c_kernel: Path) -> None:
    """The C decoder is there for every test."""


def float32(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal(n).astype(np.float32)


MAKERS: dict[str, tuple[str, Callable[[np.random.Generator, int], np.ndarray]]] = {
    "float": ("float32", float32),
    "clustered": ("float32", lambda rng, n: clustered(rng, n, 32, 0.0)),
    "pruned": ("float32", lambda rng, n: clustered(rng, n, 16, 0.9)),
    "nearly all zero": ("float32", lambda rng, n: clustered(rng, n, 3, 0.999)),
    "constant": ("float32", lambda rng, n: np.full(n, np.float32(0.1))),
    "specials": (
        "float32",
        lambda rng, n: rng.choice(np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e-45], np.float32), n),
    ),
    "half": ("float16", lambda rng, n: rng.standard_normal(n).astype(np.float16)),
    "half clustered": ("float16", lambda rng, n: clustered(rng, n, 12, 0.6).astype(np.float16)),
    "int8": ("int8", lambda rng, n: np.clip(rng.normal(0, 30, n), -128, 127).astype(np.int8)),
    "int8 ternary": ("int8", lambda rng, n: rng.choice(np.array([-1, 0, 1], np.int8), n, p=[0.2, 0.6, 0.2])),
    "int4": ("int4", lambda rng, n: rng.integers(0, 256, n, dtype=np.uint8)),
    "int32": ("int32", lambda rng, n: rng.integers(-1000, 1000, n, dtype=np.int32)),
    "int64": ("int64", lambda rng, n: rng.integers(0, 9, n, dtype=np.int64)),
    "repeating": ("float32", lambda rng, n: np.resize(float32(rng, 97), n)),
}


@slow
@given(
    st.lists(st.tuples(st.sampled_from(sorted(MAKERS)), st.integers(1, 6000)), min_size=0, max_size=5),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=40),
)
def test_any_mixture_of_tensors_comes_back(kinds: list[tuple[str, int]], seed: int, appended: bytes) -> None:
    rng = np.random.default_rng(seed)
    tensors = [(kind, MAKERS[kind][0], MAKERS[kind][1](rng, n)) for kind, n in kinds]
    tflite = flatbuffer(tensors, appended=appended)
    assert len(weight_buffers(tflite)) == len(kinds)
    comes_back(tflite)


@slow
@given(st.binary(max_size=3000))
def test_bytes_that_are_no_model_come_back(data: bytes) -> None:
    comes_back(data)


@slow
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_a_flatbuffer_with_broken_offsets_comes_back(seed: int, hits: int) -> None:
    rng = np.random.default_rng(seed)
    broken = bytearray(
        flatbuffer([("w", "float32", float32(rng, 300)), ("v", "int8", np.zeros(500, np.int8))])
    )
    for position in rng.integers(0, 300, hits):
        broken[position] = rng.integers(0, 256)
    comes_back(bytes(broken))


@pytest.mark.parametrize("kind", sorted(MAKERS))
@pytest.mark.parametrize("count", [64, 511, 512, 513, 2049, 70001])
def test_every_kind_of_tensor_comes_back_at_sizes_around_a_block(kind: str, count: int) -> None:
    dtype, make = MAKERS[kind]
    comes_back(flatbuffer([("w", dtype, make(np.random.default_rng(count), count))]))


def test_models_as_runtimes_load_them_come_back() -> None:
    pytest.importorskip("ai_edge_litert")
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    rng = np.random.default_rng(20)
    weights, bias = rng.standard_normal((40, 30)).astype(np.float32), float32(rng, 40)
    float_model = tiny_convolution(weights, bias)
    int8_model = tiny_convolution(np.clip(40 * weights, -127, 127), np.rint(40 * bias), quantized=True)
    sparse_model = write_graph(sparse_hint(prune(small_mobilenet(), 0.8)))
    # The network twice, as subgraphs that share their buffers; files behind it stand as TFLite's metadata do.
    model = schema.ModelT.InitFromPackedBuf(float_model, 0)
    twin = schema.ModelT.InitFromPackedBuf(float_model, 0).subgraphs[0]
    twin.name = b"second"
    model.subgraphs.append(twin)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    two_subgraphs = bytes(builder.Output())
    labels = io.BytesIO()
    with zipfile.ZipFile(labels, "w") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    for tflite in (float_model, int8_model, sparse_model, two_subgraphs, two_subgraphs + labels.getvalue()):
        assert weight_buffers(tflite)
        comes_back(tflite)


def test_int8_weights_are_no_larger_than_what_xz_makes_of_them() -> None:
    rng = np.random.default_rng(7)
    # Channels beside each other, four of which repeat in size, as in kernels of TFLite; and rows that are noise.
    sizes = np.resize([2.0, 9.0, 30.0, 60.0], (3000, 4))
    beside = np.rint(rng.normal(0, 1, (3000, 4)) * sizes).clip(-127, 127).astype(np.int8)
    noise = [(f"n{number}", "int8", rng.integers(-128, 128, 1024).astype(np.int8)) for number in range(8)]
    for weights in ([("w", "int8", beside)], noise):
        model = flatbuffer(weights)
        packed = pack(model)
        comes_back(model, packed)
        assert len(packed) < 0.999 * len(lzma.compress(model, preset=9 | lzma.PRESET_EXTREME))


def test_the_layout_follows_the_weights() -> None:
    rng = np.random.default_rng(5)
    assert layouts(flatbuffer([("w", "float32", clustered(rng, 20000, 32, 0.0))])) == ["dense"]
    assert layouts(flatbuffer([("w", "float32", clustered(rng, 20000, 32, 0.9))])) == ["sparse"]
    assert layouts(flatbuffer([("w", "float32", float32(rng, 20000))])) == ["planes"]
    assert layouts(flatbuffer([("w", "float32", np.resize(float32(rng, 20000), 60000))])) == ["lz"]
    assert layouts(flatbuffer([("w", "int8", rng.integers(-128, 128, 20000).astype(np.int8))])) == ["raw"]


def test_ternary_weights_are_coded_by_words_below_one_bit_each() -> None:
    rng = np.random.default_rng(6)
    values = rng.choice(np.array([-1, 0, 1], np.float32), 40000, p=[0.1, 0.8, 0.1])
    section = comes_back(flatbuffer([("w", "float32", values)])).sections[0]
    assert section.coded_size * 8 / section.count < 0.96  # order-0 entropy 0.922


def test_a_section_is_within_three_percent_of_its_entropy() -> None:
    rng = np.random.default_rng(7)
    for centroids, sparsity in ((16, 0.0), (32, 0.0), (16, 0.5), (16, 0.7), (16, 0.9), (16, 0.98)):
        values = clustered(rng, 300_000, centroids, sparsity)
        _, counts = np.unique(values, return_counts=True)
        share = counts / counts.sum()
        entropy = -(share * np.log2(share)).sum() * len(values) / 8
        section = comes_back(flatbuffer([("w", "float32", values)])).sections[0]
        assert section.coded_size < 1.03 * entropy, (centroids, sparsity, section)


def test_a_whole_package_is_within_three_percent_of_entropy_and_skeleton() -> None:
    rng = np.random.default_rng(18)
    # SqueezeNet's layers: many small ones, so that tables and digests weigh more than in other networks.
    squeezed = ((16, 64, 64), (16, 128, 64), (32, 128, 128), (32, 256, 128), (48, 256, 192), (48, 384, 192))
    squeezed += ((64, 384, 256), (64, 512, 256))
    counts = [96 * 147, 1000 * 512]
    for few, before, after in squeezed:
        counts += [few * before, few * after, 9 * few * after]
    for sparsity in (0.0, 0.9):
        tensors = [(str(i), "float32", clustered(rng, n, 16, sparsity)) for i, n in enumerate(counts)]
        tflite = flatbuffer(tensors)
        described = comes_back(tflite)
        entropy = sum(best_entropy(section, tflite) for section in described.sections) / 8
        assert described.package_size > 100_000
        assert described.package_size < 1.03 * entropy + described.skeleton_size, sparsity


def test_equal_buffers_are_stored_once() -> None:
    weights = clustered(np.random.default_rng(8), 30000, 16, 0.0)
    once = pack(flatbuffer([("a", "float32", weights)]))
    twice = pack(flatbuffer([("a", "float32", weights), ("b", "float32", weights)]))
    assert len(twice) < len(once) + 200
    assert (
        len(comes_back(flatbuffer([("a", "float32", weights), ("b", "float32", weights)])).sections[0].spans)
        == 2
    )


def test_small_buffers_share_one_section() -> None:
    rng = np.random.default_rng(9)
    biases = [(f"bias {i}", "float32", float32(rng, 60)) for i in range(30)]
    described = comes_back(flatbuffer(biases))
    assert len(described.sections) == 1
    assert len(described.sections[0].spans) == 30


def test_a_scale_for_each_channel_is_found_and_taken_out() -> None:
    rng = np.random.default_rng(10)
    whole = np.clip(rng.normal(0, 2.5, (64, 300)), -7, 7).round().astype(np.float32) + np.float32(
        0
    )  # no negative zeros
    scales = rng.uniform(0.01, 0.2, 64).astype(np.float32)
    for weights in (
        whole * scales[:, None],
        np.ascontiguousarray((whole * scales[:, None]).T).reshape(1, 300, 64),
    ):
        section = comes_back(flatbuffer([("w", "float32", weights.astype(np.float32))])).sections[0]
        assert section.scaled
        assert section.centroids <= 15
        assert section.coded_size < 64 * 300 * 3.6 / 8 + 400


def test_an_untouched_float_model_is_smaller_than_xz_makes_it() -> None:
    tflite = flatbuffer([("w", "float32", float32(np.random.default_rng(13), 50000))])
    assert len(pack(tflite)) < 0.95 * len(lzma.compress(tflite, preset=9 | lzma.PRESET_EXTREME))


def test_what_repeats_across_tensors_is_no_larger_than_xz_makes_it() -> None:
    rng = np.random.default_rng(14)
    base = float32(rng, 20000)
    tflite = flatbuffer([("a", "float32", base), ("b", "float32", np.concatenate([base[1:], base[:1]]))])
    assert len(pack(tflite)) < 1.01 * len(lzma.compress(tflite, preset=9 | lzma.PRESET_EXTREME)) + 150


def test_metadata_travel_along() -> None:
    metadata = {"name": "größe", "labels": ["cat", "dog"], "mean": [0.5, 0.5, 0.5]}
    packed = pack(flatbuffer([]), metadata=metadata)
    assert package.read(packed).metadata == metadata
    assert package.unpack(packed).package.metadata == metadata


def test_metadata_beyond_their_limit_are_refused() -> None:
    with pytest.raises(LimitExceeded, match="metadata"):
        pack(b"", metadata={"text": "x" * 70000})


def test_sections_are_coded_once_and_other_metadata_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    model = flatbuffer([("a", "float32", np.linspace(-1, 3, 700, dtype=np.float32))])
    first = pack(model, metadata={"name": "attempt"})
    seen: list[tuple[int, int]] = []
    with monkeypatch.context() as patched:
        patched.setattr(packing, "encode_buffer", None)
        second = pack(model, metadata={"name": "chosen"}, progress=lambda *at: seen.append(at))
    assert seen == [(len(model), len(model))]
    assert comes_back(model, first).metadata == {"name": "attempt"}
    assert comes_back(model, second).metadata == {"name": "chosen"}
    assert pack(model, metadata={"name": "attempt"}) == first


def test_progress_ends_at_the_total() -> None:
    seen: list[tuple[int, int]] = []
    pack(flatbuffer([("a", "float32", np.ones(500, np.float32))] * 3), progress=lambda *at: seen.append(at))
    assert seen[-1] == (6000, 6000)
    assert seen == sorted(seen)


def test_packing_is_deterministic() -> None:
    tflite = flatbuffer([("w", "float32", clustered(np.random.default_rng(15), 9000, 16, 0.5))])
    assert pack(tflite, metadata={"b": 1, "a": 2}) == pack(tflite, metadata={"a": 2, "b": 1})


def test_buffers_are_described_as_the_tensors_that_use_them() -> None:
    spans = weight_buffers(flatbuffer([("conv/kernel", "int8", np.zeros((2, 3, 4), np.int8))]))
    assert [(span.buffer, span.dtype, span.shape, span.size, span.name) for span in spans] == [
        (1, "int8", (2, 3, 4), 24, "conv/kernel")
    ]


def test_a_model_of_the_size_of_lenet_is_not_mostly_header() -> None:
    rng = np.random.default_rng(16)
    # LeNet-300-100 as in Deep Compression: 8, 9 and 26 % of the weights kept, 64 centroids (6 bits).
    layers = [((300, 784), 0.92), ((100, 300), 0.91), ((10, 100), 0.74)]
    tensors = []
    for index, (shape, sparsity) in enumerate(layers):
        weights = clustered(rng, shape[0] * shape[1], 64, sparsity).reshape(shape)
        tensors += [(f"w{index}", "float32", weights), (f"b{index}", "float32", float32(rng, shape[0]))]
    packed = pack(flatbuffer(tensors))
    table = package.read_table(packed)
    skeleton = table.sections[0].coded_size
    assert 0 < len(packed) - skeleton - code_bytes(packed) < 600


def test_packing_takes_a_few_times_the_memory_of_the_largest_tensor() -> None:
    rng = np.random.default_rng(19)
    grid = rng.integers(-127, 128, (500, 4000)).astype(np.float32) * rng.uniform(0.1, 1, (500, 1)).astype(
        np.float32
    )
    for weights in (float32(rng, 2_000_000), clustered(rng, 2_000_000, 16, 0.5), grid):
        tflite = flatbuffer([("w", "float32", weights)])
        tracemalloc.start()
        try:
            pack(tflite)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4.5 * weights.nbytes, peak / weights.nbytes
