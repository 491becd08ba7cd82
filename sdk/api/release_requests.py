"""The options of deploy, rollback, services and exports, for one board and for many, each declared once.

Nothing heavy is imported here, because `sdk --help` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.api.file_requests import PackedOnTheWay
from sdk.api.values import PathLike, kept_releases
from sdk.deploy.agent.limits import CheckLimits
from sdk.deploy.fleet.plan import MANY_BOARDS, RolloutPlan
from sdk.deploy.target import Address, Target
from sdk.tools.option import option, part, same

if TYPE_CHECKING:
    from sdk.deploy.fleet.rollout import Watch
    from sdk.package.release import Golden

SERVICE = "service"


@dataclass(frozen=True, kw_only=True)
class Deploy(Target):
    """How a release is deployed to one board, and the limits that it must keep there."""

    name: str | None = option(
        None,
        help="name of the model on the board (default: as the package says, else as its file)",
        metavar="NAME",
    )
    packing: PackedOnTheWay = part(PackedOnTheWay)
    keep_on_trial: bool = option(
        False, help="check the release, but keep the old one running until `sdk confirm`", rare=True
    )
    keep: int | None = option(
        None,
        help="how many releases of that name the board keeps (default: the board file's keep_releases, else 2)",
        parse=kept_releases,
        metavar="N",
        rare=True,
    )
    limits: CheckLimits = part(CheckLimits)


@dataclass(frozen=True, kw_only=True)
class FromInventory:
    """Which file names the boards; the commands on many boards take it in place of a board."""

    inventory: PathLike | None = option(
        None,
        help="boards of a TOML file, or of an Ansible inventory, see docs/fleet.md",
        parse=Path,
        metavar="FILE",
        group=MANY_BOARDS,
    )


@dataclass(frozen=True, kw_only=True)
class FleetQuery:
    """Which boards of an inventory are asked. ``board``: the type of those for which it names none."""

    group: str | None = option(
        None,
        help="group of boards in the inventory (default: all boards)",
        metavar="NAME",
        group=MANY_BOARDS,
        rare=True,
    )
    board: str | None = None
    parallel: int = same(RolloutPlan, "parallel")
    accept_new_host_key: bool = same(Address, "accept_new_host_key")


@dataclass(frozen=True, kw_only=True)
class FleetAnswer:
    """Where the answer about many boards is written, besides the terminal."""

    output: PathLike | None = option(
        None,
        help="also write the JSON document to this file",
        flag=("-o", "--output"),
        parse=Path,
        metavar="FILE",
        group=MANY_BOARDS,
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class DeployFleet:
    """Which boards of an inventory, in which steps, and what a new release may need there."""

    group: str | None = same(FleetQuery, "group")
    board: str | None = None
    name: str | None = same(Deploy, "name")
    packing: PackedOnTheWay = part(PackedOnTheWay)
    plan: RolloutPlan | None = part(RolloutPlan)
    keep: int | None = same(Deploy, "keep")
    limits: CheckLimits = part(CheckLimits)
    golden: Golden | None = None
    accept_new_host_key: bool = same(Address, "accept_new_host_key")
    watch: Watch = lambda outcomes: None


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """To which release, and why."""

    to: str | None = option(
        None,
        help="beginning of the release's id, see `sdk releases` (default: the one before)",
        metavar="ID",
    )
    reason: str = option("asked for", help="reason to keep in the board's history", metavar="TEXT", rare=True)


@dataclass(frozen=True, kw_only=True)
class Rollback(Target, WayBack):
    """To which release, why, and how the board is reached."""


@dataclass(frozen=True, kw_only=True)
class RollbackFleet(FleetQuery, WayBack):
    """To which release, why, and which boards."""


@dataclass(frozen=True, kw_only=True)
class AsService:
    """Whether what was deployed becomes a service."""

    service: bool = option(
        False,
        help="also serve the model on the board, as a systemd service, see docs/serve.md",
        group=SERVICE,
    )


@dataclass(frozen=True, kw_only=True)
class InstallService(Target):
    """The options of a service, and how the board is reached."""

    options: str | None = option(
        None,
        help='options of the server, such as "--port 8080 --queue 32" (default: as before)',
        flag="--service-options",
        metavar="TEXT",
        group=SERVICE,
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class Export:
    """The format of an export, and its bill of materials."""

    kind: str = option(
        help="an OCI image layout, or a role and a playbook", flag="--format", choices=("oci", "ansible")
    )
    sbom: PathLike | None = option(
        None,
        help="also write a bill of materials (models, agent, decoder, wheels) as CycloneDX; needs --board",
        parse=Path,
        metavar="FILE",
    )
    board: str | None = option(None, help="board of the catalogue, for --sbom", metavar="NAME")
    python_version: str | None = option(
        None,
        help="Python version of the board, for --sbom, such as 3.11 (default: each that its file names)",
        metavar="X.Y",
        rare=True,
    )
