"""Tables of fleets: whole on 80 columns, one line a board, and a reason that many boards share is said once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rich.console import Console

from sdk.report.terminal import drawing as terminal
from sdk.report.terminal.fleet import LIVE_ROWS

LONG = "the agent's `install` failed: the board's disk is full; found 3 MB in /home/pi/.armlet/store/blobs/0123456789"


def shown(renderable: Any, width: int = 80) -> list[str]:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    console.print(renderable)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert all(len(line) <= width for line in lines)
    return lines


def board(name: str, state: str = "confirmed", reason: str = "", wave: str = "batch 1") -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        address=f"pi@{name}.local:22",
        wave=wave,
        state=state,
        reason=reason,
        sent_bytes=5230,
        provisioned_bytes=0,
        seconds=3.2,
    )


def rollout(*boards: SimpleNamespace, ended: str = "incomplete", stopped: str = "") -> SimpleNamespace:
    return SimpleNamespace(
        boards=boards,
        ended=ended,
        stopped=stopped,
        succeeded=False,
        resumed=False,
        name="net",
        release="a" * 64,
        package_bytes=5780,
        seconds=12.0,
    )


def test_a_reason_stands_below_the_table_once_for_all_boards_that_have_it() -> None:
    boards = [board(f"cam{n:02d}", "failed", LONG) for n in range(1, 9)]
    lines = shown(terminal.fleet_deployed(rollout(*boards, board("cam09"))))
    assert sum(line.startswith(" cam0") for line in lines) == 9
    text = " ".join(lines)
    assert text.count("disk is full") == 1
    assert "cam06 and 2 more: the agent's `install` failed" in text


def test_boards_that_were_taken_back_do_not_repeat_why() -> None:
    stopped = "2 boards failed, at most 1 may"
    boards = [board("cam01", "reverted", stopped), board("cam02", "failed", "no way in")]
    lines = shown(terminal.fleet_deployed(rollout(*boards, ended="stopped", stopped=stopped)))
    assert lines[-1] == f"stopped: {stopped}"
    assert "\n".join(lines).count(stopped) == 1
    assert "cam02: no way in" in lines


def test_a_table_that_follows_a_rollout_keeps_its_rows_to_a_line_each() -> None:
    boards = [board(f"cam{n:02d}", "failed" if n % 2 else "running", LONG) for n in range(40)]
    lines = shown(terminal.fleet_running(boards))
    assert lines[0] == "batch 1: 20 failed, 20 running"
    assert len(lines) <= LIVE_ROWS + 5
    assert any(line.endswith("…") for line in lines)
    assert shown(terminal.fleet_running([])) == ["making the release ready"]


def status(runtime: str | None, *slots: Any) -> SimpleNamespace:
    return SimpleNamespace(runtime=runtime, runtime_version="2.14.0", slots=slots)


def slot(*history: tuple[str, str]) -> SimpleNamespace:
    return SimpleNamespace(
        name="net",
        called="net",
        current="b" * 64,
        trial=None,
        history=[SimpleNamespace(event=e, when="2026-01-02 03:04", reason=r) for e, r in history],
    )


def overview(*statuses: Any) -> list[str]:
    boards = [
        SimpleNamespace(
            name=f"cam{n:02d}",
            status=found,
            free_disk_bytes=52_600_000_000,
            reason="cannot reach cam" if found is None else "",
        )
        for n, found in enumerate(statuses, 1)
    ]
    return shown(terminal.fleet_overview(SimpleNamespace(boards=boards)))


def test_one_runtime_of_all_boards_is_said_once() -> None:
    lines = overview(*[status("tflite-runtime", slot(("confirmed", "")))] * 3)
    assert lines[-1] == "3 of 3 boards answered, with tflite-runtime 2.14.0"
    assert sum("bbbbbbbbbbbb" in line for line in lines) == 3
    assert "runtime" not in lines[1]


def test_several_runtimes_have_a_column() -> None:
    lines = overview(status("tflite-runtime", slot()), status("ai-edge-litert", slot()), status(None))
    text = "\n".join(lines)
    assert "tflite-runtime 2.14.0" in text
    assert "ai-edge-litert 2.14.0" in text
    assert lines[-1] == "3 of 3 boards answered"


def test_what_was_sent_back_last_and_who_did_not_answer_stand_below() -> None:
    lines = overview(status("tflite-runtime", slot(("reverted", "too slow"), ("confirmed", ""))), None)
    assert "cam01: net reverted 2026-01-02 03:04: too slow" in lines
    assert "cam02: cannot reach cam" in lines
    assert lines[-1].startswith("1 of 2 boards answered")


def test_a_rollback_names_the_boards_that_have_none() -> None:
    boards = [
        SimpleNamespace(name="cam01", address="pi@cam01", slot=slot(), reason=""),
        SimpleNamespace(name="cam02", address="pi@cam02", slot=None, reason=LONG),
    ]
    lines = shown(terminal.fleet_went_back(SimpleNamespace(boards=boards, name="net")))
    assert any(line.startswith(" cam02") and line.endswith("-") for line in lines)
    assert lines[-1] == "net went back on 1 of 2 boards"
