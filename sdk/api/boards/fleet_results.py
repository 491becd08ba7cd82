"""Results of the functions on fleets: frozen records, each with ``to_json``. Sizes are bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from sdk.api.results import BoardStatus, SlotStatus
from sdk.tools.shown import Shown

SCHEMA = "armlet.fleet/1"


@dataclass(frozen=True)
class FleetBoard:
    """One board of a rollout. ``state`` is one of :mod:`sdk.deploy.fleet.rollout`'s; ``reason`` says why it is no
    better."""

    name: str
    board: str
    address: str
    groups: tuple[str, ...]
    vars: dict[str, Any]
    wave: str
    state: str
    reason: str
    seconds: float
    sent_bytes: int = 0
    provisioned_bytes: int = 0
    largest_difference: float | None = None
    runtime: str | None = None
    runtime_version: str | None = None


@dataclass(frozen=True)
class FleetDeployment(Shown):
    """How a rollout ended, board by board."""

    name: str
    release: str
    package_sha256: str
    package_bytes: int
    inventory: str
    group: str | None
    plan: dict[str, Any]
    #: "succeeded": every board runs it. "incomplete": it came to its end, some boards failed. "stopped": too many
    #: failed. "interrupted": by Ctrl-C.
    ended: str
    stopped: str
    #: Whether it went on with one that was interrupted or stopped before.
    resumed: bool
    seconds: float
    boards: tuple[FleetBoard, ...]
    notes: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Every board runs the release."""
        return self.ended == "succeeded"

    @property
    def counts(self) -> dict[str, int]:
        """State -> boards."""
        return dict(Counter(board.state for board in self.boards))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": SCHEMA, "kind": "deployment", **asdict(self), "counts": self.counts}


@dataclass(frozen=True)
class FleetBoardStatus:
    """The state of one board of a fleet; ``status`` None where it could not be asked, for ``reason``."""

    name: str
    board: str
    address: str
    groups: tuple[str, ...]
    vars: dict[str, Any]
    status: BoardStatus | None = None
    free_disk_bytes: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class FleetStatus(Shown):
    """The state of every board of a fleet."""

    inventory: str
    group: str | None
    boards: tuple[FleetBoardStatus, ...]
    notes: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Every board could be asked."""
        return all(board.status is not None for board in self.boards)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": SCHEMA, "kind": "status", **asdict(self)}


@dataclass(frozen=True)
class FleetBoardRollback:
    """A rollback on one board of a fleet; ``slot`` None where there was none, for ``reason``."""

    name: str
    board: str
    address: str
    slot: SlotStatus | None = None
    reason: str = ""


@dataclass(frozen=True)
class FleetRollback(Shown):
    """A rollback on every board of a fleet."""

    name: str
    inventory: str
    group: str | None
    boards: tuple[FleetBoardRollback, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def succeeded(self) -> bool:
        """Every board went back."""
        return all(board.slot is not None for board in self.boards)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": SCHEMA, "kind": "rollback", **asdict(self)}
