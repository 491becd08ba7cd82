"""The report of a soak: the board's record, and the memory that each model needs by its graph. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from device_agent.record.kinds import ValueRefused
from device_agent.record.named_kinds import Sentence
from device_agent.record.schema import limits, read, record, write
from device_agent.record.soak import MAX_MODELS, Soak
from sdk.errors import DataError
from sdk.explain.soaking.figures import SoakFigures, figures, throttle
from sdk.explain.soaking.memory import MemoryPlan
from sdk.tools.shown import Shown

SCHEMA = "armlet.soak-report/1"


@record(SCHEMA, "a report of a soak", DataError)
@dataclass(frozen=True)
class SoakReport(Shown):
    """A soak on one board. ``memory`` has None for a model whose file is not understood."""

    board: str
    board_title: Sentence
    soak: Soak
    memory: tuple[MemoryPlan | None, ...] = field(metadata=limits(most=MAX_MODELS))
    notes: tuple[Sentence, ...] = ()

    def check_record(self) -> None:
        """Raises ValueRefused where memory and models do not belong together."""
        if len(self.memory) != len(self.soak.models):
            raise ValueRefused(f"the memory of {len(self.soak.models)} models", str(len(self.memory))).at(
                "memory"
            )

    @property
    def figures(self) -> tuple[SoakFigures, ...]:
        """Of every model."""
        return figures(self.soak)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the record with every turn, and behind it, under ``figures``, what follows from it."""
        fell = throttle(self.soak)
        found = {
            "models": [{**asdict(one), "kept": one.kept} for one in self.figures],
            "throttle": None if fell is None else asdict(fell),
        }
        return {**write(self), "figures": found}

    @classmethod
    def from_json(cls, value: Any) -> SoakReport:
        """Reads what :meth:`to_json` wrote, and computes the figures again. Raises DataError."""
        if isinstance(value, dict):
            value = {key: one for key, one in value.items() if key != "figures"}
        return read(cls, value)
