"""Some points of every scenario; `python -m tests.attacks.faults.harness` tries all of them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.attacks.faults import disk, harness
from tests.attacks.faults.harness import Broken
from tests.attacks.faults.scenarios import CARELESS, SCENARIOS

pytestmark = pytest.mark.skipif(find_spec("ziglang") is None, reason="the recorder is compiled by zig")

#: Of each scenario, by what it needs.
NEEDS_LITERT = ("starts", "damaged starts")
STATES, ERRORS, DAMAGES = 4, 1, 2

tried: Counter[str] = Counter()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with harness.place() as place:
        yield place


@pytest.fixture(scope="module")
def recorder(folder: Path) -> Path:
    return disk.build(folder)


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_lost_at_some_points(name: str, recorder: Path, folder: Path) -> None:
    if name in NEEDS_LITERT and find_spec("ai_edge_litert") is None:
        pytest.skip("tflite-runtime has no cache of packed weights in a file")
    place = folder / name.replace(" ", "-")
    broken = Broken(SCENARIOS[name], recorder, place)
    calls = broken.cuts(most=STATES)
    broken.errors(calls, most=ERRORS)
    broken.flips(most=DAMAGES)
    shutil.rmtree(place)
    tried.update(broken.tried)
    assert broken.lost == [], broken.lost[0]
    assert sum(broken.tried.values()) >= 4


def test_what_is_careless_is_found(recorder: Path, folder: Path) -> None:
    broken = Broken(CARELESS, recorder, folder / "careless")
    broken.cuts()
    said = " ".join(one.splitlines()[0] for one in broken.lost)
    assert "data lost after call" in said
    assert "data zero after call" in said
    assert "kill" not in said
    assert "names lost" not in said


def test_the_count_of_points_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{sum(tried.values())} fault points beside the store: {dict(tried)}")
