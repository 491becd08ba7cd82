"""One rule says what theory promises, whether a dead channel was cut off or not."""

from __future__ import annotations

import pytest

from sdk.explain.macs import Counted, promised, yardstick

DENSE = Counted(1000, 1000, "a" * 64)


@pytest.mark.parametrize(
    ("baseline", "candidate", "work", "speedup"),
    [
        (DENSE, Counted(1000, 400, "a" * 64), "effective MACs", 2.5),
        # A dead channel is cut off, or half of them: the zeros that were left out before count as little as before.
        (DENSE, Counted(990, 400, "a" * 64), "effective MACs", 2.5),
        (DENSE, Counted(500, 400, "a" * 64), "effective MACs", 2.5),
        # Not known to be of one file, but of one size.
        (DENSE, Counted(960, 400), "effective MACs", 2.5),
        (Counted(1000, 1000), Counted(1000, 1000), "effective MACs", 1.0),
        (DENSE, Counted(500, 400, "b" * 64), "MACs", 2.0),
        (Counted(1000, 1000), Counted(250, 125), "MACs", 4.0),
    ],
)
def test_versions_of_one_network_are_counted_without_zeros_and_networks_with(
    baseline, candidate, work, speedup
):
    assert yardstick(baseline, candidate) == work
    assert promised(work, baseline, candidate) == speedup


def test_models_that_multiply_nothing_promise_nothing():
    nothing = Counted(0, 0)
    assert yardstick(nothing, nothing) == "MACs"
    assert promised("MACs", DENSE, nothing) is None
    assert promised("MACs", nothing, DENSE) is None
