"""The gap between theory and measurement on 80 columns: a waterfall, and its causes in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from device_agent.record.visible import visible
from sdk.explain.gap import Gap
from sdk.report.conditions import accounted_text, problems_of, work_text
from sdk.report.terminal.tables import FittingTable, short_name
from sdk.report.units import bytes_text, count_text, percent_text, ratio_text, seconds_text, threads_text

#: Columns of a waterfall's bars: as many as there is room for, between these.
_LEAST_BAR, _BAR = 6, 30


def gap(result: Gap) -> RenderableType:
    """From the promised time to the measured one, part by part, then the largest causes."""
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    longest = max(result.promised_seconds, result.measured_seconds)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    total = result.promised_seconds
    table.add_row("promised by theory", seconds_text(total), "", Bar(0.0, total, longest, "dim"))
    for part in result.parts:
        if abs(part.seconds) < 0.0005 * result.measured_seconds:
            continue
        start, total = total, total + part.seconds
        sign = "+" if part.seconds > 0 else "-"
        table.add_row(
            part.name,
            sign + seconds_text(abs(part.seconds)),
            percent_text(part.seconds / result.measured_seconds, 0),
            Bar(min(start, total), max(start, total), longest, "yellow" if part.seconds > 0 else "green"),
        )
    measured = result.measured_seconds
    table.add_row("measured", seconds_text(measured), "100 %", Bar(0.0, measured, longest, "cyan"))
    parts: list[RenderableType] = [
        Text(f"\nWhere it went: {result.candidate}, {threads}", style="bold"),
        Text(
            f"{ratio_text(result.theoretical_speedup)} in theory ({work_text(result.work)}), "
            f"{ratio_text(result.measured_speedup)} measured: {percent_text(result.share_realised, 0)} realised"
        ),
        table,
    ]
    parts += [Padding(Text(f"{n}. {cause}"), (0, 0, 0, 2)) for n, cause in enumerate(result.causes, 1)]
    if result.sparsity:
        parts.append(Text(result.sparsity))
    parts.append(Text(accounted_text(result), style="dim" if result.adds_up else "yellow"))
    methods = {
        "runtime": "by the runtime's profiler",
        "isolated": "each alone",
        "armlet": "by Armlet's delegate",
    }
    parts.append(
        Text(
            f"arithmetic at {result.peak_flop_per_second / 1e9:.3g} GFLOP/s ({result.peak_source}); operators timed "
            f"{methods[result.method]}",
            style="dim",
        )
    )
    return Group(*parts)


@dataclass(frozen=True)
class Bar:
    """A bar of a waterfall from ``start`` to ``end`` on a line that stands for ``longest``, all in seconds; as long as
    its column is wide, so that a narrow terminal cuts none of it."""

    start: float
    end: float
    longest: float
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich asks for."""
        places = min(options.max_width, _BAR)
        first = min(round(places * max(self.start, 0.0) / self.longest), places - 1)
        yield Text(
            " " * first + "█" * max(1, round(places * self.end / self.longest) - first), style=self.style
        )

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """How narrow and how wide it may be, in columns."""
        return Measurement(min(_LEAST_BAR, options.max_width), min(_BAR, options.max_width))


def against(result: Any) -> RenderableType:
    """Two runs of the same models: which became slower, with 95 % confidence."""
    table = FittingTable(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for head, justify in (("model", "left"), ("threads", "right"), ("old", "right"), ("new", "right")):
        table.add_column(head, justify=justify)
    table.add_column("new/old", justify="right")
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for entry, found in zip(result.comparisons, result.verdicts, strict=True):
        slow, low, high = (
            1.0 / entry.measured_speedup,
            1.0 / entry.measured_high,
            1.0 / entry.measured_low,
        )
        verdict = Text("no difference")
        if found.answer == "slower":
            verdict = Text("slower", style="bold red")
        elif found.answer == "can't tell":
            verdict = Text("can't tell", style="yellow")
        elif entry.is_conclusive:
            verdict = Text(
                "a little slower" if slow > 1.0 else "faster", style="yellow" if slow > 1.0 else "green"
            )
        table.add_row(
            short_name(entry.candidate, 18),
            str(entry.threads),
            seconds_text(entry.baseline_median_seconds),
            seconds_text(entry.candidate_median_seconds),
            f"{slow:.2f}",
            f"{low:.2f} - {high:.2f}",
            verdict,
        )
    notes = [Text(f"note: {warning}", style="yellow") for warning in result.warnings]
    limit = percent_text(result.limit)
    what = [
        f"{entry.candidate}, {threads_text(entry.threads)}: can't tell; {found.settle}"
        for entry, found in zip(result.comparisons, result.verdicts, strict=True)
        if found.settle
    ]
    said = {
        "slower": f"{len(result.slower)} of {len(result.comparisons)} slower by more than {limit}",
        "not slower": f"none slower by more than {limit}, with 95 % confidence",
        "can't tell": f"none certainly slower by more than {limit}; {len(result.cannot_tell)} can't be told",
    }[result.answer]
    grown = [
        Text(
            f"{visible(one.model)}: {bytes_text(one.old_bytes)} -> {bytes_text(one.new_bytes)}, "
            f"{percent_text(one.share)} larger",
            style="bold red",
        )
        for one in result.larger
    ]
    return Group(table, *notes, *map(Text, what), Text(said, style="bold"), *grown)


def calibration(result: Any) -> RenderableType:
    """The peaks of the board through its runtime."""
    return Text(
        f"{result.board}, {result.threads} thread{'s' if result.threads > 1 else ''}, {result.runtime} "
        f"{result.runtime_version}: {result.flop_per_second / 1e9:.3g} GFLOP/s float32, "
        f"{result.int8_per_second / 1e9:.3g} GOP/s int8, {result.memory_bytes_per_second / 1e9:.3g} GB/s read and "
        f"written; a call costs {seconds_text(result.call_seconds)}"
    )


def suite(result: Any) -> RenderableType:
    """Theory, this board and the paper side by side, a table for every number of threads."""
    parts: list[RenderableType] = []
    for threads in dict.fromkeys(row.threads for row in result.rows):
        table = FittingTable(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for head in ("network", "input", "MACs", "in theory", "here", "here", "paper", "paper"):
            table.add_column(head, justify="left" if head == "network" else "right", no_wrap=True)
        for row in result.rows:
            if row.threads == threads:
                table.add_row(
                    row.name,
                    row.size,
                    count_text(row.macs),
                    ratio_text(row.theoretical_speedup),
                    seconds_text(row.median_seconds),
                    ratio_text(row.measured_speedup),
                    "-" if row.paper_seconds is None else seconds_text(row.paper_seconds),
                    "-" if row.paper_speedup is None else ratio_text(row.paper_speedup),
                )
        parts += [
            Text(threads_text(threads), style="bold"),
            table,
            Text(""),
        ]
    said = f"speed-ups against {result.rows[0].name} at the same size; paper: {result.source}"
    return Group(
        *parts,
        Text(said, style="dim"),
        *(Text(f"note: {problem}", style="yellow") for problem in problems_of([r for _, r in result.runs])),
    )


def size_suite(result: Any) -> RenderableType:
    """Bytes by stage, and the paper's beside."""
    table = FittingTable(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("network", "float32", "pruned", "clustered", "coded", "ratio", "paper", "ratio"):
        table.add_column(head, justify="left" if head == "network" else "right", no_wrap=True)
    for row in result.rows:
        stages = dict(row.stages)
        table.add_row(
            row.name,
            bytes_text(row.original_bytes),
            *(bytes_text(stages[stage]) if stage in stages else "-" for stage in ("pruned", "clustered")),
            bytes_text(row.package_bytes),
            ratio_text(row.ratio),
            bytes_text(row.paper_bytes),
            ratio_text(row.paper_ratio),
        )
    return Group(table, Text(f"paper: {result.source}; {result.note}", style="dim"))
