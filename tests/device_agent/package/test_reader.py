"""The reader: what it says about a package, and that nothing broken gets past it."""

from __future__ import annotations

import builtins
import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_agent.errors import PackageError
from device_agent.package import kernel as decoder_kernel
from device_agent.package import reader as package
from device_agent.package.codec import contents, lz
from device_agent.package.codec.format import CodecUnavailable, LimitExceeded, PackageTruncated, StreamCorrupt
from sdk.package import lz_encode
from sdk.package.bit_fields import varint
from sdk.package.pack import pack
from tests.device_agent.package.package_samples import clustered, flatbuffer
from tests.golden.make_golden import MODEL, RAW_SKELETON, build, lzma_section


@pytest.fixture(scope="module")
def model() -> bytes:
    rng = np.random.default_rng(3)
    weights = clustered(rng, 6000, 16, 0.8).reshape(60, 100)
    return flatbuffer([("w", "float32", weights), ("q", "int8", rng.integers(-9, 9, 2500).astype(np.int8))])


@pytest.fixture(scope="module")
def packed(model: bytes) -> bytes:
    return pack(model, metadata={"name": "two layers"})


def test_reading_describes_the_package(model: bytes, packed: bytes) -> None:
    described = package.read(packed)
    assert described.format_version == 3  # its skeleton goes on from the prepared text
    assert described.package_size == len(packed)
    assert described.package_sha256 == hashlib.sha256(packed).hexdigest()
    assert described.tflite_size == len(model)
    assert described.tflite_sha256 == hashlib.sha256(model).hexdigest()
    assert described.metadata == {"name": "two layers"}
    weights, bytes_ = described.sections
    assert (weights.layout, weights.width, weights.count, weights.size) == ("sparse", 4, 6000, 24000)
    assert weights.nonzeros == np.count_nonzero(np.frombuffer(model, np.float32, 6000, weights.offset))
    assert 1 <= weights.centroids <= 16
    assert (bytes_.layout, bytes_.width, bytes_.count, bytes_.nonzeros) == ("contexts", 1, 2500, None)
    coded = sum(section.coded_size for section in described.sections)
    assert described.header_size + described.skeleton_size + coded == len(packed)


def test_the_table_is_read_without_the_sections(packed: bytes) -> None:
    described = package.read(packed)
    table = package.read_table(packed[: described.header_size])
    assert table.package_size == len(packed)
    digests = [
        hashlib.sha256(packed[entry.offset : entry.offset + entry.coded_size]) for entry in table.sections
    ]
    assert [entry.digest_prefix for entry in table.sections] == [digest.digest()[:4] for digest in digests]
    assert table.sections_sha256 == hashlib.sha256(b"".join(it.digest() for it in digests)).digest()
    assert [digest.hexdigest() for digest in digests[1:]] == [
        section.sha256 for section in described.sections
    ]


def test_a_section_decodes_on_its_own(model: bytes, packed: bytes, kernel: str) -> None:
    described = package.read(packed)
    table = package.read_table(packed)
    for entry, section in zip(table.sections[1:], described.sections, strict=True):
        blob = memoryview(packed)[entry.offset : entry.offset + entry.coded_size]
        out = np.zeros(entry.size, np.uint8)
        loaded = decoder_kernel.load() if kernel == "c" else None
        contents.decode_section(blob, contents.read_section(blob, entry), out, loaded)
        assert out.tobytes() == model[section.offset : section.offset + section.size]


def test_every_flipped_bit_is_refused(packed: bytes, kernel: str) -> None:
    for position in range(len(packed)):
        broken = bytearray(packed)
        broken[position] ^= 1 << position % 8
        with pytest.raises(PackageError):
            package.unpack(bytes(broken), kernel=kernel)


def test_every_truncation_is_refused(packed: bytes) -> None:
    for size in range(len(packed)):
        with pytest.raises(PackageError):
            package.unpack(packed[:size])


def test_a_caller_states_how_much_it_can_hold(model: bytes, packed: bytes) -> None:
    assert package.unpack(packed, max_size=len(model)).tflite == model
    for refuse in (package.unpack, package.read, package.read_table):
        with pytest.raises(LimitExceeded, match=str(len(model))):
            refuse(packed, max_size=len(model) - 1)


def test_unpacking_into_a_buffer_fills_exactly_that(model: bytes, packed: bytes, kernel: str) -> None:
    out = bytearray(len(model))
    assert package.unpack_into(packed, out, kernel=kernel) == kernel
    assert out == model
    for size in (len(model) - 1, len(model) + 1):
        with pytest.raises(LimitExceeded):
            package.unpack_into(packed, bytearray(size), kernel=kernel)


@pytest.mark.usefixtures("c_kernel")
def test_the_c_decoder_takes_less_than_a_mebibyte_beside_output_and_package() -> None:
    rng = np.random.default_rng(4)
    model = flatbuffer(
        [("w", "float32", clustered(rng, 1_000_000, 16, 0.6)), ("v", "float32", rng.random(9999, "f4"))]
    )
    packed = pack(model)
    out = np.zeros(len(model), np.uint8)
    package.unpack_into(packed, out, kernel="c")
    tracemalloc.start()
    package.unpack_into(packed, out, kernel="c")
    into = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    unpacked = package.unpack(packed, kernel="c")
    whole = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert unpacked.tflite == model
    assert into < 1 << 20
    assert whole < len(model) + (1 << 20)


def test_an_unknown_kernel_is_a_mistake_of_the_caller(packed: bytes) -> None:
    with pytest.raises(ValueError, match="gpu"):
        package.unpack(packed, kernel="gpu")


def test_without_a_c_decoder_numpy_does_the_work(packed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_kernel, "find", lambda: None)
    assert decoder_kernel.kernels() == ("numpy",)
    assert package.unpack(packed).kernel == "numpy"
    with pytest.raises(decoder_kernel.KernelUnavailable, match=decoder_kernel.KERNEL_VARIABLE):
        package.unpack(packed, kernel="c")


def test_a_kernel_that_does_not_load_is_not_used(
    packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "kernel.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(decoder_kernel, "find", lambda: str(broken))
    assert package.unpack(packed).kernel == "numpy"
    with pytest.raises(decoder_kernel.KernelUnavailable, match=r"kernel\.so"):
        package.unpack(packed, kernel="c")


def test_the_environment_names_the_kernel(c_kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(decoder_kernel.KERNEL_VARIABLE, str(c_kernel))
    decoder_kernel.use(None)
    try:
        assert decoder_kernel.kernels() == ("c", "numpy")
    finally:
        decoder_kernel.use(str(c_kernel))


def test_a_python_without_lzma_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_lzma(name: str, *rest: Any) -> Any:
        if name == "lzma":
            raise ImportError("No module named '_lzma'")
        return real(name, *rest)

    data = build(
        [RAW_SKELETON, lzma_section(bytes(64))], [(16, 64, 2)], model=MODEL[:16] + bytes(64) + MODEL[80:]
    )
    assert package.unpack(data).tflite[16:80] == bytes(64)
    monkeypatch.setattr(builtins, "__import__", without_lzma)
    with pytest.raises(CodecUnavailable, match="lzma"):
        package.unpack(data)


def test_an_error_says_what_was_expected_and_what_was_found(packed: bytes) -> None:
    with pytest.raises(PackageTruncated) as caught:
        package.read(packed[:-7])
    assert str(len(packed)) in str(caught.value)
    assert str(len(packed) - 7) in str(caught.value)


def test_a_long_deflate_stream_is_read_piece_by_piece_and_must_end_with_its_section() -> None:
    content = np.random.default_rng(9).integers(0, 200, 300_000).astype(np.uint8)
    blob = lz_encode.encode_deflate(content.tobytes(), 1)

    def decoded(blob: bytes, size: int) -> bytes:
        out = np.empty(size, np.uint8)
        lz.decode(lz.parse(memoryview(blob), size), out)
        return out.tobytes()

    assert decoded(blob, len(content)) == content.tobytes()
    assert lz.head(lz.parse(memoryview(blob), len(content)), 1000) == content[:1000].tobytes()
    shorter = blob[:3] + varint(len(content) - 1) + blob[3 + len(varint(len(content))) :]
    for broken, size in (
        (blob + b"\0", len(content)),
        (blob[:-1], len(content)),
        (shorter, len(content) - 1),
    ):
        with pytest.raises(StreamCorrupt):
            decoded(broken, size)
