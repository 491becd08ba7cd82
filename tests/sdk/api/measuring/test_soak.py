"""`sdk bench --soak`: against the local board, and as its tables and its page show a board that heats up."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from sdk.api.measuring.runs import read_record
from sdk.api.measuring.soak import soak_models
from sdk.cli import main
from sdk.errors import BoardError
from sdk.explain.soaking.memory import plan_memory
from sdk.explain.soaking.run import SoakReport
from sdk.graph.writer import write_graph
from sdk.report.page import soak as soak_page
from sdk.report.terminal import drawing
from tests.device_agent.measuring.test_soak import WarmingBoard, record
from tests.sdk.graph.small_graphs import small_network


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARMLET_BOARDS", str(tmp_path / "boards"))
    path = tmp_path / "net.tflite"
    path.write_bytes(write_graph(small_network(size=32)))
    return path


@pytest.fixture(scope="module")
def hot(tmp_path_factory: pytest.TempPathFactory) -> SoakReport:
    """Two models whose order turns around on a board that throttles after some minutes."""
    board = WarmingBoard(tmp_path_factory.mktemp("board"), seconds=200.0)
    found = board.soak(board.model(0.24, 0.0, 9.0), board.model(0.06, 0.085, 7.0), seconds=600.0)
    plans = (plan_memory(small_network()), None)
    return SoakReport("rpi5", "Raspberry Pi 5", record(found.turns, found.idle, ("computes", "waits")), plans)


@pytest.mark.ssh
def test_a_soak_of_the_local_board_is_kept_shown_and_made_a_page(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, page = tmp_path / "soak.json", tmp_path / "soak.html"
    assert (
        main(["bench", "--board", "local", str(model), "--soak", "1s", "--threads", "1", "-o", str(kept)])
        == 0
    )
    shown = capsys.readouterr().out
    assert "speed kept" in shown
    found = read_record(kept)
    assert isinstance(found, SoakReport)
    (net,) = found.soak.models
    assert (net.name, found.soak.threads) == ("net", 1)
    assert 1.0 <= found.soak.seconds < 4.0
    assert len(found.soak.turns) >= 4
    assert net.base_memory_bytes is not None
    assert net.peak_memory_bytes is not None
    assert 10_000_000 < net.base_memory_bytes <= net.peak_memory_bytes
    assert main(["report", str(kept), "--html", str(page)]) == 0
    assert "net soaked on local" in page.read_text()


def test_an_emulated_board_is_refused_before_anything_is_sent(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BoardError, match="an emulated board does not get warm"):
        soak_models("virtual-arm64", [model], soak=10.0)
    assert main(["bench", "--board", "virtual-arm64", str(model), "--soak", "1m"]) == 2
    assert "or no --soak" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threads", "1,2"], "a soak takes one number of threads"),
        (["--self-test"], "without --self-test and --precision"),
        (["--precision", "1%"], "without --self-test and --precision"),
        (["--export-csv", "soak.csv"], "a soak has no table to export"),
    ],
)
def test_what_a_soak_cannot_do_is_said(
    options: list[str], said: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--board", "local", str(model), "--soak", "1m", *options]) == 2
    assert said in capsys.readouterr().err


def test_a_suite_is_not_soaked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--suite", "deep-compression", "--soak", "1m"]) == 2
    assert "a suite is not soaked" in capsys.readouterr().err


def test_the_terminal_says_what_happened_on_80_columns(hot: SoakReport) -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(drawing.soaked(hot))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= 80
    text = " ".join(shown.split())
    assert "throttled after" in text
    assert "the ranking turned: computes was" in text
    assert "waits is" in text
    assert "idle off" in text
    assert "2 W idle" in text


def test_the_page_has_a_curve_of_each_model_and_of_what_the_board_said(hot: SoakReport) -> None:
    page = soak_page.render(hot)
    for name in ("time of an inference", "clock", "temperature", "power"):
        assert f">{name}, " in page
    assert page.count("<polyline") == 2 * (2 + 3)  # for desk and phone
    assert page.count('class="link"') == 2 * 4
    figures = {one.model: one for one in hot.figures}
    for one in figures.values():
        assert f'data-field="kept" data-value="{one.kept}"' in page
        assert f'data-field="joules" data-value="{one.joules}"' in page


def test_json_tells_the_figures_beside_every_turn(hot: SoakReport) -> None:
    told = json.loads(json.dumps(hot.to_json()))
    assert told["figures"]["throttle"]["why"] == "throttled"
    assert len(told["soak"]["turns"]) == len(hot.soak.turns)
