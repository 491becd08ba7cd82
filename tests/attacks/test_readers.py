"""What broke a reader once does not again, and mutants of good inputs break none for some seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks import readers as attacks

#: Of one run of the tests. The gate tries a minute beside it, and `python -m tests.attacks.readers 600` takes ten.
SECONDS = 5.0


@pytest.fixture(scope="module")
def known() -> dict[str, attacks.Reader]:
    return attacks.readers()


def test_seeds_are_accepted(known: dict[str, attacks.Reader]) -> None:
    for name, reader in known.items():
        for seed in reader.seeds:
            if name != "signature":  # nobody has signed it
                reader.read(seed)


@pytest.mark.parametrize(
    ("name", "path"), list(attacks.corpus()), ids=lambda value: getattr(value, "name", "")
)
def test_what_broke_a_reader_once_does_not_again(
    known: dict[str, attacks.Reader], name: str, path: Path
) -> None:
    data = path.read_bytes()
    for memory in (False, True):
        assert attacks.problem(known[name], data, memory=memory) == ""


def test_a_reader_that_breaks_is_found() -> None:
    def read(data: bytes) -> None:
        raise IndexError

    assert "IndexError" in attacks.problem(attacks.Reader(read, ()), b"", memory=False)
    hungry = attacks.Reader(lambda data: bytearray(64 << 20), ())
    assert attacks.problem(hungry, b"", memory=True) == "64 MB for 0 bytes"


def test_mutants_are_read_or_refused_within_their_limits() -> None:
    broken: list[str] = []
    counts = attacks.fuzz(
        SECONDS, 2026, lambda name, data, wrong: broken.append(f"{name}: {wrong}\n{data[:300]!r}")
    )
    print(f"\n{sum(counts.values())} inputs: {dict(counts)}")
    assert not broken, broken[0]
    assert min(counts.values()) > 0
