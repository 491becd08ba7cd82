"""What a command says: one JSON document for machines, or tables for people; progress on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, Protocol

from device_agent.record.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Tables are complete on so many; on fewer they would lose digits, so there the terminal may break their lines itself.
LEAST_COLUMNS = 80


#: Type of a result -> how :mod:`sdk.report.terminal.drawing` draws it. By name: a command imports its own alone.
DRAWN_AS = {
    "sdk.api.boards.agreeing.Agreement": "agreed",
    "sdk.api.boards.evaluating.Evaluation": "evaluation",
    "sdk.api.boards.fleet_results.FleetDeployment": "fleet_deployed",
    "sdk.api.boards.fleet_results.FleetRollback": "fleet_went_back",
    "sdk.api.boards.fleet_results.FleetStatus": "fleet_overview",
    "sdk.api.boards.predicting.Predicted": "predicted",
    "sdk.api.boards.probing.Probed": "probed",
    "sdk.api.files.checking_data.DataReport": "data_report",
    "sdk.api.measuring.runs.Against": "against",
    "sdk.api.measuring.size_suite.SizeRun": "size_suite",
    "sdk.api.measuring.suites.SuiteRun": "suite",
    "sdk.api.results.BoardStatus": "board_overview",
    "sdk.api.results.Compressed": "compressed",
    "sdk.api.results.Converted": "converted",
    "sdk.api.results.Deployment": "deployed",
    "sdk.api.results.Exported": "exported",
    "sdk.api.results.Packed": "packed",
    "sdk.api.results.Signed": "signed",
    "sdk.api.results.SlotStatus": "slot_changed",
    "sdk.api.results.UnpackedFile": "unpacked",
    "sdk.api.results.ZooModel": "zoo_network",
    "sdk.board.virtual.Status": "board_status",
    "sdk.commands.results.AddedBoard": "added_board",
    "sdk.commands.results.FetchedRuntimes": "fetched",
    "sdk.commands.results.Histories": "releases",
    "sdk.commands.results.KnownBoard": "board_facts",
    "sdk.commands.results.KnownBoards": "boards",
    "sdk.commands.results.NativeLibraries": "native_libraries",
    "sdk.commands.results.Networks": "zoo",
    "sdk.commands.results.RemovedService": "service_removed",
    "sdk.commands.results.ServedDeployment": "deployed_as_service",
    "sdk.commands.results.SignaturePolicy": "signature_policy",
    "sdk.commands.results.StoppedBoard": "stopped_board",
    "sdk.commands.results.Verified": "verified",
    "sdk.deploy.agent.services.Service": "service",
    "sdk.deploy.agent.services.Services": "services",
    "sdk.explain.calibration.Calibration": "calibration",
    "sdk.explain.run.Report": "report",
    "sdk.explain.tuning.Tuned": "tuned",
    "sdk.package.diff.PackageDiff": "package_diff",
    "sdk.package.inspection.Inspection": "inspection",
}


class Result(Protocol):
    """What a command shows: a record that says what a machine gets, and whose type names what draws it."""

    def to_json(self) -> Any:
        """JSON-ready."""
        ...


def show(arguments: argparse.Namespace, result: Result, **how: bool) -> None:
    """A result: one JSON document for machines, or drawn as its type is; ``how`` goes to what draws it."""
    if arguments.json:
        print(json.dumps(result.to_json(), indent=2, sort_keys=False))
        return
    from sdk.report.terminal import drawing as terminal

    kind = type(result)
    draw(getattr(terminal, DRAWN_AS[f"{kind.__module__}.{kind.__qualname__}"])(result, **how))


def draw(renderable: RenderableType) -> None:
    """Prints what :mod:`sdk.report.terminal.drawing` made, at least so wide that no table loses digits."""
    from sdk.tools.system.terminal import Terminal

    console = Terminal()
    console.width = max(console.width, LEAST_COLUMNS)
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as drawn:
        console.print(renderable)
    print("\n".join(line.rstrip() for line in drawn.get().split("\n")), end="")


def say(kind: str, text: object) -> None:
    """A note or an error for people, ``kind: text`` on stderr; what strangers wrote in it is made visible."""
    print(f"{kind}: {visible(text, lines=True)}", file=sys.stderr)


def progress_bar(arguments: argparse.Namespace) -> Any:
    from sdk.tools.system.progress_bar import terminal_progress

    return terminal_progress(enabled=not arguments.json)
