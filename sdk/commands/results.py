"""Results of commands that no public function returns as one record.

``to_json`` of each gives what a machine reads; :data:`sdk.report.terminal.dispatch.DRAWN_AS` names the function that
draws it for people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from device_agent.errors import ArmletError
    from sdk.api.results import Deployment, Fetched, Signed, SlotStatus, ZooModel


@dataclass(frozen=True)
class KnownBoards:
    """The catalogue."""

    boards: Sequence[Any]

    def to_json(self) -> list[dict[str, Any]]:
        """JSON-ready."""
        return [asdict(board) for board in self.boards]


@dataclass(frozen=True)
class KnownBoard:
    """One board of the catalogue."""

    board: Any

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self.board)


@dataclass(frozen=True)
class FetchedRuntimes:
    """The runtimes in the cache for a board."""

    runtimes: Sequence[Fetched]

    def to_json(self) -> list[dict[str, Any]]:
        """JSON-ready."""
        return [runtime.to_json() for runtime in self.runtimes]


@dataclass(frozen=True)
class AddedBoard:
    """A board's file that was written, and what to check in it."""

    board: str
    path: Path
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"board": self.board, "path": str(self.path), "warnings": list(self.warnings)}


@dataclass(frozen=True)
class StoppedBoard:
    """An emulated board that does not run now; ``stopped``: it ran before."""

    board: str
    stopped: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class SignaturePolicy:
    """Whether a board accepts only signed packages."""

    board: str
    requires_signatures: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Networks:
    """Networks of the zoo."""

    networks: Sequence[ZooModel]

    def to_json(self) -> list[dict[str, Any]]:
        """JSON-ready."""
        return [network.to_json() for network in self.networks]


@dataclass(frozen=True)
class Verified:
    """A valid signature."""

    signed: Signed

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return self.signed.to_json()


@dataclass(frozen=True)
class Histories:
    """The history of the models of a board."""

    slots: Sequence[SlotStatus]

    def to_json(self) -> list[dict[str, Any]]:
        """JSON-ready."""
        return [slot.to_json() for slot in self.slots]


@dataclass(frozen=True)
class ServedDeployment:
    """A deploy, and the service that it became, or why not."""

    deployment: Deployment
    service: Any  # an InstalledService, which has to_json as an error has
    error: ArmletError | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.deployment.to_json(), "service": (self.error or self.service).to_json()}


@dataclass(frozen=True)
class RemovedService:
    """A removed service; ``removed``: whether there was one."""

    name: str
    removed: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class NativeLibraries:
    """C libraries that were built, one per target."""

    libraries: Sequence[Any]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"libraries": [library.to_json() for library in self.libraries]}
