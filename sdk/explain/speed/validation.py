"""How far predictions were from what others published: the method's own error, from which every interval is taken.

A *factor* is published over predicted. An interval of a prediction is its time multiplied by the factors between the
10th and the 90th percentile of the table, so that 8 of 10 cells of the table lie in theirs. It is never narrower: where
the cells of networks of the same kind, of the same core, or those that nobody looked at while the model was made have
larger errors, it is as wide as theirs. The predicted time itself is always inside. With one measured model of the
board, each factor is divided by as much of the measured model's as the other boards of the table say that networks of
a board have in common: the table is read pair by pair. A measured factor further off than any of the table is of a
board at another clock or under load: what lies beyond is taken over whole. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from device_agent.record.named_kinds import Positive, Sentence, Size
from device_agent.record.schema import limits, read, record, write
from sdk.errors import DataError

SCHEMA = "armlet.validation/1"
#: The percentiles between which a factor is likely, as shares.
LIKELY = (0.1, 0.9)
#: Fewer cells than this say nothing of their own.
LEAST_CELLS = 3


@dataclass(frozen=True)
class NetworkKind:
    """The kind of a network, on which the method's error depends. ``memory_decides``: much of the time waits
    for DRAM."""

    memory_decides: bool
    int8: bool


@record(what="a cell of a validation")
@dataclass(frozen=True)
class ValidationCell:
    """One network on one board, one thread. ``looked_at``: while the model was made, so it is not a test of it.

    ``memory_decides``: see :class:`NetworkKind`.
    """

    network: Sentence
    board: Sentence
    core: Sentence
    runtime: Sentence
    dtype: Sentence
    predicted_seconds: Positive
    published_seconds: Positive
    looked_at: bool
    memory_decides: bool

    @property
    def kind(self) -> NetworkKind:
        """Of the network."""
        return NetworkKind(self.memory_decides, self.dtype == "int8")

    @property
    def factor(self) -> float:
        """Published over predicted."""
        return self.published_seconds / self.predicted_seconds

    @property
    def error(self) -> float:
        """By how much the prediction is off, as a share of what was published."""
        return abs(self.predicted_seconds / self.published_seconds - 1.0)


@record(what="a range of factors")
@dataclass(frozen=True)
class Factors:
    """Between which factors of the prediction a time is likely, and how many cells of the table say so."""

    low: Positive
    high: Positive
    cells: Size
    median_error: float = field(metadata=limits(low=0.0))


@record(SCHEMA, "a validation of predictions", DataError)
@dataclass(frozen=True)
class Validation:
    """Predictions beside what others published. ``source`` says who measured and what made the predictions."""

    source: Sentence
    cells: tuple[ValidationCell, ...] = field(metadata=limits(least=LEAST_CELLS, most=4096))

    def likely(self, core: str, kind: NetworkKind, measured: NetworkKind | None = None) -> Factors:
        """The factors for a network of a kind on a board with that core. ``measured``: of what kind the one model is
        whose measurement on the board scales the prediction; None without a measurement."""
        factors = [(c, c.factor) for c in self.cells] if measured is None else self._scaled(kind, measured)
        picks: list[Callable[[ValidationCell], bool]] = [
            lambda cell: True,
            lambda cell: not cell.looked_at,
            lambda cell: cell.kind == kind,
            lambda cell: cell.kind == kind and cell.core == core,
        ]
        low, high = 1.0, 1.0
        for pick in picks:
            own = [factor for cell, factor in factors if pick(cell)]
            if len(own) >= LEAST_CELLS:
                found = np.quantile(own, LIKELY)
                low, high = min(low, float(found[0])), max(high, float(found[1]))
        cells = len({id(cell) for cell, _ in factors})
        return Factors(low, high, cells, median(abs(1.0 / factor - 1.0) for _, factor in factors))

    def in_common(self, without: str | None = None) -> float:
        """The power to which a measured model's factor is taken over by other networks of its board, from 0 to 1.

        One latency tells of its board and of its own network alike; taken over whole, it brings the second error into
        every other prediction. Of the pairs of networks on each board of the table, but not on the board ``without``,
        this power leaves the least sum of errors, in logarithms; it is 1 where there are no pairs.
        """
        pairs = [
            (math.log(other.factor), math.log(cell.factor))
            for cell in self.cells
            if cell.board != without
            for other in _beside(cell, self.cells)
        ]
        slopes = sorted((own / measured, abs(measured)) for measured, own in pairs if measured)
        passed, half = 0.0, sum(weight for _, weight in slopes) / 2
        for slope, weight in slopes:
            passed += weight
            if passed >= half:
                return min(max(slope, 0.0), 1.0)
        return 1.0

    def seen(self, without: str | None = None) -> tuple[float, float]:
        """The least and the greatest factor of the table, 1 among them, but not of the board ``without``."""
        factors = [1.0, *(cell.factor for cell in self.cells if cell.board != without)]
        return min(factors), max(factors)

    def with_one_measured(self) -> list[tuple[ValidationCell, ValidationCell, float]]:
        """Each cell, each other one of its board and runtime as the measured one, and the factor that is then left.

        What is taken over of the measured one is known from other boards alone, as for a board that nobody has seen.
        """
        boards = {cell.board for cell in self.cells}
        known = {board: (self.in_common(board), self.seen(board)) for board in boards}
        return [
            (cell, other, cell.factor / scaled_by([other.factor], *known[cell.board]))
            for cell in self.cells
            for other in _beside(cell, self.cells)
        ]

    def error_with_one_measured(self) -> float:
        """The median error between any two networks of a board, of which one is measured; 0 where there are none."""
        return median([abs(1.0 / left - 1.0) for _, _, left in self.with_one_measured()] or [0.0])

    def has_core(self, core: str) -> bool:
        """Whether a board with that core is in the table."""
        return any(cell.core == core for cell in self.cells)

    def _scaled(self, kind: NetworkKind, measured: NetworkKind) -> list[tuple[ValidationCell, float]]:
        """The factors that are left when each other cell of the board and runtime in turn is the measured one: of
        networks of these kinds, or of all where the table has too few of them."""
        pairs = self.with_one_measured()
        alike = [pair for pair in pairs if (pair[0].kind, pair[1].kind) == (kind, measured)]
        chosen = alike if len(alike) >= 2 * LEAST_CELLS else pairs
        return [(cell, factor) for cell, _, factor in chosen]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return write(self)

    @classmethod
    def from_json(cls, found: Any) -> Validation:
        """Reads what :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, found)


def scaled_by(factors: Sequence[float], in_common: float, seen: tuple[float, float] | None = None) -> float:
    """By what other predictions for a board are multiplied, from the factors of its measured models, at least one.

    Their geometric mean, to a power that grows with their number: what is each one's own averages out, and what they
    have in common stays. Of one it is ``in_common``, of any number less than 1, or 1 where that is 1. What lies beyond
    ``seen``, the least and the greatest factor of the table, is taken over whole.
    """
    count = len(factors)
    power = count * in_common / (1.0 + (count - 1) * in_common)
    mean = sum(math.log(factor) for factor in factors) / count
    within = mean if seen is None else min(max(mean, math.log(seen[0])), math.log(seen[1]))
    return math.exp(power * within + mean - within)


def _beside(cell: ValidationCell, cells: Sequence[ValidationCell]) -> Iterable[ValidationCell]:
    """Those of the same board, core and runtime."""
    place = (cell.board, cell.core, cell.runtime)
    return (
        other for other in cells if other is not cell and (other.board, other.core, other.runtime) == place
    )
