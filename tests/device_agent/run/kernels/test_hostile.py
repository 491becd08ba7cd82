"""Models that nobody meant to load: the process lives, and what the runtime answers too is answered alike.

The long run, with sanitizers and ten thousand loads, is `python -m benchmarks.hostile_models`.
"""

from __future__ import annotations

import pytest

from benchmarks import hostile_models

pytestmark = pytest.mark.usefixtures("c_delegate")


def test_mutants_end_no_process_and_get_no_other_answers() -> None:
    ends = hostile_models.attack(seed=7, count=12)
    assert sum(ends.values()) == 12
    assert ends["answered, with the delegate answered"] >= 3
    assert not [end for end in ends if end.startswith("FINDING")]


def test_loads_leave_nothing_behind() -> None:
    assert hostile_models.loads(40)["grown_bytes"] < 2_000_000
