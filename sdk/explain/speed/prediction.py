"""How long one inference takes on a board's core, predicted by a replay of its instructions: nothing here is measured.

:mod:`sdk.deploy.predicting` makes these records; others show them. All times are of one thread of one core. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from device_agent.record.kinds import ValueRefused
from device_agent.record.named_kinds import Count, Hertz, Positive, Rate, Sentence, Share
from device_agent.record.schema import limits, read, record, write
from sdk.errors import DataError

SCHEMA = "armlet.prediction/1"

#: The parts of :class:`CycleParts`, in the order in which they are shown.
PARTS = ("compute", "l1", "l2", "dram", "branch", "dispatch")

#: A sum of cycles may differ from its parts by this share, which is rounding.
ROUNDING = 1e-6


@record(what="the cycles of a prediction")
@dataclass(frozen=True)
class CycleParts:
    """Cycles of an inference by what the core waited for; they add up to the whole.

    ``compute``: ports and the latencies of arithmetic. ``l1``: loads that the first cache held (its latency, its
    ports, its buffers). ``l2``: loads from the second or third cache. ``dram``: loads from memory. ``branch``:
    branches that were mispredicted. ``dispatch``: the width of the front end and nothing else.
    """

    compute: float = field(metadata=limits(low=0.0))
    l1: float = field(metadata=limits(low=0.0))
    l2: float = field(metadata=limits(low=0.0))
    dram: float = field(metadata=limits(low=0.0))
    branch: float = field(metadata=limits(low=0.0))
    dispatch: float = field(metadata=limits(low=0.0))

    @property
    def total(self) -> float:
        """Cycles of the inference."""
        return self.compute + self.l1 + self.l2 + self.dram + self.branch + self.dispatch


@record(what="an operator of a prediction")
@dataclass(frozen=True)
class PredictedOperator:
    """The cost of one operator of the runtime's plan. ``index`` is its place in the order in which operators ran.

    ``name`` is the runtime's name for it (``Convolution (NHWC, F32) IGEMM``); ``cycles`` and ``instructions`` are those
    between its start and the next one's.
    """

    index: Count
    name: Sentence
    cycles: float = field(metadata=limits(low=0.0))
    instructions: Count


@record(what="a parameter of a prediction")
@dataclass(frozen=True)
class Assumption:
    """A figure of the core or of the board that went into the replay. ``kind``: published, measured or estimated."""

    name: Sentence
    value: float
    unit: Sentence
    kind: Sentence
    source: Sentence


@record(SCHEMA, "a prediction", DataError)
@dataclass(frozen=True)
class Prediction:
    """One inference of one model on one core of one board, predicted and not measured.

    ``cycles`` are those of ``core`` at ``clock_hz``; ``parts`` add up to them. ``dram_bytes`` cross the memory bus at
    ``memory_bytes_per_second`` (reads and writes together); ``dram_share`` is the share of the cycles that the core
    waits for it. ``emulated_core`` is the core that the runtime saw, which decides its kernels; it differs from
    ``core`` where the emulator does not know that core. ``kernels`` are the names of the kernels that ran, with their
    share of the cycles; empty where the runtime's library has no names. ``operators`` are empty where the runtime
    reports no marks. ``assumptions`` are the figures behind it; guesses are marked "estimated".
    """

    board: Sentence
    core: Sentence
    emulated_core: Sentence
    clock_hz: Hertz
    runtime: Sentence
    runtime_version: Sentence
    dtype: Sentence
    cycles: Positive
    instructions: Count
    parts: CycleParts
    dram_bytes: Count
    dram_share: Share
    memory_bytes_per_second: Rate
    kernels: tuple[tuple[str, float], ...] = ()
    operators: tuple[PredictedOperator, ...] = ()
    assumptions: tuple[Assumption, ...] = ()

    @property
    def seconds(self) -> float:
        """Of one inference on one thread."""
        return self.cycles / self.clock_hz

    @property
    def milliseconds(self) -> float:
        """Of one inference on one thread."""
        return 1e3 * self.seconds

    @property
    def estimated(self) -> tuple[Assumption, ...]:
        """The assumptions that no source gives."""
        return tuple(a for a in self.assumptions if a.kind == "estimated")

    def check_record(self) -> None:
        """Called after reading: the parts add up to the whole."""
        if abs(self.parts.total - self.cycles) > ROUNDING * self.cycles + 1.0:
            raise ValueRefused("parts that add up to cycles", f"{self.parts.total:g} and {self.cycles:g}")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict, with the schema's name and version under ``schema``."""
        return write(self)

    @classmethod
    def from_json(cls, value: Any) -> Prediction:
        """The prediction that :meth:`to_json` wrote. Raises DataError that names the first field that is wrong."""
        return read(cls, value)
