"""The text that tells replay.c of the boards of a run: the groups of instructions, each board's core and its prices."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdk.board.emulation.replay.forms import Group, read_groups
from sdk.errors import BoardError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
#: replay.c's limits.
MAX_BOARDS, MAX_PORTS, MAX_CYCLES, MAX_QUEUE = 16, 32, 64, 128
LINE_BYTES = 64
#: In nanoseconds in cores.toml, in cycles of the core in the text.
_NANOSECONDS = ("dram_latency",)


@dataclass(frozen=True)
class CoreFigure:
    """A parameter of a core. ``kind``: published, measured, estimated, or "given" by a board's file."""

    value: float
    unit: str
    kind: str
    source: str


@dataclass(frozen=True)
class TimedCore:
    """A core as the replay takes it. ``costs`` names its table; ``figures`` are by the names of replay.c."""

    name: str
    title: str
    costs: str
    in_order: bool
    figures: dict[str, CoreFigure]

    def given(self, **figures: CoreFigure) -> TimedCore:
        """The same core with other figures, as a board's file gives them."""
        return replace(self, figures={**self.figures, **figures})


@dataclass(frozen=True)
class TimedBoard:
    """One board of a run. ``memory_bytes_per_second`` counts reads and writes together."""

    name: str
    core: TimedCore
    clock_hz: float
    memory_bytes_per_second: float


def read_cores(text: str | None = None) -> dict[str, TimedCore]:
    """All cores that are described, by their lower-case names. Raises BoardError for a figure that lacks something."""
    told = tomllib.loads(text if text is not None else (FOLDER / "cores.toml").read_text(encoding="utf-8"))
    cores = {}
    for name, entry in told.items():
        figures = {key: _figure(name, key, value) for key, value in entry.items() if isinstance(value, dict)}
        cores[name] = TimedCore(name, entry["title"], entry["costs"], entry["in_order"], figures)
    return cores


def timed_core(name: str) -> TimedCore:
    """The core of a name as board files write it (``Cortex-A72``). Raises BoardError where it is not described."""
    cores = read_cores()
    if name.lower() not in cores:
        raise BoardError(
            "no timing of this core is known",
            expected=", ".join(core.title for core in cores.values()),
            found=name,
        )
    return cores[name.lower()]


def machine_text(boards: Sequence[TimedBoard], groups: tuple[Group, ...] | None = None) -> str:
    """The input of replay.c. Raises BoardError for more than 16 boards."""
    if not 1 <= len(boards) <= MAX_BOARDS:
        raise BoardError("too many boards for one run", expected=f"1 to {MAX_BOARDS}", found=str(len(boards)))
    groups = groups or read_groups()
    lines = [f"group {g.name} {g.mask:x} {g.value:x} {g.key:x} {' '.join(g.words)}".rstrip() for g in groups]
    for number, board in enumerate(boards):
        if not board.clock_hz > 0 or not board.memory_bytes_per_second > 0:
            raise BoardError("a board has no clock or no memory", found=board.name)
        values = {
            key: figure.value * (board.clock_hz / 1e9 if key in _NANOSECONDS else 1.0)
            for key, figure in board.core.figures.items()
        }
        if not values["l2_kilobytes"]:  # what the cores of a cluster share comes next
            for what in ("kilobytes", "ways", "latency", "cycles"):
                values[f"l2_{what}"], values[f"l3_{what}"] = values[f"l3_{what}"], 0.0
        queue = int(values.pop("queue"))
        values["in_order"] = int(board.core.in_order)
        values["dram_cycles"] = LINE_BYTES * board.clock_hz / board.memory_bytes_per_second
        lines.append(f"board {number} " + " ".join(f"{key}={value:.9g}" for key, value in values.items()))
        lines += price_lines(cost_table(board.core.costs), groups, queue)
    return "\n".join(lines) + "\n"


#: Micro-operations, latency, latency of additions, whether a result has 128 bits, ports and their cycles.
CostPrice = tuple[int, int, int, bool, tuple[tuple[tuple[str, ...], int], ...]]


@dataclass(frozen=True)
class CostTable:
    """A table of costs/: the units' names, prices, and group -> form -> number of a price."""

    units: tuple[str, ...]
    prices: tuple[CostPrice, ...]
    forms: dict[str, dict[int, int]]


def cost_table(name: str, text: str | None = None) -> CostTable:
    """The table of a name, or of a text. Raises BoardError for a line that is not understood."""
    if text is None:
        text = (FOLDER / "costs" / f"{name}.txt").read_text(encoding="utf-8")
    units: tuple[str, ...] = ()
    prices: list[CostPrice] = []
    forms: dict[str, dict[int, int]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        head, _, rest = line.partition(":")
        words = head.split()
        try:
            if words[0] == "units":
                units = tuple(words[1:])
            elif words[0] == "cost":
                micro, latency, adding, *ports = rest.split()
                wide = ports[:1] == ["wide"]
                needs = tuple(_need(port) for port in ports[wide:])
                prices.append((int(micro), int(latency), int(adding), wide, needs))
            else:
                of_group = forms.setdefault(words[0], {})
                for first, last in re.findall(r"(\d+)(?:-(\d+))?", rest):
                    of_group.update(dict.fromkeys(range(int(first), int(last or first) + 1), int(words[1])))
        except (ValueError, IndexError):
            raise BoardError(
                "a table of instruction costs is damaged", found=f"{name}: {line[:80]}"
            ) from None
    return CostTable(units, tuple(prices), forms)


def price_lines(table: CostTable, groups: tuple[Group, ...], queue: int) -> list[str]:
    """The lines ``price`` and ``forms`` of a board with this table. ``queue``: micro-operations that wait at a unit.

    Units that stand in for each other share what waits for them, so that two hold twice as many; an instruction of
    two micro-operations for them takes two places.
    """
    bit = {unit: number for number, unit in enumerate(table.units)}
    shared = _shared(table)
    lines = []
    for micro, latency, adding, wide, ports in table.prices:
        needs = [(sum(1 << bit[unit] for unit in units), min(cycles, MAX_CYCLES)) for units, cycles in ports]
        waiting = shared[ports[0][0][0]] if ports else frozenset[str]()
        place = min((bit[unit] for unit in waiting), default=MAX_PORTS - 1)
        entries = min(max(1, len(waiting)) * queue, MAX_QUEUE)
        wanted = sum(cycles for units, cycles in ports if waiting.issuperset(units))
        takes = max(1, min(wanted, micro, entries))
        told = " ".join(f"{mask:x}*{cycles}" for mask, cycles in needs)
        lines.append(f"price {micro} {latency} {adding} {place} {entries} {takes} {wide:d} {told}".rstrip())
    for number, group in enumerate(groups):
        of_group = table.forms.get(group.name)
        if of_group:
            lines.append(f"forms {number} " + " ".join(str(of_group.get(f, -1)) for f in range(group.forms)))
    return lines


def _shared(table: CostTable) -> dict[str, frozenset[str]]:
    """Unit -> itself and those that some instruction may take in its stead."""
    shared = {unit: frozenset((unit,)) for unit in table.units}
    for *_, ports in table.prices:
        for units, _ in ports:
            whole = frozenset[str]().union(*(shared[unit] for unit in units))
            shared.update(dict.fromkeys(whole, whole))
    return shared


def _need(text: str) -> tuple[tuple[str, ...], int]:
    units, _, cycles = text.partition("*")
    return tuple(units.split("+")), round(float(cycles))


def _figure(core: str, key: str, value: dict[str, Any]) -> CoreFigure:
    try:
        return CoreFigure(float(value["value"]), value["unit"], value["kind"], value["source"])
    except (KeyError, TypeError, ValueError):
        raise BoardError(
            "a figure of a core lacks its value, unit, kind or source", found=f"{core}.{key}"
        ) from None
