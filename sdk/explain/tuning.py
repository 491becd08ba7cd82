"""Which variant of a model is best on a board: the records of `sdk tune`, and the choice between candidates. Pure.

A variant is one form of the model (dense float, float with this many zeros, int8); a candidate is a variant on one
runtime with one number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from device_agent.record.kinds import ValueRefused
from device_agent.record.measurement import Measurement
from device_agent.record.named_kinds import Sentence, Size, Threads
from device_agent.record.schema import limits, read, record, write
from sdk.errors import DataError
from sdk.explain.run import PREDICTED, PredictedTime
from sdk.tools.shown import Shown

SCHEMA = "armlet.tuning/1"
#: Counts of instructions are exact, what they stand for is not: closer than this they are equal.
EQUAL_INSTRUCTIONS = 0.01
#: The same of predicted times of one network's variants on one core, most of whose error is common to them: the median
#: error of the method between two networks of one board (sdk.explain.speed.validation).
EQUAL_PREDICTIONS = 0.06
#: However uncertain the medians, one that is further than this above another is slower.
LEVEL = 0.05


@record(what="a candidate", may_lack=("points_lost_at_most", "reached", "predicted"), left_out=("predicted",))
@dataclass(frozen=True)
class Candidate:
    """One variant on one runtime with one number of threads, and what the board needs for an inference of it.

    ``points_lost`` are points of the metric of the model's task, or, without right answers, of the answers that agree
    with the original's; ``points_lost_at_most`` the upper end of their paired 95 % interval, None where it is not
    known. ``reached``: the metric of original and variant in words, and what a paired test says. ``measurement`` is
    None on an emulated board: there a time is ``predicted`` for a real board with that core, or, where that is not
    possible, only ``instructions`` are counted.
    """

    variant: str
    form: str  # "dense", "sparse" or "int8"
    package_bytes: Size
    points_lost: float = field(metadata=limits(low=-100.0, high=100.0))
    runtime: str
    runtime_version: str
    threads: Threads
    measurement: Measurement | None = None
    instructions: int | None = None
    points_lost_at_most: float | None = field(default=None, metadata=limits(low=-100.0, high=100.0))
    reached: Sentence = ""
    predicted: PredictedTime | None = None

    @property
    def cost(self) -> float:
        """The figure that ranks candidates: the median in seconds, the predicted time in seconds, or instructions."""
        if self.measurement is not None:
            return self.measurement.median
        return float(self.instructions or 0) if self.predicted is None else self.predicted.seconds

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the cost: 95 % interval of the median, or what counts as the same time or number."""
        if self.measurement is None:
            equal = EQUAL_INSTRUCTIONS if self.predicted is None else EQUAL_PREDICTIONS
            return self.cost * (1 - equal / 2), self.cost * (1 + equal / 2)
        return self.measurement.median_interval()


@dataclass(frozen=True)
class LeftOut:
    """A variant that was not measured, on one runtime or at all, and why."""

    variant: str
    reason: Sentence


@record(SCHEMA, "a result of `sdk tune`", DataError, may_lack=("metric", "predicted_for"))
@dataclass(frozen=True)
class Tuned(Shown):
    """Everything that was tried on a board, the fastest first; ``chosen`` is the number of the one that won."""

    model: str
    board: str
    emulated: bool
    max_loss: float
    checked_on: Sentence  # which images the loss was measured on, in words
    samples: int  # this many of them
    candidates: tuple[Candidate, ...] = field(metadata=limits(least=1, most=4096))
    left_out: tuple[LeftOut, ...] = field(metadata=limits(most=4096))
    chosen: int
    release: str = ""  # what runs there now, where the chosen one was deployed
    package: Sentence = ""  # the file that holds it, where it was kept
    preprocess: Sentence = ""  # that pixels went through, and how it was found
    preprocess_why: Sentence = ""
    metric: str = "top-1"  # that points are lost of
    notes: tuple[
        Sentence, ...
    ] = ()  # what of the data was passed over, how classes were told; a sentence each

    predicted_for: str = ""  # the real board that the times are predicted for, where the board is emulated

    @property
    def winner(self) -> Candidate:
        """The chosen candidate."""
        return self.candidates[self.chosen]

    @property
    def on_front(self) -> tuple[bool, ...]:
        """Of each candidate, whether no other takes fewer bytes, costs less and loses fewer points."""
        return front([(one.package_bytes, one.cost, one.points_lost) for one in self.candidates])

    @property
    def ranked_by(self) -> str:
        """In words."""
        if self.predicted_for:
            return f"the time of one thread on {self.predicted_for}, {PREDICTED} (the board is emulated)"
        return "instructions (the board is emulated)" if self.emulated else "median latency"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, raw samples included."""
        return write(self)

    @classmethod
    def from_json(cls, record: Any) -> Tuned:
        """Reads what :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, record)

    def check_record(self) -> None:
        """Raises Refused where none of the candidates is the chosen one."""
        if self.chosen >= len(self.candidates):
            raise ValueRefused(
                f"the number of one of {len(self.candidates)} candidates", str(self.chosen)
            ).at("chosen")
        told = {one.predicted is not None for one in self.candidates}
        if told != {bool(self.predicted_for)}:
            raise ValueRefused("a predicted time of all candidates, or of none", "of some").at(
                "predicted_for"
            )


def front(points: Sequence[Sequence[float]]) -> tuple[bool, ...]:
    """Which points are on the Pareto front: no other has no figure that is larger, and one that is smaller."""
    found = []
    for one in points:
        beaten = any(
            all(theirs <= own for theirs, own in zip(other, one, strict=True)) and tuple(other) != tuple(one)
            for other in points
        )
        found.append(not beaten)
    return tuple(found)


def choose(candidates: Sequence[Candidate], max_loss: float) -> tuple[tuple[Candidate, ...], int | None]:
    """The candidates, cheapest first, and the number of the best that loses at most ``max_loss`` points.

    Among those within 5 % of it that the measurement cannot tell from the cheapest, the most accurate wins, then fewer
    threads, then the smaller package.  None where every candidate loses more.
    """
    ranked = tuple(sorted(candidates, key=lambda c: (c.cost, c.threads)))
    allowed = [i for i, c in enumerate(ranked) if c.points_lost <= max_loss]
    if not allowed:
        return ranked, None
    cheapest = ranked[allowed[0]]
    level = [
        i
        for i in allowed
        if ranked[i].cost <= (1 + LEVEL) * cheapest.cost and ranked[i].interval[0] <= cheapest.interval[1]
    ]
    best = min(level, key=lambda i: (ranked[i].points_lost, ranked[i].threads, ranked[i].package_bytes, i))
    return ranked, best
