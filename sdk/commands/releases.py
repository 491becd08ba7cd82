"""Commands on the releases of a board: deploy, status, confirm, rollback."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from device_agent.errors import ArmletError
from sdk.api.release_requests import (
    AsService,
    Deploy,
    DeployFleet,
    FleetAnswer,
    FleetQuery,
    FromInventory,
    InstallService,
    Rollback,
    WayBack,
)
from sdk.commands import fleet, services
from sdk.commands.arguments import board_argument, board_arguments
from sdk.commands.options import add_options, keywords
from sdk.commands.output import progress_bar, show
from sdk.commands.parser import add_command
from sdk.commands.results import Histories
from sdk.deploy.target import Address, Target


def register(commands: Any) -> None:
    """Adds the commands to the parser's group."""
    _register_deploy(commands)
    _register_seeing(commands)
    _register_changing(commands)


def _register_deploy(commands: Any) -> None:
    sub = add_command(
        commands,
        "deploy",
        _deploy,
        "push a model to a board, check it there and make it the one that runs",
        "sdk deploy --board rpi4 --host raspberrypi.local mobilenet.armlet",
    )
    sub.add_argument("model", type=Path, help=".armlet package, or any model that `sdk convert` reads")
    board_argument(sub, required=False)
    many = (FromInventory, FleetQuery, FleetAnswer)
    add_options(sub, Target, *many, Deploy, DeployFleet, AsService, InstallService)


def _register_seeing(commands: Any) -> None:
    sub = add_command(
        commands,
        "status",
        _status,
        "show what is installed and deployed on a board, and what was sent back",
        "sdk status --board rpi4 --host raspberrypi.local",
    )
    board_argument(sub, required=False)
    add_options(sub, Address, FromInventory, FleetQuery, FleetAnswer)

    sub = add_command(
        commands,
        "releases",
        _releases,
        "show what happened to the models of a board: confirmed, sent back and why, rolled back",
        "sdk releases --board rpi4 --host raspberrypi.local mobilenet",
    )
    sub.add_argument("name", nargs="?", help="name of a deployed model (default: all of them)")
    board_arguments(sub)


def _register_changing(commands: Any) -> None:
    sub = add_command(
        commands,
        "rollback",
        _rollback,
        "go back to the release before the current one, or to another earlier one",
        "sdk rollback --board rpi4 --host raspberrypi.local mobilenet",
    )
    sub.add_argument("name", help="name of a deployed model")
    add_options(sub, WayBack)
    board_argument(sub, required=False)
    add_options(sub, Address, FromInventory, FleetQuery, FleetAnswer)

    sub = add_command(
        commands,
        "confirm",
        _confirm,
        "make the release on trial the one that runs",
        "sdk confirm --board rpi4 --host raspberrypi.local mobilenet",
    )
    sub.add_argument("name", help="name of a deployed model")
    board_arguments(sub)


def _deploy(arguments: argparse.Namespace) -> int | None:
    if fleet.is_for_a_fleet(arguments):
        return fleet.deploy(arguments)
    if arguments.options is not None and not arguments.service:
        raise ArmletError("--service-options goes with --service")
    from sdk.api.boards.deploying import deploy_model

    with progress_bar(arguments) as progress:
        result = deploy_model(
            arguments.board, arguments.model, **keywords(Deploy, arguments), progress=progress
        )
    if arguments.service:
        return services.deployed_as_service(arguments, result)
    show(arguments, result)
    return None


def _status(arguments: argparse.Namespace) -> int | None:
    if fleet.is_for_a_fleet(arguments):
        return fleet.status(arguments)
    from sdk.api.boards import releases

    with progress_bar(arguments) as progress:
        result = releases.board_status(arguments.board, progress=progress, **keywords(Address, arguments))
    show(arguments, result)
    return None


def _releases(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import releases

    with progress_bar(arguments) as progress:
        slots = releases.board_status(
            arguments.board, progress=progress, **keywords(Address, arguments)
        ).slots
    if arguments.name is not None:
        known = ", ".join(slot.called for slot in slots)
        slots = tuple(slot for slot in slots if arguments.name in (slot.name, slot.title))
        if not slots:
            raise ArmletError(
                f"nothing is deployed under the name {arguments.name}", found=known or "nothing"
            )
    show(arguments, Histories(slots))


def _rollback(arguments: argparse.Namespace) -> int | None:
    if fleet.is_for_a_fleet(arguments):
        return fleet.rollback(arguments)
    from sdk.api.boards import releases

    with progress_bar(arguments) as progress:
        slot = releases.rollback_model(
            arguments.board, arguments.name, **keywords(Rollback, arguments), progress=progress
        )
    show(arguments, slot)
    return None


def _confirm(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import releases

    with progress_bar(arguments) as progress:
        slot = releases.confirm_model(
            arguments.board, arguments.name, progress=progress, **keywords(Address, arguments)
        )
    show(arguments, slot)
