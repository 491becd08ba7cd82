"""The table of `sdk tune` as one HTML file that needs nothing else. Pure: returns text.

Every figure stands with its raw value beside it (``data-field``, ``data-value``), as on the page of a run.
"""

from __future__ import annotations

from sdk.explain.tuning import Tuned
from sdk.report.page.fill import fill
from sdk.report.terminal.tuned import baseline, cost_text, verdict
from sdk.report.units import bytes_text, ratio_text

_TEMPLATE = """<h1>{{ title }}</h1>
<p class="dim">Ranked by {{ t.ranked_by }}. A variant may lose {{ t.max_loss }} points of {{ t.metric }}, measured on
{{ t.samples }} images of {{ t.checked_on }}.</p>
<p class="verdict">{{ verdict }}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Variants"><table class="sortable">
<caption>Variants; a press on a head sorts by it</caption>
<thead><tr>
{% for head in heads %}<th scope="col"><button type="button">{{ head }}</button></th>{% endfor %}
</tr></thead>
<tbody>
{% for row in rows %}
<tr>
{% for field, value, text, style in row %}
<td data-label="{{ heads[loop.index0] }}" data-field="{{ field }}"
 data-value="{{ value }}" class="{{ style }}">{{ text }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% if t.left_out %}
<h2>Not measured</h2>
<dl>{% for one in t.left_out %}<dt>{{ one.variant }}</dt><dd>{{ one.reason }}</dd>{% endfor %}</dl>
{% endif %}
</main>
<script>{{ script }}</script>
</body>
</html>
"""


def render(result: Tuned) -> str:
    """The page."""
    base = baseline(result).cost
    heads = ["variant", "runtime", "threads", "cost", "speed-up", "points lost", "package"]
    rows = []
    for number, one in enumerate(result.candidates):
        mark = "good" if number == result.chosen else "dim" if one.points_lost > result.max_loss else ""
        cost = cost_text(one) + (" M instructions" if one.measurement is None else "")
        rows.append(
            [
                ("variant", one.variant, one.variant, f"left {mark}"),
                ("runtime", one.runtime, f"{one.runtime} {one.runtime_version}", f"left {mark}"),
                ("threads", one.threads, one.threads, mark),
                ("cost", one.cost, cost, mark),
                ("speed_up", base / one.cost, ratio_text(base / one.cost), mark),
                ("points_lost", one.points_lost, f"{one.points_lost:.2f}", mark),
                ("package_bytes", one.package_bytes, bytes_text(one.package_bytes), mark),
            ]
        )
    return fill(
        _TEMPLATE,
        title=f"{result.model} tuned for {result.board}",
        t=result,
        verdict=verdict(result),
        heads=heads,
        rows=rows,
    )
