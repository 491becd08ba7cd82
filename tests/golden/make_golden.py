"""Writes the golden packages: valid ones that must decode for ever, hostile ones that must be refused by name.

    python -m tests.golden.make_golden

A valid package that is there already stays as it is: it shows that what an earlier packer wrote is still read.

A hostile file is named ``Error--what_is_wrong.armlet``. Digests and checksums in it are right unless they are what is
wrong: somebody who forges a package also forges those.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sdk.package import lz_encode
from sdk.package.bit_fields import varint
from sdk.package.pack import pack
from tests.device_agent.package.package_samples import clustered, flatbuffer

FOLDER = Path(__file__).parent
MODEL = bytes(range(16)) + b"\x07" * 64 + bytes(range(16))  # 16 bytes, a span of 64, 16 bytes
SPAN = (16, 64, 2)  # distance, size, source: the first bytes of section 1


def build(
    blobs: Iterable[bytes],
    spans: Iterable[tuple[int, int, int]],
    *,
    model: bytes = MODEL,
    metadata_size: int = 0,
    magic: bytes = b"\x89ARMLET\n",
    version: int = 2,
    flags: int = 0,
    size: int | None = None,
    header_size: int | None = None,
    table_end: bytes = b"",
    metadata_field: bytes | None = None,
    sections_field: bytes | None = None,
    prefix: bytes | None = None,
    root: bytes | None = None,
    checksum: int = 0,
    end: bytes = b"",
) -> bytes:
    """A package from its parts; every keyword makes one part wrong."""
    blobs, spans = list(blobs), list(spans)
    table = [metadata_field or varint(metadata_size), sections_field or varint(len(blobs))]
    digests = [hashlib.sha256(blob).digest() for blob in blobs]
    table += [varint(len(blob)) + (prefix or digest[:4]) for blob, digest in zip(blobs, digests, strict=True)]
    table.append(root or hashlib.sha256(b"".join(digests)).digest())
    table += [varint(len(spans)), *(varint(field) for span in spans for field in span), table_end]
    body = b"".join(table)
    head = magic + version.to_bytes(2, "little") + flags.to_bytes(2, "little")
    head += (header_size or 56 + len(body)).to_bytes(4, "little")
    head += (
        (len(model) if size is None else size).to_bytes(4, "little") + hashlib.sha256(model).digest() + body
    )
    return head + (zlib.crc32(head) ^ checksum).to_bytes(4, "little") + b"".join(blobs) + end


RAW_SKELETON = b"\0" + MODEL[:16] + MODEL[80:]
RAW_SECTION = b"\0" + MODEL[16:80]


def nested(depth: int) -> bytes:
    """An object of lists inside one another."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def package(section: bytes, size: int = 64, version: int = 2) -> bytes:
    """A package whose section 1 is this, for a model with a span of ``size`` bytes."""
    model = MODEL[:16] + bytes(size) + MODEL[80:]
    return build([RAW_SKELETON, section], [(16, size, 2)], model=model, version=version)


def dense(
    *,
    parameters: int = 0,
    count: bytes = varint(64),
    scales: bytes = b"",
    code: bytes = bytes([1, 2]),
    codebook: bytes = b"\1\2",
    block_log2: int = 6,
    index: bytes = varint(64) + b"\0",
    bits: bytes = bytes(8),
    end: bytes = b"",
) -> bytes:
    """A dense section: 64 one-byte elements, two codes of one bit, one block; every keyword makes a field wrong."""
    return (
        bytes([2, parameters]) + count + scales + code + codebook + bytes([block_log2]) + index + bits + end
    )


def sparse(
    *,
    parameters: int = 0,
    nonzeros: bytes = varint(4),
    scheme: int = 0x02,
    tokens: bytes = b"\4\x01\x10",
    lengths: bytes = varint(8) + b"\0",
    spans: bytes = varint(10) + b"\0",
    bits: bytes = bytes([0b00000101]),
) -> bytes:
    """A sparse section of 64 one-byte elements: four ones, gaps 3 3 0 0 (bits 1 0 1 0 0 0 0 0 by gap and value)."""
    head = bytes([3, parameters]) + varint(64) + b"\0" + nonzeros + bytes([scheme])
    return head + tokens + bytes([1, 2]) + b"\1\2" + b"\6" + lengths + spans + bits


def contexts(
    *,
    parameters: int = 1,
    count: bytes = varint(64),
    inner: bytes = varint(16),
    choices: bytes = bytes([2, 2, 2, 2]),
    thresholds: bytes = b"\x81",
    rows: bytes = b"\x06",
    columns: bytes = b"\x0f\xf0",
    code_of: bytes = b"\x5a",
    ranges: bytes = bytes([0x80, 0x81, 0x7F, 0x82]),
    lengths: bytes = b"\3\x21\2" + varint(8) + b"\x19",
    index: bytes = varint(97) + b"\0",
    bits: bytes = bytes(13),
    end: bytes = b"",
) -> bytes:
    """A section with contexts: 64 signed bytes in 4 rows, two classes of each kind, codes of 1 and of 2 bits."""
    head = bytes([5, parameters]) + count + inner + choices + thresholds + rows + columns + code_of
    return head + ranges + lengths + b"\6" + index + bits + end


def prepared(content: bytes) -> bytes:
    """A skeleton whose stream goes on where the prepared text ends."""
    section = lz_encode.encode_prepared(content)
    assert section is not None
    return section


def scaled(
    inner: bytes, channels: bytes, values: bytes, codebook: bytes = np.float32([1, 2]).tobytes()
) -> bytes:
    """A dense section of 16 float32 elements with channel scales."""
    fields = inner + channels + values
    return dense(
        parameters=0x12,
        count=varint(16),
        scales=fields,
        codebook=codebook,
        index=varint(16) + b"\0",
        bits=bytes(2),
    )


def deflate(content: bytes, *, codec: int = 1, width_log2: int = 0, count: int | None = None) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = coder.compress(content) + coder.flush()
    return bytes([1, codec, width_log2]) + varint(len(content) if count is None else count) + stream


def lzma_section(content: bytes) -> bytes:
    """An lz section whose codec is LZMA, whatever is smaller."""
    return lz_encode.encode_lzma(content, 1, (3, 0, 2))


def hostile() -> dict[str, bytes]:
    good = build([RAW_SKELETON, RAW_SECTION], [SPAN])
    zeros = deflate(bytes(64))
    lzma_zeros = lzma_section(bytes(64))
    overlong = b"\xc0\x00"  # 64, in more bytes than it takes
    one = np.float32([1]).tobytes()
    infinite = np.float32([np.inf]).tobytes()
    text = b"[1, 2]"
    broken = dense(index=varint(65) + b"\0", bits=bytes(9))
    plane = dense(count=varint(32), block_log2=11, index=varint(32) + b"\0", bits=bytes(4))
    return {
        **_hostile_contexts(),
        "NotAPackage--empty": b"",
        "NotAPackage--magic": build([RAW_SKELETON, RAW_SECTION], [SPAN], magic=b"\x89ARMLET\r"),
        "NotAPackage--a_tflite": flatbuffer([]),
        "UnsupportedVersion--1": build([RAW_SKELETON, RAW_SECTION], [SPAN], version=1),
        "UnsupportedVersion--4": build([RAW_SKELETON, RAW_SECTION], [SPAN], version=4),
        "UnsupportedFlags--bit_15": build([RAW_SKELETON, RAW_SECTION], [SPAN], flags=0x8000),
        "PackageTruncated--in_the_fixed_header": good[:40],
        "PackageTruncated--in_the_table": good[:80],
        "PackageTruncated--in_a_section": good[:-1],
        "TrailingBytes--one": good + b"\0",
        "HeaderCorrupt--crc": build([RAW_SKELETON, RAW_SECTION], [SPAN], checksum=1),
        "HeaderCorrupt--flipped_digest_of_the_model": good[:30] + bytes([good[30] ^ 4]) + good[31:],
        "LimitExceeded--model_of_4_gigabytes": build([RAW_SKELETON, RAW_SECTION], [SPAN], size=0xFFFFFFFF),
        "LimitExceeded--header_of_4_gigabytes": build([RAW_SKELETON], [], header_size=0xFFFFFFFF),
        "LimitExceeded--header_smaller_than_itself": build([RAW_SKELETON], [], header_size=20),
        "LimitExceeded--metadata": build([RAW_SKELETON], [], metadata_field=varint(65537)),
        "LimitExceeded--sections": build([RAW_SKELETON], [], sections_field=varint(4097)),
        "LimitExceeded--spans": build([RAW_SKELETON], [(0, 1, 2)] * 16385, model=bytes(20000)),
        "LimitExceeded--bundle": build(
            [RAW_SKELETON, RAW_SECTION], [(0, 1 << 20, 2), (1, 5, 2)], model=bytes((1 << 20) + 50)
        ),
        "TableInvalid--no_sections": build([], []),
        "TableInvalid--ends_early": build([], [], sections_field=varint(3)),
        "TableInvalid--goes_on": build([RAW_SKELETON, RAW_SECTION], [SPAN], table_end=b"\0"),
        "TableInvalid--varint_not_in_shortest_form": build([RAW_SKELETON], [], metadata_field=b"\x80\x00"),
        "TableInvalid--varint_without_end": build([RAW_SKELETON], [], metadata_field=b"\xff" * 6),
        "SpanInvalid--past_the_model": build([RAW_SKELETON, RAW_SECTION], [(16, 81, 2)]),
        "SpanInvalid--starts_past_the_model": build([RAW_SKELETON, RAW_SECTION], [(97, 64, 2)]),
        "SpanInvalid--empty": build([RAW_SKELETON, RAW_SECTION], [(16, 0, 2)]),
        "SpanInvalid--of_the_skeleton": build([RAW_SKELETON, RAW_SECTION], [(16, 64, 0)]),
        "SpanInvalid--of_no_section": build([RAW_SKELETON, RAW_SECTION], [(16, 64, 4)]),
        "SpanInvalid--repeats_itself": build([RAW_SKELETON, RAW_SECTION], [(16, 64, 1)]),
        "SpanInvalid--repeats_another_size": build([RAW_SKELETON, RAW_SECTION], [(0, 64, 2), (0, 16, 1)]),
        "SpanInvalid--section_without_span": build([RAW_SKELETON, RAW_SECTION, RAW_SECTION], [SPAN]),
        "SectionDigestMismatch--section": build([RAW_SKELETON, RAW_SECTION], [SPAN], prefix=bytes(4)),
        "SectionDigestMismatch--sections": build([RAW_SKELETON, RAW_SECTION], [SPAN], root=bytes(32)),
        "ResultDigestMismatch--weights": build([RAW_SKELETON, b"\0" + bytes(64)], [SPAN]),
        "MetadataInvalid--not_json": build([b"\0" + b"{'a'}" + MODEL], [], metadata_size=5),
        "MetadataInvalid--not_an_object": build([b"\0" + text + MODEL], [], metadata_size=len(text)),
        "MetadataInvalid--not_utf_8": build([b"\0\xff\xff" + MODEL], [], metadata_size=2),
        "MetadataInvalid--nested_too_deep": build([b"\0" + b"[" * 60000 + MODEL], [], metadata_size=60000),
        "MetadataInvalid--nested_65_deep": build(
            [b"\0" + nested(65) + MODEL], [], metadata_size=len(nested(65))
        ),
        "SectionTruncated--empty": package(b""),
        "SectionTruncated--in_the_codebook": package(dense()[:6]),
        "SectionTruncated--in_the_bits": package(dense(bits=bytes(7))),
        "SectionTruncated--index_of_a_gigabyte": package(dense(index=varint(1 << 30) + b"\0")),
        "SectionTrailingBytes--one": package(dense(end=b"\0")),
        "LayoutUnknown--5": package(b"\5" + bytes(64)),
        "LayoutUnknown--6": package(b"\6" + bytes(64), version=3),
        "LayoutUnknown--contexts_in_version_2": package(contexts()),
        "LayoutUnknown--contexts_inside_planes": package(
            bytes([4, 1, 64]) + (varint(len(contexts())) + contexts()) * 2, 128, version=3
        ),
        "LayoutUnknown--prepared_in_version_2": build(
            [b"\1\3\0" + varint(32) + bytes(9), RAW_SECTION], [SPAN]
        ),
        "LayoutUnknown--prepared_weights": package(b"\1\3\0" + varint(64) + bytes(9), version=3),
        "LayoutUnknown--codec_9": package(deflate(bytes(64), codec=9)),
        "LayoutUnknown--skeleton_of_codes": build([dense(), RAW_SECTION], [SPAN], model=bytes(128)),
        "LayoutUnknown--skeleton_transposed": build(
            [deflate(bytes(64), width_log2=2, count=16)], [], model=bytes(64)
        ),
        "LayoutUnknown--planes_inside_planes": package(bytes([4, 2, 16]) + varint(3) + bytes([4, 1, 8])),
        "ParameterInvalid--reserved_bit": package(dense(parameters=0x40)),
        "ParameterInvalid--element_of_8_bytes": package(dense(parameters=3)),
        "ParameterInvalid--word_of_8_elements": package(dense(parameters=0x0C)),
        "ParameterInvalid--scales_of_bytes": package(dense(parameters=0x10)),
        "ParameterInvalid--no_elements": package(dense(count=b"\0")),
        "ParameterInvalid--word_does_not_divide": package(b"\2\4" + varint(63) + bytes(20), 63),
        "ParameterInvalid--varint_not_in_shortest_form": package(dense(count=overlong)),
        "ParameterInvalid--block_of_32": package(dense(block_log2=5)),
        "ParameterInvalid--block_of_131072": package(dense(block_log2=17)),
        "ParameterInvalid--index_of_31_bits": package(dense(index=varint(0) + bytes([31]) + bytes(4))),
        "ParameterInvalid--more_codes_than_elements": package(sparse(nonzeros=varint(65))),
        "ParameterInvalid--no_codes": package(sparse(nonzeros=varint(0))),
        "ParameterInvalid--gap_split": package(sparse(scheme=0x08)),
        "ParameterInvalid--gap_msb_above_split": package(sparse(scheme=0x21)),
        "ParameterInvalid--words_in_sparse": package(sparse(parameters=4)),
        "ParameterInvalid--planes_of_one_byte": package(bytes([4, 0, 64]) + bytes(65)),
        "ParameterInvalid--lz_width": package(deflate(bytes(64), width_log2=4, count=4)),
        "ParameterInvalid--lzma_properties": package(lzma_zeros[:4] + b"\xe1" + lzma_zeros[5:]),
        "ParameterInvalid--lzma_dictionary_of_4_gigabytes": package(
            lzma_zeros[:5] + b"\x20" + lzma_zeros[6:]
        ),
        "ParameterInvalid--block_of_2048_in_planes": package(
            bytes([4, 1, 32, 33]) + b"\0" + bytes(32) + varint(len(plane)) + plane
        ),
        "SizeMismatch--raw": package(b"\0" + bytes(63)),
        # Every field is looked at before the first bit.
        "SizeMismatch--in_the_plane_after_broken_bits": package(
            bytes([4, 1, 64]) + varint(len(broken)) + broken + b"\2\0\0", size=128
        ),
        "SizeMismatch--in_the_section_after_broken_bits": build(
            [RAW_SKELETON, broken, b"\0\0"],
            [(16, 64, 2), (0, 8, 4)],
            model=MODEL[:16] + bytes(72) + MODEL[80:],
        ),
        "SizeMismatch--dense": package(dense(count=varint(65))),
        "SizeMismatch--lz": package(deflate(bytes(65))),
        "CodeInvalid--13_bits": package(dense(code=bytes([13]) + bytes(12) + varint(2))),
        "CodeInvalid--incomplete": package(dense(code=bytes([2, 0, 3]))),
        "CodeInvalid--oversubscribed": package(dense(code=bytes([1, 3]))),
        "CodeInvalid--longer_than_its_codes": package(dense(code=bytes([2, 2, 0]))),
        "LimitExceeded--symbols": package(
            dense(code=bytes([11, 0, 0, 0, 0, 0, 0, 0, 0, 0]) + varint(1023) + varint(2))
        ),
        "SymbolInvalid--gap_tokens_beyond_those_that_exist": package(
            sparse(tokens=b"\x21" + bytes(16) + b"\1")
        ),
        "SymbolInvalid--no_gap_tokens": package(sparse(tokens=b"\0")),
        "CodeInvalid--gap_code_of_13_bits": package(sparse(tokens=b"\2\xd1")),
        "CodeInvalid--gap_code_incomplete": package(sparse(tokens=b"\3\x22\2")),
        "CodeInvalid--last_gap_token_does_not_occur": package(sparse(tokens=b"\3\x11\0")),
        "CodeInvalid--only_gap_token_is_not_alone": package(sparse(tokens=b"\2\xf1")),
        "PaddingInvalid--gap_lengths": package(sparse(tokens=b"\3\x21\x12")),
        "SymbolInvalid--word": package(
            bytes([2, 4, 64, 1, 2])
            + varint(2)
            + b"\0\1\2\0"
            + b"\1\2"
            + b"\6"
            + varint(32)
            + b"\0"
            + bytes(4)
        ),
        "BlockIndexInvalid--shorter_than_its_codes": package(dense(index=varint(63) + b"\0")),
        "BlockIndexInvalid--past_the_tensor": package(sparse(spans=varint(65) + b"\0")),
        "BlockIndexInvalid--span_below_its_codes": package(sparse(spans=varint(3) + b"\0")),
        "BlockCorrupt--ends_before": package(broken),
        "BlockCorrupt--ends_at_another_element": package(sparse(spans=varint(11) + b"\0")),
        "BlockCorrupt--leaves_its_span": package(sparse(spans=varint(4) + b"\0")),
        "PaddingInvalid--bits": package(
            dense(
                code=bytes([2, 1, 2]), codebook=b"\1\2\3", index=varint(65) + b"\0", bits=bytes(8) + b"\x80"
            )
        ),
        "PaddingInvalid--index": package(dense(index=varint(63) + b"\1\x81")),
        "ScaleInvalid--no_channels": package(scaled(varint(16), varint(0), b"")),
        "ScaleInvalid--channels_do_not_divide": package(scaled(varint(5), varint(1), one)),
        "ScaleInvalid--infinite_scale": package(scaled(varint(16), varint(1), infinite)),
        "ScaleInvalid--infinite_centroid": package(scaled(varint(16), varint(1), one, one + infinite)),
        "StreamCorrupt--deflate_broken": package(zeros[:4] + b"\xff" * 20),
        "StreamCorrupt--deflate_short": package(zeros[:-1]),
        "StreamCorrupt--deflate_bomb": package(zeros[:3] + varint(64) + deflate(bytes(1 << 20))[6:]),
        "StreamCorrupt--deflate_goes_on": package(zeros + b"\0"),
        "StreamCorrupt--lzma_broken": package(lzma_zeros[:6] + b"\0" + b"\xff" * 30),
        "StreamCorrupt--lzma_short": package(lzma_zeros[:-8]),
        "StreamCorrupt--lzma_bomb": package(lzma_zeros[:3] + varint(64) + lzma_section(bytes(1 << 20))[6:]),
        "StreamCorrupt--lzma_goes_on": package(lzma_zeros + b"\0"),
    }


def _hostile_contexts() -> dict[str, bytes]:
    """What may be wrong with what version 3 has and version 2 has not."""
    many = bytes([16, 16, 5, 2])
    sections = {
        "ParameterInvalid--contexts_reserved_bit": contexts(parameters=5),
        "ParameterInvalid--contexts_rows_do_not_divide": contexts(inner=varint(15)),
        "ParameterInvalid--contexts_rows_of_nothing": contexts(inner=b"\0"),
        "ParameterInvalid--contexts_17_classes": contexts(choices=bytes([17, 2, 2, 2])),
        "ParameterInvalid--contexts_no_buckets": contexts(choices=bytes([2, 2, 0, 2])),
        "ParameterInvalid--contexts_17_codes": contexts(choices=bytes([2, 2, 2, 17])),
        "ParameterInvalid--contexts_thresholds": contexts(thresholds=b"\0"),
        "ParameterInvalid--contexts_range": contexts(ranges=bytes([0x81, 0x80, 0x7F, 0x82])),
        "LimitExceeded--contexts": contexts(choices=many),
        "LimitExceeded--contexts_tables": contexts(
            choices=bytes([2, 2, 2, 16]),
            code_of=bytes(4),
            ranges=bytes([0, 12]) * 16,  # of 1, 2, ... 12, 12 bits: 4,096 entries each
            lengths=b"\2\x11"
            + varint(13 * 16)
            + sum(0xFFF << 13 * n for n in range(16)).to_bytes(26, "little"),
        ),
        "SymbolInvalid--contexts_row_class": contexts(
            choices=bytes([3, 2, 2, 2]), rows=b"\xff", code_of=b"\x5a\x05"
        ),
        "SymbolInvalid--contexts_code": contexts(
            choices=bytes([2, 2, 2, 3]), code_of=b"\xff\xff", ranges=bytes(6)
        ),
        "SymbolInvalid--contexts_step_of_14": contexts(lengths=b"\x0e" + bytes(7)),
        "PaddingInvalid--contexts_rows": contexts(rows=b"\x16"),
        "PaddingInvalid--contexts_lengths": contexts(lengths=b"\3\x21\2" + varint(7) + b"\x99"),
        "CodeInvalid--contexts_lengths_end_elsewhere": contexts(lengths=b"\3\x21\2" + varint(9) + b"\x19\0"),
        "CodeInvalid--contexts_no_symbols": contexts(lengths=b"\3\x21\2" + varint(7) + b"\x0c"),
        "CodeInvalid--contexts_incomplete": contexts(lengths=b"\3\x21\2" + varint(8) + b"\x1b"),
        "SectionTruncated--contexts_in_the_columns": contexts()[:10],
        "SectionTrailingBytes--contexts": contexts(end=b"\0"),
        "SizeMismatch--contexts": contexts(count=varint(63)),
        "BlockIndexInvalid--contexts": contexts(index=varint(63) + b"\0"),
        "BlockCorrupt--contexts": contexts(index=varint(98) + b"\0"),
    }
    whole = prepared(MODEL)
    return {
        **{name: package(section, version=3) for name, section in sections.items()},
        "StreamCorrupt--prepared_short": build([whole[:-6]], [], version=3),
        "StreamCorrupt--prepared_goes_on": build([whole + b"\0"], [], version=3),
        "StreamCorrupt--prepared_broken": build([whole[:4] + b"\xff" * 30], [], version=3),
        "StreamCorrupt--prepared_bomb": build(
            [whole[:3] + varint(96) + prepared(bytes(1 << 20))[6:]], [], version=3
        ),
        "SizeMismatch--prepared": build([whole[:3] + varint(95) + whole[4:]], [], version=3),
    }


def valid() -> dict[str, tuple[bytes, bytes]]:
    """name -> (package, model)"""
    rng = np.random.default_rng(20)
    whole = rng.integers(-7, 8, (12, 100)).astype(np.float32) + np.float32(0)
    scales = rng.uniform(0.01, 0.2, (12, 1)).astype(np.float32)
    floats = rng.standard_normal(3000).astype(np.float32)
    models = {
        "empty": b"",
        "text": b"This is not a model, and it is packed all the same.",
        "dense": flatbuffer([("w", "float32", clustered(rng, 3000, 16, 0.0))]),
        "sparse": flatbuffer([("w", "float32", clustered(rng, 9000, 16, 0.9))]),
        "words": flatbuffer(
            [("w", "int8", rng.choice(np.array([-1, 0, 1], np.int8), 8000, p=[0.15, 0.7, 0.15]))]
        ),
        "planes_and_repeat": flatbuffer([("a", "float32", floats), ("b", "float32", floats)]),
        "scaled": flatbuffer([("w", "float32", whole * scales)]),
        "bundle": flatbuffer(
            [(f"b{i}", "float32", rng.standard_normal(50).astype(np.float32)) for i in range(9)]
        ),
        "int8": flatbuffer(
            [("w", "int8", np.clip(rng.normal(0, 9, 3000), -127, 127).astype(np.int8))], appended=b"!"
        ),
    }
    packages = {name: (pack(model, metadata={"name": name}), model) for name, model in models.items()}
    packages["by_hand"] = (build([RAW_SKELETON, sparse()], [SPAN], model=_by_hand()), _by_hand())
    channels = rng.normal(0, rng.uniform(2, 30, (24, 1)), (24, 300))
    weights = flatbuffer([("w", "int8", np.clip(np.round(channels), -127, 127).astype(np.int8))])
    packages["contexts"] = (pack(weights, metadata={"name": "contexts"}), weights)
    packages["contexts_by_hand"] = (
        build([prepared(RAW_SKELETON[1:]), contexts()], [SPAN], model=_contexts_by_hand(), version=3),
        _contexts_by_hand(),
    )
    return packages


def _by_hand() -> bytes:
    elements = bytearray(64)
    elements[3] = elements[7] = elements[8] = elements[9] = 1
    return MODEL[:16] + bytes(elements) + MODEL[80:]


def _contexts_by_hand() -> bytes:
    """Zeros all over in the bits: the first symbol of each code, which is 0 of the one and -1 of the other."""
    content = b"\xff" + bytes(15) + b"\xff" * 32 + bytes(16)
    return MODEL[:16] + content + MODEL[80:]


def main() -> None:
    for name, data in hostile().items():
        (FOLDER / "hostile" / f"{name}.armlet").write_bytes(data)
    digests = json.loads((FOLDER / "valid" / "models.json").read_text())
    for name, (data, model) in sorted(valid().items()):
        if name in digests:
            continue
        (FOLDER / "valid" / f"{name}.armlet").write_bytes(data)
        digests[name] = {"size": len(model), "sha256": hashlib.sha256(model).hexdigest()}
    (FOLDER / "valid" / "models.json").write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main()
