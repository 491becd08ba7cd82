"""Right answers of host, board and original on the same samples, counted by the task of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from device_agent.tensors.agreement import OutputAgreement
from device_agent.tensors.tensor import TensorInfo
from sdk.data.meaning.shares import confusion, worst_pairs
from sdk.data.scoring.answers import ClassScorer
from sdk.data.scoring.by_task import Metric, Scorer
from sdk.data.scoring.likeness import Likeness
from sdk.data.scoring.score import Change, Score, change
from sdk.deploy.session import Session
from sdk.errors import ModelError, RemoteError
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.evaluate import as_it_enters, every_output, flips_of
from sdk.graph.on_host.host_model import HostModel
from sdk.tools.progress import Progress

#: Images go to the board, and outputs come back, in batches of about this many bytes.
BATCH_BYTES = 16 << 20
#: More classes make no matrix that anybody reads.
MOST_IN_MATRIX = 60


@dataclass(frozen=True)
class Counted:
    """Counts by place: "original" (if there is one), "host" and "board"."""

    scores: Mapping[str, tuple[Score, ...]]
    scorers: Mapping[str, Scorer]
    changes: tuple[tuple[str, str, Change], ...]  # of the first score: from, to, what became of it
    outputs: tuple[OutputAgreement, ...]  # the board's against the host's, over all samples
    agree: int | None  # samples for which host and board name the same class; None for other tasks
    seconds: float  # on the board, inferences alone


class Counting:
    """Counts samples, batch by batch, for a package of ``tflite`` that runs on the board of a session as ``name``."""

    def __init__(
        self, session: Session, name: str, tflite: bytes, metric: Metric, original: bytes | None
    ) -> None:
        self._session, self._name, self._metric = session, name, metric
        self._tflite, self._original = tflite, original
        places = ("host", "board") if original is None else ("original", "host", "board")
        self._scorers = {place: metric.begin() for place in places}
        self._alike: list[Likeness] = []
        self._input_shape: tuple[int, ...] = ()
        self._same, self._seconds = 0, 0.0

    def count(self, dataset: Dataset, progress: Progress) -> Counted:
        """All samples. Raises ModelError where the original has other outputs."""
        truths = self._metric.truths(dataset) if self._metric.by_truth else None
        with HostModel(self._tflite) as host:
            self._input_shape, self._keeps_state = host.inputs[0].shape, host.keeps_state
            self._alike = [Likeness(info.name, classes=_counts(info)) for info in host.outputs]
            size = self._batch(dataset, host.outputs)
            original = HostModel(self._original) if self._original is not None else None
            try:
                if original is not None:
                    _check_alike(original.outputs, host.outputs)
                done = 0
                for images, _ in dataset.batches(size):
                    progress("evaluate", done, len(dataset))
                    right = None if truths is None else truths[done : done + len(images)]
                    self._count_batch(host, original, images, right)
                    done += len(images)
            finally:
                if original is not None:
                    original.close()
        return self._counted()

    def _batch(self, dataset: Dataset, outputs: Sequence[TensorInfo]) -> int:
        """Samples in a batch."""
        sample = 4 * int(np.prod(dataset.input_shape))
        answer = sum(4 * int(np.prod(info.shape)) for info in outputs)
        return max(1, BATCH_BYTES // max(1, sample, answer))

    def _count_batch(
        self, host: HostModel, original: HostModel | None, images: np.ndarray, right: Sequence[Any] | None
    ) -> None:
        found = {"host": every_output(host, images, flips=flips_of(self._tflite))}
        if original is not None:
            assert self._original is not None
            found["original"] = every_output(original, images, flips=flips_of(self._original))
        found["board"] = self._on_board(images, host.outputs)
        for likeness, here, there in zip(self._alike, found["host"], found["board"], strict=True):
            likeness.add(here, there)
        first = "original" if original is not None else "host"
        for number in range(len(images)):
            samples = {place: [output[number] for output in outputs] for place, outputs in found.items()}
            reference = self._scorers[first].truth_of(samples[first])
            truth = reference if right is None else right[number]
            for place, scorer in self._scorers.items():
                scorer.add(samples[place], truth)

    def _on_board(self, images: np.ndarray, infos: Sequence[TensorInfo]) -> tuple[np.ndarray, ...]:
        """Every output (n, ...) in real values."""
        agent, kernel = self._session.agent, self._session.kernel
        if len(infos) == 1:
            run = agent.run(self._name, images, kernel=kernel)
            self._seconds += run.seconds
            return (run.outputs.reshape(len(images), *_sample(infos[0])),)
        flips = flips_of(self._tflite)
        cases = np.stack([as_it_enters(image, self._input_shape, flips) for image in images])
        stored, said = agent.run_cases(self._name, [cases], kernel=kernel, apart=self._keeps_state)
        self._seconds += said.seconds
        if len(stored) != len(infos):
            raise RemoteError(
                "the board's outputs are others",
                expected=f"{len(infos)} outputs",
                found=f"{len(stored)}",
            )
        return tuple(
            info.to_real(array).reshape(len(images), *_sample(info))
            for info, array in zip(infos, stored, strict=True)
        )

    def _counted(self) -> Counted:
        scores = {place: scorer.scores() for place, scorer in self._scorers.items()}
        if not self._metric.by_truth:
            scores.pop(next(iter(scores)))  # it was compared with itself
        places = list(scores)
        changes = tuple(
            (before, after, change(scores[before][0], scores[after][0])) for before, after in pairwise(places)
        )
        host, board = self._scorers["host"], self._scorers["board"]
        agree = None
        if isinstance(host, ClassScorer) and isinstance(board, ClassScorer):
            agree = int(np.sum(host.answered == board.answered))
        told = tuple(likeness.told() for likeness in self._alike)
        return Counted(scores, self._scorers, changes, told, agree, self._seconds)


def _sample(info: TensorInfo) -> tuple[int, ...]:
    """The shape of one sample's output, as the host gives it."""
    return info.shape[1:] if info.shape[:1] == (1,) else info.shape


def _counts(info: TensorInfo) -> bool:
    """Whether an output holds whole numbers without a scale."""
    return info.dtype.kind in "iub" and not info.is_quantized


def _check_alike(original: Sequence[TensorInfo], other: Sequence[TensorInfo]) -> None:
    if [_sample(info) for info in original] != [_sample(info) for info in other]:
        raise ModelError(
            "the original has other outputs",
            expected=", ".join(str(info.shape) for info in other)[:100],
            found=", ".join(str(info.shape) for info in original)[:100],
        )


def by_class(scorer: ClassScorer, names: Mapping[int, str]) -> dict[str, Any]:
    """Right answers per class, the most frequent mistakes, and the confusion matrix if it is small."""
    counts = confusion(scorer.answered, scorer.right, scorer.classes)
    present = np.flatnonzero(counts.sum(axis=1))
    return {
        "classes": tuple(
            {
                "number": int(k),
                "label": names.get(int(k), ""),
                "samples": int(counts[k].sum()),
                "right": int(counts[k, k]),
            }
            for k in present
        ),
        "mistaken": tuple(
            {"label": _named(label, names), "answer": _named(answer, names), "times": times}
            for label, answer, times in worst_pairs(counts)
        ),
        "confusion": tuple(tuple(int(n) for n in row) for row in counts)
        if len(counts) <= MOST_IN_MATRIX
        else (),
        "class_names": tuple(_named(k, names) for k in range(len(counts)))
        if len(counts) <= MOST_IN_MATRIX
        else (),
    }


def _named(number: int, names: Mapping[int, str]) -> str:
    label = names.get(number, "")
    return f"{number} {label}" if label not in ("", str(number)) else str(number)
