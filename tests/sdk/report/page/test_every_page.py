"""Every page that a command writes, to one standard: WCAG 2.1 AA, readable on a phone, in light and dark, no mouse."""

from __future__ import annotations

import html
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.tensors.agreement import OutputAgreement
from sdk.api.boards.evaluating import Evaluation, Reached
from sdk.explain.layers import LayerLosses, LayerNoise, Unmatched
from sdk.report.page import evaluated, layers, predicted, run, soak, suite, tuned
from tests.sdk.api.test_damaged_records import a_run, a_soak, a_suite, a_tuning, some_predictions
from tests.sdk.report.page.test_run import browser, dump_dom

WIDTHS = (375, 768, 1280)


def a_layered_comparison() -> LayerLosses:
    operators = tuple(
        LayerNoise(n, "CONV_2D", f"model/block_{n}/conv", (1, 8, 8, 4), 40.0 - n, 0.001 * n, "70 % zeros, 32 centroids",
                   60.0 - n, 0.0001)
        for n in range(12)
    )  # fmt: skip
    whole = replace(operators[0], kind="PAD", name="pad", decibel=None, weights="", board_decibel=None)
    unmatched = (Unmatched("original", "SOFTMAX", "its output has another shape"),)
    return LayerLosses("a.keras", "a.armlet", "test", 64, (*operators, whole), unmatched, ("keep block_11",),
                       "rpi4", "ai-edge-litert 2.3.0", ("look at block_11",), ("a note",))  # fmt: skip


def an_evaluation() -> Evaluation:
    reached = tuple(
        Reached(place, "top-1", 0.92, (0.89, 0.94), "92.00 %", "89.00 to 94.00 %")
        for place in ("original", "host", "board")
    )
    return Evaluation(
        "net", "rpi4", "test", 30, 28, None, 28, None, 30, 0.3, "ai-edge-litert", "2.3.0", "tf", "as the package says",
        classes=({"number": 0, "label": "cat", "samples": 15, "right": 14},),
        mistaken=({"label": "cat", "answer": "dog", "times": 1},),
        notes=("a note",),
        reached=reached,
        outputs=(OutputAgreement("scores", 0.001, 0.999, 60.0),),
        confusion=((14, 1), (1, 14)),
        class_names=("cat", "dog"),
    )  # fmt: skip


PAGES: dict[str, Callable[[], str]] = {
    "run": lambda: run.render(a_run()),
    "tune": lambda: tuned.render(a_tuning()),
    "predict": lambda: predicted.render(some_predictions()),
    "suite": lambda: suite.render(a_suite()),
    "soak": lambda: soak.render(a_soak()),
    "layers": lambda: layers.render(a_layered_comparison()),
    "eval": lambda: evaluated.render(an_evaluation()),
}


@pytest.mark.parametrize("name", PAGES)
def test_every_table_has_a_caption_scopes_and_a_name_for_each_cell(name: str) -> None:
    page = PAGES[name]()
    tables = re.findall(r"<table.*?</table>", page, re.S)
    assert tables
    for table in tables:
        assert "<caption>" in table
        assert len(re.findall(r"<th ", table)) == len(re.findall(r"<th scope=", table))
        for row in re.findall(r"<tr>.*?</tr>", table.partition("<tbody>")[2], re.S):
            assert row.startswith('<tr><th scope="row"')
            assert row.count("<td ") == len(re.findall(r'<td [^>]*data-label="[^"]', row))
    names = re.findall(r'role="(?:img|region)" aria-label="([^"]*)"', page)
    assert all(names)
    assert len(re.findall(r"<h1>", page)) == 1


@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_no_network(name: str) -> None:
    page = PAGES[name]()
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)


def axe() -> str:
    """axe-core's script, which a package of Python brings along."""
    found = importlib.util.find_spec("axe_core_python")
    assert found is not None
    assert found.origin is not None
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_meets_wcag_2_1_aa_at_every_width(scheme: str, tmp_path: Path) -> None:
    """In frames, since a window of the browser cannot be as narrow as a phone."""
    rules = '{type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}'
    check = f"""<script src="axe.js"></script><script>
      document.querySelectorAll("details").forEach(d => {{ d.open = true; }});
      axe.run(document, {{runOnly: {rules}}}).then(found => parent.postMessage(JSON.stringify({{
        page: location.pathname.split("/").pop(), width: innerWidth, passes: found.passes.length,
        violations: found.violations.map(v => v.id + ": " + v.nodes[0].html.slice(0, 200)),
        wide: document.documentElement.scrollWidth - innerWidth,
        dark: matchMedia("(prefers-color-scheme: dark)").matches}}), "*"));
    </script></body>"""
    (tmp_path / "axe.js").write_text(axe(), encoding="utf-8")
    frames = ""
    for name, page in PAGES.items():
        text = page().replace("</body>", check).replace("script-src", "script-src file: 'unsafe-eval'")
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        frames += "".join(
            f'<iframe src="{name}.html" width="{width}" height="900"></iframe>' for width in WIDTHS
        )
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"""<body>{frames}<pre id="found"></pre><script>addEventListener("message", e => {{
        document.getElementById("found").textContent += e.data + "\\n"; }});</script></body>"""
    )
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    flags = ["--virtual-time-budget=60000", "--window-size=1400,1000", "--allow-file-access-from-files"]
    dom, _ = dump_dom(frame, *flags, *dark)
    told = re.search(r'<pre id="found">(.*?)</pre>', dom, re.S)
    assert told is not None
    found = [json.loads(html.unescape(line)) for line in told.group(1).splitlines() if line]
    assert {(one["page"], one["width"]) for one in found} == {(f"{n}.html", w) for n in PAGES for w in WIDTHS}
    for one in found:
        assert one["violations"] == [], one
        assert one["passes"] > 5
        assert one["wide"] <= 0, one
        assert one["dark"] == (scheme == "dark")
