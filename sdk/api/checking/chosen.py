"""A metric of what a network chooses, where TensorFlow computes only the values that it chooses by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sdk.data.scoring.by_task import Metric, Scorer
from sdk.data.scoring.score import Score
from sdk.errors import UnsupportedOperator
from sdk.graph.before_choice import behind_choice
from sdk.graph.in_tensorflow.executor import Executor
from sdk.graph.on_host.evaluate import of_one
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.records import Graph
from sdk.graph.writer import write_graph


@contextlib.contextmanager
def by_what_is_chosen(metric: Metric | None, graph: Graph) -> Iterator[Metric | None]:
    """The metric for what an :class:`Executor` of the graph answers with; the same where that is what the graph does.

    Where the graph ends in a choice that TensorFlow cannot run, such as TFLite_Detection_PostProcess, the host's
    runtime chooses, in a process that lives as long as this context.
    """
    if metric is None or not _ends_before(graph):
        yield metric
        return
    with HostModel(write_graph(behind_choice(graph))) as host:
        yield replace(metric, begin=lambda: _OfChosen(host, metric.begin()))


def _ends_before(graph: Graph) -> bool:
    """Whether TensorFlow runs the graph as far as a choice; not where it cannot run it at all."""
    try:
        return Executor(graph).outputs != graph.outputs
    except UnsupportedOperator:
        return False


class _OfChosen:
    """Counts what a model chooses by the values that it is given, without their leading 1."""

    def __init__(self, host: HostModel, scorer: Scorer) -> None:
        self._host, self._scorer = host, scorer
        self._last: tuple[Sequence[np.ndarray], list[np.ndarray]] | None = None

    @property
    def kind(self) -> str:
        return self._scorer.kind

    def truth_of(self, outputs: Sequence[np.ndarray], truth: Any = None) -> Any:
        return self._scorer.truth_of(self._chosen(outputs), truth)

    def add(self, outputs: Sequence[np.ndarray], truth: Any) -> None:
        self._scorer.add(self._chosen(outputs), truth)

    def scores(self) -> tuple[Score, ...]:
        return self._scorer.scores()

    def _chosen(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        if self._last is None or values is not self._last[0]:  # the original's are asked for twice
            found = self._host.run_real([value[None] for value in values]).values()
            self._last = values, [of_one(array) for array in found]
        return self._last[1]
