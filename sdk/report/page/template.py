"""The HTML report's page: its template (Jinja2, escaping on), style and script. Text only; html.py fills it in."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --ground: #fcfcfa; --card: #ffffff; --ink: #1c1e21; --dim: #62676e; --rule: #dcdee2; --grid: #ebecef;
  --good: #2a7d4f; --bad: #b3402e; --warn: #9a6200; --accent: #2457a6;
  --s0: #2f6fb3; --s1: #d97c1f; --s2: #2f9277; --s3: #b8485f; --s4: #7a63b0; --s5: #8c7a2b;
  --s6: #4a9bb5; --s7: #80868f; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14161a; --card: #1c1f24; --ink: #e8e9eb; --dim: #9aa1aa; --rule: #343941; --grid: #282c33;
  --good: #62c08d; --bad: #ef8a77; --warn: #e2ae55; --accent: #86b3f2;
  --s0: #6aa7e6; --s1: #f0a456; --s2: #5cc3a4; --s3: #e8869a; --s4: #ab97e0; --s5: #c9b55c;
  --s6: #7cc7de; --s7: #a3a9b3; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .4rem 0; max-width: 46rem; }
.dim { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.verdict { font-weight: 600; } .problems { margin: .3rem 0; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.plot, .scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: .5rem;
  padding: .75rem; margin: .75rem 0; }
.plot svg { display: block; width: 100%; height: auto; } .narrow { display: none; }
.plot:focus-visible, .scroll:focus-visible { outline: 2px solid var(--accent); }
.bars { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem .75rem; font-size: .875rem;
  align-items: center; } .bars .label { text-align: right; overflow-wrap: anywhere; }
.bars .strong { font-weight: 600; } .track { display: flex; align-items: center; }
.track i { height: 1.2rem; flex: none; background: currentColor; border-radius: 2px; }
.track i:not([class]) { background: none; }
.figure { margin-left: .5rem; font-variant-numeric: tabular-nums; }
.answer td { font-size: 1rem; } .answer { margin-top: 1.25rem; }
figure { margin: 0; }
caption, figcaption { text-align: left; color: var(--dim); font-size: .85rem; padding-bottom: .35rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; } tr:last-child > * { border-bottom: 0; }
th:first-child, .left { text-align: left; } tbody th { font-weight: 400; }
td.wrap { white-space: normal; min-width: 9rem; }
table.sortable { font-size: .8rem; } .sortable th, .sortable td { padding: .2rem .4rem; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
details { margin: .75rem 0; } summary { cursor: pointer; font-weight: 600; padding: .25rem 0; }
ol { padding-left: 1.3rem; max-width: 46rem; } li { margin: .4rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .85rem; color: var(--dim); margin: .25rem 0 0; }
.key i { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px; margin-right: .35rem;
  vertical-align: -1px; background: currentColor; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg text.dim { fill: var(--dim); }
svg text.strong { font-weight: 600; }
.axis { stroke: var(--dim); } .grid { stroke: var(--grid); } .link { stroke: var(--dim); stroke-dasharray: 2 2; }
.roof { stroke: var(--ink); stroke-width: 2; } .median { stroke: var(--ink); stroke-width: 1.5; }
.interval { fill: var(--ink); opacity: .18; } .outside { fill: var(--rule); color: var(--rule); }
.promise { color: var(--s7); } .measured { color: var(--s0); } .loss { color: var(--s1); } .gain { color: var(--s2); }
.point { fill-opacity: .7; stroke: var(--card); stroke-width: 1; } .hollow { fill-opacity: .15; stroke-width: 2; }
.series-0 { fill: var(--s0); color: var(--s0); } .series-1 { fill: var(--s1); color: var(--s1); }
.series-2 { fill: var(--s2); color: var(--s2); } .series-3 { fill: var(--s3); color: var(--s3); }
.series-4 { fill: var(--s4); color: var(--s4); } .series-5 { fill: var(--s5); color: var(--s5); }
.series-6 { fill: var(--s6); color: var(--s6); } .series-7 { fill: var(--s7); color: var(--s7); }
.hollow.series-0 { stroke: var(--s0); } .hollow.series-1 { stroke: var(--s1); } .hollow.series-2 { stroke: var(--s2); }
.hollow.series-3 { stroke: var(--s3); } .hollow.series-4 { stroke: var(--s4); } .hollow.series-5 { stroke: var(--s5); }
.curve { fill: none; stroke-width: 2; } .curve.series-0 { stroke: var(--s0); } .curve.series-1 { stroke: var(--s1); }
.curve.series-2 { stroke: var(--s2); } .curve.series-3 { stroke: var(--s3); } .curve.series-4 { stroke: var(--s4); }
.curve.series-5 { stroke: var(--s5); } .curve.series-6 { stroke: var(--s6); } .curve.series-7 { stroke: var(--s7); }
.key i.outside { background: var(--rule); }
@media (max-width: 40rem) { .wide { display: none; } .narrow { display: block; }
  .bars { grid-template-columns: 1fr; gap: 0; } .bars .label { text-align: left; margin-top: .4rem; }
  table, caption, tbody, tbody tr, tbody th, td { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { padding: .4rem 0; border-bottom: 1px solid var(--rule); } tbody tr:last-child { border: 0; }
  tbody th { font-weight: 600; text-align: left; } td, tbody th { border: 0; white-space: normal; }
  td, td.wrap { display: flex; justify-content: space-between; gap: 1rem; text-align: right; min-width: 0; }
  td::before { content: attr(data-label); color: var(--dim); text-align: left; }
  .matrix td[data-value="0"] { display: none; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 .4rem; }
  th, td { padding: .25rem .4rem; } .plot, .scroll { padding: .5rem; } }
@media print { h2, h3 { break-after: avoid; } body { background: #fff; font-size: 11px; }
  main { max-width: none; padding: 0; }
  .plot, tr { break-inside: avoid; } .plot, .scroll { overflow: visible; } table { font-size: 9px; }
  th, td { padding: .1rem .3rem; } }
"""

#: Opens everything for print; sorts a table by the column whose head is pressed: by data-value, else by text.
SCRIPT = """
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") !== "descending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const body = table.tBodies[0];
    [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b), n = Number(x) - Number(y);
      return (Number.isNaN(n) ? x.localeCompare(y) : n) * (descending ? -1 : 1);
    }).forEach(row => body.append(row));
  }));
}
"""

#: What every page begins with: nothing may be loaded from anywhere, and the macros.
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 script-src 'unsafe-inline'; img-src data:">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>{{ style }}</style>
</head>
<body>
<main>
{% macro looks(c) %}{{ "left " if c.left }}{{ "wrap " if c.wrap }}{{ c.style }}{% endmacro %}
{% macro cell(c, label) %}
<td class="{{ looks(c) }}" data-label="{{ label }}" data-field="{{ c.field }}" data-value="{{ c.value }}"
{{- c.shade }}>{{ c.text }}</td>
{% endmacro %}
{% macro table(heads, rows, caption, style="") %}
<div class="scroll {{ style }}" tabindex="0" role="region" aria-label="{{ caption }}"><table>
<caption>{{ caption }}</caption>
<thead><tr>{% for head in heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><th scope="row">{{ row.name }}</th>
{% for c in row.cells %}{{ cell(c, heads[loop.index]) }}{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% macro sortable(heads, rows, caption) %}
<div class="scroll" tabindex="0" role="region" aria-label="{{ caption }}"><table class="sortable">
<caption>{{ caption }}; click a heading to sort</caption>
<thead><tr>
{% for head in heads %}
<th scope="col"{% if rows and rows[0][loop.index0].left %} class="left"{% endif %}>
<button type="button">{{ head }}</button></th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in rows %}
{% set first = row[0] %}
<tr><th scope="row" class="{{ looks(first) }}" data-field="{{ first.field }}"
 data-value="{{ first.value }}">{{ first.text }}</th>
{% for c in row[1:] %}{{ cell(c, heads[loop.index]) }}{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% macro legend(entries) %}
<div class="key">{% for name, style in entries %}<span><i class="{{ style }}"></i>{{ name }}</span>{% endfor %}</div>
{% endmacro %}
"""

TEMPLATE = """
<header>
<h1>{{ title }}</h1>
{% if report.emulated %}
<p class="verdict bad">Emulated: no time here is a latency of a board.</p>
{% elif problems %}
<p class="verdict warn">Not to be taken at face value:</p>
<ul class="problems">{% for problem in problems %}<li>{{ problem }}</li>{% endfor %}</ul>
{% else %}
<p class="verdict good">Trusted: steady, not throttled, enough samples.</p>
{% endif %}
</header>

<section aria-label="Answer">
{{ table(answer_heads, answer_rows, "Size, accuracy and time of one inference", "answer") }}
{% if times %}
<div class="plot">{{ medians }}</div>
{% endif %}
<dl>{% for name, text in about %}<dt>{{ name }}</dt>
<dd>{% if name == "command" %}<code>{{ text }}</code>{% else %}{{ text }}{% endif %}</dd>{% endfor %}</dl>
</section>

{% if (report.comparisons or told) and times %}
<section>
<h2>Theory against measurement</h2>
{% if report.comparisons %}
{{ table(["model", "against", "threads", "in theory", "measured", "95 % interval", "realised"], comparison_rows,
 "Speed-ups: what theory promises, and what was measured") }}
<p class="dim">{{ theory[0] | upper }}{{ theory[1:] }}.</p>
{% endif %}
{% for sentence in told %}
<p>{{ sentence[0] | upper }}{{ sentence[1:] }}.</p>
{% endfor %}
</section>
{% endif %}

{% if predicted_rows and times %}
<section>
<h2>Predicted beside measured</h2>
{{ table(["model", "theory", "predicted, not measured", "likely", "measured", "measured/predicted"], predicted_rows,
 "One inference on one thread: theory, what was predicted without the board, and what the board took") }}
</section>
{% endif %}

{% if gaps and times %}
<section>
<h2>Where it went</h2>
{% for models, sentences in causes %}
<h3>{{ models }}</h3>
<ul>{% for cause in sentences %}<li>{{ cause }}</li>{% endfor %}</ul>
{% endfor %}
{% for entry in gaps %}
<details><summary>{{ entry.gap.candidate }} against {{ entry.gap.baseline }}, {{ entry.threads }}</summary>
<div class="plot">{{ entry.waterfall }}</div>
<p class="{{ "dim" if entry.gap.adds_up else "warn" }}">{{ entry.accounted }}</p>
{{ table(["part", "its own", "baseline's share", "of the gap"], entry.rows,
 "The parts of " + entry.gap.candidate + " in figures, " + entry.threads) }}
<p class="dim">A part of the gap is the model's own part minus the baseline's over the theoretical speed-up.
Arithmetic at {{ entry.peak }} ({{ entry.gap.peak_source }}); operators {{ entry.method }}.</p></details>
{% endfor %}
</section>
{% endif %}

{% if work_rows %}
<section>
<h2>Work of one inference</h2>
{{ table(["model", "instructions", "fewer", "to decode a weight"], work_rows,
 "Instructions that the emulated core executes, on one thread: work done, not time") }}
</section>
{% endif %}

{% if times %}
<section>
<h2>Time</h2>
{{ table(["model", "threads", "minimum", "median", "95 % interval", "p90", "p99", "samples"], time_rows,
 "Time of one inference") }}
<div class="plot">{{ distributions }}</div>
<p class="dim">Line: median. Band: its 95 % interval, from loading to loading. One axis for all.</p>
{{ table(["model", "decode", "initialise", "files to ready", "the same, cold", "first inference", "peak memory",
 "decoder"], start_rows, "The start of a process") }}
<p class="dim">In a fresh process: decoding the package, loading the model, the first inference. Warm is a start from
what the agent keeps (the decoded model, packed weights), cold is one without.</p>
{% if kernel_rows %}
{{ table(["model", "weights", "as floats", "files to ready", "in the runtime alone", "peak memory",
 "in the runtime alone"], kernel_rows, "Kernels of Armlet beside the runtime alone, both cold") }}
{% endif %}
</section>
{% endif %}

{% if operators and times %}
<section>
<h2>Operators</h2>
<div class="plot">{{ groups }}{{ legend(key) }}</div>
{% if roofline %}
<div class="plot">{{ roofline }}{{ legend(names) }}</div>
<p class="dim">A point for each operator that multiplies: what it reached, over its arithmetic intensity; the larger the
longer it took. Line: the most that the board can do.</p>
{% endif %}
{% for entry in operators %}
<details><summary>{{ entry.name }}: {{ entry.rows | length }} operators</summary>
{{ sortable(heads, entry.rows, "Operators of " + entry.name) }}</details>
{% endfor %}
</section>
{% endif %}

<section>
<h2>Size</h2>
{{ table(["model", "float32", "package", "ratio", "zeros", "MACs", "not by zero"], model_rows, "Size and work") }}
<div class="plot">{{ sizes }}</div>
{% if accuracy_rows %}
<h2>Accuracy against size</h2>
<div class="plot">{{ accuracy_plot }}</div>
{{ table(["model", "original, host", "compressed, host", "compressed, board", "same answers", "samples"],
 accuracy_rows, "Accuracy on the same samples") }}
{% endif %}
</section>

<section>
<h2>Conditions</h2>
<dl>{% for name, text in facts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>{% endfor %}</dl>
{% if course %}<div class="plot">{{ course }}</div>{% endif %}
{% for note in notes %}<p>{{ note }}</p>{% endfor %}
</section>
</main>
<script>{{ script }}</script>
</body>
</html>
"""

#: A suite of networks, beside what a paper measured.
SUITE_TEMPLATE = """
<header>
<h1>{{ title }}</h1>
<p class="dim">Beside it: {{ run.source }}</p>
{% if problems %}
<p class="verdict warn">Not to be taken at face value:</p>
<ul class="problems">{% for problem in problems %}<li>{{ problem }}</li>{% endfor %}</ul>
{% else %}
<p class="verdict good">Trusted: steady, not throttled, enough samples.</p>
{% endif %}
</header>

{% for entry in tables %}
<section>
<h2>{{ entry.title }}</h2>
<div class="plot">{{ entry.plot }}<div class="key">
{% for name, style in entry.key %}<span><i class="{{ style }}"></i>{{ name }}</span>{% endfor %}
<span>filled: here; hollow: the paper; line: all of the promise</span></div></div>
{{ table(["network", "input", "MACs", "in theory", "here", "speed-up"]
 + (["paper", "speed-up"] if entry.paper else []), entry.rows, entry.title) }}
<p class="dim">Speed-ups against {{ entry.first }} at the same size.</p>
</section>
{% endfor %}

{% for entry in sizes %}
<section>
<h2>Distribution of one inference at {{ entry.size }}</h2>
<div class="plot">{{ entry.distributions }}</div>
<details><summary>Conditions</summary>
<dl>{% for name, text in entry.facts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>{% endfor %}</dl></details>
</section>
{% endfor %}
</main>
<script>{{ script }}</script>
</body>
</html>
"""
