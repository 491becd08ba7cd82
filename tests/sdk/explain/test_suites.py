"""Suites: the paper's figures, and a small suite of the zoo measured on the local board."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sdk import models
from sdk.api.measuring.runs import compare_runs, read_record, write_run
from sdk.api.measuring.size_suite import SizeRun, run_size_suite
from sdk.api.measuring.suites import SuiteRun, run_suite, suite_rows
from sdk.cli import main
from sdk.errors import DataError, ModelError
from sdk.explain.suites import (
    DEEP_COMPRESSION,
    SHUFFLENET_PAPER,
    Member,
    Suite,
    chosen_members,
    parse_size,
    size_text,
)
from tests.sdk.report import made_up_runs
from tests.sdk.report.page.test_run import CHROMIUM, Page, dump_dom


def test_the_papers_claim_follows_from_its_table() -> None:
    """ "Every 4x theoretical complexity reduction usually results in ~2.6x actual speedup"."""
    by_name = {member.name: member for member in SHUFFLENET_PAPER.members}
    twice, once = by_name["ShuffleNet V1 2x g3"], by_name["ShuffleNet V1 1x g3"]
    theory = [models.describe(m.network, **m.options).macs for m in (twice, once)]
    assert theory[0] / theory[1] == pytest.approx(3.8, abs=0.1)
    for size in SHUFFLENET_PAPER.sizes:
        assert 2.6 < twice.paper_milliseconds[size] / once.paper_milliseconds[size] < 3.0


def test_every_member_is_in_the_zoo_with_times_at_every_size() -> None:
    for member in SHUFFLENET_PAPER.members:
        assert models.describe(member.network, input_size=(480, 640), **member.options).macs > 0
        assert tuple(member.paper_milliseconds) == SHUFFLENET_PAPER.sizes


def test_the_shares_of_deep_compression_come_to_the_papers_totals() -> None:
    """ "From 61 million to 6.7 million" weights in AlexNet, "from 138 million to 10.3 million" in VGG-16."""
    totals = {"alexnet": 6.7e6, "vgg16": 10.3e6}
    for member in DEEP_COMPRESSION.members:
        layers = [layer for layer in models.describe(member.network).layers if layer.weights]
        assert len(layers) == len(member.kept), member.name
        if member.network in totals:
            left = sum(layer.weights * kept for layer, kept in zip(layers, member.kept, strict=True))
            assert left == pytest.approx(totals[member.network], rel=0.03)


@pytest.mark.tensorflow
def test_the_lenets_of_deep_compression_come_out_no_larger_than_the_papers() -> None:
    result = run_size_suite(networks=("lenet_300_100", "lenet_5"))
    for row in result.rows:
        assert row.original_bytes == pytest.approx(row.paper_original_bytes, rel=0.02)
        assert row.package_bytes <= row.paper_bytes
        assert dict(row.stages)["coded"] == row.package_bytes
        assert row.ratio >= row.paper_ratio
    assert "no accuracy" in result.to_json()["note"]
    again = SizeRun.from_json(json.loads(json.dumps(result.to_json())))
    assert again == result


def test_sizes_are_heights_and_widths() -> None:
    assert parse_size("480x640") == (480, 640)
    assert size_text(parse_size("224")) == "224x224"
    for text in ("", "x", "0x1", "1x2x3", "99999999"):
        with pytest.raises(ValueError, match=r"\w|^$"):
            parse_size(text)


def test_what_a_suite_is_not_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--board", "local", "--suite", "no-such"]) == 2
    assert "shufflenet-paper" in capsys.readouterr().err
    assert main(["bench", "--board", "local", "--suite", "shufflenet-paper", "m.tflite"]) == 2
    assert "a suite has its own models" in capsys.readouterr().err
    assert main(["bench", "--board", "local", "--sizes", "224x224"]) == 2
    assert "nothing to measure" in capsys.readouterr().err
    assert main(["bench", "--board", "local"]) == 2
    assert "nothing to measure" in capsys.readouterr().err
    assert main(["bench", "m.tflite"]) == 2
    assert "on which board?" in capsys.readouterr().err
    assert main(["bench", "--suite", "deep-compression", "--sizes", "224x224"]) == 2
    assert "to those that are measured" in capsys.readouterr().err


@pytest.mark.ssh
@pytest.mark.tensorflow
def test_a_suite_is_built_measured_and_put_beside_the_paper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], with_runtime
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with_runtime(tmp_path / "data")
    suite = Suite(
        "small",
        "nobody",
        (
            Member("MobileNet", "mobilenet_v1", {"width": 0.25}, {(32, 64): 20.0}),
            Member("LeNet-5", "lenet_5", {}, {(32, 64): 5.0}),
        ),
        sizes=((32, 64),),
    )
    result = run_suite("local", suite, samples=20, seconds=0.2)
    assert [(row.name, row.size) for row in result.rows] == [("MobileNet", "32x64"), ("LeNet-5", "32x64")]
    first, second = result.rows
    assert (first.measured_speedup, first.paper_speedup) == (1.0, 1.0)
    assert second.paper_speedup == 4.0
    assert second.theoretical_speedup == pytest.approx(first.macs / second.macs)
    assert second.measured_speedup == pytest.approx(first.median_seconds / second.median_seconds)
    assert [row.threads for row in result.rows] == [1, 1]

    kept = tmp_path / "suite.json"
    write_run(result, kept)
    assert read_record(kept) == result
    assert main(["report", str(kept), "--html", str(tmp_path / "suite.html")]) == 0
    assert "LeNet-5" in capsys.readouterr().out
    page = Page((tmp_path / "suite.html").read_text())
    assert [float(v) for v in page.values("measured_speedup")] == [r.measured_speedup for r in result.rows]
    assert [float(v) for v in page.values("paper_speedup")] == [1.0, 4.0]
    assert page.loads == ["data:,"]
    if CHROMIUM:
        dom, console = dump_dom(tmp_path / "suite.html")
        assert console == ""
        assert Page(dom).values("macs") == [str(row.macs) for row in result.rows]
    with pytest.raises(DataError, match="not a report of a run"):
        compare_runs(kept, kept)


def test_alexnet_keeps_its_61_million_weights_at_every_size_of_the_paper() -> None:
    """Its last map is averaged to 6x6 before the fully connected layers, as PyTorch does."""
    alexnet = SHUFFLENET_PAPER.members[-1]
    original = models.describe(alexnet.network)
    assert [layer.shape for layer in original.layers if layer.kind == "average_pool"] == []
    for size in SHUFFLENET_PAPER.sizes[1:]:
        larger = models.describe(alexnet.network, input_size=size)
        assert larger.parameters == original.parameters
        (pool,) = [layer for layer in larger.layers if layer.kind == "average_pool"]
        assert pool.shape == (6, 6, 256)
        # The paper's times grow like this too: 6.3 and 19.7 times 224x224.
        grown = alexnet.paper_milliseconds[size] / alexnet.paper_milliseconds[(224, 224)]
        assert larger.macs / original.macs == pytest.approx(grown, rel=0.1)


def test_networks_of_a_suite_are_picked_by_their_names_in_the_zoo() -> None:
    picked = chosen_members(SHUFFLENET_PAPER.members, ("alexnet", "shufflenet_v1"))
    assert [m.network for m in picked] == ["shufflenet_v1"] * 3 + ["alexnet"]
    with pytest.raises(ModelError, match=r"alexnet.*mobilenet_v1.*found lenet_5"):
        chosen_members(SHUFFLENET_PAPER.members, ("lenet_5",))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(schema="armlet.suite/9"), "schema"),
        (lambda d: d.update(rows=[]), "rows"),
        (lambda d: d.update(runs=[]), "runs"),
        (lambda d: d["rows"][0].update(median_seconds=-1), "rows"),
        (lambda d: d["rows"][0].pop("macs"), "rows"),
        (lambda d: d["runs"][0].update(report={}), "report"),
    ],
)
def test_a_broken_suite_is_one_clear_error(change: Callable[[dict], object], named: str) -> None:
    report = made_up_runs.report()
    suite = Suite("made-up", "nobody", tuple(Member(m.name, "lenet_5") for m in report.models), ((32, 32),))
    rows = suite_rows(suite, (32, 32), report)
    assert [(row.name, row.threads) for row in rows] == [
        *(("wide", 1), ("narrow", 1), ("wide", 4), ("narrow", 4))
    ]
    document = json.loads(
        json.dumps(SuiteRun("made-up", "nobody", (("32x32", report),), tuple(rows)).to_json())
    )
    assert SuiteRun.from_json(json.loads(json.dumps(document))).rows == tuple(rows)
    change(document)
    with pytest.raises(DataError, match=named):
        SuiteRun.from_json(document)
