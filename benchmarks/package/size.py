"""How small is a package? Against general-purpose compressors and against the entropy of its own symbols.

    python -m benchmarks.package.size MODEL.tflite|FOLDER... [--sparsity 0 0.5 0.9] [--clusters 16] [-o FILE]

For each model, as it is and pruned and clustered (see variants.py): bytes of the .tflite, of the package, of xz, zstd
and brotli at their strongest; the package's share of the best of them; and how much it takes beside its skeleton, over
the order-0 entropy of every tensor (codebooks included) in the layout that suits it best. "overhead" is everything but
skeleton, codes and codebooks: header, digests, code tables, block indices; "index" is the part of the indices. The last
column is what an arithmetic-grade coder (constriction's ANS) reaches on the same symbols, tables left out.

zstd, brotli and constriction come from PyPI (zstandard, brotli, constriction); a column whose module is missing
stays empty.
"""

from __future__ import annotations

import argparse
import lzma
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.package.variants import Variant, model_arguments, variants
from benchmarks.record import benchmark, write_rows
from device_agent.package import reader as package
from device_agent.package.codec import contents, sections
from sdk.package.bit_fields import varint
from sdk.package.pack import pack
from sdk.package.symbols import Symbols, entropy_bits

LARGE_WINDOW = 27  # log2; larger than any of the models, as `zstd --ultra -22` chooses for files of this size


def xz(data: bytes) -> int:
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def zstd(data: bytes) -> int:
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(22, window_log=LARGE_WINDOW)
    return len(zstandard.ZstdCompressor(compression_params=parameters).compress(data))


def brotli(data: bytes) -> int:
    import brotli as module

    return len(module.compress(data, quality=11, lgwin=24))


RIVALS: dict[str, tuple[str, Callable[[bytes], int]]] = {
    "xz": ("lzma", xz),
    "zstd": ("zstandard", zstd),
    "brotli": ("brotli", brotli),
}


def plane_entropy(elements: np.ndarray) -> float:
    """Bits of the byte planes of float32, sign rotated to the bottom, each with its own order-0 code."""
    rotated = elements << np.uint32(1) | elements >> np.uint32(31)
    return sum(
        entropy_bits(np.bincount(plane, minlength=256)) for plane in rotated.view(np.uint8).reshape(-1, 4).T
    )


def best_entropy(section: package.Section, tflite: bytes) -> float:
    """Order-0 entropy in bits of the section's bytes, of the best layout: raw, planes, dense or gaps and centroids.

    The values of a codebook are content and count; the code tables do not.
    """
    content = b"".join(tflite[offset : offset + size] for offset, size in dict(section.spans).items())
    content = content[: section.size]
    width = section.width if len(content) % section.width == 0 and section.width <= 4 else 1
    elements = np.frombuffer(content, f"<u{width}")
    found = [8.0 * len(content)]
    if width == 4:
        found.append(plane_entropy(elements))
    symbols = Symbols.of(elements)
    if symbols is not None:
        codebook = 8.0 * symbols.values.nbytes
        found.append(entropy_bits(symbols.counts) + codebook)
        background = int(symbols.counts.argmax())
        places = np.flatnonzero(symbols.numbers != background)
        if len(places):
            gaps = np.bincount(np.diff(places, prepend=-1) - 1)
            found.append(entropy_bits(gaps) + entropy_bits(np.delete(symbols.counts, background)) + codebook)
    return min(found)


def ans_bytes(section: package.Section, tflite: bytes) -> int | None:
    """What constriction's ANS coder takes for a section's symbols by their histogram; None for bundles and floats."""
    import constriction

    if len(section.spans) != 1 or section.width > 4:
        return None
    offset, size = section.spans[0]
    symbols = Symbols.of(np.frombuffer(tflite, f"<u{section.width}", size // section.width, offset))
    if symbols is None or len(symbols.values) < 2:
        return None
    model = constriction.stream.model.Categorical(symbols.counts / symbols.counts.sum(), perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(symbols.numbers.astype(np.int32), model)
    return int(coder.get_compressed().nbytes)


def parts(packed: bytes) -> Iterator[Any]:
    """The contents of all sections but the skeleton, planes one by one."""
    for entry in package.read_table(packed).sections[1:]:
        content = contents.read_section(
            memoryview(packed)[entry.offset : entry.offset + entry.coded_size], entry
        )
        yield from content.planes if isinstance(content, sections.Planes) else (content,)


def code_bytes(packed: bytes) -> int:
    """Bytes of a package that carry weights: bits of the codes, codebooks, planes that are not coded, lz streams.

    The rest, without the skeleton, is overhead: header and digests, parameters, code tables, block indices.
    """
    total = 0
    for part in parts(packed):
        if isinstance(part, sections.Raw):
            total += part.count
        elif isinstance(part, sections.Sparse):
            total += len(part.blocks.stream) + part.codebook.nbytes
        elif isinstance(part, sections.Dense):
            words = part.words.size if part.words.shape[1] > 1 else 0
            total += words + part.centroids * part.width + (len(part.blocks.stream) if part.blocks else 0)
        else:
            total += len(part.stream)
    return total


def index_bytes(packed: bytes) -> int:
    """Bytes of the block indices, the part of the overhead that grows with the number of codes."""
    total = 0
    for part in parts(packed):
        blocks = getattr(part, "blocks", None)
        for found in (blocks.bits, blocks.positions) if blocks else ():
            if found is not None:
                index = np.diff(found.ends(), prepend=0)
                width = int(index.max() - index.min()).bit_length()
                total += len(varint(int(index.min()))) + 1 + (len(index) * width + 7) // 8
    return total


def measure(variant: Variant) -> dict[str, Any]:
    packed = pack(variant.tflite)
    unpacked = package.unpack(packed)
    assert unpacked.tflite == variant.tflite
    described = unpacked.package
    entropy = sum(best_entropy(section, variant.tflite) for section in described.sections) / 8
    rivals = {name: run(variant.tflite) for name, (module, run) in RIVALS.items() if find_spec(module)}
    ans = None
    if find_spec("constriction"):
        coded = [(ans_bytes(section, variant.tflite), section.coded_size) for section in described.sections]
        ans = sum(min(size, taken) if size is not None else taken for size, taken in coded)
    codes = sum(section.coded_size for section in described.sections)
    return {
        "model": variant.name,
        "tflite_sha256": variant.sha256,
        "tflite_bytes": len(variant.tflite),
        "package_bytes": len(packed),
        "ratio": len(variant.tflite) / len(packed),
        "skeleton_bytes": described.skeleton_size,
        "header_bytes": described.header_size,
        "sections_bytes": codes,
        "overhead_bytes": len(packed) - described.skeleton_size - code_bytes(packed),
        "index_bytes": index_bytes(packed),
        "rivals_bytes": rivals,
        "share_of_best_rival": len(packed) / min(rivals.values()),
        "entropy_bytes": entropy,
        "over_entropy": (len(packed) - described.skeleton_size) / entropy - 1 if entropy else None,
        "ans_sections_bytes": ans,
    }


def row(result: dict[str, Any]) -> str:
    rivals = " ".join(f"{result['rivals_bytes'].get(name, 0):>10,}" for name in RIVALS)
    over = "" if result["over_entropy"] is None else f"{result['over_entropy']:+.1%}"
    ans = "" if result["ans_sections_bytes"] is None else f"{result['ans_sections_bytes']:>10,}"
    return (
        f"{result['model']:52} {result['tflite_bytes']:>10,} {result['package_bytes']:>10,} {result['ratio']:>6.1f} "
        f"{rivals} {result['share_of_best_rival']:>7.1%} {result['skeleton_bytes']:>8,} "
        f"{result['overhead_bytes']:>8,} {result['index_bytes']:>6,} {over:>7} {ans}"
    )


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every variant's figures, and what they were measured with."""
    heads = [f"{name:>10}" for name in RIVALS]
    print(
        f"{'model':52} {'tflite':>10} {'package':>10} {'ratio':>6} {' '.join(heads)} {'of best':>7} {'skeleton':>8} "
        f"{'overhead':>8} {'index':>6} {'over H0':>7} {'ANS':>10}"
    )
    results = []
    for variant in variants(arguments.models, arguments.sparsity, arguments.clusters):
        results.append(measure(variant))
        print(row(results[-1]), flush=True)
    return {"conditions": conditions(arguments.clusters), "results": results}


def conditions(clusters: int) -> dict[str, Any]:
    modules = [module for module, _ in RIVALS.values() if find_spec(module) and module != "lzma"]
    return {
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        **{module: version(module) for module in modules},
        "clusters": clusters,
    }


if __name__ == "__main__":
    benchmark(__doc__, measure_all, model_arguments, keep=write_rows)
