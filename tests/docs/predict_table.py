"""The table of docs/predict.md, of the one that intervals are taken from: ``python -m tests.docs.predict_table``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.predict.boards import read_boards
from benchmarks.predict.table import ratios, summary
from benchmarks.predict.validation import KEPT, TABLE, in_lines, kept_validation
from sdk.api.measuring.predictions import read_validation
from sdk.explain.speed.validation import NetworkKind, Validation

PAGE = Path(__file__).parents[2] / "docs" / "predict.md"
_MARKED = re.compile(r"(<!-- validation: .*? -->\n).*?(<!-- end of validation -->)", re.S)
_PLAIN = NetworkKind(memory_decides=False, int8=False)


def text() -> str:
    """A sentence on the whole, what simpler predictors make of it, then a row for each board and a column for each
    network."""
    table = read_validation()
    networks = list(dict.fromkeys(cell.network for cell in table.cells))
    rows = ["| board, core | " + " | ".join(networks) + " |", "|:---|" + "---:|" * len(networks)]
    for board, core in dict.fromkeys((cell.board, cell.core) for cell in table.cells):
        own = {c.network: 1 / c.factor for c in table.cells if (c.board, c.core) == (board, core)}
        marked = any(not c.looked_at for c in table.cells if (c.board, c.core) == (board, core))
        figures = [f"{own[network]:.2f}" if network in own else "" for network in networks]
        rows.append(f"| {board}{' (test)' if marked else ''}, {core} | " + " | ".join(figures) + " |")
    return "\n".join([_whole(table), "", *_beside_others(), "", *rows]) + "\n"


def _beside_others() -> list[str]:
    """A row for each predictor, on the same cells."""
    boards = read_boards()
    cells, simple = ratios(json.loads(KEPT.read_text("utf-8")), boards)
    unseen = {place: ratio for place, ratio in cells.items() if not boards[place[0]].looked_at}
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


def _whole(table: Validation) -> str:
    errors = [cell.error for cell in table.cells]
    within = 100 * np.mean([error <= 0.3 for error in errors])
    unseen = sum(not cell.looked_at for cell in table.cells)
    seen = f"{unseen} of them were not" if unseen else "All of them were"
    one = table.likely("", _PLAIN, _PLAIN).median_error
    return (
        f"{table.source[0].upper()}{table.source[1:]}.\n"
        f"{len(errors)} cells: median error {100 * median(errors):.0f} %, "
        f"{within:.0f} % of them within 30 %, worst {100 * max(errors):.0f} %; with one measured model of the board\n"
        f"{100 * one:.0f} % in the median. {seen} looked at while the model was made."
    )


def filled(page: str) -> str:
    """The page with the table in its place."""
    return _MARKED.sub(lambda match: match[1] + text() + match[2], page)


if __name__ == "__main__":
    TABLE.write_text(in_lines(kept_validation()), "utf-8")
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
