"""The fields of the request records as keywords, so that type checkers refuse a misspelt one.

Made by ``python -m tests.sdk.api.make_keywords``; a test holds this file to the records. Do not edit it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from sdk.api.board_requests import Threads
from sdk.api.file_requests import PackedOnTheWay
from sdk.api.values import InputShape, PathLike
from sdk.deploy.agent.limits import CheckLimits
from sdk.deploy.fleet.plan import RolloutPlan
from sdk.deploy.fleet.rollout import Watch
from sdk.package.release import Golden


class AddressOptions(TypedDict, total=False):
    """Of :class:`sdk.deploy.target.Address`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None


class TargetOptions(TypedDict, total=False):
    """Of :class:`sdk.deploy.target.Target`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str


class PackOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.Pack`."""

    preprocess: str | None
    labels: PathLike | None
    task: str | None
    fit: str | None


class OpeningOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.Opening`."""

    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]


class ConvertOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.Convert`."""

    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    preprocess: str | None
    labels: PathLike | None
    task: str | None
    fit: str | None


class InstallToolOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.InstallTool`."""

    packages: tuple[str, ...]
    python: str | None


class PackedOnTheWayOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.PackedOnTheWay`."""

    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    preprocess: str | None
    labels: PathLike | None
    task: str | None
    fit: str | None


class UnpackPackageOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.UnpackPackage`."""

    kernel: str


class DescribeZooOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.DescribeZoo`."""

    input_size: int | tuple[int, int] | None
    classes: int | None
    channels: int | None
    width: float | str | None
    scale: float | str | None
    groups: int | str | None
    padding: str | None
    stem: str | None
    version: str | None
    reduction: int | None


class WriteZooOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.WriteZoo`."""

    input_size: int | tuple[int, int] | None
    classes: int | None
    channels: int | None
    width: float | str | None
    scale: float | str | None
    groups: int | str | None
    padding: str | None
    stem: str | None
    version: str | None
    reduction: int | None
    seed: int


class SignOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.Sign`."""

    key: PathLike | None
    name: str | None
    number: int | None
    allow_downgrade: bool
    limits: CheckLimits


class VerifyOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.Verify`."""

    signature: PathLike | None


class ExportRunOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.ExportRun`."""

    export_markdown: PathLike | None
    export_csv: PathLike | None


class ShowRunOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.ShowRun`."""

    export_markdown: PathLike | None
    export_csv: PathLike | None
    html: PathLike | None
    operators: bool


class CheckDataOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.CheckData`."""

    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    model: PathLike | None
    preprocess: str | None
    labels: PathLike | None
    task: str | None
    truth: PathLike | None
    split: str | None
    limit: int | None
    sheet: PathLike | None


class CompareRunsOptions(TypedDict, total=False):
    """Of :class:`sdk.api.file_requests.CompareRuns`."""

    limit: float
    size_limit: float | None


class CompressOptions(TypedDict, total=False):
    """Of :class:`sdk.api.compress_request.Compress`."""

    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    preprocess: str | None
    labels: PathLike | None
    task: str | None
    fit: str | None
    data: PathLike | None
    check: PathLike | None
    truth: PathLike | None
    effort: str
    samples: int | None
    epochs: int
    shift: int
    price: float
    target_bytes: int | None
    max_loss: float | None
    seconds: float | None
    sparsity: float | None
    clusters: int | None
    scope: str
    board: str | None
    predict: bool
    block: int | None
    target_macs: int | None
    target_instructions: int | None
    channels: float
    distill_epochs: int
    low_rank: bool
    equalise: bool
    correct_biases: bool
    int8: bool
    allow_unchanged: bool
    trials: int | None
    storage: str | None
    study: str | None
    recipe: PathLike | None
    save_recipe: PathLike | None
    save_tflite: PathLike | None


class BenchOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.Bench`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    sizes: Sequence[tuple[int, int]] | None
    threads: Threads | Sequence[Threads]
    samples: int
    seconds: float
    precision: float | None
    self_test: bool
    predict: bool
    profile: bool


class SoakTimeOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.SoakTime`."""

    soak: float | None


class SoakingOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.Soaking`."""

    soak: float | None
    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    sizes: Sequence[tuple[int, int]] | None
    threads: Threads


class SuiteNetworksOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.SuiteNetworks`."""

    networks: Sequence[str] | None


class RunSuiteOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.RunSuite`."""

    networks: Sequence[str] | None
    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    sizes: Sequence[tuple[int, int]] | None
    threads: Threads | Sequence[Threads]
    samples: int
    seconds: float
    precision: float | None
    self_test: bool
    predict: bool
    profile: bool


class TuneOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.Tune`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    check: PathLike | None
    preprocess: str | None
    labels: PathLike | None
    truth: PathLike | None
    sparsities: Sequence[float]
    channels: Sequence[float]
    effort: str
    samples: int | None
    epochs: int
    threads: Sequence[int] | None
    inferences: int
    seconds: float
    deploy: bool
    keep: PathLike | None


class EvaluateOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.Evaluate`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    input_shape: InputShape | None
    signature: str | None
    custom_objects: tuple[str, ...]
    preprocess: str | None
    labels: PathLike | None
    task: str | None
    fit: str | None
    truth: PathLike | None
    original: PathLike | None
    split: str | None
    limit: int | None


class PredictOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.Predict`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    packing: PackedOnTheWay
    top: int
    threshold: float | None


class PredictTimeOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.PredictTime`."""

    packing: PackedOnTheWay
    runtime: str | None
    threads: Threads | Sequence[Threads]
    operators: bool
    calibrate: PathLike | None


class DemoOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.Demo`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    sparsity: float
    clusters: int
    samples: int
    seconds: float


class CalibrateOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.Calibrate`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    threads: int


class FetchRuntimesOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.FetchRuntimes`."""

    python_version: str | None
    all_runtimes: bool


class AddBoardOptions(TypedDict, total=False):
    """Of :class:`sdk.api.board_requests.AddBoard`."""

    replace: bool


class DeployOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.Deploy`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    name: str | None
    packing: PackedOnTheWay
    keep_on_trial: bool
    keep: int | None
    limits: CheckLimits


class FromInventoryOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.FromInventory`."""

    inventory: PathLike | None


class FleetQueryOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.FleetQuery`."""

    group: str | None
    board: str | None
    parallel: int
    accept_new_host_key: bool


class FleetAnswerOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.FleetAnswer`."""

    output: PathLike | None


class DeployFleetOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.DeployFleet`."""

    group: str | None
    board: str | None
    name: str | None
    packing: PackedOnTheWay
    plan: RolloutPlan | None
    keep: int | None
    limits: CheckLimits
    golden: Golden | None
    accept_new_host_key: bool
    watch: Watch


class WayBackOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.WayBack`."""

    to: str | None
    reason: str


class RollbackOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.Rollback`."""

    to: str | None
    reason: str
    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str


class RollbackFleetOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.RollbackFleet`."""

    to: str | None
    reason: str
    group: str | None
    board: str | None
    parallel: int
    accept_new_host_key: bool


class AsServiceOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.AsService`."""

    service: bool


class InstallServiceOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.InstallService`."""

    host: str | None
    port: int | None
    user: str | None
    key: Path | None
    accept_new_host_key: bool
    known_hosts: Path | None
    runtime: str | None
    runtime_version: str | None
    kernels: str
    kernel: str
    options: str | None


class ExportOptions(TypedDict, total=False):
    """Of :class:`sdk.api.release_requests.Export`."""

    sbom: PathLike | None
    board: str | None
    python_version: str | None
