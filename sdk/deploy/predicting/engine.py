"""Predicts the time of an inference on boards that nobody has at hand."""

from __future__ import annotations

from collections.abc import Sequence

from sdk.board.description.records import Board
from sdk.errors import BoardError
from sdk.explain.speed.prediction import Prediction
from sdk.tools.progress import Progress, silent


def predict_on(
    boards: Sequence[Board],
    tflite: bytes,
    *,
    runtime: str = "ai-edge-litert",
    version: str | None = None,
    progress: Progress = silent,
) -> list[Prediction]:
    """One prediction for each board, in their order: one inference, one thread, on the fastest core of the board.

    Boards whose cores take the same kernels share one run of the emulator. Raises BoardError where a board's core,
    clock or memory is not described, a tool of the emulator is missing or the model does not run there, and
    ProvisionError where the runtime cannot be fetched.
    """
    raise BoardError(
        "predictions are not made yet", expected="a timing model", found=f"none ({len(boards)} boards)"
    )
