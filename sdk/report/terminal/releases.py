"""The releases of a board and their history, as rich renderables. Pure: makes them, prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_agent.record.visible import visible
from sdk.report.terminal.tables import FittingTable
from sdk.report.units import bytes_text

#: Hexadecimal digits of a release that a person sees; ``--json`` has all of them.
SHORT = 12


def board_overview(result: Any) -> RenderableType:
    """Versions, then a line for each name, then why releases on trial were sent back since the last good one."""
    if result.agent_version is None:
        return Text(f"{result.board} at {result.address}: nothing was ever deployed there")
    runtime = f"{result.runtime} {result.runtime_version}" if result.runtime else "no runtime that works"
    lines: list[RenderableType] = [
        Text(f"{result.board} at {result.address}", style="bold"),
        Text(
            f"{result.machine}, Python {result.python_version}, {runtime}, "
            f"numpy {result.numpy_version or 'none'}, agent {result.agent_version}"
        ),
    ]
    if result.requires_signatures:
        lines.append(Text("takes signed releases only"))
    if not result.slots:
        return Group(*lines, Text("nothing is deployed"))
    table = _table(("model", "left"), ("current", "left"), ("size", "right"), ("since", "left"), ("", "left"))
    for slot in result.slots:
        also = [
            word
            for word, release in (
                (f"on trial: {_short(slot.trial)}", slot.trial),
                (f"{1 + len(slot.older)} to go back to", slot.previous),
            )
            if release
        ]
        table.add_row(
            slot.called,
            _short(slot.current),
            "-" if slot.package_bytes is None else bytes_text(slot.package_bytes),
            slot.since or "-",
            ", ".join(also),
        )
    return Group(*lines, table, *_reverts(result.slots))


def releases(result: Any) -> RenderableType:
    """Everything that is remembered of each name, oldest first."""
    slots = result.slots
    if not slots:
        return Text("nothing is deployed")
    parts: list[RenderableType] = []
    for slot in slots:
        now = [
            f"{word} {_short(release)}"
            for word, release in (
                ("current", slot.current),
                ("previous", slot.previous),
                *(("before", release) for release in slot.older),
                ("on trial", slot.trial),
            )
            if release
        ]
        if slot.threads is not None:
            now.append(f"{slot.threads} thread{'s' if slot.threads != 1 else ''}")
        parts.append(Text(f"{slot.called}: {', '.join(now) or 'nothing runs'}", style="bold"))
        table = _table(("when", "left"), ("event", "left"), ("release", "left"), ("reason", "left"))
        for event in slot.history:
            table.add_row(event.when, event.event, _short(event.release), event.reason)
        parts.append(table)
    return Group(*parts, Text("when: UTC, by the board's clock", style="dim"))


def slot_changed(slot: Any) -> RenderableType:
    """The result of a rollback or a confirmation."""
    size = "" if slot.package_bytes is None else f", {bytes_text(slot.package_bytes)}"
    back = f"; {_short(slot.previous)} is what `sdk rollback` goes back to" if slot.previous else ""
    return Text(f"{slot.called}: {_short(slot.current)} is what runs now{size}{back}")


def signed(result: Any) -> RenderableType:
    """A signature that was written."""
    what = f"{result.package} as {visible(result.name)}, number {result.number}"
    return Text(f"{result.signature}: {what}, signed with {result.signer}")


def verified(result: Any) -> RenderableType:
    """A valid signature."""
    found = result.signed
    return Text(f"{found.package}: signed by {found.signer} as {visible(found.name)}, number {found.number}")


def _reverts(slots: Sequence[Any]) -> list[RenderableType]:
    found: list[RenderableType] = []
    for slot in slots:
        last = slot.history[-1] if slot.history else None
        if last is not None and last.event != "confirmed":
            why = f": {last.reason}" if last.reason else ""
            found.append(Text(f"{slot.name}: {_short(last.release)} {last.event} {last.when}{why}"))
    return found


def _short(release: str | None) -> str:
    return "-" if release is None else release[:SHORT]


def _table(*columns: tuple[str, Any]) -> Table:
    table = FittingTable(box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 1, 0, 0)
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "reason")
    return table
