"""The table of `sdk tune` as one HTML file that needs nothing else. Pure: returns text.

Every figure stands with its raw value beside it (``data-field``, ``data-value``), as on the page of a run.
"""

from __future__ import annotations

from sdk.explain.run import PREDICTED
from sdk.explain.tuning import Candidate, Tuned
from sdk.report.page.bars import Bar, bars
from sdk.report.page.fill import Cell, Markup, fill
from sdk.report.page.front import Shown, trade_offs
from sdk.report.page.shapes import responsive
from sdk.report.terminal.tuned import baseline, cost_text, verdict
from sdk.report.units import bytes_text, moment_text, ratio_text, threads_text

_TEMPLATE = """<header>
<h1>{{ title }}</h1>
<p class="verdict">{{ verdict }}</p>
</header>
<section>
<h2>Variants</h2>
<div class="plot">{{ chart }}</div>
<h3>Size, work and loss</h3>
<div class="plot">{{ trade_offs }}</div>
<p class="dim">Filled: on the Pareto front, where no other is as small, as fast and as accurate, and better in one of
these. Largest: chosen. Hollow: beaten.</p>
{{ sortable(heads, rows, "Variants of " + t.model) }}
<p class="dim">Green: chosen. Grey: loses more than the {{ "%g" | format(t.max_loss) }} points of
{{ t.metric }} allowed. Speed-ups against the fastest dense float variant on one thread.</p>
{% if t.left_out %}
<h2>Not measured</h2>
<dl>{% for one in t.left_out %}<dt>{{ one.variant }}</dt><dd>{{ one.reason }}</dd>{% endfor %}</dl>
{% endif %}
</section>
<section>
<h2>Conditions</h2>
<dl>{% for name, text in facts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>{% endfor %}</dl>
{% for note in t.notes %}<p>{{ note }}</p>{% endfor %}
</section>
</main>
<script>{{ script }}</script>
</body>
</html>
"""

HEADS = ("variant", "runtime", "threads", "cost", "speed-up", "points lost", "at most", "package", "front")


def render(result: Tuned) -> str:
    """The page."""
    base = baseline(result).cost
    return fill(
        _TEMPLATE,
        title=f"{result.model} tuned for {result.board}",
        t=result,
        verdict=verdict(result),
        heads=HEADS,
        rows=[
            [*_row(one, base, _style(result, number)), _front_cell(on_front, _style(result, number))]
            for number, (one, on_front) in enumerate(zip(result.candidates, result.on_front, strict=True))
        ],
        chart=Markup(_chart(result)),
        trade_offs=Markup(responsive(lambda width: trade_offs(_shown(result), _work_name(result), width))),
        facts=_facts(result),
    )


def _style(result: Tuned, number: int) -> str:
    if number == result.chosen:
        return "good"
    return "dim" if result.candidates[number].points_lost > result.max_loss else ""


def _cost(one: Candidate) -> str:
    if one.predicted is not None:
        return f"{cost_text(one)} {PREDICTED}"
    return cost_text(one) + (" M instructions" if one.measurement is None else "")


def _row(one: Candidate, base: float, style: str) -> list[Cell]:
    at_most = one.points_lost_at_most
    return [
        Cell("variant", one.variant, one.variant, left=True, style=style),
        Cell("runtime", one.runtime, f"{one.runtime} {one.runtime_version}", left=True, style=style),
        Cell("threads", one.threads, str(one.threads), style=style),
        Cell("cost", repr(one.cost), _cost(one), style=style),
        Cell("speed_up", repr(base / one.cost), ratio_text(base / one.cost), style=style),
        Cell("points_lost", repr(one.points_lost), f"{one.points_lost:.2f}", style=style),
        Cell(
            "points_lost_at_most",
            repr(at_most or ""),
            "-" if at_most is None else f"{at_most:.2f}",
            style=style,
        ),
        Cell("package_bytes", one.package_bytes, bytes_text(one.package_bytes), style=style),
    ]


def _front_cell(on_front: bool, style: str) -> Cell:
    return Cell("on_front", str(int(on_front)), "yes" if on_front else "-", style=style)


def _shown(result: Tuned) -> list[Shown]:
    """The candidates as points; times in milliseconds, or millions of instructions."""
    factor = 1e-6 if _counts(result) else 1e3
    return [
        Shown(
            f"{one.variant}, {one.runtime}, {threads_text(one.threads)}",
            one.package_bytes,
            bytes_text(one.package_bytes),
            factor * one.cost,
            _cost(one),
            one.points_lost,
            on_front,
            number == result.chosen,
        )
        for number, (one, on_front) in enumerate(zip(result.candidates, result.on_front, strict=True))
    ]


def _counts(result: Tuned) -> bool:
    """Whether instructions were counted, because no time was measured or predicted."""
    return result.emulated and not result.predicted_for


def _work_name(result: Tuned) -> str:
    if _counts(result):
        return "M instructions"
    return f"ms, {PREDICTED}" if result.predicted_for else "median, ms"


def _chart(result: Tuned) -> str:
    """A bar for each candidate."""
    longest = max(one.cost for one in result.candidates) or 1.0
    return bars(
        (
            Bar(
                f"{one.variant}, {one.runtime}, {threads_text(one.threads)}",
                _cost(one),
                [(one.cost / longest, "series-2" if number == result.chosen else "series-7")],
                strong=number == result.chosen,
            )
            for number, one in enumerate(result.candidates)
        ),
        _chart_name(result),
    )


def _chart_name(result: Tuned) -> str:
    if result.predicted_for:
        return f"Time of one inference on {result.predicted_for}, {PREDICTED}"
    return "Instructions of one inference" if result.emulated else "Median time of one inference"


def _facts(result: Tuned) -> list[tuple[str, str]]:
    measured = [one.measurement for one in result.candidates if one.measurement is not None]
    when = min((one.started_unix_seconds for one in measured), default=None)
    told = [
        ("when", "" if when is None else moment_text(when)),
        ("board", result.board + (" (emulated)" if result.emulated else "")),
        ("ranked by", result.ranked_by),
        ("allowed", f"{result.max_loss:g} points of {result.metric}"),
        ("checked on", f"{result.samples} images of {result.checked_on}"),
        ("preprocessing", f"{result.preprocess}: {result.preprocess_why}" if result.preprocess else ""),
        ("package", result.package),
    ]
    return [(name, text) for name, text in told if text]
