"""The cost of a form of a graph on a board, in predicted seconds or counted instructions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sdk.board.description.records import Board
from sdk.deploy.predicting.engine import predict_on
from sdk.deploy.provision.instructions import count_inference
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.tools.progress import Progress

USUAL_CORE = "cortex-a72"  # of a Raspberry Pi 4


def predicted_seconds(board: Board, progress: Progress) -> Callable[[Graph], float]:
    """A function that predicts the seconds of one inference of a graph, on one thread of the board with the runtime
    that its file prefers. What it raises, :func:`predict_on` says."""
    preferred = board.preferred_runtime
    predict = predict_on
    if preferred is not None:
        predict = partial(predict_on, runtime=preferred.name, version=preferred.version)

    def seconds(graph: Graph) -> float:
        (prediction,) = predict([board], write_graph(graph), progress=progress)
        return prediction.seconds

    return seconds


def counted_instructions(board: Board | None, progress: Progress) -> Callable[[Graph], int]:
    """A function that counts the instructions of one inference of a graph on the board's fastest core, emulated, on one
    thread; on a Cortex-A72 without a board. What it raises, :func:`count_inference` says."""
    core = USUAL_CORE
    if board is not None and board.qemu_cpu is not None:
        core = board.qemu_cpu
    elif board is not None and board.clusters:
        core = max(board.clusters, key=lambda c: c.peak_fp32_gflops_per_core.value).core.lower()

    def instructions(graph: Graph) -> int:
        return count_inference(write_graph(graph), cpu=core, progress=progress).instructions

    return instructions
