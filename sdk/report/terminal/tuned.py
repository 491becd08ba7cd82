"""The table of `sdk tune` as rich renderables. Pure: makes them, prints nothing."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.explain.tuning import Candidate, Tuned
from sdk.report.terminal.tables import notes
from sdk.report.units import bytes_text, ratio_text, seconds_text


def tuned(result: Tuned) -> RenderableType:
    """Every candidate, the fastest first and the chosen one marked; what was left out and why; what runs now."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for column in ("variant", "runtime"):
        table.add_column(column, no_wrap=True)
    cost = "executed" if result.emulated else "median"  # instructions, as the line above says
    for column in ("threads", cost, "x", "points lost", "package"):
        table.add_column(column, justify="right", no_wrap=column in ("threads", "x", "package"))
    base = baseline(result)
    for number, one in enumerate(result.candidates):
        style = "bold" if number == result.chosen else "dim" if one.points_lost > result.max_loss else ""
        table.add_row(
            "*" if number == result.chosen else "",
            one.variant,
            one.runtime,
            str(one.threads),
            cost_text(one) + (" M" if one.measurement is None else ""),
            ratio_text(base.cost / one.cost),
            f"{one.points_lost:.2f}",
            bytes_text(one.package_bytes),
            style=style,
        )
    lines: list[RenderableType] = [
        Text(
            f"{result.model} on {result.board}, ranked by {result.ranked_by}; at most {result.max_loss:g} points may "
            f"be lost, measured on {result.samples} images of {result.checked_on}"
        ),
        table,
    ]
    lines += [Text(f"not measured: {one.variant}: {one.reason}") for one in result.left_out]
    versions = dict.fromkeys(f"{c.runtime} {c.runtime_version}" for c in result.candidates)
    lines.append(Text(", ".join(versions), style="dim"))
    lines += notes(result.notes)
    lines.append(Text(verdict(result), style="bold"))
    return Group(*lines)


def baseline(result: Tuned) -> Candidate:
    """What speed-ups are counted from: the cheapest dense float candidate on one thread, else the slowest of all."""
    plain = [c for c in result.candidates if c.form == "dense" and c.threads == 1]
    return plain[0] if plain else result.candidates[-1]


def cost_text(candidate: Candidate) -> str:
    """A latency with its unit, or millions of instructions."""
    if candidate.measurement is not None:
        return seconds_text(candidate.cost)
    return f"{candidate.cost / 1e6:.1f}"


def verdict(result: Tuned) -> str:
    """One sentence: what was chosen, and whether it runs now."""
    best = result.winner
    threads = "1 thread" if best.threads == 1 else f"{best.threads} threads"
    chosen = f"{best.variant} on {best.runtime}, {threads}"
    if result.release:
        return f"{chosen}: runs on {result.board} now, under the name {result.model}"
    return f"{chosen} is the best; it was not deployed"
