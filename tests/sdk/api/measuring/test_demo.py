"""`sdk demo`, run once as the README says: its report, and what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.pages.readme_transcript import README, excerpt
from sdk.api.measuring.runs import read_run
from sdk.explain.run import Report
from sdk.report.terminal import drawing as terminal
from tests.docs.documented import ONE_THREAD

pytestmark = [pytest.mark.ssh, pytest.mark.tensorflow]


@dataclass(frozen=True)
class Demo:
    """What the demo measured, and what it printed."""

    report: Report
    printed: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """As a newcomer runs it: a process of its own, on a local board with nothing on it."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "XDG_DATA_HOME": str(folder / "data"), "COLUMNS": "80", **ONE_THREAD}
    script = str(Path(sys.executable).with_name("sdk"))
    done = subprocess.run(
        [script, "demo", "-o", "run.json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return Demo(read_run(folder / "run.json"), done.stdout)


def test_the_demo_counts_the_same_answers_on_host_and_board(demo: Demo) -> None:
    assert [m.name for m in demo.report.models] == ["mobilenet_v1", "shufflenet_v1"]
    for model in demo.report.models:
        accuracy = model.accuracy
        assert accuracy is not None
        assert accuracy.board_correct == accuracy.compressed_correct
        assert accuracy.board_agrees == accuracy.samples
        assert accuracy.share(accuracy.original_correct) >= 0.97
        assert accuracy.share(accuracy.compressed_correct) >= accuracy.share(accuracy.original_correct) - 0.02


def test_the_demos_packages_are_what_was_asked_for(demo: Demo) -> None:
    for model in demo.report.models:
        assert model.ratio > 6
        assert 0.5 < model.sparsity < 0.71  # 70 % of all but depthwise and first layers
        assert model.effective_macs < model.macs
        assert [stage for stage, _ in model.stages] == ["original", "pruned", "clustered", "coded"]
        assert dict(model.stages)["coded"] == model.package_bytes


def test_the_demo_compares_shufflenet_with_mobilenet(demo: Demo) -> None:
    (comparison,) = demo.report.comparisons
    assert (comparison.baseline, comparison.candidate) == ("mobilenet_v1", "shufflenet_v1")
    assert 3 < comparison.theoretical_speedup < 5
    assert comparison.measured_speedup > 0
    assert comparison.share_realised == pytest.approx(
        comparison.measured_speedup / comparison.theoretical_speedup
    )


def test_the_demos_report_fits_80_columns_and_names_its_conditions(demo: Demo) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal.report(demo.report))
    text = console.export_text()
    assert "│" not in text
    runtime = demo.report.models[0].measurement.runtime
    for word in (runtime, "delegate", "threads", "decoder", "samples", "verdict", "realised", "p99"):
        assert word in text, word
    assert max(map(len, text.splitlines())) <= 80


def test_the_readmes_transcript_is_what_the_demo_prints(demo: Demo) -> None:
    recorded = re.search(r"<!-- transcript[^>]*-->\n```\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert recorded
    assert shape_of(recorded[1]) == shape_of(excerpt(demo.printed))


#: Which parts of a gap are large enough to be shown differs from run to run.
PARTS = (
    *(
        "compute below",
        "operators without",
        "element-wise",
        "dispatch",
        "disturbance",
        "memory",
        "arithmetic",
    ),
    "threads",
)


def shape_of(transcript: str) -> list[str]:
    """The lines without what differs from run to run: figures, bars, and the parts of the gap."""
    lines = [
        " ".join(re.sub(r"[-+\u2212]?\d[\d.]*x?|\u2588+", "#", line).split())
        for line in transcript.splitlines()
    ]
    return [line for line in lines if line and not line.startswith(PARTS)]
