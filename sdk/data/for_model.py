"""The data for one model: classes by its labels, pixels as it takes them, and notes on how each was found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from device_agent.answers.detections import without_nothing
from device_agent.record.preprocess import Preprocess
from device_agent.record.task import CROP, DETECTIONS, SEGMENTATION
from device_agent.record.usage import Usage
from sdk.data.choosing import AS_THEY_ARE, Chosen, choose_preprocess
from sdk.data.duplicates import first_of_each, without_shared
from sdk.data.loading import has_splits, load_wanted
from sdk.data.meaning.class_order import check_order
from sdk.data.meaning.model_facts import facts_of
from sdk.data.scoring.by_task import Metric, metric_for, score_of
from sdk.data.scoring.score import Score
from sdk.data.wanted import Wanted
from sdk.errors import DataError, ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.evaluate import every_output, flips_of
from sdk.graph.on_host.host_model import HostModel
from sdk.graph.reader import read_graph
from sdk.graph.records import Graph

#: Images on which the order of classes is compared with the model's answers.
_ORDER_CHECKED_ON = 128


@dataclass(frozen=True)
class DataFor:
    """A data set as a model takes it. ``notes``: all that was found, passed over and chosen, a sentence each."""

    dataset: Dataset
    chosen: Chosen
    notes: tuple[str, ...]


class DataOpener:
    """Opens data for one model, which runs on the host meanwhile. ``facts``: what the model takes and gives.

    ``stated``: its use according to its package, its metadata or the user's ``labels``; ``given``: a preprocessing that
    is not questioned.
    """

    def __init__(
        self,
        model: HostModel,
        tflite: bytes,
        stated: Usage,
        given: Preprocess | None,
        truth: str | os.PathLike[str] | None = None,
    ) -> None:
        self._truth = None if truth is None else Path(truth)
        self.facts = facts_of(model.inputs, model.outputs, _graph(tflite), stated)
        self._model, self._flips = model, flips_of(tflite)
        self._stated, self._given = stated, given
        self._chosen: Chosen | None = None

    def open(
        self,
        path: str | os.PathLike[str],
        *,
        split: str | None = None,
        limit: int | None = None,
        with_truth: bool = True,
    ) -> DataFor:
        """The data at ``path``; every later source gets the preprocessing of the first. Raises DataError.

        ``with_truth``: whether the named file of right answers, if any, belongs to these data.
        """
        scores = self.facts.scores
        wanted = self._wanted()
        dataset = load_wanted(path, wanted if with_truth else replace(wanted, truth=None), split, limit)
        chosen = self._chosen
        if chosen is None or (chosen.source == "values") != (not dataset.are_pixels):
            chosen = choose_preprocess(
                self.facts,
                dataset,
                self._answer,
                given=self._given,
                stated=self._stated.preprocess,
                score=lambda images: self._score(dataset, images),
            )
            self._chosen = self._chosen or chosen
        used = replace(dataset, preprocess=chosen.preprocess, input_dtype=self.facts.input_dtype)
        used.images([0])  # fails here, by name, where pixels and input do not go together
        if used.labels is not None and scores is not None and chosen.source != "labels":
            some = used.take(_ORDER_CHECKED_ON)
            check_order([self._answer(some.images())], np.asarray(some.labels))
        outputs = self.facts.told()
        notes = (*dataset.notes, *([outputs] if outputs else []), f"preprocessing {chosen.told()}")
        return DataFor(used, chosen, notes)

    def _wanted(self) -> Wanted:
        """What the model wants of data."""
        facts, labels = self.facts, tuple(self._stated.labels)
        fit = self._stated.fit or CROP
        if facts.task is not None and facts.task.kind in (DETECTIONS, SEGMENTATION):
            labels = tuple(without_nothing(labels)) if facts.task.form == "post-process" else labels
            counted = facts.classes_of_task(len(labels))
            fits = counted is None or len(labels) == counted
            return Wanted(
                facts.input_shape,
                AS_THEY_ARE,
                labels if fits else (),
                counted,
                fit,
                task=facts.task,
                truth=self._truth,
            )
        scores = facts.scores
        values = (scores or 0) if facts.task is None else 0
        labels = labels if len(labels) == scores else ()
        return Wanted(facts.input_shape, AS_THEY_ARE, labels, scores, fit, values=values, truth=self._truth)

    def metric(self, dataset: Dataset) -> Metric:
        """The metric of this model on data that were opened. Raises DataError where they are of another task."""
        return metric_for(self.facts, self._stated.fit, dataset)

    def _score(self, dataset: Dataset, images: np.ndarray) -> Score:
        """What the model reaches on the first samples of data, of ``images`` (n, height, width, channels)."""
        metric = self.metric(dataset)
        return score_of(metric, every_output(self._model, images, flips=self._flips), metric.truths(dataset))

    def _answer(self, images: np.ndarray) -> np.ndarray:
        position = self.facts.score_output
        if position is None:
            raise DataError("the model gives no scores of classes")
        found = every_output(self._model, images, flips=self._flips)
        return found[position].reshape(len(images), -1)


@contextmanager
def data_for(
    tflite: bytes,
    stated: Usage,
    *,
    given: Preprocess | None = None,
    truth: str | os.PathLike[str] | None = None,
) -> Iterator[DataOpener]:
    """Opens data for a model while it runs on the host. Raises ModelError where it does not run.

    ``truth``: the file or folder of right answers; None: it is found beside the data.
    """
    with HostModel(tflite) as model:
        yield DataOpener(model, tflite, stated, given, truth)


def _graph(tflite: bytes) -> Graph | None:
    try:
        return read_graph(tflite)
    except ModelError:
        return None


@dataclass(frozen=True)
class Sources:
    """The data to learn from and the data to check on; None where there are none. ``notes`` of both.

    ``usage``: the model's, with the preprocessing that was found; ``metric``: of its task on the data to check on.
    """

    learn: Dataset | None
    check: Dataset | None
    chosen: Chosen
    notes: tuple[str, ...]
    usage: Usage
    metric: Metric


def open_sources(
    tflite: bytes,
    stated: Usage,
    data: str | os.PathLike[str] | None,
    check: str | os.PathLike[str] | None,
    *,
    given: Preprocess | None = None,
    truth: str | os.PathLike[str] | None = None,
) -> Sources:
    """``data`` to learn from and ``check`` to check on: where that is None, the test split of ``data``, if it has one.

    The rest as for :func:`data_for`. Raises ModelError, and DataError, also where there is neither.
    """
    with data_for(tflite, stated, given=given, truth=truth) as opener:
        return _sources(opener, stated, data, check)


def _sources(
    opener: DataOpener,
    stated: Usage,
    data: str | os.PathLike[str] | None,
    check: str | os.PathLike[str] | None,
) -> Sources:
    splits = data is not None and has_splits(data)
    learn = (
        None
        if data is None
        else opener.open(data, split="train" if splits else None, with_truth=check is None and not splits)
    )
    checked = None
    if check is not None:
        checked = opener.open(check)
    elif data is not None and splits:
        checked = opener.open(data, split="test")
    found = [one for one in (learn, checked) if one is not None]
    if not found:
        raise DataError("there are no data", expected="images to learn from or to check on")
    told = [note for one in found for note in one.notes]
    learned = None if learn is None else learn.dataset
    kept = None if checked is None else checked.dataset
    if learned is not None:
        learned, note = first_of_each(learned)
        told.append(note)
        if kept is not None:
            kept, note = without_shared(learned, kept)
            told.append(note)
    chosen = found[0].chosen
    usage = stated if chosen.source == "values" else replace(stated, preprocess=chosen.preprocess)
    judged = kept or learned  # without data to check on, some of those to learn from are kept back for it
    assert judged is not None
    metric = opener.metric(judged)
    return Sources(learned, kept, chosen, tuple(dict.fromkeys(filter(None, told))), usage, metric)
