"""When LZ is worth trying: it takes minutes on a large tensor, so what only looks repeated must not."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.package.codec import lz
from device_agent.package.codec.format import LZ, PREPARED
from sdk.package import coding, lz_encode


def test_of_a_tensor_larger_than_a_dictionary_the_part_that_is_looked_at_stands_for_its_share_of_the_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    weights = np.zeros(4 << 20, np.float32)
    kept = rng.random(len(weights)) < 0.04
    weights[kept] = rng.normal(0, 1, 31).astype(np.float32)[rng.integers(0, 31, kept.sum())]
    symbols = coding.Symbols.of(weights.view("<u4"))
    assert symbols is not None
    size = len(coding.encode_codes(symbols))
    monkeypatch.setattr(lz_encode, "_LOOK_CLOSE", 1 << 18)
    monkeypatch.setattr(lz_encode, "MAX_DICTIONARY_LOG2", 20)  # a sixteenth of it
    assert not lz_encode.may_win(weights.tobytes(), 4, size)
    assert lz_encode.may_win(np.tile(weights[: 1 << 17], 32).tobytes(), 4, size)


def test_a_skeleton_goes_on_where_the_prepared_text_ends() -> None:
    text = (
        b"serving_default_input_1:0 StatefulPartitionedCall:0 Conv2d_1_depthwise/BatchNorm/FusedBatchNormV3"
    )
    section = lz_encode.encode_skeleton(text)
    assert section[:2] == bytes([LZ, PREPARED])
    assert len(section) < len(lz_encode.encode_lzma(text, 1, (3, 0, 2))) - 30
    out = np.empty(len(text), np.uint8)
    lz.decode(lz.parse(memoryview(section), len(text), prepared=True), out)
    assert out.tobytes() == text
    assert lz.head(lz.parse(memoryview(section), len(text), prepared=True), 15) == text[:15]


def test_an_lzma_that_writes_another_stream_prepares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lz_encode.encode_prepared(b"TFL3" * 9) is not None
    monkeypatch.setattr(lz_encode, "lzma_stream", lambda content, properties: b"\0" + bytes(content))
    assert lz_encode.encode_prepared(b"TFL3" * 9) is None
