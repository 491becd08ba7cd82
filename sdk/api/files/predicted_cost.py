"""What a form of a graph costs on a board, in predicted seconds."""

from __future__ import annotations

from collections.abc import Callable

from sdk.board.description.records import Board
from sdk.deploy.predicting.engine import predict_on
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph
from sdk.tools.progress import Progress


def predicted_seconds(board: Board, progress: Progress) -> Callable[[Graph], float]:
    """A function that predicts the seconds of one inference of a graph, on one thread of the board with the runtime
    that its file prefers. What it raises, :func:`predict_on` says."""
    preferred = board.preferred_runtime
    asked = {} if preferred is None else {"runtime": preferred.name, "version": preferred.version}

    def seconds(graph: Graph) -> float:
        (prediction,) = predict_on([board], write_graph(graph), progress=progress, **asked)
        return prediction.seconds

    return seconds
