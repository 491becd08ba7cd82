"""The tables of the validation: network x board, predicted / published, and what simpler predictors make of it."""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.predict.boards import PublishedBoard, cells_of, compared
from benchmarks.predict.networks import MILLION_MACS, NETWORKS
from benchmarks.predict.validation import validation
from sdk.board.emulation.replay.machine import timed_core
from sdk.explain.speed.validation import Validation, ValidationCell, scaled_by

#: Multiply-accumulates a cycle at peak: (float32, what fp16 or dot products make of it where the core has them).
PEAK_MACS = {"cortex-a76": (8, 16), "cortex-a78ae": (8, 16), "cortex-a55": (4, 8)}

Cells = dict[tuple[str, str], float]


def print_tables(record: Mapping[str, Any], every: Mapping[str, PublishedBoard]) -> dict[str, Any]:
    """Prints them; gives the figures. Boards at an unknown clock are in none but their own."""
    print("predicted / published   " + " ".join(f"{name[:13]:>13}" for name in NETWORKS))
    shown, _ = ratios(record, every)
    for name, board in every.items():
        row = " ".join(f"{shown[name, n]:13.2f}" if (name, n) in shown else f"{'':13}" for n in NETWORKS)
        kind = "seen" if board.looked_at else "test"
        print(f"{name:18} {kind if board.clock_known else 'no clock'} {row}".rstrip())
    boards = compared(every)
    cells, simple = ratios(record, boards)
    figures = {}
    for title, part in (
        ("all", cells),
        ("looked at", {place: v for place, v in cells.items() if not boards[place[0]].is_test(place[1])}),
        ("test", {place: v for place, v in cells.items() if boards[place[0]].is_test(place[1])}),
    ):
        if part:
            figures[title] = summary(part, boards)
            print(f"{title:10} {told(figures[title])}")
    for title, part in simple.items():
        if part:
            print(f"{title:24} {told(summary(part, boards))}")
    if cells:
        table = validation(record, boards)
        others = {name: board for name, board in every.items() if not board.clock_known}
        for title, one in (
            ("one latency measured", one_measured(table)),
            ("the same, taken over whole", one_measured(table, whole=True)),
            ("two latencies measured", two_measured(table)),
            ("one, of boards at an unknown clock", elsewhere(table, record, others)),
        ):
            if one:
                print(
                    f"{title:34} {len(one)} pairs: median {statistics.median(one):.1%}, worst {max(one):.0%}"
                )
        for title, inside in (("no latency", covered(table)), ("one latency", covered(table, measured=True))):
            if inside:
                share = sum(inside) / len(inside)
                print(f"{title} measured, the board left out: {share:.0%} of {len(inside)} in their interval")
    return figures


def ratios(record: Mapping[str, Any], boards: Mapping[str, PublishedBoard]) -> tuple[Cells, dict[str, Cells]]:
    """Predicted / published of every cell that this model made, and the same of simpler predictors."""
    cells: Cells = {}
    simple: dict[str, Cells] = {"MACs / peak": {}, "instructions / clock": {}, "roofline": {}}
    for (name, network), (key, counted) in cells_of(record, boards).items():
        if key in record.get("earlier", ()):
            continue
        board, instructions = boards[name], record["runs"][key]["instructions"]
        clock, published = board.clock_ghz * 1e9, board.milliseconds[network] / 1e3
        cells[name, network] = counted["cycles"] / clock / published
        fast = board.arithmetic == "fp16" or network.endswith("int8")
        peak = PEAK_MACS.get(timed_core(board.core).name, (4, 4))[int(fast)]
        least = 1e6 * MILLION_MACS[network] / peak / clock
        simple["MACs / peak"][name, network] = least / published
        simple["instructions / clock"][name, network] = instructions / clock / published
        memory = counted["dram_bytes"] / (2e9 * board.memcpy)
        simple["roofline"][name, network] = max(least, memory) / published
    return cells, simple


def earlier_cells(record: Mapping[str, Any], boards: Mapping[str, PublishedBoard]) -> set[tuple[str, str]]:
    """Those that an earlier version of the model made, and that did not run again since."""
    return {
        (name, key.split()[0])
        for key in record.get("earlier", ())
        for name in record["runs"][key]["boards"]
        if name in boards
    }


def summary(cells: Cells, boards: Mapping[str, PublishedBoard]) -> dict[str, Any]:
    """Errors are |predicted / published - 1|; ranks are those of a board's networks."""
    errors = sorted(abs(value - 1.0) for value in cells.values())
    ranks = [r for name in boards if (r := rank_correlation(name, cells, boards)) is not None]
    return {
        "cells": len(errors),
        "median": statistics.median(errors),
        "worst": errors[-1],
        "within_15": sum(e <= 0.15 for e in errors) / len(errors),
        "within_30": sum(e <= 0.30 for e in errors) / len(errors),
        "ratio_median": statistics.median(cells.values()),
        "rank_least": min(ranks, default=None),
        "rank_mean": statistics.mean(ranks) if ranks else None,
    }


def told(figures: Mapping[str, Any]) -> str:
    """One line of a summary."""
    ranks = (
        ""
        if figures["rank_mean"] is None
        else f", ranks {figures['rank_mean']:.3f} (least {figures['rank_least']:.2f})"
    )
    return (
        f"{figures['cells']} cells: median {figures['median']:.1%}, worst {figures['worst']:.0%}, "
        f"{figures['within_15']:.0%} within 15 %, {figures['within_30']:.0%} within 30 %, "
        f"median ratio {figures['ratio_median']:.2f}{ranks}"
    )


def rank_correlation(name: str, cells: Cells, boards: Mapping[str, PublishedBoard]) -> float | None:
    """Spearman's, of one board's networks by predicted and by published time; None for fewer than three."""
    published = {n: boards[name].milliseconds[n] for b, n in cells if b == name}
    if len(published) < 3:
        return None
    predicted = {n: cells[name, n] * ms for n, ms in published.items()}
    places = [sorted(times, key=lambda n: times[n]) for times in (published, predicted)]
    count = len(published)
    squares = sum((places[0].index(n) - places[1].index(n)) ** 2 for n in published)
    return 1.0 - 6.0 * squares / (count * (count * count - 1))


def one_measured(table: Validation, *, whole: bool = False) -> list[float]:
    """Errors where one other network of the board is measured and scales the prediction: every pair of networks.

    ``whole``: by all that was measured over predicted, and not by what the other boards say networks have in common.
    """
    pairs = table.with_one_measured()
    left = [cell.factor / other.factor if whole else factor for cell, other, factor in pairs]
    return [abs(1.0 / factor - 1.0) for factor in left]


def two_measured(table: Validation) -> list[float]:
    """The same where two other networks of the board are measured: every pair of them."""
    boards: dict[str, list[ValidationCell]] = {}
    for cell in table.cells:
        boards.setdefault(cell.board, []).append(cell)
    errors = []
    for board, cells in boards.items():
        known = table.in_common(board), table.seen(board)
        for cell in cells:
            for pair in itertools.combinations([other for other in cells if other is not cell], 2):
                scale = scaled_by([other.factor for other in pair], *known)
                errors.append(abs(scale / cell.factor - 1.0))
    return errors


def elsewhere(
    table: Validation, record: Mapping[str, Any], boards: Mapping[str, PublishedBoard]
) -> list[float]:
    """The errors of :func:`one_measured` on boards that are not in the table, each by what the table says."""
    known, errors = (table.in_common(), table.seen()), []
    for board in boards.values():
        cells = validation(record, {board.name: board}).cells
        for cell, other in itertools.permutations(cells, 2):
            errors.append(abs(scaled_by([other.factor], *known) / cell.factor - 1.0))
    return errors


def covered(table: Validation, *, measured: bool = False) -> list[bool]:
    """Whether each time lies in the interval that the table without its board gives; with ``measured`` of every pair of
    networks, of which one is measured."""
    found = []
    for board in dict.fromkeys(cell.board for cell in table.cells):
        own = [cell for cell in table.cells if cell.board == board]
        rest = Validation(table.source, tuple(cell for cell in table.cells if cell.board != board))
        known = rest.in_common(), rest.seen()
        pairs = itertools.permutations(own, 2) if measured else ((cell, None) for cell in own)
        likely = functools.cache(rest.likely)
        for cell, other in pairs:
            factors = likely(cell.core, cell.kind, None if other is None else other.kind)
            scale = 1.0 if other is None else scaled_by([other.factor], *known)
            found.append(factors.low <= cell.factor / scale <= factors.high)
    return found
