"""The boards of boards.toml, each with the latencies that ncnn publishes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk.board.emulation.replay.machine import CoreFigure, TimedBoard, timed_core, tomllib

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PublishedBoard:
    """A board of the validation. ``milliseconds`` are the published ones, by ncnn's name of the network."""

    name: str
    core: str
    clock_ghz: float
    memcpy: float
    l2_kilobytes: float
    l3_kilobytes: float
    kernels: str
    arithmetic: str
    looked_at: bool
    milliseconds: dict[str, float]

    def timed(self) -> TimedBoard:
        """As the replay takes it."""
        sizes = {
            name: CoreFigure(value, "kB", "published", "data sheet of the chip")
            for name, value in (("l2_kilobytes", self.l2_kilobytes), ("l3_kilobytes", self.l3_kilobytes))
        }
        core = timed_core(self.core).given(**sizes)
        return TimedBoard(self.name, core, self.clock_ghz * 1e9, 2e9 * self.memcpy)


def read_boards() -> dict[str, PublishedBoard]:
    """Every board of boards.toml."""
    tables = json.loads((FOLDER / "published.json").read_text(encoding="utf-8"))["tables"]
    told: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "boards.toml").read_text(encoding="utf-8"))
    kept = set(PublishedBoard.__dataclass_fields__)
    return {
        name: PublishedBoard(
            name=name,
            milliseconds=tables[entry["table"]]["milliseconds"],
            **{key: value for key, value in entry.items() if key in kept},
        )
        for name, entry in told.items()
    }
