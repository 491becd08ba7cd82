"""The boards of boards.toml, each with the latencies that ncnn publishes of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from sdk.board.emulation.replay.machine import CoreFigure, TimedBoard, timed_core, tomllib

FOLDER = Path(__file__).parent
#: A table that is further from every release of ncnn is no part of any figure.
MOST_DAYS_APART = 90
#: A table of which every network takes this many times the cycles that it takes in the middle one of the other tables
#: of its core was not measured at the clock that it names (a chip may run below its clock, and beside other work). Only
#: published figures are compared, no prediction.
MOST_CYCLES_APART = 1.3
#: Networks that were looked at while the model was made. The others ran when it was done.
NETWORKS_LOOKED_AT = ("shufflenet_v2", "squeezenet", "mobilenet", "mobilenet_int8")


@dataclass(frozen=True)
class MeasuredBoard:
    """A board whose latencies somebody publishes. ``memcpy``: GB/s. ``milliseconds``: of one thread, by network.
    ``latency_nanoseconds``: of memory, 0 where nobody measured it."""

    name: str
    core: str
    clock_ghz: float
    memcpy: float
    l2_kilobytes: float
    l3_kilobytes: float
    latency_nanoseconds: float
    milliseconds: dict[str, float]

    def timed(self) -> TimedBoard:
        """As the replay takes it."""
        sizes = {
            name: CoreFigure(value, "kB", "published", "data sheet of the chip")
            for name, value in (("l2_kilobytes", self.l2_kilobytes), ("l3_kilobytes", self.l3_kilobytes))
        }
        if self.latency_nanoseconds:
            source = "sbc-bench, of a random load over 16 MB"
            sizes["dram_latency"] = CoreFigure(self.latency_nanoseconds, "ns", "measured", source)
        core = timed_core(self.core).given(**sizes)
        return TimedBoard(self.name, core, self.clock_ghz * 1e9, 2e9 * self.memcpy)


@dataclass(frozen=True)
class PublishedBoard(MeasuredBoard):
    """A board of the validation, with ncnn's names of the networks.

    ``ncnn`` is the release that it runs here, ``days_apart`` how far that is from the date of the table: kernels
    change, and a release of another year says little of the model. ``before``: an older one, whose runs stand in for
    networks that take the same instructions in both; "" for none. ``clock_known``: whether it ran at ``clock_ghz``, by
    :data:`MOST_CYCLES_APART`; of a board that did not, a time says nothing without another of the same board.
    """

    kernels: str
    arithmetic: str
    ncnn: str
    days_apart: int
    looked_at: bool
    before: str = ""
    clock_known: bool = True

    def is_test(self, network: str) -> bool:
        """Whether nobody looked at this board, or at this network, while the model was made."""
        return not self.looked_at or network not in NETWORKS_LOOKED_AT

    @property
    def same_software(self) -> bool:
        """Whether what runs here is near enough to what was measured."""
        return self.days_apart <= MOST_DAYS_APART


def read_boards() -> dict[str, PublishedBoard]:
    """The boards of boards.toml, without those that no release of ncnn of their time can stand for."""
    tables = json.loads((FOLDER / "published.json").read_text(encoding="utf-8"))["tables"]
    told: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "boards.toml").read_text(encoding="utf-8"))
    kept = set(PublishedBoard.__dataclass_fields__)
    boards = {
        name: PublishedBoard(
            name=name,
            milliseconds=tables[entry["table"]]["milliseconds"],
            latency_nanoseconds=entry.get("latency_ns", 0.0),
            days_apart=_days(entry["ncnn"], tables[entry["table"]]["dates"]),
            **{key: value for key, value in entry.items() if key in kept},
        )
        for name, entry in told.items()
    }
    return {
        name: replace(board, clock_known=cycles_apart(name, boards) < MOST_CYCLES_APART)
        for name, board in boards.items()
        if board.same_software
    }


def cycles_apart(name: str, boards: Mapping[str, PublishedBoard]) -> float:
    """How many times the cycles of the middle one of the other boards of its core a board takes: the least of its
    networks, by published latencies; 1 for a core that no other board has."""
    board, apart = boards[name], []
    others = [b for other, b in boards.items() if other != name and b.core == board.core]
    for network, milliseconds in board.milliseconds.items():
        cycles = [b.milliseconds[network] * b.clock_ghz for b in others if network in b.milliseconds]
        if cycles:
            apart.append(milliseconds * board.clock_ghz / statistics.median(cycles))
    return min(apart, default=1.0)


def compared(boards: Mapping[str, PublishedBoard]) -> dict[str, PublishedBoard]:
    """Those whose times say how far off a prediction is."""
    return {name: board for name, board in boards.items() if board.clock_known}


def cells_of(
    record: Mapping[str, Any], boards: Mapping[str, PublishedBoard]
) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """The key of the run and the counts of each board and network that has a published latency.

    They are those of the board's release, else of the one before it that stands in; other runs are no cells.
    """
    found = {}
    for key, run in record["runs"].items():
        network, kernels, arithmetic, release = key.split()
        for name, counted in run["boards"].items():
            board = boards.get(name)
            if board is None or network not in board.milliseconds:
                continue
            if (kernels, arithmetic) != (board.kernels, board.arithmetic):
                continue
            if release == board.ncnn or (release == board.before and (name, network) not in found):
                found[name, network] = (key, counted)
    return found


def _days(release: str, dates: list[str]) -> int:
    """Days between a release and the nearest of a table's dates."""
    made = date(int(release[:4]), int(release[4:6]), int(release[6:]))
    return min(abs((made - date.fromisoformat(day)).days) for day in dates)
