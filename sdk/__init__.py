"""Armlet's host side: convert, compress and pack a network, deploy it to an ARM board, measure it against theory.

    import sdk

    sdk.compress_model("mobilenet.tflite", "mobilenet.armlet", sparsity=0.7, clusters=32)
    report = sdk.bench_models("local", ["mobilenet.armlet"])

Each function does what the command of that name does and returns a record. Names are looked up when they are first
used, so that ``import sdk`` stays quick and imports no TensorFlow.

May import: device_agent.errors, sdk.api.boards, sdk.api.files, sdk.api.measuring, sdk.board, sdk.board.description,
sdk.data, sdk.graph, sdk.report.terminal, sdk.tools.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdk.tools.shown import show_with

__version__ = "0.1.0"

#: Where each public name is. Looked up when it is first used; type checkers and editors see the imports below.
_PUBLIC = {
    "ArmletError": "device_agent.errors",
    "Board": "sdk.board.description.records",
    "Graph": "sdk.graph.records",
    "bench_models": "sdk.api.measuring.bench",
    "board_status": "sdk.api.boards.releases",
    "calibrate_board": "sdk.api.measuring.measure",
    "check_data": "sdk.api.files.checking_data",
    "compare_runs": "sdk.api.measuring.runs",
    "compress_model": "sdk.api.files.compressing",
    "confirm_model": "sdk.api.boards.releases",
    "convert_model": "sdk.api.files.packing",
    "convert_torch": "sdk.api.files.tools",
    "deploy_fleet": "sdk.api.boards.fleet",
    "deploy_model": "sdk.api.boards.deploying",
    "describe_zoo_model": "sdk.api.files.packing",
    "diff_packages": "sdk.api.files.packing",
    "doctor_board": "sdk.api.boards.probing",
    "compare_layers": "sdk.api.boards.layering",
    "evaluate_on_board": "sdk.api.boards.evaluating",
    "fetch_runtimes": "sdk.api.boards.fetch",
    "fleet_status": "sdk.api.boards.fleet",
    "inspect_package": "sdk.api.files.packing",
    "install_service": "sdk.api.boards.services",
    "install_tool": "sdk.api.files.tools",
    "list_boards": "sdk.board.catalogue",
    "list_zoo": "sdk.api.files.packing",
    "load_board": "sdk.board.catalogue",
    "load_dataset": "sdk.data.loading",
    "load_run": "sdk.api.measuring.frames",
    "pack_model": "sdk.api.files.packing",
    "predict_models": "sdk.api.measuring.predictions",
    "predict_on_board": "sdk.api.boards.predicting",
    "read_graph": "sdk.graph.reader",
    "read_record": "sdk.api.measuring.runs",
    "read_run": "sdk.api.measuring.runs",
    "remove_service": "sdk.api.boards.services",
    "require_signatures": "sdk.api.boards.releases",
    "rollback_fleet": "sdk.api.boards.fleet",
    "rollback_model": "sdk.api.boards.releases",
    "run_size_suite": "sdk.api.measuring.size_suite",
    "run_suite": "sdk.api.measuring.suites",
    "samples_frame": "sdk.api.measuring.frames",
    "service_status": "sdk.api.boards.services",
    "soak_models": "sdk.api.measuring.soak",
    "sign_package": "sdk.api.files.signatures",
    "start_service": "sdk.api.boards.services",
    "stop_service": "sdk.api.boards.services",
    "tune_model": "sdk.api.measuring.tune",
    "unpack_package": "sdk.api.files.packing",
    "verify_package": "sdk.api.files.signatures",
    "write_graph": "sdk.graph.writer",
    "write_html": "sdk.api.measuring.runs",
    "write_run": "sdk.api.measuring.runs",
    "write_tables": "sdk.api.measuring.runs",
    "write_zoo_model": "sdk.api.files.packing",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from device_agent.errors import ArmletError as ArmletError
    from sdk.api.boards.deploying import deploy_model as deploy_model
    from sdk.api.boards.evaluating import evaluate_on_board as evaluate_on_board
    from sdk.api.boards.fetch import fetch_runtimes as fetch_runtimes
    from sdk.api.boards.fleet import deploy_fleet as deploy_fleet
    from sdk.api.boards.fleet import fleet_status as fleet_status
    from sdk.api.boards.fleet import rollback_fleet as rollback_fleet
    from sdk.api.boards.layering import compare_layers as compare_layers
    from sdk.api.boards.predicting import predict_on_board as predict_on_board
    from sdk.api.boards.probing import doctor_board as doctor_board
    from sdk.api.boards.releases import board_status as board_status
    from sdk.api.boards.releases import confirm_model as confirm_model
    from sdk.api.boards.releases import require_signatures as require_signatures
    from sdk.api.boards.releases import rollback_model as rollback_model
    from sdk.api.boards.services import install_service as install_service
    from sdk.api.boards.services import remove_service as remove_service
    from sdk.api.boards.services import service_status as service_status
    from sdk.api.boards.services import start_service as start_service
    from sdk.api.boards.services import stop_service as stop_service
    from sdk.api.files.checking_data import check_data as check_data
    from sdk.api.files.compressing import compress_model as compress_model
    from sdk.api.files.packing import convert_model as convert_model
    from sdk.api.files.packing import describe_zoo_model as describe_zoo_model
    from sdk.api.files.packing import diff_packages as diff_packages
    from sdk.api.files.packing import inspect_package as inspect_package
    from sdk.api.files.packing import list_zoo as list_zoo
    from sdk.api.files.packing import pack_model as pack_model
    from sdk.api.files.packing import unpack_package as unpack_package
    from sdk.api.files.packing import write_zoo_model as write_zoo_model
    from sdk.api.files.signatures import sign_package as sign_package
    from sdk.api.files.signatures import verify_package as verify_package
    from sdk.api.files.tools import convert_torch as convert_torch
    from sdk.api.files.tools import install_tool as install_tool
    from sdk.api.measuring.bench import bench_models as bench_models
    from sdk.api.measuring.frames import load_run as load_run
    from sdk.api.measuring.frames import samples_frame as samples_frame
    from sdk.api.measuring.measure import calibrate_board as calibrate_board
    from sdk.api.measuring.predictions import predict_models as predict_models
    from sdk.api.measuring.runs import compare_runs as compare_runs
    from sdk.api.measuring.runs import read_record as read_record
    from sdk.api.measuring.runs import read_run as read_run
    from sdk.api.measuring.runs import write_html as write_html
    from sdk.api.measuring.runs import write_run as write_run
    from sdk.api.measuring.runs import write_tables as write_tables
    from sdk.api.measuring.size_suite import run_size_suite as run_size_suite
    from sdk.api.measuring.soak import soak_models as soak_models
    from sdk.api.measuring.suites import run_suite as run_suite
    from sdk.api.measuring.tune import tune_model as tune_model
    from sdk.board.catalogue import list_boards as list_boards
    from sdk.board.catalogue import load_board as load_board
    from sdk.board.description.records import Board as Board
    from sdk.data.loading import load_dataset as load_dataset
    from sdk.graph.reader import read_graph as read_graph
    from sdk.graph.records import Graph as Graph
    from sdk.graph.writer import write_graph as write_graph
else:

    def __getattr__(name: str) -> Any:
        try:
            module = _PUBLIC[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        value = globals()[name] = getattr(import_module(module), name)
        return value


def _html_of(result: Any) -> str:
    from sdk.report.terminal.dispatch import html_of

    return html_of(result)


show_with(_html_of)


def __dir__() -> list[str]:
    return sorted(__all__)
