"""A soak as one HTML file that needs nothing else. Pure: returns text.

Every figure stands with its raw value beside it (``data-field``, ``data-value``), as on the page of a run.
"""

from __future__ import annotations

from typing import Any

from sdk.explain.soaking.run import SoakReport
from sdk.report.page.curves import soak_curves
from sdk.report.page.fill import Cell, Markup, fill
from sdk.report.page.shapes import responsive
from sdk.report.soaking import facts_of_soak, joules_text, minutes_text, soak_sentences
from sdk.report.units import bytes_text, percent_text, seconds_text, threads_text

_TEMPLATE = """<header>
<h1>{{ title }}</h1>
<p class="dim">{{ report.board_title }}, {{ report.soak.runtime }} {{ report.soak.runtime_version }}, {{ threads }},
{{ duration }}</p>
{% for sentence in said %}<p class="verdict">{{ sentence[0] | upper }}{{ sentence[1:] }}.</p>
{% endfor %}
</header>
<section>
<h2>Over time</h2>
<div class="plot">{{ curves }}<div class="key">
{% for name in names %}<span><i class="series-{{ loop.index0 % 8 }}"></i>{{ name }}</span>{% endfor %}
<span>dashed: throttled</span></div></div>
</section>
<section>
<h2>Time of one inference</h2>
{{ table(["model", "first minute", "steady", "speed kept", "slower after"], speed_rows, "Time of one inference") }}
<p class="dim">First minute and last quarter: medians of the medians of turns. Models have turns in random order, so the
heat is that of all of them.</p>
</section>
{% if energy_rows %}
<section>
<h2>Energy of one inference</h2>
{{ table(["model", "idle off", "with idle", "board draws"], energy_rows, "Energy of one inference") }}
</section>
{% endif %}
<section>
<h2>Memory</h2>
{{ table(["model", "weights", "arena", "most alive", "at operator", "process", "without the model"],
 memory_rows, "Memory") }}
<p class="dim">Weights, arena and what is alive follow from the graph; process is the most that a fresh process ever had
resident (VmHWM), and what it had before the model was there.</p>
</section>
<section>
<h2>Conditions</h2>
<dl>{% for name, text in facts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>{% endfor %}</dl>
{% for note in report.notes %}<p>{{ note }}</p>{% endfor %}
</section>
</main>
<script>{{ script }}</script>
</body>
</html>
"""


def render(report: SoakReport) -> str:
    """The page of a soak."""
    names = [model.name for model in report.soak.models]
    has_power = any(one.watts is not None for one in report.figures)
    return fill(
        _TEMPLATE,
        title=f"{', '.join(names)} soaked on {report.board}",
        report=report,
        threads=threads_text(report.soak.threads),
        duration=minutes_text(report.soak.seconds),
        said=soak_sentences(report),
        curves=Markup(responsive(lambda width: soak_curves(report.soak, width))),
        names=names,
        speed_rows=_speed_rows(report),
        energy_rows=_energy_rows(report) if has_power else [],
        memory_rows=_memory_rows(report),
        facts=facts_of_soak(report),
    )


def _speed_rows(report: SoakReport) -> list[dict[str, Any]]:
    rows = []
    for one in report.figures:
        after = one.slower_after_seconds
        cells = [
            Cell("first_seconds", one.first_seconds, seconds_text(one.first_seconds)),
            Cell(
                "steady_seconds",
                one.steady_seconds,
                seconds_text(one.steady_seconds) + ("" if one.is_steady else " (moving)"),
            ),
            Cell("kept", one.kept, percent_text(one.kept, 0)),
            Cell("slower_after_seconds", after, "-" if after is None else minutes_text(after)),
        ]
        rows.append({"name": one.model, "cells": cells})
    return rows


def _energy_rows(report: SoakReport) -> list[dict[str, Any]]:
    rows = []
    for one in report.figures:
        cells = [
            Cell("joules", one.joules, joules_text(one.joules)),
            Cell("joules_with_idle", one.joules_with_idle, joules_text(one.joules_with_idle)),
            Cell("watts", one.watts, "-" if one.watts is None else f"{one.watts:.2f} W"),
        ]
        rows.append({"name": one.model, "cells": cells})
    return rows


def _memory_rows(report: SoakReport) -> list[dict[str, Any]]:
    rows = []
    for model, plan in zip(report.soak.models, report.memory, strict=True):
        sizes: list[tuple[str, int | None]] = [("peak_memory_bytes", model.peak_memory_bytes)]
        sizes.append(("base_memory_bytes", model.base_memory_bytes))
        cells = [Cell(field, size, "-" if size is None else bytes_text(size)) for field, size in sizes]
        planned = [Cell(field, None, "-") for field in ("weight_bytes", "arena_bytes", "peak_bytes", "peak")]
        if plan is not None:
            planned = [
                Cell(field, getattr(plan, field), bytes_text(getattr(plan, field)))
                for field in ("weight_bytes", "arena_bytes", "peak_bytes")
            ]
            planned.append(Cell("peak", plan.peak, f"{plan.peak} {plan.kind}", left=True))
        rows.append({"name": model.name, "cells": [*planned, *cells]})
    return rows
