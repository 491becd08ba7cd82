"""The benchmarks of the package measure what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.package.alternatives import adaptive_bits, measure
from benchmarks.package.variants import Variant
from benchmarks.package.worst import slow_section
from device_agent.package import kernel as decoder_kernel
from device_agent.package.codec import huffman, sections
from tests.device_agent.package.package_samples import clustered, flatbuffer


def test_adaptive_bits_are_those_of_a_coder_that_counts_as_it_goes() -> None:
    rng = np.random.default_rng(0)
    symbols, contexts = rng.integers(0, 5, 400), rng.integers(7, 10, 400)
    counts = {int(context): np.full(5, 0.5) for context in set(contexts)}
    bits = 0.0
    for symbol, context in zip(symbols.tolist(), contexts.tolist(), strict=True):
        bits -= math.log2(counts[context][symbol] / counts[context].sum())
        counts[context][symbol] += 1
    assert adaptive_bits(symbols, contexts, 5) == pytest.approx(bits)


def test_alternatives_see_a_context_where_there_is_one_and_none_in_independent_weights() -> None:
    rng = np.random.default_rng(1)
    independent = clustered(rng, 128 * 400, 16, 0.5).reshape(128, 400)
    repeated = np.repeat(clustered(rng, 8 * 400, 16, 0.5).reshape(8, 400), 16, axis=0)
    noisy = np.where(rng.random(repeated.shape) < 0.3, independent, repeated)
    found = [
        measure(Variant("w", flatbuffer([("w", "float32", weights)])))["saved"]
        for weights in (independent, noisy)
    ]
    assert abs(found[0]["context"]) < 0.03 < 0.2 < found[1]["context"]
    assert all(saved["ans"] < 0.03 for saved in found)


@pytest.mark.usefixtures("c_kernel")
def test_the_slow_section_is_valid_and_has_three_bytes_for_every_element() -> None:
    section = slow_section(100_000)
    assert 300_000 < len(section) < 300_200
    out, again = np.zeros(100_000, np.uint8), np.ones(100_000, np.uint8)
    huffman.decode(sections.parse(memoryview(section), len(out)), out)
    decoder_kernel.load().decode(np.frombuffer(section, np.uint8), again)
    assert out.tobytes() == again.tobytes() == bytes([12]) * len(out)
