"""The public functions: every one does what the command of the same name does, and returns a record.

This is where stages are put together; they do not know each other.
"""

from sdk.api.boards import bench_models, deploy_model, golden_pair
from sdk.api.compressing import check_accuracy, compress_graph, compress_model
from sdk.api.evaluating import evaluate_on_board
from sdk.api.files import (
    convert_model,
    describe_zoo_model,
    diff_packages,
    inspect_bytes,
    inspect_package,
    list_zoo,
    pack_model,
    unpack_package,
    write_zoo_model,
)
from sdk.api.fleet import deploy_fleet, fleet_status, rollback_fleet
from sdk.api.measuring import calibrate_board, measure
from sdk.api.releases import board_status, confirm_model, require_signatures, rollback_model
from sdk.api.runs import compare_runs, read_record, read_run, write_html, write_run
from sdk.api.services import (
    install_service,
    remove_service,
    service_status,
    start_service,
    stop_service,
)
from sdk.api.signatures import sign_package, verify_package
from sdk.api.size_suite import run_size_suite
from sdk.api.suites import run_suite
from sdk.api.tuning import read_tuned, tune_model, write_tuned, write_tuned_html
from sdk.prefetch import fetch_runtimes

__all__ = [
    "bench_models",
    "board_status",
    "calibrate_board",
    "check_accuracy",
    "compare_runs",
    "compress_graph",
    "compress_model",
    "confirm_model",
    "convert_model",
    "deploy_fleet",
    "deploy_model",
    "describe_zoo_model",
    "diff_packages",
    "evaluate_on_board",
    "fetch_runtimes",
    "fleet_status",
    "golden_pair",
    "inspect_bytes",
    "inspect_package",
    "install_service",
    "list_zoo",
    "measure",
    "pack_model",
    "read_record",
    "read_run",
    "read_tuned",
    "remove_service",
    "require_signatures",
    "rollback_fleet",
    "rollback_model",
    "run_size_suite",
    "run_suite",
    "service_status",
    "sign_package",
    "start_service",
    "stop_service",
    "tune_model",
    "unpack_package",
    "verify_package",
    "write_html",
    "write_run",
    "write_tuned",
    "write_tuned_html",
    "write_zoo_model",
]
