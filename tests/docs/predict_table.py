"""The table of docs/predict.md, of the one that intervals are taken from, and its sentences on LiteRT: ``python -m
tests.docs.predict_table``."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import mean, median

from benchmarks.predict import litert
from benchmarks.predict.boards import NETWORKS_LOOKED_AT, compared, read_boards
from benchmarks.predict.table import (
    Cells,
    covered,
    earlier_cells,
    elsewhere,
    one_measured,
    ratios,
    summary,
    two_measured,
)
from benchmarks.predict.validation import KEPT, TABLE, in_lines, kept_validation
from sdk.api.measuring.predictions import read_validation
from sdk.explain.speed.validation import NetworkKind, Validation

PAGE = Path(__file__).parents[2] / "docs" / "predict.md"
_MARKED = re.compile(r"(<!-- validation: .*? -->\n).*?(<!-- end of validation -->)", re.S)
_PLAIN = NetworkKind(memory_decides=False, int8=False)


def text() -> str:
    """A sentence on the whole, what simpler predictors make of it, then a row for each board and a column for each
    network; then LiteRT."""
    table, boards = read_validation(), compared(read_boards())
    record = json.loads(KEPT.read_text("utf-8"))
    earlier = earlier_cells(record, boards)
    networks = list(dict.fromkeys(cell.network for cell in table.cells))
    heads = [n if n in NETWORKS_LOOKED_AT else f"{n} (test)" for n in networks]
    rows = ["| board, core | " + " | ".join(heads) + " |", "|:---|" + "---:|" * len(networks)]
    for board, core in dict.fromkeys((cell.board, cell.core) for cell in table.cells):
        own = {c.network: 1 / c.factor for c in table.cells if (c.board, c.core) == (board, core)}
        marked = not any(c.looked_at for c in table.cells if (c.board, c.core) == (board, core))
        stars = {network: "*" if (board, network) in earlier else "" for network in own}
        figures = [f"{own[n]:.2f}{stars[n]}" if n in own else "" for n in networks]
        rows.append(f"| {board}{' (test)' if marked else ''}, {core} | " + " | ".join(figures) + " |")
    cells, simple = ratios(record, boards)
    others = {name: board for name, board in read_boards().items() if not board.clock_known}
    slow = elsewhere(table, record, others)
    parts = [
        _whole(table, cells, earlier, slow),
        "",
        *_beside_others(cells, simple),
        "",
        *rows,
        "",
        _litert(),
    ]
    return "\n".join(parts) + "\n"


def _beside_others(cells: Cells, simple: Mapping[str, Cells]) -> list[str]:
    """A row for each predictor, on the same cells."""
    boards = compared(read_boards())
    unseen = {place: ratio for place, ratio in cells.items() if boards[place[0]].is_test(place[1])}
    heads = ("predictor", "cells", "median error", "worst", "within 15 %", "within 30 %", "ranks")
    rows = ["| " + " | ".join(heads) + " |", "|:---|" + "---:|" * (len(heads) - 1)]
    for name, part in {"this one": cells, "this one, test": unseen, **simple}.items():
        if not part:
            continue
        found = summary(part, boards)
        shares = [f"{100 * found[key]:.0f} %" for key in ("median", "worst", "within_15", "within_30")]
        ranks = "" if found["rank_mean"] is None else f"{found['rank_mean']:.2f}"
        rows.append(f"| {name} | {found['cells']} | " + " | ".join(shares) + f" | {ranks} |")
    return rows


def _whole(
    table: Validation, cells: Cells, earlier: Collection[tuple[str, str]], slow: Sequence[float]
) -> str:
    boards = compared(read_boards())
    found = summary(cells, boards)
    unseen = sum(boards[board].is_test(network) for board, network in cells)
    one = table.likely("", _PLAIN, _PLAIN).median_error
    any_by_any, whole = (100 * median(one_measured(table, whole=whole)) for whole in (False, True))
    old = (
        f"\nIntervals count {len(earlier)} more cells, with a star below: an earlier version of the model made them."
        if earlier
        else ""
    )
    return (
        f"{table.source[0].upper()}{table.source[1:]}.\n"
        f"{len(cells)} cells: median error {100 * found['median']:.0f} %, "
        f"{100 * found['within_30']:.0f} % of them within 30 %, {100 * mean(covered(table)):.0f} % in their interval "
        f"where the table lacks their board, worst {100 * found['worst']:.0f} %; "
        f"with one measured model of the\nboard {100 * one:.1f} % in the median "
        "for a float network by another, neither decided by memory, "
        f"{any_by_any:.1f} % for any by any (taken over whole {whole:.1f} %), "
        f"{100 * median(two_measured(table)):.1f} % by any two, "
        f"{100 * median(slow):.1f} % on boards at an unknown clock (RK3588, May 2022), which are in no other figure. "
        f"{unseen} were not looked at while the model was made.{old}"
    )


def _litert() -> str:
    """Sentences on LiteRT: predicted / published by phone, the errors, and how many bounds hold."""
    record, boards = json.loads(litert.KEPT.read_text("utf-8")), litert.read_litert_boards()
    cells = [one for one in litert.cells_of(record, boards) if one.runtime == litert.RUNTIMES[0]]
    bounds = litert.bounds_of(record, boards)
    phones = []
    for name, title in (("pixel2", "on a Pixel 2 (V1 and V2 looked at)"), ("pixel4", "on a Pixel 4")):
        own = [f"{one.predicted / one.published:.2f}" for one in cells if one.board == name]
        phones.append(f"{', '.join(own)} {title}")
    told = {
        name: f"{100 * median(errors):.0f} %, worst {100 * max(errors):.0f} %"
        for name, errors in litert.errors_of(cells).items()
    }
    inside = sum(one.low <= one.published <= one.high for one in cells)
    below = sum(one.bound <= one.published for one in bounds)
    return (
        "LiteRT as [published](../benchmarks/predict/litert.toml) in 2020, its kernels of now "
        "[predicted](../benchmarks/results/predict/litert.json): MobileNet V1, V2, V3 large and small\n"
        f"{'; '.join(phones)} (predicted / published). Median error {told['this one']}\n"
        f"(MACs / peak {told['MACs / peak']}; instructions / clock {told['instructions / clock']}); "
        f"{inside} of {len(cells)} in their interval, {below} of {len(bounds)} bounds below four threads."
    )


def filled(page: str) -> str:
    """The page with the table in its place."""
    return _MARKED.sub(lambda match: match[1] + text() + match[2], page)


if __name__ == "__main__":
    TABLE.write_text(in_lines(kept_validation()), "utf-8")
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
