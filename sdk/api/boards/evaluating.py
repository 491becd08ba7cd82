"""Accuracy on a board, against the host on the very same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from device_agent.package import reader as package_format
from sdk.api.boards.deploying import package_of
from sdk.api.files.golden import remembered_golden
from sdk.api.values import PathLike
from sdk.board.ssh import signing
from sdk.deploy.session import open_session
from sdk.deploy.target import Target
from sdk.graph.on_host.data import load_dataset
from sdk.graph.on_host.evaluate import predict
from sdk.graph.reader import read_graph
from sdk.tools.progress import Progress, silent

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
    preprocess: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    progress: Progress = silent,
    **target: Any,
) -> Evaluation:
    """Deploys a package (or model) and counts its right answers there and here, batch by batch.

    ``preprocess`` is what the package's own metadata say by default, else "tf". ``target``: see
    :class:`sdk.deploy.target.Target`.
    """
    name, package = package_of(source, progress)
    decoded = package_format.unpack(package)
    graph = read_graph(decoded.tflite)
    stated = decoded.package.metadata.get("input", {}).get("preprocess")
    dataset = load_dataset(
        data,
        input_shape=graph.tensors[graph.inputs[0]].shape[1:],
        preprocess=preprocess or stated or "tf",
        split=split,
        limit=limit,
    )
    size = max(1, BATCH_BYTES // max(1, 4 * int(np.prod(dataset.input_shape))))
    counts = {"agree": 0, "host_top1": 0, "host_top5": 0, "board_top1": 0, "board_top5": 0}
    seconds, classes, done = 0.0, 0, 0
    with open_session(board, Target(**target), progress) as session:
        session.agent.deploy(
            package,
            name,
            golden=remembered_golden(package),
            signature=signing.signature_of(source, package),
            progress=progress,
        )
        for images, labels in dataset.batches(size):
            progress("evaluate", done, len(dataset))
            here = predict(decoded.tflite, images).reshape(len(images), -1)
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
        labelled = dataset.labels is not None
        return Evaluation(
            name=name,
            board=session.board.name,
            data=dataset.name,
            samples=len(dataset),
            host_top1=counts["host_top1"] if labelled else None,
            host_top5=counts["host_top5"] if labelled and classes > 5 else None,
            board_top1=counts["board_top1"] if labelled else None,
            board_top5=counts["board_top5"] if labelled and classes > 5 else None,
            agree=counts["agree"],
            board_seconds=seconds,
            runtime=session.provisioned.runtime,
            runtime_version=session.provisioned.runtime_version,
        )


def hits(scores: np.ndarray, labels: np.ndarray, k: int) -> int:
    """Samples whose label is among the ``k`` highest of ``scores`` (n, classes); ties go to the lower class."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return int(np.sum(np.any(best == labels[:, None], axis=1)))
