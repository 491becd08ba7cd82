"""Many boards as one table: a rollout while it runs, how it ended, what runs where. Pure: prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sdk.report.units import bytes_text, seconds_text

#: Hexadecimal digits of a release that a person sees; ``--json`` has all of them.
SHORT = 12
#: Rows of the table that follows a rollout; it has to fit on a screen.
LIVE_ROWS = 16

_STYLES = {
    "confirmed": "green",
    "unchanged": "green",
    "failed": "bold red",
    "unreachable": "bold red",
    "not reverted": "bold red",
    "reverted": "yellow",
    "running": "cyan",
    "waiting": "dim",
}
_ENDS = {
    "succeeded": "every board runs it",
    "incomplete": "not every board runs it; the same command again tries the rest",
    "stopped": "stopped",
    "interrupted": "interrupted; the same command again goes on from here",
}


def fleet_running(outcomes: Sequence[Any]) -> RenderableType:
    """The boards that are worked on and those that failed, below what became of all of them."""
    busy = [o for o in outcomes if o.state == "running"]
    bad = [o for o in outcomes if o.state not in ("running", "waiting", "confirmed", "unchanged")]
    table = _table(("board", False), ("wave", False), ("state", False), ("", True))
    for outcome in (busy + bad)[:LIVE_ROWS]:
        table.add_row(outcome.name, outcome.wave, _state(outcome.state), outcome.reason)
    wave = busy[0].wave if busy else ""
    return Group(Text(f"{wave}: {_counts(outcomes)}" if wave else _counts(outcomes)), table)


def fleet_deployed(result: Any) -> RenderableType:
    """Every board of a rollout, and how that ended."""
    table = _table(
        ("board", False), ("address", True), ("wave", False), ("state", False), ("sent", False), ("", True)
    )
    table.columns[4].justify = "right"
    for board in result.boards:
        sent = board.sent_bytes + board.provisioned_bytes
        done = board.state in ("confirmed", "unchanged")
        note = board.reason if board.reason else seconds_text(board.seconds) if done else ""
        table.add_row(
            board.name,
            board.address,
            board.wave,
            _state(board.state),
            bytes_text(sent) if sent else "-",
            note,
        )
    end = _ENDS[result.ended]
    if result.ended == "stopped":
        end = f"stopped: {result.stopped}"
    lines = [
        Text(
            f"{result.name} {result.release[:SHORT]}, {bytes_text(result.package_bytes)}: "
            f"{_counts(result.boards)}, in {seconds_text(result.seconds)}"
        ),
        Text(end, style="green" if result.succeeded else "bold red"),
    ]
    if result.resumed:
        lines.insert(0, Text("went on with a rollout that had been interrupted or stopped", style="dim"))
    return Group(table, *lines)


def fleet_overview(result: Any) -> RenderableType:
    """A line for every name on every board."""
    table = _table(
        ("board", False),
        ("model", True),
        ("release", False),
        ("state", False),
        ("runtime", True),
        ("free", False),
        ("sent back last, and why", True),
    )
    for board in result.boards:
        free = "-" if board.free_disk_bytes is None else bytes_text(board.free_disk_bytes)
        if board.status is None:
            table.add_row(board.name, "", "", _state("unreachable"), "", "", board.reason)
            continue
        runtime = f"{board.status.runtime} {board.status.runtime_version}" if board.status.runtime else "-"
        if not board.status.slots:
            table.add_row(board.name, "-", "-", Text("nothing deployed", style="dim"), runtime, free, "")
        for slot in board.status.slots:
            state = "on trial" if slot.trial else "confirmed" if slot.current else "none"
            table.add_row(
                board.name,
                slot.name,
                slot.current[:SHORT] if slot.current else "-",
                _state(state),
                runtime,
                free,
                _last_reverted(slot),
            )
    asked = sum(board.status is not None for board in result.boards)
    return Group(table, Text(f"{asked} of {len(result.boards)} boards answered"))


def fleet_went_back(result: Any) -> RenderableType:
    """What runs now on every board."""
    table = _table(("board", False), ("address", True), ("runs now", False), ("", True))
    for board in result.boards:
        current = board.slot.current if board.slot else None
        table.add_row(board.name, board.address, current[:SHORT] if current else "-", board.reason)
    gone = sum(board.slot is not None for board in result.boards)
    return Group(table, Text(f"{result.name} went back on {gone} of {len(result.boards)} boards"))


def _last_reverted(slot: Any) -> str:
    for event in reversed(slot.history):
        if event.event in ("reverted", "rolled back"):
            return f"{event.when}: {event.reason}"
    return ""


def _counts(outcomes: Sequence[Any]) -> str:
    counts = Counter(outcome.state for outcome in outcomes)
    return ", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state]) or "no board"


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _table(*columns: tuple[str, bool]) -> Table:
    """Columns and whether they may wrap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 1, 0, 0)
    for name, wraps in columns:
        table.add_column(name, overflow="fold", no_wrap=not wraps)
    return table
