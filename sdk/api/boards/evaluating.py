"""Accuracy on a board, against the host on the very same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.package import reader as package_format
from device_agent.record.preprocess import Preprocess
from device_agent.record.usage import Usage
from sdk.api.board_requests import Evaluate
from sdk.api.boards.deploying import deployed_on, package_of
from sdk.api.file_requests import PackedOnTheWay
from sdk.api.files.usage import read_labels
from sdk.api.values import PathLike
from sdk.data.for_model import data_for
from sdk.data.meaning.preprocess_evidence import answers
from sdk.data.meaning.shares import confusion, wilson, worst_pairs
from sdk.deploy.session import Session
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.evaluate import every_output, flips_of
from sdk.graph.on_host.host_model import HostModel
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import EvaluateOptions

#: Images go to the board in batches of about this many bytes, so that no more is ever in memory.
BATCH_BYTES = 16 << 20


@dataclass(frozen=True)
class Evaluation:
    """Right answers on host and board, of ``samples``. Top-1 and top-5 are None without labels, top-5 also where there
    are fewer than six classes.
    """

    name: str
    board: str
    data: str
    samples: int
    host_top1: int | None
    host_top5: int | None
    board_top1: int | None
    board_top5: int | None
    agree: int  # samples for which host and board name the same class
    board_seconds: float  # on the board, inferences alone
    runtime: str
    runtime_version: str
    preprocess: str  # that pixels went through, and how it was found
    preprocess_why: str
    host_interval: tuple[float, float] | None = None  # 95 % of the shares of top-1, by Wilson's score
    board_interval: tuple[float, float] | None = None
    classes: tuple[dict[str, Any], ...] = ()  # number, label, samples, right (on the board) of each class
    mistaken: tuple[dict[str, Any], ...] = ()  # label, answer, times: the ten most frequent on the board
    notes: tuple[str, ...] = ()  # what of the data was passed over, how classes were told; a sentence each

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def evaluate_on_board(
    board: str,
    source: PathLike,
    data: PathLike,
    *,
    progress: Progress = silent,
    **options: Unpack[EvaluateOptions],
) -> Evaluation:
    """Deploys a package (or model) and counts its right answers there and here, batch by batch.

    ``preprocess`` is what the package or the model's metadata say by default, else what the network itself or the
    images show; the result says which and why. ``options``: see :class:`sdk.api.board_requests.Evaluate`. Raises
    TypeError for others, DataError where nothing shows it.
    """
    request = build(Evaluate, {"data": data, **options}, function="evaluate_on_board")
    return evaluate(board, source, request, progress)


def evaluate(board: str, source: PathLike, request: Evaluate, progress: Progress = silent) -> Evaluation:
    """What :func:`evaluate_on_board` does, asked for with a record that names data."""
    assert request.data is not None
    packing = PackedOnTheWay(input_shape=request.input_shape)
    name, package = package_of(source, progress, packing=packing)
    decoded = package_format.unpack(package)
    stated = Usage.from_metadata(decoded.package.metadata)
    if request.labels is not None:
        stated = replace(stated, labels=read_labels(Path(request.labels)))
    given = None if request.preprocess is None else Preprocess.parse(request.preprocess)
    progress("read the data", 0, 0)
    with data_for(decoded.tflite, stated, given=given) as opener:
        found = opener.open(request.data, split=request.split, limit=request.limit)
        output = opener.facts.score_output or 0
    dataset = found.dataset
    with deployed_on(board, source, (name, package), request, progress) as (session, _, _):
        names = dict(enumerate(stated.labels)) or dict(dataset.class_names)
        counted = _count(session, name, decoded.tflite, dataset, output, names, progress)
        return Evaluation(
            name=name,
            board=session.board.name,
            data=dataset.name,
            samples=len(dataset),
            runtime=session.provisioned.runtime,
            runtime_version=session.provisioned.runtime_version,
            preprocess=found.chosen.preprocess.name,
            preprocess_why=found.chosen.why,
            notes=found.notes,
            **counted,
        )


def _count(
    session: Session,
    name: str,
    tflite: bytes,
    dataset: Dataset,
    output: int,
    names: Mapping[int, str],
    progress: Progress,
) -> dict[str, Any]:
    """The fields of :class:`Evaluation` that are counted."""
    size = max(1, BATCH_BYTES // max(1, 4 * int(np.prod(dataset.input_shape))))
    counts = {"agree": 0, "host_top1": 0, "host_top5": 0, "board_top1": 0, "board_top5": 0}
    seconds, classes, done = 0.0, 0, 0
    answered: list[np.ndarray] = []
    with HostModel(tflite) as model:
        for images, labels in dataset.batches(size):
            progress("evaluate", done, len(dataset))
            here = every_output(model, images, flips=flips_of(tflite))[output].reshape(len(images), -1)
            run = session.agent.run(name, images, output=output, kernel=session.kernel)
            there = run.outputs.reshape(len(images), -1)
            seconds += run.seconds
            classes = here.shape[1]
            answered.append(answers(there))
            counts["agree"] += int(np.sum(answers(here) == answers(there)))
            if labels is not None:
                for place, scores in (("host", here), ("board", there)):
                    counts[f"{place}_top1"] += int(np.sum(answers(scores) == labels))
                    counts[f"{place}_top5"] += hits(scores, labels, 5)
            done += len(images)
    known = {"top1": dataset.labels is not None, "top5": dataset.labels is not None and classes > 5}
    told = {key: value if known.get(key[-4:], True) else None for key, value in counts.items()}
    if dataset.labels is None:
        return {**told, "board_seconds": seconds}
    by_class = confusion(np.concatenate(answered), dataset.labels, max(2, classes))
    return {
        **told,
        "board_seconds": seconds,
        "host_interval": wilson(counts["host_top1"], len(dataset)),
        "board_interval": wilson(counts["board_top1"], len(dataset)),
        **_by_class(by_class, names),
    }


def _by_class(counts: np.ndarray, names: Mapping[int, str]) -> dict[str, Any]:
    """What the answers of each class were, and the most frequent mistakes, from a confusion (classes, classes)."""
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
    }


def _named(number: int, names: Mapping[int, str]) -> str:
    label = names.get(number, "")
    return f"{number} {label}" if label not in ("", str(number)) else str(number)


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> int:
    """Samples whose label is among the ``k`` highest of ``scores`` (n, classes); ties go to the lower class."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return int(np.sum(np.any(best == labels[:, None], axis=1)))
