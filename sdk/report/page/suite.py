"""A suite as one HTML file that needs nothing else: theory, this board and the paper. Pure: returns text."""

from __future__ import annotations

from functools import partial
from typing import Any

from sdk.report.conditions import facts_of_run, problems_of
from sdk.report.page import charts, shapes
from sdk.report.page.fill import Cell, Markup, fill
from sdk.report.page.template import SUITE_TEMPLATE
from sdk.report.units import count_text, ratio_text, seconds_text, threads_text


def render(run: Any) -> str:
    """The page of a :class:`sdk.api.measuring.suites.SuiteRun`."""
    first = run.runs[0][1]
    counts = dict.fromkeys(row.threads for row in run.rows)
    return fill(
        SUITE_TEMPLATE,
        title=f"{run.suite} on {first.board}",
        run=run,
        problems=problems_of([report for _, report in run.runs]),
        tables=[_table([row for row in run.rows if row.threads == count], count) for count in counts],
        sizes=[
            {
                "size": size,
                "distributions": Markup(shapes.responsive(partial(charts.distributions, report.models))),
                "facts": facts_of_run(report),
            }
            for size, report in run.runs
        ],
    )


def _table(rows: list[Any], threads: int) -> dict[str, Any]:
    names = list(dict.fromkeys(row.name for row in rows))
    paper = any(row.paper_speedup is not None for row in rows)
    return {
        "title": f"Theory against measurement, {threads_text(threads)}",
        "plot": Markup(shapes.responsive(partial(charts.promised_against_measured, rows))),
        "key": [(name, f"series-{number % 8}") for number, name in enumerate(names)],
        "rows": [{"name": row.name, "cells": _cells(row, paper)} for row in rows],
        "paper": paper,
        "first": names[0],
    }


def _cells(row: Any, paper: bool) -> list[Cell]:
    cells = [
        Cell("size", row.size, row.size),
        Cell("macs", row.macs, count_text(row.macs)),
        Cell("theoretical_speedup", repr(row.theoretical_speedup), ratio_text(row.theoretical_speedup)),
        Cell("median_seconds", repr(row.median_seconds), seconds_text(row.median_seconds)),
        Cell("measured_speedup", repr(row.measured_speedup), ratio_text(row.measured_speedup)),
    ]
    if paper:
        seconds, ratio = row.paper_seconds, row.paper_speedup
        cells += [
            Cell("paper_seconds", repr(seconds or ""), "-" if seconds is None else seconds_text(seconds)),
            Cell("paper_speedup", repr(ratio or ""), "-" if ratio is None else ratio_text(ratio)),
        ]
    return cells
