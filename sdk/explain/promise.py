"""What theory promises of one model against another: one rule for every table, waterfall and sentence. Pure.

Between two versions of one network the work is the multiply-accumulates by weights that are not zero: those of zeros
are what the versions differ in, and a channel that is never used counts as little before it was cut off as after.
Between two networks it is all multiply-accumulates, as in the papers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Yardstick = Literal["MACs", "effective MACs"]
ALL: Yardstick = "MACs"
NOT_BY_ZERO: Yardstick = "effective MACs"
YARDSTICKS = (ALL, NOT_BY_ZERO)

#: Models that are not known to come from one file are versions of one network where their MACs differ by no more.
ONE_NETWORK = 0.05


@dataclass(frozen=True)
class Counted:
    """The work of one inference. ``original`` is the digest of the file that the model was made of, "" if unknown."""

    macs: int
    effective_macs: int
    original: str = ""


def yardstick(baseline: Counted, candidate: Counted) -> Yardstick:
    """What the work of the two is counted in."""
    if not (baseline.effective_macs and candidate.effective_macs):
        return ALL
    of_one_file = baseline.original != "" and baseline.original == candidate.original
    alike = abs(baseline.macs - candidate.macs) <= ONE_NETWORK * max(baseline.macs, candidate.macs)
    return NOT_BY_ZERO if of_one_file or alike else ALL


def promised(work: str, baseline: Counted, candidate: Counted) -> float | None:
    """The work of the baseline over that of the candidate; None where either has none."""
    if work == NOT_BY_ZERO:
        return ratio(baseline.effective_macs, candidate.effective_macs)
    return ratio(baseline.macs, candidate.macs)


def ratio(baseline: int, candidate: int) -> float | None:
    """``baseline / candidate``; None where either is 0."""
    return baseline / candidate if baseline and candidate else None
