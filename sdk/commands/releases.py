"""Commands about what runs on a board: deploy, see, confirm, go back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from device_agent.errors import ArmletError
from sdk.api.values import kept_releases
from sdk.commands import fleet, services
from sdk.commands.arguments import address, board_arguments, target, target_arguments
from sdk.commands.output import print_result, progress_bar, show
from sdk.commands.register import add_command
from sdk.tools.values import byte_count, duration


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
    target_arguments(sub, required=False)
    fleet.rollout_arguments(sub)
    sub.add_argument(
        "--keep-on-trial",
        action="store_true",
        help="check it, but leave the old one running until `sdk confirm`",
    )
    sub.add_argument(
        "--keep",
        type=kept_releases,
        metavar="N",
        help="releases of that name to keep there (default: the board file's keep_releases, else 2)",
    )
    sub.add_argument(
        "--max-latency",
        type=duration,
        metavar="TIME",
        help="send it back when an inference takes longer, such as 50ms (default: 10 times the release before)",
    )
    sub.add_argument(
        "--max-memory",
        type=byte_count,
        metavar="SIZE",
        help="send it back when it needs more memory, such as 200MB (default: what is free there)",
    )
    services.service_arguments(sub)


def _register_seeing(commands: Any) -> None:
    sub = add_command(
        commands,
        "status",
        _status,
        "say what is installed and deployed on a board, and what was sent back",
        "sdk status --board rpi4 --host raspberrypi.local",
    )
    board_arguments(sub, required=False)
    fleet.inventory_arguments(sub)

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
        "make the release before the current one run again, or another earlier one",
        "sdk rollback --board rpi4 --host raspberrypi.local mobilenet",
    )
    sub.add_argument("name", help="name of a deployed model")
    sub.add_argument(
        "--to",
        metavar="ID",
        help="beginning of the release's id, see `sdk releases` (default: the one before)",
    )
    sub.add_argument("--reason", default="asked for", metavar="TEXT", help="kept in the history on the board")
    board_arguments(sub, required=False)
    fleet.inventory_arguments(sub)

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
    if arguments.service_options is not None and not arguments.service:
        raise ArmletError("--service-options goes with --service")
    from sdk.api.boards.deploying import deploy_model
    from sdk.deploy.agent.remote_agent import CheckLimits

    with progress_bar(arguments) as progress:
        result = deploy_model(
            arguments.board,
            arguments.model,
            keep_on_trial=arguments.keep_on_trial,
            keep=arguments.keep,
            limits=CheckLimits(arguments.max_latency, arguments.max_memory),
            **target(arguments),
            progress=progress,
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
        result = releases.board_status(arguments.board, progress=progress, **address(arguments))
    show(arguments, result)
    return None


def _releases(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import releases

    with progress_bar(arguments) as progress:
        slots = releases.board_status(arguments.board, progress=progress, **address(arguments)).slots
    if arguments.name is not None:
        known = ", ".join(slot.name for slot in slots)
        slots = tuple(slot for slot in slots if slot.name == arguments.name)
        if not slots:
            raise ArmletError(
                f"nothing is deployed under the name {arguments.name}", found=known or "nothing"
            )
    print_result(arguments, [slot.to_json() for slot in slots], lambda terminal: terminal.releases(slots))


def _rollback(arguments: argparse.Namespace) -> int | None:
    if fleet.is_for_a_fleet(arguments):
        return fleet.rollback(arguments)
    from sdk.api.boards import releases

    with progress_bar(arguments) as progress:
        slot = releases.rollback_model(
            arguments.board,
            arguments.name,
            reason=arguments.reason,
            to=arguments.to,
            progress=progress,
            **address(arguments),
        )
    show(arguments, slot)
    return None


def _confirm(arguments: argparse.Namespace) -> None:
    from sdk.api.boards import releases

    with progress_bar(arguments) as progress:
        slot = releases.confirm_model(
            arguments.board, arguments.name, progress=progress, **address(arguments)
        )
    show(arguments, slot)
