"""What `sdk deploy`, `sdk status` and `sdk rollback` do with --inventory: many boards, one table, one JSON document."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from device_agent.errors import ArmletError
from sdk.commands.output import progress_bar, say, show
from sdk.tools.values import positive

EXIT_NOT_ALL = 1
EXIT_INTERRUPTED = 130

#: (attribute, option, default): what says where one board is, or goes with one board only.
_ONE_BOARD = (
    ("host", "--host", None),
    ("port", "--port", None),
    ("user", "--user", None),
    ("key", "--key", None),
    ("runtime", "--runtime", None),
    ("kernel", "--kernel", "auto"),
    ("keep_on_trial", "--keep-on-trial", False),
    ("service", "--service", False),
    ("service_options", "--service-options", None),
)
#: Those that go with an inventory only.
_FLEET = ("group", "canary", "batch", "max_failures", "on_failure", "parallel", "output")


def inventory_arguments(sub: argparse.ArgumentParser) -> Any:
    """Which boards, of which file."""
    group = sub.add_argument_group("many boards")
    group.add_argument(
        "--inventory",
        type=Path,
        metavar="FILE",
        help="boards of a TOML file, or of an Ansible inventory, see docs/fleet.md",
    )
    group.add_argument("--group", metavar="NAME", help="of the inventory (default: all of its boards)")
    group.add_argument(
        "--parallel", type=positive, metavar="N", help="boards to talk to at once (default: 16)"
    )
    group.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the JSON document there, too")
    return group


def rollout_arguments(sub: argparse.ArgumentParser) -> None:
    """In which steps, and when to stop."""
    group = inventory_arguments(sub)
    group.add_argument("--canary", metavar="N", help="boards, or 5%% of them, that go first (default: 1)")
    group.add_argument("--batch", metavar="N", help="boards, or a share, that follow at once (default: 25%%)")
    group.add_argument(
        "--max-failures",
        type=_whole,
        metavar="N",
        help="boards that may fail before the rollout is stopped (default: 0)",
    )
    group.add_argument(
        "--on-failure",
        choices=("revert", "stop"),
        help="what to do with the boards that have it already when it is stopped (default: revert)",
    )


def is_for_a_fleet(arguments: argparse.Namespace) -> bool:
    """Whether --inventory is given; raises ArmletError where options do not go together."""
    if arguments.inventory is None:
        if arguments.board is None:
            raise ArmletError("which board?", expected="--board NAME, or --inventory FILE", found="neither")
        alone = [name for name in _FLEET if getattr(arguments, name, None) is not None]
        if alone:
            option = "--" + alone[0].replace("_", "-")
            raise ArmletError(f"{option} goes with --inventory", found="--board")
        return False
    for name, option, default in _ONE_BOARD:
        if getattr(arguments, name, default) != default:
            raise ArmletError(
                f"{option} goes with one board",
                expected="the inventory to say it for each board",
                found="--inventory",
            )
    return True


def deploy(arguments: argparse.Namespace) -> int:
    from sdk.api.boards.fleet import deploy_fleet
    from sdk.deploy.agent.remote_agent import CheckLimits
    from sdk.deploy.fleet.rollout import Portion, RolloutPlan

    given = {
        "canary": arguments.canary and Portion.parse(arguments.canary),
        "batch": arguments.batch and Portion.parse(arguments.batch),
        "max_failures": arguments.max_failures,
        "on_failure": arguments.on_failure,
        "parallel": arguments.parallel,
    }
    plan = RolloutPlan(**{key: value for key, value in given.items() if value is not None})
    with _live_table(arguments) as watch:
        result = deploy_fleet(
            arguments.inventory,
            arguments.model,
            group=arguments.group,
            board=arguments.board,
            plan=plan,
            keep=arguments.keep,
            limits=CheckLimits(arguments.max_latency, arguments.max_memory),
            accept_new_host_key=arguments.accept_new_host_key,
            watch=watch,
        )
    _print(arguments, result)
    if result.ended == "interrupted":
        return EXIT_INTERRUPTED
    return 0 if result.succeeded else EXIT_NOT_ALL


def status(arguments: argparse.Namespace) -> int:
    from sdk.api.boards.fleet import fleet_status

    with progress_bar(arguments) as progress:
        result = fleet_status(arguments.inventory, **_options(arguments), progress=progress)
    _print(arguments, result)
    return 0 if result.succeeded else EXIT_NOT_ALL


def rollback(arguments: argparse.Namespace) -> int:
    from sdk.api.boards.fleet import rollback_fleet

    with progress_bar(arguments) as progress:
        result = rollback_fleet(
            arguments.inventory,
            arguments.name,
            reason=arguments.reason,
            to=arguments.to,
            **_options(arguments),
            progress=progress,
        )
    _print(arguments, result)
    return 0 if result.succeeded else EXIT_NOT_ALL


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    from sdk.api.boards.fleet import DEFAULT_PARALLEL

    return {
        "group": arguments.group,
        "board": arguments.board,
        "parallel": arguments.parallel or DEFAULT_PARALLEL,
        "accept_new_host_key": arguments.accept_new_host_key,
    }


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


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text}")
    return int(text)
