"""A result drawn as its type is: for a terminal, or as HTML for a notebook. Pure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Of a notebook.
_COLUMNS = 100
_PAGE = '<pre style="font-family:monospace;line-height:1.25">{code}</pre>'

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
    "sdk.api.results.InstalledTool": "installed_tool",
    "sdk.api.results.Compressed": "compressed",
    "sdk.api.results.Converted": "converted",
    "sdk.api.results.Deployment": "deployed",
    "sdk.api.results.Diagnosis": "diagnosis",
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
    "sdk.explain.speed.calibration.Calibration": "calibration",
    "sdk.explain.layers.LayerLosses": "layer_losses",
    "sdk.explain.run.Report": "report",
    "sdk.explain.soaking.run.SoakReport": "soaked",
    "sdk.explain.speed.predictions.Predictions": "predictions",
    "sdk.explain.tuning.Tuned": "tuned",
    "sdk.package.diff.PackageDiff": "package_diff",
    "sdk.package.inspection.Inspection": "inspection",
}


def drawn(result: Any, **how: bool) -> RenderableType:
    """The result as :mod:`sdk.report.terminal.drawing` draws it, with the options ``how``. Raises KeyError for
    what it cannot draw."""
    from sdk.report.terminal import drawing

    kind = type(result)
    made: RenderableType = getattr(drawing, DRAWN_AS[f"{kind.__module__}.{kind.__qualname__}"])(result, **how)
    return made


def html_of(result: Any) -> str:
    """The same as HTML, with the terminal's colours."""
    from rich.console import Console

    console = Console(
        record=True, file=io.StringIO(), width=_COLUMNS, highlight=False, markup=False, emoji=False
    )
    console.print(drawn(result))
    return console.export_html(inline_styles=True, code_format=_PAGE)
