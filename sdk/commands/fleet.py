"""`sdk deploy`, `sdk status` and `sdk rollback` with --inventory: many boards, one table, one JSON document."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from device_agent.errors import ArmletError
from sdk.api.release_requests import (
    AsService,
    Deploy,
    DeployFleet,
    FleetAnswer,
    FleetQuery,
    InstallService,
    RollbackFleet,
)
from sdk.commands.options import keywords
from sdk.commands.output import progress_bar, say, show
from sdk.tools.option import flags_of, options_of
from sdk.tools.system.outputs import check_outputs

EXIT_NOT_ALL = 1
EXIT_INTERRUPTED = 130

#: The options that go with an inventory only, and those that go with one board only: what the other does not take.
_MANY = {**options_of(DeployFleet), **options_of(FleetQuery), **options_of(FleetAnswer)}
_ONE = {**options_of(Deploy), **options_of(AsService), **options_of(InstallService)}


def is_for_a_fleet(arguments: argparse.Namespace) -> bool:
    """Whether --inventory is given; raises ArmletError where options do not go together."""
    if arguments.inventory is None:
        if arguments.board is None:
            raise ArmletError("which board?", expected="--board NAME, or --inventory FILE", found="neither")
        alone = [name for name in _MANY if name not in _ONE and getattr(arguments, name, None) is not None]
        if alone:
            raise ArmletError(
                f"{flags_of(alone[0], _MANY[alone[0]])[-1]} goes with --inventory", found="--board"
            )
        return False
    check_outputs([arguments.output], [arguments.inventory, getattr(arguments, "model", None)])
    for name, said in _ONE.items():
        if name not in _MANY and getattr(arguments, name, said.default) != said.default:
            raise ArmletError(
                f"{flags_of(name, said)[-1]} goes with one board",
                expected="the inventory to say it for each board",
                found="--inventory",
            )
    return True


def deploy(arguments: argparse.Namespace) -> int:
    """Rolls the model out; the exit status."""
    from sdk.api.boards.fleet import deploy_fleet

    asked = {**keywords(DeployFleet, arguments), "board": arguments.board}
    with _live_table(arguments) as watch:
        result = deploy_fleet(arguments.inventory, arguments.model, **asked, watch=watch)
    _print(arguments, result)
    if result.ended == "interrupted":
        return EXIT_INTERRUPTED
    return 0 if result.succeeded else EXIT_NOT_ALL


def status(arguments: argparse.Namespace) -> int:
    from sdk.api.boards.fleet import fleet_status

    with progress_bar(arguments) as progress:
        result = fleet_status(
            arguments.inventory,
            **keywords(FleetQuery, arguments),
            board=arguments.board,
            progress=progress,
        )
    _print(arguments, result)
    return 0 if result.succeeded else EXIT_NOT_ALL


def rollback(arguments: argparse.Namespace) -> int:
    from sdk.api.boards.fleet import rollback_fleet

    with progress_bar(arguments) as progress:
        result = rollback_fleet(
            arguments.inventory,
            arguments.name,
            **keywords(RollbackFleet, arguments),
            board=arguments.board,
            progress=progress,
        )
    _print(arguments, result)
    return 0 if result.succeeded else EXIT_NOT_ALL


def _print(arguments: argparse.Namespace, result: Any) -> None:
    for note in result.notes:
        say("note", note)
    if arguments.output is not None:
        from sdk.tools.system.files import write_file

        write_file(arguments.output, json.dumps(result.to_json(), indent=2).encode() + b"\n")
    show(arguments, result)


@contextlib.contextmanager
def _live_table(arguments: argparse.Namespace) -> Iterator[Callable[[Sequence[Any]], None]]:
    """A table on stderr that follows the rollout while stderr is a terminal."""
    if arguments.json or not sys.stderr.isatty():
        yield lambda outcomes: None
        return
    from rich.live import Live

    from sdk.report.terminal import drawing as terminal
    from sdk.tools.system.terminal import Terminal

    latest: list[Sequence[Any]] = [()]
    with Live(
        get_renderable=lambda: terminal.fleet_running(latest[0]),
        console=Terminal(stderr=True),
        refresh_per_second=4,
        transient=True,
    ):
        yield lambda outcomes: latest.__setitem__(0, outcomes)
