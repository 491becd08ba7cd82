"""Commands about models that a board serves: status, stop, start, remove. `sdk deploy --service` makes them."""

from __future__ import annotations

import argparse
from typing import Any

from device_agent.errors import ArmletError
from sdk.api.release_requests import InstallService
from sdk.commands.arguments import board_arguments
from sdk.commands.options import keywords
from sdk.commands.output import progress_bar, say, show
from sdk.commands.parser import add_command, add_group
from sdk.commands.results import RemovedService, ServedDeployment
from sdk.deploy.target import Address

EXIT_BAD_INPUT = 2


def register(commands: Any) -> None:
    """Adds the commands to the parser's group."""
    summary = "see, stop, start or remove what a board serves; `sdk deploy --service` sets it up"
    actions = add_group(commands, "service", summary)
    for action, run, summary in (
        ("status", _status, "show the state of the services of a board"),
        ("start", _start, "start a service that was stopped"),
        ("stop", _stop, "stop a service until the board starts again"),
        ("remove", _remove, "end a service for good; the model stays deployed"),
    ):
        example = f"sdk service {action} --board rpi4 --host raspberrypi.local mobilenet"
        sub = add_command(actions, action, run, summary, example)
        if action == "status":
            sub.add_argument("name", nargs="?", help="name of a deployed model (default: all)")
        else:
            sub.add_argument("name", help="name of a deployed model")
        board_arguments(sub)


def deployed_as_service(arguments: argparse.Namespace, deployment: Any) -> int:
    """Makes the release that was deployed a service and prints both; where that fails, the deploy stands."""
    from sdk.api.boards import services

    try:
        with progress_bar(arguments) as progress:
            installed = services.install_service(
                arguments.board, deployment.name, **keywords(InstallService, arguments), progress=progress
            )
    except ArmletError as error:
        show(arguments, ServedDeployment(deployment, None, error))
        say("error", f"it is deployed, and is not a service: {error}")
        return EXIT_BAD_INPUT
    show(arguments, ServedDeployment(deployment, installed))
    return 0


def _status(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import services

    with progress_bar(arguments) as progress:
        result = services.service_status(
            arguments.board, arguments.name, progress=progress, **keywords(Address, arguments)
        )
    show(arguments, result)


def _start(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import services

    _change(arguments, services.start_service)


def _stop(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import services

    _change(arguments, services.stop_service)


def _change(arguments: argparse.Namespace, function: Any) -> None:
    with progress_bar(arguments) as progress:
        service = function(arguments.board, arguments.name, progress=progress, **keywords(Address, arguments))
    show(arguments, service)


def _remove(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import services

    with progress_bar(arguments) as progress:
        removed = services.remove_service(
            arguments.board, arguments.name, progress=progress, **keywords(Address, arguments)
        )
    show(arguments, RemovedService(arguments.name, removed))
