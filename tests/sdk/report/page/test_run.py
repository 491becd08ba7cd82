"""The HTML page: one file, the figures of the JSON, and no complaint from a real browser."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from device_agent.record.measurement import Measurement
from sdk.explain.run import Report
from sdk.report.page.run import render
from sdk.report.terminal import run as terminal_run
from sdk.report.units import ratio_text, seconds_text
from tests.sdk.report import made_up_runs

DEMO = Path(__file__).parents[4] / "docs" / "demo"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


class Page(HTMLParser):
    """Figures (field, value, text) in order, text of all, and what it would load."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.figures: list[tuple[str, str, str]] = []
        self.loads: list[str] = []
        self.words = ""
        self._open: tuple[str, str] | None = None
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "data-field" in given:
            self._open = (given["data-field"], given["data-value"])
        self.loads += [v for k, v in attrs if k in ("src", "href", "action") and v]

    def handle_data(self, data):
        self.words += data.replace("\xa0", " ")
        if self._open is not None:
            self.figures.append((*self._open, data))
            self._open = None

    def values(self, field: str) -> list[str]:
        return [value for name, value, _ in self.figures if name == field]


@pytest.fixture(scope="module")
def report() -> Report:
    return made_up_runs.report()


@pytest.fixture(scope="module")
def source(report: Report) -> str:
    return render(report)


def test_a_report_survives_json_with_its_profiles_and_gaps(report: Report) -> None:
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


def check_figures(page: Page, document: dict) -> None:
    """The figures of the page against the JSON of the same report."""
    models, comparisons = document["models"], document["comparisons"]
    timed = [m for model in models for m in (model["measurement"], *model["parallel"])]
    assert [int(v) for v in page.values("threads")] == [
        *(c["threads"] for c in comparisons),
        *(m["threads"] for m in timed),
    ]
    for field in ("original_bytes", "package_bytes", "effective_macs"):
        assert [int(v) for v in page.values(field)] == [model[field] for model in models]
    medians = [Measurement.from_json(m).median for m in timed]
    assert [float(v) for v in page.values("median")] == pytest.approx(medians, rel=1e-12)
    for field, percent in (("minimum", 0), ("p90", 90), ("p99", 99)):
        found = [float(np.percentile(m["samples_seconds"], percent)) for m in timed]
        assert [float(v) for v in page.values(field)] == pytest.approx(found, rel=1e-12)
    assert [int(v) for v in page.values("samples_taken")] == [len(m["samples_seconds"]) for m in timed]
    for field in ("decode_seconds", "init_seconds", "first_seconds"):
        assert [float(v) for v in page.values(field)] == [model["measurement"][field] for model in models]
    for number, comparison in enumerate(comparisons):
        for field in ("theoretical_speedup", "measured_speedup", "share_realised"):
            assert float(page.values(field)[number]) == comparison[field]
    parts = [part for gap in document["gaps"] for part in gap["parts"]]
    # "seconds" is the field of the gaps' parts, then of the operators.
    assert [float(v) for v in page.values("seconds")][: len(parts)] == [part["seconds"] for part in parts]
    assert [float(v) for v in page.values("baseline_seconds")] == [part["baseline_seconds"] for part in parts]
    operators = [cost for model in models for cost in model["costs"]]
    assert [int(v) for v in page.values("macs")][: len(operators)] == [cost["macs"] for cost in operators]
    kernels = [k["seconds"] for model in models for k in model["profile"]["kernels"]]
    assert sum(float(v) for v in page.values("seconds")[len(parts) :]) == pytest.approx(sum(kernels))
    assert [int(v) for v in page.values("board_agrees")] == [m["accuracy"]["board_agrees"] for m in models]
    for field, value, text in page.figures:
        if field in ("minimum", "median", "p90", "p99"):
            assert text == seconds_text(float(value))
        if field.endswith("speedup"):
            assert text == ratio_text(float(value))


def test_the_figures_on_the_page_are_those_of_the_json(report: Report, source: str) -> None:
    check_figures(Page(source), report.to_json())


def test_the_page_of_the_demo_has_the_figures_of_the_run_beside_it() -> None:
    run = Report.from_json(json.loads((DEMO / "run.json").read_text()))
    kept = Page((DEMO / "report.html").read_text())
    assert figures_of(Page(render(run))) == figures_of(kept)


def figures_of(page: Page) -> set[tuple[str, str]]:
    """Fields and values; the last bits of a float are left out, because sums differ in them from Python 3.12 on."""
    found = set()
    for field, value, _ in page.figures:
        with contextlib.suppress(ValueError):
            value = f"{float(value):.12g}"
        found.add((field, value))
    return found


def test_the_page_needs_no_network_and_says_so_to_the_browser(source: str) -> None:
    assert Page(source).loads == ["data:,"]
    assert "default-src 'none'" in source
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", source)


def test_the_page_tells_causes_conditions_and_verdict(report: Report, source: str) -> None:
    words = Page(source).words
    assert "\xa0%" in source  # no line ends between a number and its percent sign
    for cause in report.gaps[0].causes:
        assert cause in words
    for word in ("Trusted", "performance", "1.8 GHz before", "45 °C before", "a note", "4 GFLOP/s"):
        assert word in words, word
    assert "1.78 to 1.8 GHz during" in words
    assert "45 to 50.7 °C during" in words
    assert "took a core 8 times in 1,600 samples" in words


def with_kernels(report: Report) -> Report:
    """The run, whose second model had operators in kernels of Armlet."""
    first, second = report.models
    measured = replace(
        second.measurement,
        armlet_operators=3,
        armlet_packed_bytes=12_000_000,
        armlet_float_bytes=235_000_000,
        start_seconds=0.31,
        peak_memory_bytes=82_000_000,
        runtime_start_seconds=0.52,
        runtime_peak_memory_bytes=527_000_000,
    )
    return replace(report, models=(first, replace(second, measurement=measured)))


def test_the_page_has_starts_and_memory_with_kernels_of_armlet_and_without(report: Report) -> None:
    assert "Kernels of Armlet" not in Page(render(report)).words
    page = Page(render(with_kernels(report)))
    assert page.values("armlet_packed_bytes") == ["12000000"]
    assert page.values("runtime_start_seconds") == ["0.52"]
    assert page.values("runtime_peak_memory_bytes") == ["527000000"]
    assert "narrow: 3 operators, whose weights take 12.0 MB, 235 MB as floats" in page.words
    emulated = Page(render(made_up_runs.emulated(with_kernels(report))))
    assert emulated.values("runtime_start_seconds") == []


@pytest.mark.parametrize("width", [60, 80])
def test_the_terminal_has_them_too_and_cuts_nothing(report: Report, width: int) -> None:
    file = io.StringIO()
    Console(file=file, width=width).print(terminal_run.report(with_kernels(report)))
    told = file.getvalue().partition("Kernels of Armlet beside the runtime alone")[2]
    for figure in ("narrow", "12.0 MB", "235 MB", "310 ms", "520 ms", "82.0 MB", "527 MB"):
        assert figure in told, figure
    assert max(map(len, told.splitlines())) <= width
    assert "wide" not in told.partition("Against")[0].partition("\n\n")[0]


def test_a_disturbed_run_is_not_called_trusted(report: Report) -> None:
    noisy = replace(report.models[0].measurement, throttled=True, throttle_reasons=("under-voltage",))
    page = Page(
        render(replace(report, models=(replace(report.models[0], measurement=noisy), report.models[1])))
    )
    assert "wide: throttled: under-voltage" in page.words
    assert "Trusted" not in page.words
    assert "see below" not in page.words
    assert page.words.count("throttled") >= 2  # in the sentence, and as the model's verdict in the table


def test_names_from_a_board_cannot_put_markup_into_the_page() -> None:
    hostile = render(made_up_runs.report(names=("<script>alert(1)</script>", "\"><img src=x onerror='1'>")))
    page = Page(hostile)
    assert hostile.count("<script>") == 1
    assert page.loads == ["data:,"]
    assert "<script>alert(1)</script>" in page.words


def test_a_run_without_profile_and_accuracy_makes_a_page_too(report: Report) -> None:
    bare = tuple(
        replace(m, profile=None, costs=(), accuracy=None, parallel=(), stages=()) for m in report.models
    )
    words = Page(render(replace(report, models=bare, gaps=(), comparisons=(), peaks=None))).words
    assert "Time of one inference" in words
    assert "Where it went" not in words
    # What nobody checked is called unchecked, and nothing that sounds like no loss.
    assert f"not checked on any image: {', '.join(m.name for m in bare)}" in words
    assert "lossless" not in words
    assert "not checked" not in Page(render(report)).words


def test_no_time_of_an_emulated_run_is_shown(report: Report) -> None:
    emulated = made_up_runs.emulated(report)
    page = Page(render(emulated))
    assert "Emulated" in page.words
    assert [int(v) for v in page.values("instructions")] == [m.instructions for m in emulated.models]
    assert page.values("decode_instructions_per_weight") == ["9.5", "9.5"]
    assert not [f for f, _, _ in page.figures if f in ("median", "measured_speedup", "init_seconds")]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("gaps"),
        lambda d: d.update(models=[]),
        lambda d: d["models"][0].update(package_bytes=-1),
        lambda d: d["models"][0]["costs"][0].update(macs=1e300),
        lambda d: d["models"][0]["costs"][0].update(unknown=1),
        lambda d: d["models"][0]["profile"].update(method="guess"),
        lambda d: d["models"][0]["measurement"].update(samples_seconds=[]),
        lambda d: d["gaps"][0].update(parts="none"),
        lambda d: d.update(peaks={"flop_per_second": 0, "source": "x"}),
        lambda d: d["peaks"].update(clock_hz="fast"),
        lambda d: d["peaks"].update(source="\x1b[31m"),
        lambda d: d["gaps"][0]["parts"].pop(),
        lambda d: d["gaps"][0].update(measured_seconds=0),
        lambda d: d.update(schema="armlet.report/9"),
    ],
)
def test_a_broken_report_is_one_clear_error(report: Report, change: Callable[[dict], object]) -> None:
    from sdk.errors import DataError

    document = json.loads(json.dumps(report.to_json()))
    change(document)
    with pytest.raises(DataError):
        Report.from_json(document)


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """Where every value of a JSON document stands."""
    if path:
        yield path
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        if not isinstance(key, int) or key < 3:  # of long lists the first are enough
            yield from places(child, (*path, key))


def test_whatever_a_file_holds_it_is_a_page_or_one_clear_error(report: Report) -> None:
    """Every value of a report, replaced by wrong ones: never another exception, on the page or in the terminal."""
    from sdk.errors import DataError

    text = json.dumps(report.to_json())
    everywhere = list(places(json.loads(text)))
    rng = np.random.default_rng(0)
    outcomes = set()
    for number in rng.permutation(len(everywhere))[:250]:
        *parents, last = everywhere[number]
        document = json.loads(text)
        where = document
        for key in parents:
            where = where[key]
        where[last] = [None, -1, 0, 1e30, "x", [], {}, True, [1], 10**400][number % 10]
        try:
            found = Report.from_json(document)
            render(found)
            Console(file=io.StringIO(), width=80).print(terminal_run.report(found, operators=True))
            outcomes.add("page")
        except DataError:
            outcomes.add("error")
    assert outcomes == {"page", "error"}


# -- in a real browser ------------------------------------------------------------------------------------------------

# CI promises a browser: there a test without one fails in dump_dom instead of being skipped.
browser = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="no chromium: apt-get install chromium"
)


def dump_dom(page: Path, *flags: str) -> tuple[str, str]:
    """The page's DOM after its script ran, and what the browser's console said."""
    assert CHROMIUM is not None, "apt-get install chromium"
    # It makes a socket where temporary files go, whose name must be short.
    with tempfile.TemporaryDirectory(prefix="armlet-", dir="/tmp") as folder:
        done = subprocess.run(
            [
                *(
                    CHROMIUM,
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--enable-logging=stderr",
                    "--v=0",
                ),
                *(f"--user-data-dir={folder}/profile", *flags, "--dump-dom", page.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={**os.environ, "TMPDIR": folder},
        )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@browser
def test_a_browser_shows_the_figures_of_the_json_and_complains_of_nothing(
    report: Report, source: str, tmp_path: Path
) -> None:
    page = tmp_path / "run.html"
    page.write_text(source)
    dom, console = dump_dom(page)
    assert console == ""
    check_figures(Page(dom), report.to_json())


@browser
def test_pressing_a_head_sorts_the_operators_by_it(source: str, tmp_path: Path) -> None:
    press = """<script>
      const table = document.querySelector("table.sortable");
      const times = () => [...table.tBodies[0].rows].map(r => Number(r.cells[5].dataset.value));
      const button = [...table.querySelectorAll("button")].find(b => b.textContent === "time");
      button.click(); const down = times(); button.click(); const up = times();
      const falls = list => list.every((t, i) => i === 0 || list[i - 1] >= t);
      document.title = `sorted ${falls(down) && falls([...up].reverse()) && down.length > 3}`;
    </script></body>"""
    page = tmp_path / "run.html"
    page.write_text(source.replace("</body>", press))
    dom, console = dump_dom(page)
    assert console == ""
    assert "<title>sorted true</title>" in dom


@browser
def test_the_page_is_no_wider_than_a_phone(source: str, tmp_path: Path) -> None:
    measure = "<script>document.title = `wide ${document.documentElement.scrollWidth - innerWidth}`;</script></body>"
    page = tmp_path / "run.html"
    page.write_text(source.replace("</body>", measure))
    dom, _ = dump_dom(page, "--window-size=500,900")
    overflow = re.search(r"<title>wide (-?\d+)</title>", dom)
    assert overflow is not None
    assert int(overflow.group(1)) <= 0
