"""The noise of each layer, as one HTML file that needs nothing else. Pure."""

from __future__ import annotations

from sdk.explain.layers import LayerLosses, LayerNoise
from sdk.report.page.charts import decibels
from sdk.report.page.fill import Cell, Markup, fill
from sdk.report.page.shapes import responsive
from sdk.report.terminal.evaluated import decibel_text
from sdk.report.terminal.tables import shape_text
from sdk.report.units import percent_text

_TEMPLATE = """<header>
<h1>{{ title }}</h1>
<p class="dim">{{ r.samples }} samples of {{ r.data }}{% if r.board %}; {{ r.board }}, {{ r.runtime }}{% endif %}.
The less signal to noise, the further an output is from what it should be.</p>
</header>
{% if r.advice %}
<h2>What adds most noise</h2>
<ol>{% for one in r.advice %}<li>{{ one }}</li>{% endfor %}</ol>
{% endif %}
{% if r.board_advice %}
<h2>Where board and host differ most</h2>
<ol>{% for one in r.board_advice %}<li>{{ one }}</li>{% endfor %}</ol>
{% endif %}
<h2>Signal to noise along the network</h2>
<div class="plot">{{ chart }}{{ legend(key) }}</div>
<h2>Operators</h2>
{{ sortable(heads, rows, "Operators of " + r.compressed) }}
{% if r.unmatched %}
<h2>Not compared</h2>
<dl>{% for one in r.unmatched %}<dt>{{ one.operator }}</dt><dd>of the {{ one.model }} model: {{ one.why }}</dd>
{% endfor %}</dl>
{% endif %}
<ul>{% for note in r.notes %}<li>{{ note }}</li>{% endfor %}</ul>
</main>
<script>{{ script }}</script>
</body>
</html>
"""


def render(result: LayerLosses) -> str:
    """The page."""
    heads = ["operator", "kind", "shape", "signal to noise", "adds", "weights"]
    heads += ["on the board"] if result.board else []
    return fill(
        _TEMPLATE,
        title=f"{result.compressed} against {result.original}, layer by layer",
        r=result,
        heads=heads,
        rows=[_row(one, bool(result.board)) for one in result.worst_first()],
        key=[
            ("against the original", "series-0"),
            *([("board against host", "series-1")] if result.board else []),
        ],
        chart=Markup(responsive(lambda width: decibels(result.layers, width))),
    )


def _row(one: LayerNoise, board: bool) -> list[Cell]:
    cells = [
        Cell("operator", one.name, one.name, left=True, wrap=True),
        Cell("kind", one.kind, one.kind, left=True),
        Cell("shape", shape_text(one.shape), shape_text(one.shape)),
        Cell("decibel", one.decibel, decibel_text(one.decibel)),
        Cell("added", repr(one.added), percent_text(one.added, 2)),
        Cell("weights", one.weights, one.weights, left=True, wrap=True),
    ]
    if board:
        cells.append(Cell("board_decibel", one.board_decibel, decibel_text(one.board_decibel)))
    return cells
