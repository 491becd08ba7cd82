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
.verdict { font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--dim); font-size: .85rem; overflow-wrap: anywhere; }
.plot, .scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: .5rem;
  padding: .75rem; margin: .75rem 0; }
.plot svg { display: block; width: 100%; min-width: 30rem; height: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; } tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child, .left { text-align: left; }
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
.promise { fill: var(--s7); } .measured { fill: var(--s0); } .loss { fill: var(--s1); } .gain { fill: var(--s2); }
.point { fill-opacity: .7; stroke: var(--card); stroke-width: 1; } .hollow { fill-opacity: .15; stroke-width: 2; }
.series-0 { fill: var(--s0); color: var(--s0); } .series-1 { fill: var(--s1); color: var(--s1); }
.series-2 { fill: var(--s2); color: var(--s2); } .series-3 { fill: var(--s3); color: var(--s3); }
.series-4 { fill: var(--s4); color: var(--s4); } .series-5 { fill: var(--s5); color: var(--s5); }
.series-6 { fill: var(--s6); color: var(--s6); } .series-7 { fill: var(--s7); color: var(--s7); }
.hollow.series-0 { stroke: var(--s0); } .hollow.series-1 { stroke: var(--s1); } .hollow.series-2 { stroke: var(--s2); }
.hollow.series-3 { stroke: var(--s3); } .hollow.series-4 { stroke: var(--s4); } .hollow.series-5 { stroke: var(--s5); }
.curve { fill: none; stroke-width: 2; } .curve.series-0 { stroke: var(--s0); } .curve.series-1 { stroke: var(--s1); }
.key i.outside { background: var(--rule); }
@media (max-width: 40rem) { svg text { font-size: 13.5px; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin: 0 0 .4rem; } th, td { padding: .25rem .4rem; } .plot, .scroll { padding: .5rem; } }
@media print { h2, h3 { break-after: avoid; } body { background: #fff; font-size: 11px; }
  main { max-width: none; padding: 0; }
  .plot, .tile, tr { break-inside: avoid; } .plot, .scroll { overflow: visible; } table { font-size: 9px; }
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

#: What every page begins with: nothing may be loaded from anywhere, and two macros.
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
{% macro cell(c) %}
<td{% if c.left %} class="left{% if c.wrap %} wrap{% endif %}"{% endif %}
 data-field="{{ c.field }}" data-value="{{ c.value }}">{{ c.text }}</td>
{% endmacro %}
{% macro table(heads, rows) %}
<div class="scroll"><table>
<thead><tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><td>{{ row.name }}</td>{% for c in row.cells %}{{ cell(c) }}{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
"""

TEMPLATE = """
<header>
<h1>{{ title }}</h1>
<p class="dim">{{ report.board_title }}, {{ conditions.runtime }}, {{ conditions.threads }}</p>
{% if report.emulated %}
<p class="verdict bad">Emulated: no time here is a latency of a board.</p>
{% elif problems %}
<p class="verdict warn">Not to be taken at face value: {{ problems | join("; ") }}</p>
{% else %}
<p class="verdict good">Trusted: steady, not throttled, enough samples.</p>
{% endif %}
</header>

{% for tile_row in tiles if times %}
<section aria-label="Summary">
<h2>{{ tile_row.title }}</h2>
<div class="tiles">
{% for tile in tile_row.tiles %}
<div class="tile"><b data-field="{{ tile.field }}" data-value="{{ tile.value }}">{{ tile.text }}</b>
<span>{{ tile.label }}</span></div>
{% endfor %}
</div>
</section>
{% endfor %}

{% if (report.comparisons or told) and times %}
<section>
<h2>Theory against measurement</h2>
{% if report.comparisons %}
{{ table(["model", "against", "threads", "in theory", "measured", "95 % interval", "realised"], comparison_rows) }}
<p class="dim">{{ theory[0] | upper }}{{ theory[1:] }}.</p>
{% endif %}
{% for sentence in told %}
<p>{{ sentence[0] | upper }}{{ sentence[1:] }}.</p>
{% endfor %}
</section>
{% endif %}

<section>
<h2>Models</h2>
{{ table(["model", "float32", "package", "ratio", "zeros", "MACs", "not by zero"], model_rows) }}
</section>

{% if times %}
<section>
<h2>Time of one inference</h2>
{{ table(["model", "threads", "minimum", "median", "95 % interval", "p90", "p99", "samples"], time_rows) }}
<h3>The start of a process</h3>
{{ table(["model", "decode", "initialise", "files to ready", "the same, cold", "first inference", "peak memory",
 "decoder"], start_rows) }}
<p class="dim">In a fresh process: decoding the package, loading the model, the first inference. Warm is a start from
what the agent keeps (the decoded model, packed weights), cold is one without.</p>
</section>
{% endif %}

{% if work_rows %}
<section>
<h2>Work of one inference</h2>
{{ table(["model", "instructions", "fewer", "to decode a weight"], work_rows) }}
<p class="dim">Instructions that the emulated core executes, on one thread: work done, not time.</p>
</section>
{% endif %}

{% for entry in gaps if times %}
<section>
<h2>Where it went: {{ entry.gap.candidate }} against {{ entry.gap.baseline }}, {{ entry.threads }}</h2>
<div class="plot">{{ entry.waterfall }}</div>
{% if entry.gap.causes %}
<ol>{% for cause in entry.gap.causes %}<li>{{ cause }}</li>{% endfor %}</ol>
{% endif %}
{% if entry.gap.sparsity %}<p>{{ entry.gap.sparsity }}</p>{% endif %}
<p class="{{ "dim" if entry.gap.adds_up else "warn" }}">{{ entry.accounted }}</p>
<details><summary>The parts in figures</summary>
{{ table(["part", "its own", "baseline's share", "of the gap"], entry.rows) }}
<p class="dim">A part of the gap is the model's own part minus the baseline's over the theoretical speed-up.
Arithmetic at {{ entry.peak }} ({{ entry.gap.peak_source }}); operators {{ entry.method }}.</p></details>
</section>
{% endfor %}

{% if times %}
<section>
<h2>Distribution of one inference</h2>
<div class="plot">{{ distributions }}</div>
<p class="dim">Line: median. Band: its 95 % interval, from loading to loading. Each has an axis of its own.</p>
</section>
{% endif %}

{% if operators and times %}
<section>
<h2>Operators</h2>
<div class="plot">{{ groups }}<div class="key">
{% for name, style in key %}<span><i class="{{ style }}"></i>{{ name }}</span>{% endfor %}
</div></div>
<p class="dim">As they were when profiled. Below, a point for each operator that multiplies: what it reached, over
its arithmetic intensity; the larger the longer it took. Line: the most that the board can do.</p>
{% for entry in operators %}
<h3>{{ entry.name }}</h3>
{% if entry.roofline %}<div class="plot">{{ entry.roofline }}</div>{% endif %}
<details><summary>{{ entry.rows | length }} operators</summary>
<div class="scroll"><table class="sortable">
<thead><tr>
{% for head in heads %}
<th{% if head in ("operator", "group", "kernels") %} class="left"{% endif %}>
<button type="button">{{ head }}</button></th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in entry.rows %}<tr>{% for c in row %}{{ cell(c) }}{% endfor %}</tr>
{% endfor %}
</tbody></table></div></details>
{% endfor %}
</section>
{% endif %}

<section>
<h2>Size by stage</h2>
<div class="plot">{{ sizes }}</div>
{% if accuracy_rows %}
<h2>Accuracy against size</h2>
<div class="plot">{{ accuracy_plot }}</div>
{{ table(["model", "original, host", "compressed, host", "compressed, board", "same answers", "samples"],
 accuracy_rows) }}
{% endif %}
</section>

<section>
<h2>Conditions</h2>
<dl>{% for name, text in facts %}<dt>{{ name }}</dt><dd>{{ text }}</dd>{% endfor %}</dl>
{% if course %}<div class="plot">{{ course }}</div>{% endif %}
{% for note in report.notes %}<p>{{ note }}</p>{% endfor %}
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
<p class="verdict warn">Not to be taken at face value: {{ problems | join("; ") }}</p>
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
 + (["paper", "speed-up"] if entry.paper else []), entry.rows) }}
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
