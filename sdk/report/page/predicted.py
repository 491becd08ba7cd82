"""Predicted times as one HTML file that needs nothing else; each says that nothing was measured. Pure: returns text.

Every figure stands with its raw value beside it (``data-field``, ``data-value``), as on the page of a run.
"""

from __future__ import annotations

from typing import Any

from sdk.explain.run import PREDICTED
from sdk.explain.speed.predictions import PredictedModel, Predictions
from sdk.explain.theory import GROUPS
from sdk.report.page import bars
from sdk.report.page.bars import Bar
from sdk.report.page.fill import Cell, Markup, fill
from sdk.report.predictions import (
    PART_NAMES,
    bound_text,
    facts_of_predictions,
    likely_text,
    optional_text,
    sentence_of,
    title_text,
)
from sdk.report.units import count_text, percent_text, ratio_text, seconds_text, threads_text

_HEADS = ["model", "board", "theory", "predicted, not measured", "likely", "measured", "waits for DRAM"]
_TEMPLATE = """<header><h1>{{ title }}</h1>
<p class="verdict warn">Predicted, not measured. What was measured stands in a column of its own.</p></header>
<section aria-label="Answer">
{{ table(heads, rows, "One inference on one thread: theory, what is predicted, and what was measured", "answer") }}
<p class="dim">Theory: MACs over the peak of one core. {{ method }}</p>
{% for sentence in flagged %}
<p class="warn">{{ sentence }}</p>
{% endfor %}
</section>
<section><h2>What the predicted time is made of</h2>
{{ table(split_heads, splits, "Shares of the predicted cycles, not measured") }}
{% for chart in waterfalls %}<div class="plot">{{ chart }}</div>{% endfor %}
</section>
{% if bounds %}
<section><h2>Several threads: a bound, no prediction</h2>
{{ table(["model", "board", "threads", "not faster than"], bounds,
 "The same inference split over the cores without any loss; predicted, not measured") }}
</section>
{% endif %}
{% if ratios %}
<section><h2>Against the first model</h2>
{{ table(["model", "board", "in theory", "predicted, not measured"], ratios, "Speed-ups, predicted and not measured") }}
</section>
{% endif %}
{% for entry in operators %}
<section><h2>Operators of {{ entry.name }}: predicted, not measured</h2>
<div class="plot">{{ entry.groups }}</div>
{% if entry.alone %}<p class="dim">Each operator predicted alone, with its inputs in the caches; the whole is another
run, so they do not add up to it.</p>{% endif %}
<details><summary>Every operator</summary>
{{ table(["#", "operator", "group", "output", "MACs", "predicted", "share", "kernels"], entry.rows,
 "Every operator of " + entry.name + ", predicted and not measured") }}</details>
</section>
{% endfor %}
<section><h2>What it rests on</h2>
<dl>{% for name, text in facts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>{% endfor %}</dl>
{% if assumptions %}
<details><summary>Every figure of cores and boards behind it</summary>
{{ table(["core", "figure", "value", "how it is known", "source"], assumptions, "Figures that went into the replay") }}
</details>
{% endif %}
</section>
</main>
<script>{{ script }}</script>
</body>
</html>
"""


def render(result: Predictions) -> str:
    """The page."""
    facts = facts_of_predictions(result)
    facts += [("host", result.host)] if result.host else []
    facts += [("command", result.command)] if result.command else []
    return fill(
        _TEMPLATE,
        title=title_text(result),
        heads=_HEADS,
        rows=[_row(one) for one in result.models],
        method=dict(facts)["method"],
        flagged=result.notes,
        split_heads=["model", "board", *PART_NAMES.values(), "instructions"],
        splits=[_split(one) for one in result.models],
        waterfalls=[Markup(_waterfall(one)) for one in result.models],
        bounds=[_bound(one, number) for one in result.models for number in range(len(one.bounds))],
        ratios=[
            {
                "name": one.candidate,
                "cells": [
                    Cell("board", one.board, one.board, left=True),
                    Cell(
                        "theoretical_speedup",
                        one.theoretical or "",
                        "-" if one.theoretical is None else ratio_text(one.theoretical),
                    ),
                    Cell("predicted_speedup", one.predicted, ratio_text(one.predicted)),
                ],
            }
            for one in result.ratios()
        ],
        operators=[_operators(one) for one in result.models if one.operators()],
        facts=[(name, text) for name, text in facts if name != "method"],
        assumptions=_assumptions(result),
    )


def _seconds(field: str, seconds: float | None) -> Cell:
    return Cell(field, "" if seconds is None else repr(seconds), optional_text(seconds))


def _row(one: PredictedModel) -> dict[str, Any]:
    share = one.prediction.dram_share
    said = percent_text(share, 0) + (", which decides" if one.memory_decides else "")
    return {
        "name": one.name,
        "cells": [
            Cell("board", one.board, one.board, left=True),
            _seconds("theory_seconds", one.theory_seconds),
            _seconds("predicted_seconds", one.predicted_seconds),
            Cell("low_seconds", repr(one.low_seconds), likely_text(one)),
            _seconds("measured_seconds", one.measured_seconds),
            Cell("dram_share", repr(share), said),
        ],
    }


def _split(one: PredictedModel) -> dict[str, Any]:
    seconds = one.part_seconds()
    cells = [
        Cell(f"{name}_seconds", repr(seconds[name]), percent_text(seconds[name] / one.predicted_seconds, 0))
        for name in PART_NAMES
    ]
    counted = one.prediction.instructions
    return {
        "name": one.name,
        "cells": [
            Cell("board", one.board, one.board, left=True),
            *cells,
            Cell("instructions", counted, count_text(counted)),
        ],
    }


def _bound(one: PredictedModel, number: int) -> dict[str, Any]:
    bound = one.bounds[number]
    return {
        "name": one.name,
        "cells": [
            Cell("board", one.board, one.board, left=True),
            Cell("threads", bound.threads, threads_text(bound.threads)),
            Cell("bound_seconds", repr(bound.seconds), bound_text(bound)),
        ],
    }


def _waterfall(one: PredictedModel) -> str:
    """From theory to the predicted time, a bar for each step."""
    steps = one.steps()
    known = one.theory_seconds is not None
    longest = max(one.predicted_seconds, steps[0].seconds)
    rows, total = [], 0.0
    for number, step in enumerate(steps):
        start, total = total, total + step.seconds
        first = known and not number
        sign = "" if first else "+" if step.seconds >= 0 else "−"
        style = "promise" if first else "loss" if step.seconds >= 0 else "gain"
        rows.append(
            Bar(
                "theory" if first else PART_NAMES.get(step.name, step.name),
                sign + seconds_text(abs(step.seconds)),
                [(abs(step.seconds) / longest, style)],
                min(start, total) / longest,
                strong=first,
            )
        )
    rows.append(
        Bar(
            "predicted",
            seconds_text(one.predicted_seconds),
            [(one.predicted_seconds / longest, "series-7")],
            strong=True,
        )
    )
    return bars.bars(rows, f"From theory to {sentence_of(one)}")


def _operators(one: PredictedModel) -> dict[str, Any]:
    times, whole = one.operators(), one.predicted_seconds
    rows = []
    for group in GROUPS:
        seconds = sum(t.seconds for t in times if t.cost.group == group)
        if seconds:
            text = f"{seconds_text(seconds)}, {percent_text(seconds / whole, 0)}"
            rows.append(Bar(group, text, [(seconds / whole, bars.group_class(group))]))
    outside = one.outside_seconds()
    rows.append(
        Bar("outside of them", seconds_text(max(outside, 0.0)), [(max(outside, 0.0) / whole, "outside")])
    )
    name = f"{one.name} on {one.board}"
    return {
        "name": name,
        "alone": one.operators_alone,
        "groups": Markup(bars.bars(rows, f"{name}, by group of operators: {PREDICTED}")),
        "rows": [
            {
                "name": str(t.cost.index),
                "cells": [
                    Cell("kind", t.cost.kind, t.cost.kind.lower(), left=True),
                    Cell("group", t.cost.group, t.cost.group, left=True),
                    Cell("output", "", "x".join(map(str, t.cost.output_shape[1:]))),
                    Cell("macs", t.cost.macs, count_text(t.cost.macs) if t.cost.macs else "-"),
                    _seconds("predicted_seconds", t.seconds),
                    Cell("share", repr(t.seconds / whole), percent_text(t.seconds / whole)),
                    Cell(
                        "kernels", "", " + ".join(dict.fromkeys(t.kernels)) or "fused", left=True, wrap=True
                    ),
                ],
            }
            for t in times
        ],
    }


def _assumptions(result: Predictions) -> list[dict[str, Any]]:
    """Each figure of each core once."""
    found = {}
    for one in result.models:
        for said in one.prediction.assumptions:
            found[(one.prediction.core, said.name, said.value)] = said
    return [
        {
            "name": core,
            "cells": [
                Cell("assumption", name, name.replace("_", " "), left=True, wrap=True),
                Cell("value", repr(value), f"{value:g} {said.unit}"),
                Cell("known", said.kind, said.kind, left=True),
                Cell("source", "", said.source, left=True, wrap=True),
            ],
        }
        for (core, name, value), said in found.items()
    ]
