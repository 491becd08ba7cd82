"""Which kernels a release runs with on an emulated board, whose times say nothing: by the time that is predicted for a
real board with its core.

Instructions are not enough: an in-order core waits for loads that another hides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from device_agent.package import reader
from sdk.board.description.records import Board
from sdk.deploy.agent.answers import Prepared
from sdk.deploy.agent.remote_agent import Deployed, RemoteAgent
from sdk.deploy.predicting.boards_alike import board_behind
from sdk.deploy.predicting.engine import predict_on
from sdk.deploy.provision.kernel import build_delegate
from sdk.errors import ArmletError, BoardError
from sdk.explain.speed.prediction import Prediction
from sdk.tools.progress import Progress, silent


def settle_kernels(
    board: Board,
    agent: RemoteAgent,
    deployed: Deployed,
    package: bytes,
    runtime: tuple[str, str],
    progress: Progress = silent,
    engine: Callable[..., list[Prediction]] = predict_on,
) -> Deployed:
    """The deploy with the kernels that are predicted to be faster, which the board keeps, where it could not tell.

    ``runtime``: its name and version there. Where nothing can be predicted the runtime's kernels stay, and the reason
    says why. A deploy does not fail by it: raises nothing but what a lost connection does.
    """
    prepared = deployed.prepared
    if prepared is None or not prepared.kernels_undecided:
        return deployed
    try:
        behind = board_behind(board)
        if behind is None:
            raise BoardError(f"no board of the catalogue has {board.qemu_cpu} as its fastest core")
        times = []
        for delegate in (None, build_delegate("aarch64")):
            (one,) = engine(
                [behind],
                reader.unpack(package).tflite,
                runtime=runtime[0],
                version=runtime[1],
                delegate=delegate,
                operators=False,
                progress=progress,
            )
            times.append(one.seconds)
    except ArmletError as error:
        return replace(deployed, prepared=_undecided(prepared, str(error)))
    chosen = agent.choose_kernels(
        deployed.name,
        deployed.release,
        runtime_seconds=times[0],
        armlet_seconds=times[1],
        predicted_for=behind.name,
    )
    prepared = prepared.with_kernels(chosen)
    if chosen.kernels == "armlet":  # the board has dropped it
        why = "the kernels of Armlet pack theirs at every start"
        prepared = replace(prepared, start_bytes=None, start_seconds=None, start_reason=why)
    return replace(deployed, prepared=prepared)


def _undecided(prepared: Prepared, why: str) -> Prepared:
    told = (
        f"{prepared.kernels_undecided} operators could run in kernels of Armlet; no time is predicted: {why}"
    )
    return replace(prepared, kernels_reason=told)
