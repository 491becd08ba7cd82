"""What can a forged package cost? Sections made to be slow to decode: nanoseconds per byte.

    python -m benchmarks.package.worst [-o FILE]

One has a code of 24 bits for each byte, the other is of bytes that LZMA finds nothing in. Each is decoded five times,
in turns; the fastest counts, over the bytes of output, and over those of package and output.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.package.speed import timed
from benchmarks.record import benchmark
from device_agent.package import kernel as decoder_kernel
from device_agent.package.codec import lz
from device_agent.package.codec.format import SPARSE
from device_agent.package.codec.sections import Code
from sdk.deploy.provision import kernel as kernel_builder
from sdk.package import lz_encode
from sdk.package.bit_fields import BlockIndex, pack_bits, varint

SIZE = 1 << 24
ROUNDS = 5


def slow_section(elements: int) -> bytes:
    """A sparse section of one-byte elements that are all coded, none with its gap in less than 24 bits."""
    gap_lengths = [*range(12, 0, -1), 12]  # of the tokens: a complete code, in which a gap of 0 has 12 bits
    counts = [1] * 11 + [2]
    code = Code(tuple(counts))
    word = int(code.codewords()[11])  # the first of the two longest codes
    log2 = 16
    in_block = np.minimum(np.arange(elements, 0, -1 << log2), 1 << log2)
    lengths, spans = BlockIndex(log2), BlockIndex(log2)
    for codes in in_block.tolist():
        lengths.add(np.full(codes, 24))
        spans.add(np.ones(codes, np.int64))
    fields = [
        bytes([SPARSE, 0]) + varint(elements) + b"\0" + varint(elements) + bytes([7]),
        bytes(
            [
                13,
                *(
                    low | high << 4
                    for low, high in zip(gap_lengths[::2], [*gap_lengths[1::2], 0], strict=True)
                ),
            ]
        ),
        bytes([12, *counts, *range(1, 14), log2]) + lengths.bytes() + spans.bytes(),
        pack_bits(np.full(elements, word | word << 12), np.full(elements, 24)),
    ]
    return b"".join(fields)


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Nanoseconds a byte of either section."""
    decoder_kernel.use(str(kernel_builder.build()))
    loaded = decoder_kernel.load()
    noise = np.random.default_rng(0).integers(0, 256, SIZE // 4).astype(np.uint8).tobytes()
    slow, repeated = slow_section(SIZE), lz_encode.encode_lzma(noise, 1, (3, 0, 2))
    out, coded = np.ones(SIZE, np.uint8), np.frombuffer(slow, np.uint8)
    calls: dict[str, Callable[[], object]] = {
        "codes of 24 bits": lambda: loaded.decode(coded, out),
        "LZMA": lambda: lz.decode(lz.parse(memoryview(repeated), len(noise)), out[: len(noise)]),
    }
    rows = []
    for (name, seconds), section, decoded in zip(
        timed(calls, ROUNDS).items(), (slow, repeated), (SIZE, len(noise)), strict=True
    ):
        output, both = (1e9 * seconds[0] / size for size in (decoded, decoded + len(section)))
        print(f"{name}: {output:.1f} ns a byte of output, {both:.1f} of both")
        rows.append({"section": name, "nanoseconds_per_byte": {"output": output, "both": both}})
    return rows


if __name__ == "__main__":
    benchmark(__doc__, measure)
