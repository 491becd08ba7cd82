"""Soaks models on a board: speed after the first minute, energy and memory."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC
from sdk.api.board_requests import Soaking
from sdk.api.measuring.bench import with_deployed
from sdk.api.values import PathLike
from sdk.board.catalogue import load_board
from sdk.deploy.agent.profiles import soak_models as soak_on_board
from sdk.deploy.agent.remote_agent import ALL_THREADS
from sdk.deploy.session import Session
from sdk.errors import BoardError, ModelError
from sdk.explain.soaking.memory import MemoryPlan, plan_memory
from sdk.explain.soaking.run import SoakReport
from sdk.graph.reader import read_subgraphs
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import SoakingOptions

#: How long models are soaked where nothing is said, in seconds.
HALF_AN_HOUR = 1800.0


def soak_models(
    board: str,
    sources: Sequence[PathLike],
    *,
    progress: Progress = silent,
    **options: Unpack[SoakingOptions],
) -> SoakReport:
    """Lets models take turns on a board for minutes or hours, and reports how their speed held.

    ``options``: see :class:`sdk.api.board_requests.Soaking`. Raises TypeError for others, BoardError on an emulated
    board.
    """
    return soak(board, sources, build(Soaking, options, function="soak_models"), progress)


def soak(
    board: str, sources: Sequence[PathLike], request: Soaking, progress: Progress = silent
) -> SoakReport:
    """As :func:`soak_models`, with the options as a record."""
    described = load_board(board)
    if described.emulated:
        raise BoardError(
            "an emulated board does not get warm, and has no times",
            expected="a board that is not emulated, or no --soak",
            found=described.name,
        )
    seconds = HALF_AN_HOUR if request.soak is None else request.soak

    def work(session: Session, packages: Sequence[tuple[str, bytes]]) -> SoakReport:
        progress(f"soak for {seconds / 60:.3g} min", 0, 0)
        found = soak_on_board(
            session.agent,
            [name for name, _ in packages],
            seconds=seconds,
            threads=request.threads if isinstance(request.threads, int) else ALL_THREADS,
            kernel=session.kernel,
        )
        memory = tuple(_memory(package) for _, package in packages)
        return SoakReport(session.board.name, session.board.title, found, memory)

    report, notes = with_deployed(board, sources, request, progress, work)
    return SoakReport(report.board, report.board_title, report.soak, report.memory, notes)


def _memory(package: bytes) -> MemoryPlan | None:
    """What a package or ``.tflite`` needs by its graph; None where its graph is not understood."""
    tflite = package_format.unpack(package).tflite if package.startswith(MAGIC) else package
    with contextlib.suppress(ModelError):
        return plan_memory(read_subgraphs(tflite)[0])
    return None
