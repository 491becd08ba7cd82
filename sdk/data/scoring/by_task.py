"""Chooses the metric of a model by its task and the right answers in the data. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from device_agent.record.task import CLASSES, CROP, DETECTIONS, SEGMENTATION
from sdk.data.meaning.model_facts import ModelFacts
from sdk.data.scoring.answers import ClassScorer, LikenessScorer, MapScorer, ValueScorer
from sdk.data.scoring.detected import BoxScorer
from sdk.data.scoring.score import Score
from sdk.data.scoring.truth import BOXES, MAPS, VALUES
from sdk.errors import DataError
from sdk.graph.dataset import Dataset
from sdk.graph.own_task import outputs_of

#: Operators that end a network without a layer that tells classes, and those that only write a value otherwise.
_FEATURES = ("L2_NORMALIZATION", "AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN")
_SAME_VALUES = ("RESHAPE", "SQUEEZE", "DEQUANTIZE", "QUANTIZE")
_EMBEDDING_BY_NAME = re.compile(r"embed|descriptor|feature_?vec", re.IGNORECASE)


class Scorer(Protocol):
    """Counts the answers of one model, sample by sample; outputs come without their leading 1."""

    @property
    def kind(self) -> str:
        """The kind of right answers: "classes", or a kind of truth."""

    def truth_of(self, outputs: Sequence[np.ndarray], truth: Any = None) -> Any:
        """The answer to one sample in the form of what is right, from outputs such as (classes,); ``truth`` only says
        how large the picture is."""

    def add(self, outputs: Sequence[np.ndarray], truth: Any) -> None:
        """One sample, of outputs such as (classes,), and what is right for it."""

    def scores(self) -> tuple[Score, ...]:
        """The metrics; the first is the one that a loss is counted in."""


@dataclass(frozen=True)
class Metric:
    """``begin()`` starts to count for one model. ``by_truth``: answers are compared with what the data say is right,
    else against those of the original. ``name``: of the score that a loss is counted in.
    """

    begin: Callable[[], Scorer]
    by_truth: bool
    name: str
    plain: bool = False  # top-1 of the first output, of several scores

    @property
    def beyond_top1(self) -> Metric | None:
        """The metric, None where it is the top-1 of the first output."""
        return None if self.plain else self

    def truths(self, dataset: Dataset) -> list[Any]:
        """The right answer for each sample of the data, in order; for metrics ``by_truth``."""
        if dataset.truth is not None:
            return [dataset.truth.of(int(index)) for index in dataset.indices]
        assert dataset.labels is not None
        return list(dataset.labels)


def score_of(metric: Metric, outputs: Sequence[np.ndarray], truths: Sequence[Any]) -> Score:
    """The main score of one model, of every output (n, ...) and what is right for the first n samples."""
    scorer = metric.begin()
    for number in range(len(outputs[0])):
        scorer.add([one[number] for one in outputs], truths[number])
    return scorer.scores()[0]


def metric_for(facts: ModelFacts, fit: str | None, dataset: Dataset) -> Metric:
    """The metric of a model of these facts on these data; ``fit``: how pictures get into its input.

    Raises DataError where the right answers in the data do not fit the task of the model.
    """
    kind = None if dataset.truth is None else dataset.truth.kind
    shape = facts.input_shape
    size = (shape[0], shape[1]) if len(shape) == 3 else (1, 1)
    how = fit or CROP
    task = facts.task
    if task is not None and task.kind in (DETECTIONS, SEGMENTATION):
        wanted = BOXES if task.kind == DETECTIONS else MAPS
        if kind not in (None, wanted):
            raise DataError(
                "the right answers in the data do not fit the task of the model",
                expected=f"{wanted}, for {task.in_words()}",
                found=str(kind),
            )
        by_truth = kind == wanted
        if task.kind == DETECTIONS:
            return Metric(lambda: BoxScorer(task, size, how), by_truth, "mAP@0.5:0.95")
        return Metric(lambda: MapScorer(task, size, how), by_truth, "mean IoU")
    output = facts.score_output
    if kind == VALUES:
        at = output if output is not None else 0
        return Metric(lambda: ValueScorer(at), True, "mean absolute error")
    if kind is not None:
        raise DataError(
            f"the data have {kind}, but the model's task is not known",
            expected="--task detections or --task segmentation, as the model is",
            found="no task" if task is None else task.in_words(),
        )
    ranked = output == 0 and facts.scores is not None and facts.scores > 1
    if output is not None and dataset.labels is not None:
        return Metric(lambda: ClassScorer(output), True, "top-1", ranked)
    if output is not None and _is_value(facts, output):
        return Metric(lambda: ValueScorer(output), False, "mean absolute error")
    plain = task is None and (len(facts.outputs) > 1 or _is_embedding(facts))
    if output is None or plain or (task is not None and task.kind != CLASSES):
        return Metric(LikenessScorer, False, "cosine")
    return Metric(lambda: ClassScorer(output), False, "top-1", ranked)


def _is_value(facts: ModelFacts, output: int) -> bool:
    """Whether an output is one value that is not a probability: a quantity, which has no classes."""
    if facts.outputs[output].shape[-1] != 1 or facts.graph is None:
        return False
    found = outputs_of(facts.graph)
    return len(found) == len(facts.outputs) and found[output].made_by != "LOGISTIC"


def _is_embedding(facts: ModelFacts) -> bool:
    """Whether the only output is a vector of features, as its name or the last operator says."""
    graph = facts.graph
    if _EMBEDDING_BY_NAME.search(facts.outputs[0].name):
        return True
    if graph is None or len(graph.outputs) != 1:
        return False
    makers, tensor = graph.producers(), graph.outputs[0]
    while tensor in makers and graph.operators[makers[tensor]].kind in _SAME_VALUES:
        tensor = graph.operators[makers[tensor]].inputs[0]
    return tensor in makers and graph.operators[makers[tensor]].kind in _FEATURES
