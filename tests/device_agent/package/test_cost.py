"""What reading a package costs is linear in its bytes and in the size that it states: counted, not timed.

A step is a line of Python in the codec; numpy and C work for each step, so their lengths are looked at by memory.
"""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from device_agent.errors import PackageError
from device_agent.package import reader
from device_agent.package.codec import contents, huffman, sections
from device_agent.package.codec.format import DENSE, LZ, MAX_TFLITE_SIZE, RAW, SPARSE, MetadataInvalid
from sdk.package.coding import varint
from tests.golden.make_golden import build

CODEC = str(Path(contents.__file__).parent)
KIB = 1 << 10


def steps(work: Callable[[], Any]) -> int:
    """Lines of the codec that run."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(CODEC):
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except PackageError:
        pass
    finally:
        sys.settrace(before)
    return count


def peak(work: Callable[[], Any]) -> int:
    """Bytes that Python and numpy hold at most meanwhile."""
    tracemalloc.start()
    try:
        work()
    except PackageError:
        pass
    finally:
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found


def dense(count: int, log2: int = 16) -> bytes:
    """Codes of one bit each, all of them the first symbol."""
    blocks = -(-count // (1 << log2))
    assert blocks == 1 or count % (1 << log2) == 0
    bits = min(count, 1 << log2)
    return b"".join(
        (
            bytes([DENSE, 0]),
            varint(count),
            bytes([1, 2, 7, 8, log2]),
            varint(bits),
            bytes([0]),
            bytes((count + 7) // 8),
        )
    )


def sparse(count: int, log2: int = 16) -> bytes:
    """Every element coded, by codes of no bits: some 20 bytes, whatever the count."""
    blocks = -(-count // (1 << log2))
    assert blocks == 1 or count % (1 << log2) == 0
    return b"".join(
        (
            bytes([SPARSE, 0]),
            varint(count),
            bytes([0]),
            varint(count),
            bytes([0, 1, 0x0F, 0, 9, log2, 0, 0]),
            varint(min(count, 1 << log2)),
            bytes([0]),
        )
    )


def package(blobs: list[tuple[bytes, int, bytes]], metadata: bytes = b"") -> bytes:
    """Sections of (coded, size, decoded), and a skeleton of the metadata alone."""
    return build(
        [bytes([RAW]) + metadata, *(coded for coded, _, _ in blobs)],
        [(0, size, 2 * number) for number, (_, size, _) in enumerate(blobs, 1)],
        model=b"".join(decoded for _, _, decoded in blobs),
        metadata_size=len(metadata),
    )


def both(count: int, log2: int) -> list[tuple[bytes, int, bytes]]:
    return [(dense(count, log2), count, b"\7" * count), (sparse(count, log2), count, b"\x09" * count)]


@pytest.mark.parametrize(
    ("count", "log2"), [(1, 16), (5, 16), (1000, 16), (1 << 12, 6), (5 << 6, 6), (64 << 6, 6)]
)
def test_sections_of_few_and_many_blocks_decode_on_both(kernel: str, count: int, log2: int) -> None:
    made = package(both(count, log2))
    assert reader.unpack(made, kernel=kernel).tflite == b"\7" * count + b"\x09" * count


def test_a_block_costs_its_codes_and_not_what_it_could_hold() -> None:
    one = steps(lambda: reader.unpack(package(both(1, 16)), kernel="numpy"))
    assert one < 2000, one
    many = package(both(1, 16) * 100)
    assert steps(lambda: reader.unpack(many, kernel="numpy")) < 200 * len(many)


@pytest.mark.parametrize("count", [1 << 8, 1 << 12])
def test_decoding_is_linear_in_bytes_and_stated_size(count: int) -> None:
    for log2 in (6, 8, 16):
        made = package(both(count, log2 if count % (1 << log2) == 0 else 16))
        work = lambda made=made: reader.unpack(made, kernel="numpy")  # noqa: E731
        assert steps(work) < 20 * (len(made) + 2 * count) + 2000
        assert peak(work) < 40 * (len(made) + 2 * count) + 300 * KIB  # tables of 2**12 codes, twice


def test_reading_costs_sections_plus_spans_and_not_their_product() -> None:
    def made(sections_count: int) -> bytes:
        coded = [bytes([RAW]) + b"ab"] * sections_count
        spans = []
        for number in range(1, sections_count + 1):
            spans += [(0, 1, 2 * number), (0, 1, 2 * number)]
        return build([bytes([RAW]), *coded], spans, model=b"ab" * sections_count, metadata_size=0)

    few, many = (steps(lambda n=n: reader.read(made(n))) for n in (100, 800))
    assert many < 9 * few


def test_what_a_few_bytes_announce_takes_no_memory_before_it_is_decoded() -> None:
    blob = memoryview(sparse(MAX_TFLITE_SIZE, 6))
    assert len(blob) < 32
    assert peak(lambda: sections.parse(blob, MAX_TFLITE_SIZE)) < 100 * KIB


def lzma_skeleton(metadata: bytes, dictionary_log2: int, rest: int) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 16}]
    stream = lzma.compress(metadata + bytes(rest), lzma.FORMAT_RAW, filters=filters)
    head = bytes([LZ, 2, 0]) + varint(len(metadata) + rest)
    return head + bytes([93, dictionary_log2]) + stream


def test_a_dictionary_is_no_larger_than_what_it_could_hold() -> None:
    metadata = b'{"name":"x"}'
    made = build([lzma_skeleton(metadata, 26, 100)], [], model=bytes(100), metadata_size=len(metadata))
    assert reader.read(made).metadata == {"name": "x"}
    assert reader.unpack(made, kernel="numpy").tflite == bytes(100)
    program = (
        "import resource, sys; from device_agent.package import reader; data = sys.stdin.buffer.read();"
        "reader.read(data); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "reader.read(data); reader.unpack(data);"
        "print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def largest(log2: int) -> int:
        data = build([lzma_skeleton(metadata, log2, 100)], [], model=bytes(100), metadata_size=len(metadata))
        done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True)
        return int(done.stdout.split()[1])

    assert largest(26) - largest(12) < 8 * KIB  # of KiB: liblzma clears what it takes


def test_whole_numbers_of_the_metadata_have_a_length() -> None:
    for digits, accepted in ((400, True), (401, False), (4300, False), (5000, False)):
        metadata = b'{"n":' + b"1" * digits + b"}"
        made = build([bytes([RAW]) + metadata], [], model=b"", metadata_size=len(metadata))
        if accepted:
            assert reader.read(made).metadata == json.loads(metadata)
        else:
            with pytest.raises(MetadataInvalid, match=f"{digits} digits"):
                reader.read(made)


def test_the_c_decoder_is_linear_too(c_kernel: Path) -> None:
    """By processor time, with much room: a product in place of a sum would take thousands of times as long."""
    from device_agent.package.kernel import Kernel

    decoder = Kernel(str(c_kernel))
    out = np.empty(1, np.uint8)
    blob = np.frombuffer(dense(1, 16), np.uint8)
    begun = time.process_time()
    for _ in range(1000):
        decoder.decode(blob, out)
    assert time.process_time() - begun < 1.0
    huffman.decode(sections.parse(memoryview(dense(1, 16)), 1), out)
