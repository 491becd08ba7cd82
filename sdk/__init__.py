"""Armlet's host side: convert, compress and pack a network, deploy it to an ARM board, measure it against theory.

    import sdk

    sdk.compress_model("mobilenet.tflite", "mobilenet.armlet", sparsity=0.7, clusters=32)
    report = sdk.bench_models("local", ["mobilenet.armlet"])

Each function does what the command of that name does and returns a record. Names are looked up when they are first
used, so that ``import sdk`` stays quick and imports no TensorFlow.

May import: nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "bench_models": "sdk.api",
    "board_status": "sdk.api",
    "calibrate_board": "sdk.api",
    "compare_runs": "sdk.api",
    "compress_model": "sdk.api",
    "confirm_model": "sdk.api",
    "convert_model": "sdk.api",
    "deploy_fleet": "sdk.api",
    "deploy_model": "sdk.api",
    "describe_zoo_model": "sdk.api",
    "diff_packages": "sdk.api",
    "evaluate_on_board": "sdk.api",
    "fetch_runtimes": "sdk.api",
    "fleet_status": "sdk.api",
    "inspect_package": "sdk.api",
    "install_service": "sdk.api",
    "list_zoo": "sdk.api",
    "pack_model": "sdk.api",
    "read_record": "sdk.api",
    "read_run": "sdk.api",
    "remove_service": "sdk.api",
    "require_signatures": "sdk.api",
    "rollback_fleet": "sdk.api",
    "rollback_model": "sdk.api",
    "run_size_suite": "sdk.api",
    "run_suite": "sdk.api",
    "service_status": "sdk.api",
    "sign_package": "sdk.api",
    "start_service": "sdk.api",
    "stop_service": "sdk.api",
    "tune_model": "sdk.api",
    "unpack_package": "sdk.api",
    "verify_package": "sdk.api",
    "write_html": "sdk.api",
    "write_run": "sdk.api",
    "write_zoo_model": "sdk.api",
    "Graph": "sdk.graph.records",
    "Board": "sdk.board.catalogue",
    "list_boards": "sdk.board.catalogue",
    "load_board": "sdk.board.catalogue",
    "ArmletError": "device_agent.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    try:
        module = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
