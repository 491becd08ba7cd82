"""The codes, and the two decoders: they accept the same bytes, refuse the same bytes, and give the same weights."""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.errors import PackageError
from device_agent.package import kernel as decoder_kernel
from device_agent.package.codec import contexts, huffman, sections
from device_agent.package.codec.format import CONTEXTS, KERNEL_ERRORS
from sdk.package import coding
from sdk.package.bit_fields import pack_bits
from tests.fuzz.make_seeds import CORPUS, seeds

counts_of_symbols = st.lists(st.integers(1, 10_000), min_size=1, max_size=300)


def huffman_bits(counts: list[int]) -> int:
    """Bits of the unlimited optimal code, by Huffman's own construction."""
    heap, bits = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        bits += both
        heapq.heappush(heap, both)
    return bits


@given(counts_of_symbols)
def test_package_merge_is_optimal_where_the_limit_does_not_bind(counts: list[int]) -> None:
    lengths = coding.code_lengths(np.array(counts), 24)
    assert int((lengths * counts).sum()) == huffman_bits(counts)


@given(counts_of_symbols, st.integers(9, 12))
def test_a_limited_code_is_complete_and_within_its_limit(counts: list[int], limit: int) -> None:
    lengths = coding.code_lengths(np.array(counts), limit)
    assert lengths.max() <= limit
    if len(counts) > 1:
        assert sum(2.0**-length for length in lengths.tolist()) == 1


def test_a_limit_that_binds_costs_what_the_best_code_costs() -> None:
    # Fibonacci counts make the deepest tree; with a limit of 3 bits eight symbols have one complete code: all 3.
    assert coding.code_lengths(np.array([1, 1, 2, 3, 5, 8, 13, 21]), 3).tolist() == [3] * 8
    counts = np.array([1, 1, 2, 3, 5])
    assert int((coding.code_lengths(counts, 3) * counts).sum()) == 26  # unlimited: 25, with a code of 4 bits


def test_too_many_symbols_for_a_limit_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="9 symbols"):
        coding.code_lengths(np.ones(9, np.int64), 3)


@given(counts_of_symbols)
def test_codes_are_canonical_as_in_deflate(counts: list[int]) -> None:
    encoder = coding.Encoder.build(np.array(counts))
    code = 0
    previous = 0
    for word, length in zip(encoder.code.codewords().tolist(), encoder.code.lengths().tolist(), strict=True):
        code = 0 if previous == 0 else (code + 1) << (length - previous)
        previous = length
        if length:
            assert int(f"{word:0{length}b}"[::-1], 2) == code


@given(counts_of_symbols)
def test_the_decoding_table_inverts_the_codes(counts: list[int]) -> None:
    code = coding.Encoder.build(np.array(counts)).code
    symbols, lengths = code.table()
    assert symbols[code.codewords()].tolist() == list(range(code.symbols))
    assert lengths[code.codewords()].tolist() == code.lengths().tolist()


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=200))
def test_bits_are_packed_lowest_first(fields: list[tuple[int, int]]) -> None:
    values = np.array([value & ((1 << length) - 1) for value, length in fields], np.int64)
    lengths = np.array([length for _, length in fields], np.int64)
    expected, position = 0, 0
    for value, length in zip(values.tolist(), lengths.tolist(), strict=True):
        expected |= value << position
        position += length
    assert pack_bits(values, lengths) == expected.to_bytes((position + 7) // 8, "little")


@given(st.lists(st.integers(0, 2**29), min_size=1, max_size=50), st.integers(0, 7), st.integers(0, 2))
def test_gap_tokens_give_the_gap_back(gaps: list[int], split: int, msb: int) -> None:
    msb = min(msb, split)
    token, extra, extra_bits = coding.gap_tokens(np.array(gaps), split, msb)
    table = sections.gap_values(token, split, msb)
    assert (table[:, 0] + extra).tolist() == gaps
    assert table[:, 1].tolist() == extra_bits.tolist()


# --- both decoders --------------------------------------------------------------------------------------------


def decode_in_numpy(blob: bytes, out: np.ndarray) -> None:
    """Decodes a section of codes to ``out``, a (size,) uint8 array; raises PackageError."""
    if blob[:1] == bytes([CONTEXTS]):
        contexts.decode(contexts.parse(memoryview(blob), len(out)), out)
    else:
        huffman.decode(sections.parse(memoryview(blob), len(out)), out)


def outcome(blob: bytes, size: int, kernel: str) -> tuple[str, bytes]:
    """("ok", weights) or (name of the error, b"")."""
    out = np.full(size + 16, 0xAA, np.uint8)
    try:
        if kernel == "c":
            decoder_kernel.load().decode(np.frombuffer(blob, np.uint8), out[:size])
        else:
            decode_in_numpy(blob, out[:size])
    except PackageError as error:
        return type(error).__name__, b""
    finally:
        assert (out[size:] == 0xAA).all(), "written past the end"
    return "ok", out[:size].tobytes()


def agree(blob: bytes, size: int) -> str:
    c, numpy = outcome(blob, size, "c"), outcome(blob, size, "numpy")
    if blob[:1] == b"\4" and c[0] != "ok" and numpy[0] != "ok":
        return c[0]  # C decodes a plane before it looks at the next, so it can stop at another of two errors
    assert c == numpy
    return c[0]


SEEDS = seeds()


@pytest.mark.usefixtures("c_kernel")
@pytest.mark.parametrize("name", sorted(SEEDS))
def test_both_decoders_read_every_layout(name: str) -> None:
    data = SEEDS[name]
    assert agree(data[3:], int.from_bytes(data[:3], "little")) == "ok"


@pytest.mark.usefixtures("c_kernel")
@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_both_decoders_agree_on_mutated_sections(name: str, data: st.DataObject) -> None:
    blob = bytearray(SEEDS[name][3:])
    size = int.from_bytes(SEEDS[name][:3], "little")
    fields = min(len(blob), 60)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.one_of(st.integers(0, fields - 1), st.integers(0, len(blob) - 1)))
        kind = data.draw(st.sampled_from(["set", "flip", "insert", "delete", "cut"]))
        if kind == "set":
            blob[place] = data.draw(st.integers(0, 255))
        elif kind == "flip":
            blob[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "insert":
            blob.insert(place, data.draw(st.integers(0, 255)))
        elif kind == "delete":
            del blob[place]
        else:
            del blob[place + 1 :]
        if not blob:
            return
        fields = min(len(blob), 60)
    agree(bytes(blob), size)


@pytest.mark.usefixtures("c_kernel")
def test_both_decoders_agree_on_what_the_fuzzer_found() -> None:
    outcomes = set()
    for path in sorted(CORPUS.iterdir()):
        data = path.read_bytes()
        size = int.from_bytes(data[:3], "little") & 0x1FFFFF
        if len(data) > 3 and size:
            outcomes.add(agree(data[3:], size))
    # The corpus reaches every check that the kernel makes.
    assert outcomes >= {error.__name__ for error in KERNEL_ERRORS} | {"ok"}


@pytest.mark.usefixtures("c_kernel")
def test_both_decoders_agree_on_noise() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3000):
        blob = rng.integers(0, 256, rng.integers(1, 80), dtype=np.uint8)
        blob[0] = rng.integers(0, 7)
        blob[1:] %= rng.integers(1, 256, dtype=np.uint8)
        agree(blob.tobytes(), int(rng.integers(1, 300)))


def test_the_kernel_and_the_errors_have_the_same_order() -> None:
    source = Path(huffman.__file__).parents[1].joinpath("huffman.c").read_text()
    for number, error in enumerate(KERNEL_ERRORS, 1):
        words = "".join(f" {letter}" if letter.isupper() else letter for letter in error.__name__).split()
        constant = "_".join(words).upper()
        assert f"{constant} = -{number}" in source
