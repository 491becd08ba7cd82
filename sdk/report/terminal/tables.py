"""The tables that terminal reports are made of: one look, and on every width no cell that is cut. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from device_agent.record.measurement import Measurement
from device_agent.record.visible import visible
from sdk.report.units import seconds_text

#: Characters of a note that are shown.
MAX_NOTE = 1000
#: A column whose text may wrap is readable from this width on.
_READABLE = 14
_ENDLESS = 10_000


class FittingTable(Table):
    """A rich Table whose cells are never cut: where they do not fit side by side, each row is a paragraph."""

    def add_column(self, header: RenderableType = "", *more: Any, **options: Any) -> None:
        """As rich's; a column of numbers never wraps, so that no unit is parted from its figure."""
        if options.get("justify") == "right":
            options["no_wrap"] = True
        super().add_column(header, *more, **options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich asks for: the table as it is, or as a list."""
        if self._needs(console, options) <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._list(console)

    def _needs(self, console: Console, options: ConsoleOptions) -> int:
        """Columns of the terminal, at least: no cell that must not wrap does, and what may wrap stays readable."""
        wide = options.update(max_width=_ENDLESS)
        total = super().__rich_measure__(console, wide).minimum
        for column in self.columns:
            cells = [console.measure(cell, options=wide) for cell in (column.header, *column.cells)]
            longest = max(cell.maximum for cell in cells)
            word = max(cell.minimum for cell in cells)  # which is what rich counts
            whole = column.no_wrap and column.overflow != "ellipsis"
            total += (longest if whole else min(longest, _READABLE)) - word
        return total

    def _list(self, console: Console) -> Iterator[Any]:
        if self.title:
            yield Text(str(self.title), style=self.title_style or "bold")
        heads = [_text(column.header) for column in self.columns]
        named = next((number for number, head in enumerate(heads) if head.plain.strip()), 0)
        for row in zip(*(column.cells for column in self.columns), strict=True):
            told = [_text(cell) for cell in row]
            if not any(cell.plain.strip() for cell in told):
                continue
            name = Text(" ").join(cell for cell in told[: named + 1] if cell.plain.strip())
            name.stylize("bold")
            yield name
            lines = Table.grid(padding=(0, 1, 0, 2))
            lines.add_column(style="dim", no_wrap=True)
            lines.add_column(overflow="fold")
            for head, cell in zip(heads[named + 1 :], told[named + 1 :], strict=True):
                if cell.plain.strip():
                    lines.add_row(head, cell)
            yield lines


def _text(cell: Any) -> Text:
    return cell.copy() if isinstance(cell, Text) else Text(str(cell))


def table(title: str | None, *columns: str, tight: bool = False) -> Table:
    """A table of one text column and numbers. A column named with ``<`` is text too, with ``~`` text that may wrap.

    ``tight`` puts one space between columns instead of two, for tables that need the room.
    """
    made = FittingTable(title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    made.title = f"\n{title}" if title else None
    made.padding = (0, 0) if tight else (0, 1, 0, 0)
    for index, column in enumerate(columns):
        text = index == 0 or column[0] in "<~"
        made.add_column(
            column.lstrip("<~"),
            justify="left" if text else "right",
            overflow="fold",
            no_wrap=column[0] != "~",
        )
    return made


def facts(*pairs: tuple[str, str]) -> Table:
    """Label and value, one pair per line."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for label, value in pairs:
        made.add_row(label, value)
    return made


def init_text(measurement: Measurement) -> str:
    """How long initialising took, and whether XNNPACK's packed weights were there (warm) or were made (cold)."""
    return f"{seconds_text(measurement.init_seconds)} {measurement.start}"


def shape_text(shape: Sequence[int]) -> str:
    """(1, 224, 224, 3) as 1x224x224x3."""
    return "x".join(map(str, shape))


def short_name(name: str, width: int = 14) -> str:
    """The end of a converter's long tensor name, which is where layers differ."""
    last = name.split(";")[0]
    return last if len(last) <= width else "…" + last[-(width - 1) :]


def short_names(names: Sequence[str], width: int = 14) -> list[str]:
    """Names that :func:`short_name` would make equal are told apart: by their numbers, from 1 on, and by the end of
    what they do not have in common."""
    plain = [short_name(name, width) for name in names]
    alike: dict[str, list[str]] = {}
    for name, short in zip(names, plain, strict=True):
        alike.setdefault(short, []).append(name)
    told = []
    for number, (name, short) in enumerate(zip(names, plain, strict=True), 1):
        if len(alike[short]) > 1:
            head = f"{number} "
            short = head + short_name(_own_part(name, alike[short]), width - len(head))
        told.append(short)
    return told


def _own_part(name: str, alike: Sequence[str]) -> str:
    """The name without the parts at its end that all of ``alike`` share; whole where nothing would be left."""
    parts = [one.split(";")[0].split("/") for one in alike]
    shared = 0
    while all(len(one) > shared + 1 for one in parts) and len({one[-1 - shared] for one in parts}) == 1:
        shared += 1
    own = name.split(";")[0].split("/")
    return "/".join(own[: len(own) - shared])


def notes(found: Sequence[str]) -> list[RenderableType]:
    """A line for each note; what strangers wrote in it, names of files and labels, is made visible."""
    return [Text(f"note: {visible(note, most=MAX_NOTE)}", style="yellow") for note in found]
