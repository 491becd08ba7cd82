"""Writes the first inputs of the fuzzer: one small section of every layout and variant, named for what it is.

python -m tests.fuzz.make_seeds
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from device_agent.package.codec.sections import Scales
from sdk.package import coding, context_encode
from sdk.package.symbols import Symbols
from tests.device_agent.package.package_samples import clustered
from tests.golden.make_golden import contexts

CORPUS = Path(__file__).with_name("corpus")


def seeds() -> dict[str, bytes]:
    """name -> (3 bytes of decoded size, coded section)."""
    rng = np.random.default_rng(1)
    result: dict[str, bytes] = {}

    def add(name: str, size: int, blob: bytes | None) -> None:
        assert blob is not None
        result[name] = size.to_bytes(3, "little") + blob

    for width, dtype in ((1, np.uint8), (2, np.uint16), (4, np.uint32)):
        numbers = np.minimum(rng.geometric(0.4, 600) - 1, 15)
        symbols = Symbols.of((numbers * 7).astype(dtype))
        assert symbols is not None
        for words in (1, 2, 4):
            few = Symbols.of((np.minimum(numbers, 2) * 5).astype(dtype))
            assert few is not None
            add(
                f"dense_{width}_{words}",
                600 * width,
                coding.encode_dense(few if words > 1 else symbols, words),
            )
        add(f"sparse_{width}", 600 * width, coding.encode_sparse(symbols))
        add(f"constant_{width}", 64 * width, coding.encode_codes(_of(np.full(64, 9, dtype))))
        if width > 1:
            add(f"planes_{width}", 600 * width, coding.encode_planes((numbers * 77).astype(dtype)))
    floats = rng.standard_normal(700).astype(np.float32).view(np.uint32)
    add("planes_rotated", 2800, coding.encode_planes(floats))
    add("planes_8", 800, coding.encode_planes(rng.integers(0, 300, 100).astype(np.uint64)))
    scales = Scales(50, rng.uniform(0.5, 2, 12).astype(np.float32))
    halves = Scales(1, np.float32([0.5, 2, 1.5, 1, 0.25, 3]))
    grid = _of(rng.integers(-3, 4, 600).astype(np.float32).view(np.uint32))
    add("dense_scaled", 2400, coding.encode_dense(grid, 1, scales))
    add("sparse_scaled", 2400, coding.encode_sparse(grid, halves))
    far = clustered(rng, 20000, 8, 0.997).view(np.uint32)
    add("sparse_far", 80000, coding.encode_sparse(_of(far)))
    add("raw", 10, coding.encode_raw(np.arange(10, dtype=np.uint8)))
    rows = rng.normal(0, rng.choice([0.3, 5], (12, 1)), (12, 500))
    whole = np.clip(np.round(rows), -127, 127).astype(np.int8).view(np.uint8)
    walk = np.clip(np.round(np.cumsum(rows, axis=1) / 20), -127, 127).astype(np.int8).view(np.uint8) ^ 0x80
    for name, matrix in (("rows", whole), ("columns", whole.T.copy()), ("neighbours", walk)):
        section = context_encode.encode_contexts(matrix.reshape(-1), matrix.shape)
        add(f"contexts_{name}", 6000, section)
    add("contexts_by_hand", 64, contexts())
    add("contexts_by_columns", 64, contexts(parameters=3))
    many = _of(np.arange(1000, dtype=np.uint16).repeat(3))
    add("dense_long_codes", 6000, coding.encode_dense(many))
    return result


def _of(elements: np.ndarray) -> Symbols:
    symbols = Symbols.of(elements)
    assert symbols is not None
    return symbols


def main() -> None:
    for name, data in seeds().items():
        (CORPUS / name).write_bytes(data)


if __name__ == "__main__":
    main()
