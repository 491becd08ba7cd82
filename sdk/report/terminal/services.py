"""Services of a board, for people at a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from sdk.report.terminal.tables import facts, table


def services(result: Any) -> RenderableType:
    """All services, a line each."""
    if not result.services:
        return Text("nothing is served here; `sdk deploy --service` sets it up")
    rows = table(None, "model", "<state", "<ready", "restarts", "<release", "~socket")
    for service in result.services:
        rows.add_row(
            service.name,
            _state(service),
            _ready(service.ready),
            "?" if service.restarts is None else str(service.restarts),
            (service.release or "")[:12],
            service.socket,
        )
    note = [] if result.linger else [Text("They end when their user logs out (no lingering).")]
    return Group(rows, *note)


def service(result: Any) -> RenderableType:
    """One service."""
    return Text(f"{result.name}: {_state(result)}")


def service_removed(result: Any) -> RenderableType:
    """The result of a removal."""
    return Text(f"{result.name} {'is not a service any more' if result.removed else 'was not a service'}")


def installed_service(installed: Any) -> RenderableType:
    """The address where it listens, and what is left to do."""
    service = installed.service
    what = "restarted" if installed.restarted else "as it was" if not installed.changed else "installed"
    lines = [("service", f"{service.unit}, {what}, {_state(service)}"), ("socket", service.socket)]
    return Group(facts(*lines), *([Text(installed.advice)] if installed.advice else []))


def _state(service: Any) -> str:
    failed = f" ({service.result})" if service.state == "failed" else ""
    return service.state + failed + ("" if service.enabled else ", not started with the board")


def _ready(ready: bool | None) -> str:
    return {True: "yes", False: "no", None: ""}[ready]
