"""The table of `sdk tune` and those of a soak as rich renderables. Pure: makes them, prints nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.explain.soaking.run import SoakReport
from sdk.explain.tuning import Candidate, Tuned
from sdk.report.soaking import facts_of_soak, joules_text, minutes_text, soak_sentences
from sdk.report.terminal.tables import FittingTable, facts, notes, short_name, table
from sdk.report.units import bytes_text, percent_text, ratio_text, seconds_text, threads_text


def tuned(result: Tuned) -> RenderableType:
    """Every candidate, the fastest first and the chosen one marked; what was left out and why; what runs now."""
    table = FittingTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for column in ("variant", "runtime"):
        table.add_column(column, no_wrap=True)
    # Instructions, as the line above says; a predicted time stands in no column of measured ones.
    cost = "predicted" if result.predicted_for else "executed" if result.emulated else "median"
    for column in ("threads", cost, "x", "points lost", "package"):
        table.add_column(column, justify="right", no_wrap=column in ("threads", "x", "package"))
    base, on_front = baseline(result), result.on_front
    for number, one in enumerate(result.candidates):
        at_most = one.points_lost_at_most
        style = "bold" if number == result.chosen else "dim" if one.points_lost > result.max_loss else ""
        table.add_row(
            ("*" if number == result.chosen else " ") + ("o" if on_front[number] else ""),
            one.variant,
            one.runtime,
            str(one.threads),
            cost_text(one) + (" M" if one.measurement is None and one.predicted is None else ""),
            ratio_text(base.cost / one.cost),
            f"{one.points_lost:.2f}" + ("" if at_most is None else f" (to {at_most:.2f})"),
            bytes_text(one.package_bytes),
            style=style,
        )
    lines: list[RenderableType] = [
        Text(
            f"{result.model} on {result.board}, ranked by {result.ranked_by}; at most {result.max_loss:g} points of "
            f"{result.metric} may be lost, measured on {result.samples} images of {result.checked_on}"
        ),
        table,
        Text(
            "* chosen; o no other is as small, as fast and as accurate, and better in one of these",
            style="dim",
        ),
    ]
    lines += [Text(f"not measured: {one.variant}: {one.reason}") for one in result.left_out]
    versions = dict.fromkeys(f"{c.runtime} {c.runtime_version}" for c in result.candidates)
    lines.append(Text(", ".join(versions), style="dim"))
    lines += notes(result.notes)
    lines.append(Text(verdict(result), style="bold"))
    return Group(*lines)


def baseline(result: Tuned) -> Candidate:
    """The baseline of speed-ups: the cheapest dense float candidate on one thread, else the slowest of all."""
    plain = [c for c in result.candidates if c.form == "dense" and c.threads == 1]
    return plain[0] if plain else result.candidates[-1]


def cost_text(candidate: Candidate) -> str:
    """A latency or a predicted time with its unit, or millions of instructions."""
    if candidate.measurement is not None or candidate.predicted is not None:
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


# -- soaks ---------------------------------------------------------------------------------------------------------


def soaked(result: SoakReport) -> RenderableType:
    """Speed at first and in steady state, energy, memory; then what follows, and the conditions."""
    parts: list[RenderableType] = [Text(f"Board {result.board}: {result.board_title}", style="bold")]
    parts.append(_speeds(result))
    if any(one.watts is not None for one in result.figures):
        parts.append(_energies(result))
    parts.append(_memory(result))
    parts += [Text(said) for said in soak_sentences(result)]
    parts.append(facts(*facts_of_soak(result)))
    parts += notes(result.notes)
    return Group(*parts)


def _speeds(result: SoakReport) -> Table:
    made = table(
        f"Time of one inference over {minutes_text(result.soak.seconds)}, {threads_text(result.soak.threads)}",
        *("model", "first minute", "steady", "speed kept", "slower after"),
    )
    for one in result.figures:
        made.add_row(
            short_name(one.model, 24),
            seconds_text(one.first_seconds),
            seconds_text(one.steady_seconds) + ("" if one.is_steady else " (moving)"),
            percent_text(one.kept, 0),
            "-" if one.slower_after_seconds is None else minutes_text(one.slower_after_seconds),
        )
    return made


def _energies(result: SoakReport) -> Table:
    made = table("Energy of one inference, steady state", "model", "idle off", "with idle", "board draws")
    for one in result.figures:
        made.add_row(
            short_name(one.model, 24),
            joules_text(one.joules),
            joules_text(one.joules_with_idle),
            "-" if one.watts is None else f"{one.watts:.2f} W",
        )
    return made


def _memory(result: SoakReport) -> Table:
    made = table("Memory", "model", "weights", "arena", "process", "without it", "~largest at")
    for model, plan in zip(result.soak.models, result.memory, strict=True):
        process: Sequence[int | None] = (model.peak_memory_bytes, model.base_memory_bytes)
        made.add_row(
            short_name(model.name, 20),
            "-" if plan is None else bytes_text(plan.weight_bytes),
            "-" if plan is None else bytes_text(plan.arena_bytes),
            *("-" if size is None else bytes_text(size) for size in process),
            "-" if plan is None else f"{plan.peak} {plan.kind} {short_name(plan.name, 16)}",
        )
    return made
