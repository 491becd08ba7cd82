"""The public functions: every one does what the command of the same name does, and returns a record.

This is where stages are put together; they do not know each other.

Names are looked up when they are first used, so that a command loads no more than it needs.

May import: sdk.board.description, sdk.deploy, sdk.deploy.agent, sdk.explain, sdk.package, sdk.tools.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "bench_models": "sdk.api.measuring.bench",
    "board_status": "sdk.api.boards.releases",
    "calibrate_board": "sdk.api.measuring.measure",
    "check_accuracy": "sdk.api.files.compressing",
    "compare_runs": "sdk.api.measuring.runs",
    "compress_graph": "sdk.api.files.compressing",
    "compress_model": "sdk.api.files.compressing",
    "confirm_model": "sdk.api.boards.releases",
    "convert_model": "sdk.api.files.packing",
    "deploy_fleet": "sdk.api.boards.fleet",
    "deploy_model": "sdk.api.boards.deploying",
    "describe_zoo_model": "sdk.api.files.packing",
    "diff_packages": "sdk.api.files.packing",
    "evaluate_on_board": "sdk.api.boards.evaluating",
    "export_releases": "sdk.api.boards.exporting",
    "fetch_runtimes": "sdk.api.boards.fetch",
    "fleet_status": "sdk.api.boards.fleet",
    "golden_pair": "sdk.api.files.golden",
    "inspect_bytes": "sdk.api.files.packing",
    "inspect_package": "sdk.api.files.packing",
    "install_service": "sdk.api.boards.services",
    "list_zoo": "sdk.api.files.packing",
    "measure": "sdk.api.measuring.measure",
    "pack_model": "sdk.api.files.packing",
    "read_record": "sdk.api.measuring.runs",
    "read_run": "sdk.api.measuring.runs",
    "read_tuned": "sdk.api.measuring.tune",
    "remove_service": "sdk.api.boards.services",
    "require_signatures": "sdk.api.boards.releases",
    "rollback_fleet": "sdk.api.boards.fleet",
    "rollback_model": "sdk.api.boards.releases",
    "run_size_suite": "sdk.api.measuring.size_suite",
    "run_suite": "sdk.api.measuring.suites",
    "service_status": "sdk.api.boards.services",
    "sign_package": "sdk.api.files.signatures",
    "start_service": "sdk.api.boards.services",
    "stop_service": "sdk.api.boards.services",
    "tune_model": "sdk.api.measuring.tune",
    "unpack_package": "sdk.api.files.packing",
    "verify_package": "sdk.api.files.signatures",
    "write_html": "sdk.api.measuring.runs",
    "write_run": "sdk.api.measuring.runs",
    "write_tuned": "sdk.api.measuring.tune",
    "write_tuned_html": "sdk.api.measuring.tune",
    "write_zoo_model": "sdk.api.files.packing",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = globals()[name] = getattr(import_module(module), name)
    return value
