"""Inputs and outputs of a model, as the runtime describes them, and the output with the scores of classes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from device_agent.record.task import CLASSES, DETECTIONS, KEYPOINTS, SEGMENTATION, Task
from device_agent.record.usage import Usage, picture_shape
from device_agent.tensors.tensor import TensorInfo
from sdk.errors import DataError
from sdk.graph.records import Graph

_SCORES_BY_NAME = re.compile(r"score|prob|class|logit|softmax|predict|label", re.IGNORECASE)
_SCORES_BY_OPERATOR = ("SOFTMAX", "LOGISTIC", "LOG_SOFTMAX")


@dataclass(frozen=True)
class ModelFacts:
    """``graph`` is None for a model that cannot be read as one. ``score_output``: which output holds one row of scores;
    None where none does.
    """

    input: TensorInfo
    outputs: tuple[TensorInfo, ...]
    graph: Graph | None
    task: Task | None
    score_output: int | None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample, such as (height, width, channels)."""
        return picture_shape(self.input.shape)

    @property
    def input_dtype(self) -> str:
        """numpy's name of what enters: whole numbers where the input has no scale, else real values, float32."""
        whole = self.input.dtype.kind in "iu" and not self.input.is_quantized
        return self.input.dtype.name if whole else "float32"

    @property
    def scores(self) -> int | None:
        """How many scores it gives; None where it gives none."""
        return None if self.score_output is None else int(self.outputs[self.score_output].shape[-1])

    def classes_of_task(self, labels: int) -> int | None:
        """How many classes a detector or a segmenting model with this many ``labels`` knows; None if unknown."""
        task = self.task
        if task is None or not task.outputs or max(task.outputs) >= len(self.outputs):
            return None
        if task.kind == DETECTIONS:
            return task.classes or labels or None
        if task.kind == SEGMENTATION and task.form == "scores":
            return int(self.outputs[task.outputs[0]].shape[-1])
        if task.kind == SEGMENTATION and task.form == "mask":
            return 2
        return labels or None

    def told(self) -> str:
        """Which of several outputs is scored, in words; empty where there is one."""
        if len(self.outputs) < 2 or self.score_output is None:
            return ""
        others = ", ".join(info.name for i, info in enumerate(self.outputs) if i != self.score_output)
        return f"of the outputs, {self.outputs[self.score_output].name} holds the scores; the others are {others}"


def facts_of(
    inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...], graph: Graph | None, stated: Usage
) -> ModelFacts:
    """The facts of a model of one input, used as ``stated``. Raises DataError for other models."""
    if len(inputs) != 1:
        raise DataError(
            "images cannot feed this model",
            expected="one input",
            found=f"{len(inputs)}: {', '.join(info.name for info in inputs)}",
        )
    task = stated.task
    if task is not None and task.kind == CLASSES and task.outputs[0] < len(outputs):
        return ModelFacts(inputs[0], outputs, graph, task, task.outputs[0])
    if task is not None and task.kind in (DETECTIONS, SEGMENTATION, KEYPOINTS):
        return ModelFacts(inputs[0], outputs, graph, task, None)
    return ModelFacts(inputs[0], outputs, graph, task, _score_output(outputs, graph, len(stated.labels)))


def _score_output(outputs: tuple[TensorInfo, ...], graph: Graph | None, labels: int) -> int | None:
    """The output of one row of values that are the scores of classes, of several the likeliest; None without any."""
    rows = [
        i for i, info in enumerate(outputs) if info.shape and int(np.prod(info.shape)) == info.shape[-1] > 0
    ]
    if graph is not None and len(graph.outputs) == len(outputs):
        made_by = {tensor: operator.kind for operator in graph.operators for tensor in operator.outputs}
        read = {tensor for operator in graph.operators for tensor in operator.inputs}
        kinds = {i: made_by.get(graph.outputs[i]) for i in rows}
        last = {i for i in rows if graph.outputs[i] not in read}
        named = {
            name
            for signature in graph.signatures
            for word, tensor in signature.outputs
            for name, number in enumerate(graph.outputs)
            if number == tensor and _SCORES_BY_NAME.search(word)
        }
    else:
        kinds, last, named = {}, set(rows), set()
    for fits in (
        lambda i: labels > 0 and outputs[i].shape[-1] == labels,
        lambda i: kinds.get(i) in _SCORES_BY_OPERATOR,
        lambda i: i in named or _SCORES_BY_NAME.search(outputs[i].name) is not None,
        lambda i: i in last,
    ):
        kept = [i for i in rows if fits(i)]
        rows = kept or rows
    return rows[0] if rows else None
