"""The public functions: every one does what the command of the same name does, and returns a record.

This is where stages are put together; they do not know each other.

Names are looked up when they are first used, so that a command loads no more than it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "bench_models": "sdk.api.boards",
    "board_status": "sdk.api.releases",
    "calibrate_board": "sdk.api.measuring",
    "check_accuracy": "sdk.api.compressing",
    "compare_runs": "sdk.api.runs",
    "compress_graph": "sdk.api.compressing",
    "compress_model": "sdk.api.compressing",
    "confirm_model": "sdk.api.releases",
    "convert_model": "sdk.api.files",
    "deploy_fleet": "sdk.api.fleet",
    "deploy_model": "sdk.api.deploying",
    "describe_zoo_model": "sdk.api.files",
    "diff_packages": "sdk.api.files",
    "evaluate_on_board": "sdk.api.evaluating",
    "export_releases": "sdk.api.exporting",
    "fetch_runtimes": "sdk.prefetch",
    "fleet_status": "sdk.api.fleet",
    "golden_pair": "sdk.api.golden",
    "inspect_bytes": "sdk.api.files",
    "inspect_package": "sdk.api.files",
    "install_service": "sdk.api.services",
    "list_zoo": "sdk.api.files",
    "measure": "sdk.api.measuring",
    "pack_model": "sdk.api.files",
    "read_record": "sdk.api.runs",
    "read_run": "sdk.api.runs",
    "read_tuned": "sdk.api.tuning",
    "remove_service": "sdk.api.services",
    "require_signatures": "sdk.api.releases",
    "rollback_fleet": "sdk.api.fleet",
    "rollback_model": "sdk.api.releases",
    "run_size_suite": "sdk.api.size_suite",
    "run_suite": "sdk.api.suites",
    "service_status": "sdk.api.services",
    "sign_package": "sdk.api.signatures",
    "start_service": "sdk.api.services",
    "stop_service": "sdk.api.services",
    "tune_model": "sdk.api.tuning",
    "unpack_package": "sdk.api.files",
    "verify_package": "sdk.api.signatures",
    "write_html": "sdk.api.runs",
    "write_run": "sdk.api.runs",
    "write_tuned": "sdk.api.tuning",
    "write_tuned_html": "sdk.api.tuning",
    "write_zoo_model": "sdk.api.files",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = globals()[name] = getattr(import_module(module), name)
    return value
