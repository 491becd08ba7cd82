"""What else could make a package smaller? Bounds for what the format leaves out, on the symbols of real models.

    python -m benchmarks.package.alternatives MODEL.tflite|FOLDER... [--sparsity 0 0.5 0.9] [--clusters 16] [-o FILE]

For each model, pruned and clustered (variants.py), the bytes of the package and what would be saved of them by

    ANS        arithmetic-grade codes (interleaved tANS, rANS) of the same gaps and centroids: their order-0
               entropy, the tables free of charge
    joint      one alphabet of (gap, centroid) pairs instead of two codes: their joint entropy, and 4 bits to list
               the code of each pair that occurs; sparse sections only
    tables     one codebook and code shared by all sections: all bytes of code tables and codebooks
    context    an adaptive arithmetic coder whose model looks at neighbours (the weight before, the one of the same
               place in the output channel before, both, zeros among eight neighbours) or at how many zeros row
               and column hold: for every tensor the best of these. Exact code lengths of the
               Krichevsky-Trofimov estimator, learning included; classes of rows and columns cost 3 bits each

    classes    eight codes a tensor, one for each class of output channels by their zeros: the order-0 entropies, 3 bits
               for each channel and the code tables; what the codes themselves waste stays as it is

Each bound stands alone; they overlap. A negative number: it would be larger. The last column is how fast constriction's
ANS decodes the symbols of the largest tensor, in millions a second (PyPI: constriction; without it, 0).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.package.variants import Variant, model_arguments, variants
from benchmarks.record import benchmark, write_rows
from device_agent.package import reader as package
from device_agent.package.codec import contents, sections
from sdk.package.pack import pack, weight_buffers
from sdk.package.symbols import Symbols, entropy_bits

CLASSES = 8  # of rows and columns by their zeros
LISTED_BITS = 4  # to state the length of one code


def adaptive_bits(symbols: np.ndarray, contexts: np.ndarray, alphabet: int) -> float:
    """Bits that an adaptive coder takes for ``symbols`` (n,), with counts of its own in each of ``contexts`` (n,).

    Krichevsky-Trofimov: half a count for every symbol to begin with. What it takes depends on the final counts alone.
    """
    _, numbers = np.unique(contexts, return_inverse=True)
    counts = np.bincount(numbers * alphabet + symbols, minlength=(int(numbers.max()) + 1) * alphabet)
    each = np.array([math.lgamma(n + 0.5) - math.lgamma(0.5) for n in range(int(counts.max()) + 1)])
    totals = counts.reshape(-1, alphabet).sum(axis=1)
    start = math.lgamma(0.5 * alphabet)
    nats = sum(math.lgamma(total + 0.5 * alphabet) - start for total in totals.tolist()) - each[counts].sum()
    return float(nats) / math.log(2)


def context_models(numbers: np.ndarray, background: int) -> Iterator[tuple[str, np.ndarray, float]]:
    """(name, context of every element, bits of side information) of ``numbers`` (rows, columns)."""
    alphabet = int(numbers.max()) + 1
    padded = np.pad(numbers, ((1, 0), (4, 3)), constant_values=background)
    rows, columns = numbers.shape

    def shifted(up: int, left: int) -> np.ndarray:
        return padded[1 - up : 1 - up + rows, 4 - left : 4 - left + columns]

    before, above = shifted(0, 1).astype(np.int64), shifted(1, 0).astype(np.int64)
    yield "none", np.zeros(numbers.shape, np.int64), 0.0
    yield "before", before, 0.0
    yield "above", above, 0.0
    if alphabet <= 32:
        yield "both", before * alphabet + above, 0.0
    around = [shifted(0, left) for left in (1, 2, 3, 4)] + [shifted(1, left) for left in (1, 0, -1, -2)]
    yield "zeros around", np.sum([place == background for place in around], axis=0), 0.0
    zeros = numbers == background
    row_class, column_class = _classes(zeros.mean(axis=1)), _classes(zeros.mean(axis=0))
    yield "rows", np.broadcast_to(row_class[:, None], numbers.shape), 3.0 * rows
    yield "columns", np.broadcast_to(column_class, numbers.shape), 3.0 * columns
    yield "rows, columns", row_class[:, None] * CLASSES + column_class, 3.0 * (rows + columns)


def _classes(shares: np.ndarray) -> np.ndarray:
    """CLASSES of equally many, by their share of zeros."""
    return (np.argsort(np.argsort(shares, kind="stable"), kind="stable") * CLASSES // len(shares)).astype(
        np.int64
    )


def context_bytes(symbols: Symbols, shape: tuple[int, ...]) -> tuple[float, str]:
    """The best adaptive coder for a tensor with its codebook, and its name."""
    numbers = _rows(symbols, shape)
    background = int(symbols.counts.argmax())
    alphabet = len(symbols.values)
    found = [
        (adaptive_bits(numbers.reshape(-1), contexts.reshape(-1), alphabet) + side, name)
        for name, contexts, side in context_models(numbers, background)
    ]
    bits, name = min(found)
    return bits / 8 + symbols.values.nbytes, name


def classes_save(symbols: Symbols, shape: tuple[int, ...]) -> float:
    """Bytes that a code for each class of output channels saves, 0 where it does not."""
    numbers = _rows(symbols, shape)
    alphabet = len(symbols.values)
    row_class = _classes((numbers == symbols.counts.argmax()).mean(axis=1))
    counts = np.zeros((CLASSES, alphabet), np.int64)
    for number, row in zip(row_class, numbers, strict=True):
        counts[number] += np.bincount(row, minlength=alphabet)
    saved = entropy_bits(symbols.counts) - sum(map(entropy_bits, counts))
    return max(0.0, saved - 3 * len(numbers) - LISTED_BITS * CLASSES * alphabet) / 8


def _rows(symbols: Symbols, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of a tensor by output channel, (channels, elements of one)."""
    rows = shape[0] if shape and shape[0] > 1 and len(symbols.numbers) % shape[0] == 0 else 1
    return symbols.numbers.reshape(rows, -1)


def section_bounds(content: Any, symbols: Symbols, coded_size: int) -> dict[str, float]:
    """Bytes that one section takes with each alternative."""
    codebook = float(symbols.values.nbytes)
    bits = len(content.blocks.stream) if content.blocks is not None else 0
    found = {"ans": entropy_bits(symbols.counts) / 8 + codebook, "joint": float(coded_size)}
    if isinstance(content, sections.Sparse):
        background = int(symbols.counts.argmax())
        places = np.flatnonzero(symbols.numbers != background)
        gaps = np.diff(places, prepend=-1) - 1
        values = symbols.numbers[places].astype(np.int64)
        found["ans"] = (
            min(
                entropy_bits(symbols.counts),
                entropy_bits(np.bincount(gaps)) + entropy_bits(np.bincount(values)),
            )
            / 8
            + codebook
        )
        # Gaps beyond 255 would not be paired with every centroid: as one pair each they are cheaper than they could be.
        _, pairs = np.unique(np.minimum(gaps, 255) * len(symbols.values) + values, return_counts=True)
        long_gaps = np.log2(np.maximum(gaps[gaps > 255], 1)).sum()
        listed = LISTED_BITS * len(pairs)
        overhead = coded_size - bits
        found["joint"] = (entropy_bits(pairs) + long_gaps + listed) / 8 + overhead
    found["tables"] = float(coded_size) - _table_bytes(content)
    return found


def _table_bytes(content: Any) -> int:
    """Bytes of the code tables and the codebook of a section."""
    size = 1 + len(content.code.counts)
    if isinstance(content, sections.Sparse):
        return size + content.codebook.nbytes + 2 + (len(content.gaps) + 1) // 2
    words = content.words
    listed = words.size if words.shape[1] > 1 else 0
    return int(size + content.centroids * content.width + listed)


def ans_symbols_per_second(numbers: np.ndarray) -> float:
    """How fast constriction's ANS decodes these symbols by their histogram, in processor time of one thread."""
    import constriction

    counts = np.bincount(numbers)
    model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=False, lazy=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(numbers.astype(np.int32), model)
    started = time.thread_time()
    decoded = coder.decode(model, len(numbers))
    seconds = time.thread_time() - started
    assert np.array_equal(decoded, numbers)
    return len(numbers) / seconds


def measure(variant: Variant) -> dict[str, Any]:
    """Bytes of the package, and of it with each alternative in place of the sections' coding."""
    packed = pack(variant.tflite)
    shapes = {span.offset: span.shape for span in weight_buffers(variant.tflite)}
    totals = {name: float(len(packed)) for name in ("ans", "joint", "tables", "context", "classes")}
    chosen: dict[str, int] = {}
    largest = np.zeros(0, np.uint8)
    described = package.read(packed)
    for entry, section in zip(package.read_table(packed).sections[1:], described.sections, strict=True):
        content = contents.read_section(
            memoryview(packed)[entry.offset : entry.offset + entry.coded_size], entry
        )
        if not isinstance(content, (sections.Dense, sections.Sparse)) or len(section.spans) != 1:
            continue
        elements = np.frombuffer(variant.tflite, f"<u{section.width}", section.count, section.offset)
        symbols = Symbols.of(elements)
        if symbols is None or len(symbols.values) < 2:
            continue
        largest = max(largest, symbols.numbers, key=len)
        bounds = section_bounds(content, symbols, entry.coded_size)
        shape = shapes.get(section.offset, ())
        bounds["context"], name = context_bytes(symbols, shape)
        bounds["classes"] = entry.coded_size - classes_save(symbols, shape)
        chosen[name] = chosen.get(name, 0) + section.count
        for alternative, size in bounds.items():
            totals[alternative] += size - entry.coded_size
    return {
        "model": variant.name,
        "package_bytes": len(packed),
        "saved": {name: 1 - size / len(packed) for name, size in totals.items()},
        "contexts": chosen,
        "ans_symbols_per_second": ans_symbols_per_second(largest) if find_spec("constriction") else None,
    }


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every pruned variant's bounds."""
    results = []
    print(
        f"{'model':52} {'package':>10} {'ANS':>6} {'joint':>6} {'tables':>6} {'context':>7} {'classes':>7}  "
        "most often    ANS M/s"
    )
    for variant in variants(arguments.models, arguments.sparsity, arguments.clusters):
        if variant.name.endswith("as it is"):
            continue
        result = measure(variant)
        saved = result["saved"]
        print(
            f"{result['model']:52} {result['package_bytes']:>10,} {saved['ans']:>6.1%} {saved['joint']:>6.1%} "
            f"{saved['tables']:>6.1%} {saved['context']:>7.1%} {saved['classes']:>7.1%}  "
            f"{max(result['contexts'], key=result['contexts'].__getitem__):12} "
            f"{(result['ans_symbols_per_second'] or 0) / 1e6:>6.0f}",
            flush=True,
        )
        results.append(result)
    return {"conditions": {"clusters": arguments.clusters}, "results": results}


if __name__ == "__main__":
    benchmark(__doc__, measure_all, model_arguments, keep=write_rows)
