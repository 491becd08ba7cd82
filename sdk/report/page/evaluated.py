"""Scores of host and board, and the confusion matrix, as one HTML file that needs nothing else. Pure."""

from __future__ import annotations

from typing import Any

from sdk.report.page.fill import Cell, Markup, fill
from sdk.report.terminal.evaluated import change_text
from sdk.report.units import percent_text, seconds_text

_TEMPLATE = """<header>
<h1>{{ title }}</h1>
<p class="dim">{{ r.samples }} samples of {{ r.data }}{% if r.task %}, {{ r.task }}{% endif %};
{{ r.runtime }} {{ r.runtime_version }}{{ seconds }}.</p>
</header>
{% for one in changes %}<p>{{ one }}</p>
{% endfor %}
{{ table(["where", "metric", "reached", "95 %"], reached, "What was reached") }}
{% if matrix %}
<h2>Confusion matrix</h2>
<p class="dim">A column for each answer. Green: right; red: wrong; the darker, the larger its share of the row.</p>
{{ table(["class"] + r.class_names | list, matrix, "Right and wrong answers on the board, a row per class",
 "matrix") }}
{% endif %}
{% if mistaken %}
<h2>Most often mistaken</h2>
{{ table(["class", "answer", "times"], mistaken, "Most often mistaken") }}
{% endif %}
{% if classes %}
<h2>Classes</h2>
{{ table(["class", "samples", "right", "share"], classes, "Right answers of each class") }}
{% endif %}
<h2>The board's outputs against the host's</h2>
{{ table(["output", "largest difference", "cosine", "signal to noise"], outputs, "Outputs on board and host") }}
<h2>The data</h2>
<p>Preprocessing {{ r.preprocess }}: {{ r.preprocess_why }}.</p>
<ul>{% for note in r.notes %}<li>{{ note }}</li>{% endfor %}</ul>
</main>
</body>
</html>
"""


def render(result: Any) -> str:
    """The page of a :class:`sdk.api.boards.evaluating.Evaluation`."""
    return fill(
        _TEMPLATE,
        title=f"{result.name} on {result.board}",
        r=result,
        seconds=""
        if result.board_seconds is None
        else f", {seconds_text(result.board_seconds / result.samples)} per inference on the board",
        changes=[change_text(one) for one in result.changes],
        reached=[
            {
                "name": one.place,
                "cells": [
                    Cell("metric", one.name, one.name, left=True),
                    Cell("value", repr(one.value), one.text),
                    Cell("interval", one.interval_text, one.interval_text),
                ],
            }
            for one in result.reached
        ],
        matrix=_matrix(result),
        mistaken=[
            {
                "name": one["label"],
                "cells": [
                    Cell("answer", one["answer"], one["answer"]),
                    Cell("times", one["times"], str(one["times"])),
                ],
            }
            for one in result.mistaken
        ],
        classes=[_class(one) for one in result.classes],
        outputs=[_output(one) for one in result.outputs],
    )


def _matrix(result: Any) -> list[dict[str, Any]]:
    """Rows of counts, each the darker the larger its share of the row; right answers in another colour."""
    rows = []
    for number, counts in enumerate(result.confusion):
        total = max(sum(counts), 1)
        cells = []
        for place, count in enumerate(counts):
            colour = "42,125,79" if place == number else "179,64,46"
            shade = f' style="background: rgba({colour},{0.75 * count / total:.3f})"' if count else ""
            cells.append(Cell("count", count, str(count) if count else "", shade=Markup(shade)))
        if sum(counts):
            rows.append({"name": result.class_names[number], "cells": cells})
    return rows


def _class(one: dict[str, Any]) -> dict[str, Any]:
    share = one["right"] / max(one["samples"], 1)
    return {
        "name": f"{one['number']} {one['label']}".strip(),
        "cells": [
            Cell("samples", one["samples"], str(one["samples"])),
            Cell("right", one["right"], str(one["right"])),
            Cell("share", repr(share), percent_text(share, 1)),
        ],
    }


def _output(one: Any) -> dict[str, Any]:
    largest = f"{percent_text(one.largest)} of classes" if one.classes else f"{one.largest:.3g}"
    return {
        "name": one.name,
        "cells": [
            Cell("largest", repr(one.largest), largest),
            Cell("cosine", repr(one.cosine), f"{one.cosine:.6f}"),
            Cell("decibel", repr(one.decibel), "equal" if one.largest == 0.0 else f"{one.decibel:.0f} dB"),
        ],
    }
