"""Many boards as one table: a rollout while it runs, how it ended, what runs where. Pure: prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_agent.record.visible import first_of
from sdk.report.terminal.tables import FittingTable
from sdk.report.units import bytes_text, seconds_text

#: Hexadecimal digits of a release that a person sees; ``--json`` has all of them.
SHORT = 12
#: Rows of the table that follows a rollout; it has to fit on a screen.
LIVE_ROWS = 16
#: Boards with the same reason that are named.
NAMED = 6

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
    """The boards that are worked on and those that failed, below what became of all of them. A row takes one line."""
    if not outcomes:
        return Text("making the release ready")
    busy = [o for o in outcomes if o.state == "running"]
    bad = [o for o in outcomes if o.state not in ("running", "waiting", "confirmed", "unchanged")]
    table = _table("board", "wave", "state", "")
    table.columns[-1].overflow = "ellipsis"
    for outcome in (busy + bad)[:LIVE_ROWS]:
        table.add_row(outcome.name, outcome.wave, _state(outcome.state), outcome.reason)
    wave = busy[0].wave if busy else ""
    return Group(Text(f"{wave}: {_counts(outcomes)}" if wave else _counts(outcomes)), table)


def fleet_deployed(result: Any) -> RenderableType:
    """Every board of a rollout, and how that ended."""
    table = _table("board", "~address", "wave", "state", ">sent", ">took")
    for board in result.boards:
        sent = board.sent_bytes + board.provisioned_bytes
        done = board.state in ("confirmed", "unchanged")
        table.add_row(
            board.name,
            board.address,
            board.wave,
            _state(board.state),
            bytes_text(sent) if sent else "-",
            seconds_text(board.seconds) if done else "-",
        )
    lines = [
        Text(
            f"{result.name} {result.release[:SHORT]}, {bytes_text(result.package_bytes)}: "
            f"{_counts(result.boards)}, in {seconds_text(result.seconds)}"
        ),
        _end(result),
    ]
    if result.resumed:
        lines.insert(0, Text("went on with a rollout that had been interrupted or stopped", style="dim"))
    # Why boards were reverted is why the rollout was stopped.
    reasons = [(b.name, b.reason) for b in result.boards if b.reason and b.reason != result.stopped]
    return Group(table, *_reasons(reasons), *lines)


def _end(result: Any) -> Text:
    end = f"stopped: {result.stopped}" if result.ended == "stopped" else _ENDS[result.ended]
    return Text(end, style="green" if result.succeeded else "bold red")


def fleet_overview(result: Any) -> RenderableType:
    """A line for every name on every board; below, what was sent back last, and why."""
    runtimes = [_runtime(board.status) for board in result.boards if board.status is not None]
    one_runtime = len(set(runtimes)) == 1
    table = _table("board", "~model", "release", "state", *([] if one_runtime else ["~runtime"]), ">free")
    reasons = []
    for board in result.boards:
        free = "-" if board.free_disk_bytes is None else bytes_text(board.free_disk_bytes)
        if board.status is None:
            table.add_row(board.name, "-", "-", _state("unreachable"), *([] if one_runtime else ["-"]), free)
            reasons.append((board.name, board.reason))
            continue
        runtime = [] if one_runtime else [_runtime(board.status)]
        if not board.status.slots:
            table.add_row(board.name, "-", "-", Text("nothing deployed", style="dim"), *runtime, free)
        for slot in board.status.slots:
            state = "on trial" if slot.trial else "confirmed" if slot.current else "none"
            table.add_row(
                board.name,
                slot.called,
                slot.current[:SHORT] if slot.current else "-",
                _state(state),
                *runtime,
                free,
            )
            reasons += [(board.name, sent_back) for sent_back in _last_reverted(slot)]
    asked = f"{len(runtimes)} of {len(result.boards)} boards answered"
    if one_runtime:
        asked += f", with {runtimes[0]}" if runtimes[0] != "-" else ", none with a runtime"
    return Group(table, *_reasons(reasons), Text(asked))


def _runtime(status: Any) -> str:
    return f"{status.runtime} {status.runtime_version}" if status.runtime else "-"


def fleet_went_back(result: Any) -> RenderableType:
    """The release that runs now on every board."""
    table = _table("board", "~address", "runs now")
    for board in result.boards:
        current = board.slot.current if board.slot else None
        table.add_row(board.name, board.address, current[:SHORT] if current else "-")
    gone = sum(board.slot is not None for board in result.boards)
    return Group(
        table,
        *_reasons([(board.name, board.reason) for board in result.boards if board.reason]),
        Text(f"{result.name} went back on {gone} of {len(result.boards)} boards"),
    )


def _reasons(reasons: Sequence[tuple[str, str]]) -> list[RenderableType]:
    """Lines below a table, which have its whole width: boards with the same reason share one."""
    boards: dict[str, list[str]] = {}
    for name, reason in reasons:
        boards.setdefault(reason, []).append(name)
    lines: list[RenderableType] = []
    for reason, names in boards.items():
        lines.append(Text(f"{first_of(names, NAMED)}: {reason}"))
    return [*lines, Text()] if lines else []


def _last_reverted(slot: Any) -> list[str]:
    for event in reversed(slot.history):
        if event.event in ("reverted", "rolled back"):
            return [f"{slot.name} {event.event} {event.when}: {event.reason}"]
    return []


def _counts(outcomes: Sequence[Any]) -> str:
    counts = Counter(outcome.state for outcome in outcomes)
    return ", ".join(f"{counts[state]} {state}" for state in _STYLES if counts[state]) or "no board"


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _table(*columns: str) -> Table:
    """A column named with ``~`` may wrap, one with ``>`` holds numbers."""
    table = FittingTable(box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 1, 0, 0)
    for name in columns:
        table.add_column(
            name.lstrip("~>"),
            overflow="fold",
            no_wrap=not name.startswith("~"),
            justify="right" if name.startswith(">") else "left",
        )
    return table
