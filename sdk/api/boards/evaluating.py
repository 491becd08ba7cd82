"""Accuracy on a board, against the host on the very same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.package import reader as package_format
from sdk.api.board_requests import Evaluate
from sdk.api.boards.deploying import package_of
from sdk.api.boards.runtimes import with_a_runtime
from sdk.api.file_requests import PackedOnTheWay
from sdk.api.files.golden import remembered_golden
from sdk.api.values import PathLike
from sdk.board.ssh import signing
from sdk.deploy.session import Session, open_session
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.data import load_dataset
from sdk.graph.on_host.evaluate import predict
from sdk.graph.reader import read_graph
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

    ``preprocess`` is what the package's own metadata say by default, else "tf". ``options``: see
    :class:`sdk.api.board_requests.Evaluate`. Raises TypeError for others.
    """
    request = build(Evaluate, {"data": data, **options}, function="evaluate_on_board")
    return evaluate(board, source, request, progress)


def evaluate(board: str, source: PathLike, request: Evaluate, progress: Progress = silent) -> Evaluation:
    """What :func:`evaluate_on_board` does, asked for with a record that names data."""
    assert request.data is not None
    packing = PackedOnTheWay(input_shape=request.input_shape)
    name, package = package_of(source, progress, packing=packing)
    decoded = package_format.unpack(package)
    graph = read_graph(decoded.tflite)
    stated = decoded.package.metadata.get("input", {}).get("preprocess")
    dataset = load_dataset(
        request.data,
        input_shape=graph.tensors[graph.inputs[0]].shape[1:],
        preprocess=request.preprocess or stated or "tf",
        split=request.split,
        limit=request.limit,
    )
    golden, signature = remembered_golden(package), signing.signature_of(source, package)
    with open_session(board, request, progress) as session:
        session, _, _ = with_a_runtime(
            session,
            request,
            progress,
            lambda at: at.agent.deploy(package, name, golden=golden, signature=signature, progress=progress),
        )
        counted = _count(session, name, decoded.tflite, dataset, progress)
        return Evaluation(
            name=name,
            board=session.board.name,
            data=dataset.name,
            samples=len(dataset),
            runtime=session.provisioned.runtime,
            runtime_version=session.provisioned.runtime_version,
            **counted,
        )


def _count(
    session: Session, name: str, tflite: bytes, dataset: Dataset, progress: Progress
) -> dict[str, Any]:
    """The fields of :class:`Evaluation` that are counted."""
    size = max(1, BATCH_BYTES // max(1, 4 * int(np.prod(dataset.input_shape))))
    counts = {"agree": 0, "host_top1": 0, "host_top5": 0, "board_top1": 0, "board_top5": 0}
    seconds, classes, done = 0.0, 0, 0
    for images, labels in dataset.batches(size):
        progress("evaluate", done, len(dataset))
        here = predict(tflite, images).reshape(len(images), -1)
        run = session.agent.run(name, images, kernel=session.kernel)
        there = run.outputs.reshape(len(images), -1)
        seconds += run.seconds
        classes = here.shape[1]
        counts["agree"] += int(np.sum(np.argmax(here, 1) == np.argmax(there, 1)))
        if labels is not None:
            for place, scores in (("host", here), ("board", there)):
                counts[f"{place}_top1"] += hits(scores, labels, 1)
                counts[f"{place}_top5"] += hits(scores, labels, 5)
        done += len(images)
    known = {"top1": dataset.labels is not None, "top5": dataset.labels is not None and classes > 5}
    told = {key: value if known.get(key[-4:], True) else None for key, value in counts.items()}
    return {**told, "board_seconds": seconds}


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> int:
    """Samples whose label is among the ``k`` highest of ``scores`` (n, classes); ties go to the lower class."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return int(np.sum(np.any(best == labels[:, None], axis=1)))
