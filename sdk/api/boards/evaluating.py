"""Accuracy on a board and on the host, on the same images, in the metrics of the model's task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC
from device_agent.record.preprocess import Preprocess
from device_agent.tensors.agreement import OutputAgreement
from sdk.api.board_requests import Evaluate
from sdk.api.boards.counting import Counted, Counting, by_class
from sdk.api.boards.deploying import deployed_on, package_of
from sdk.api.file_requests import Opening
from sdk.api.files.opening import openings, reading
from sdk.api.files.usage import usage_of_package
from sdk.api.values import PathLike
from sdk.data.for_model import data_for
from sdk.data.scoring.answers import ClassScorer
from sdk.data.scoring.score import Score
from sdk.graph.on_host.sources.convert import tflite_bytes
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.shown import Shown
from sdk.tools.system.files import read_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import EvaluateOptions


#: Of fewer images a bootstrap knows too little of how they differ.
_FEW = 20


@dataclass(frozen=True)
class Reached:
    """One metric at one place: "original", "host" or "board". ``interval``: 95 %, by Wilson's score for shares of
    images, by a bootstrap over images for others. ``text``: the value for people.
    """

    place: str
    name: str
    value: float
    interval: tuple[float, float]
    text: str
    interval_text: str


@dataclass(frozen=True)
class Evaluation(Shown):
    """Scores of host and board on ``samples``, in the metrics of the model's task.

    ``counted``: "classes", "boxes", "maps of classes", "values" or "outputs"; ``by_truth``: against the right answers
    in the data, else against the original or the host. Top-1 and top-5 are None where no classes are counted or no
    labels are known, top-5 also where there are fewer than six classes.
    """

    name: str
    board: str
    data: str
    samples: int
    host_top1: int | None
    host_top5: int | None
    board_top1: int | None
    board_top5: int | None
    agree: int | None  # samples for which host and board name the same class; None for other tasks
    board_seconds: float | None  # on the board, inferences alone; None where it is emulated
    runtime: str
    runtime_version: str
    preprocess: str  # that pixels went through, and how it was found
    preprocess_why: str
    host_interval: tuple[float, float] | None = None  # 95 % of the shares of top-1, by Wilson's score
    board_interval: tuple[float, float] | None = None
    classes: tuple[dict[str, Any], ...] = ()  # number, label, samples, right (on the board) of each class
    mistaken: tuple[dict[str, Any], ...] = ()  # label, answer, times: the ten most frequent on the board
    notes: tuple[str, ...] = ()  # what of the data was passed over, how classes were told; a sentence each
    counted: str = "classes"
    by_truth: bool = True
    task: str = ""  # of the model, in words; empty where it says none
    reached: tuple[Reached, ...] = ()
    changes: tuple[
        dict[str, Any], ...
    ] = ()  # a paired test of the first metric: original to host, host to board
    outputs: tuple[
        OutputAgreement, ...
    ] = ()  # every output of the board against the host's, over all samples
    confusion: tuple[tuple[int, ...], ...] = ()  # on the board, a row for each label; empty for many classes
    class_names: tuple[str, ...] = ()  # of the rows and columns of ``confusion``

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
    """Runs a package (or model) on board and host, in batches, and compares both with the right answers.

    The metric follows from the task of the model (``task`` names another): top-1 and top-5 of classes, mAP of boxes
    against COCO JSON or YOLO text, mean IoU of maps, the error of values; without right answers, all outputs against
    the host's. ``truth`` names the right answers where they do not lie beside the data; ``original`` the model that the
    package was made from, which is compared with it on the same images by a paired test. The default of ``preprocess``
    is stated by the package or the model's metadata, else shown by the network itself or the images; the result says
    which and why. ``options``: see :class:`sdk.api.board_requests.Evaluate`. Raises TypeError for others, DataError
    where nothing shows it.
    """
    request = build(Evaluate, {"data": data, **options}, function="evaluate_on_board")
    return evaluate(board, source, request, progress)


def evaluate(board: str, source: PathLike, request: Evaluate, progress: Progress = silent) -> Evaluation:
    """As :func:`evaluate_on_board`, with the options as a record that names data."""
    assert request.data is not None
    sources = [source] if request.original is None else [source, request.original]
    packing, *rest = openings(sources, request)
    name, package = package_of(source, progress, packing=packing)
    decoded = package_format.unpack(package)
    stated = usage_of_package(decoded, labels=request.labels, task=request.task, fit=request.fit)
    original = None if request.original is None else original_of(request.original, *rest)
    given = None if request.preprocess is None else Preprocess.parse(request.preprocess)
    progress("read the data", 0, 0)
    with data_for(decoded.tflite, stated, given=given, truth=request.truth) as opener:
        found = opener.open(request.data, split=request.split, limit=request.limit)
        metric = opener.metric(found.dataset)
    dataset = found.dataset
    with deployed_on(board, source, (name, package), request, progress) as (session, _, _):
        counted = Counting(session, name, decoded.tflite, metric, original).count(dataset, progress)
        names = dict(enumerate(stated.labels)) or dict(dataset.class_names)
        return Evaluation(
            name=name,
            board=session.board.name,
            data=dataset.name,
            samples=len(dataset),
            runtime=session.provisioned.runtime,
            runtime_version=session.provisioned.runtime_version,
            preprocess=found.chosen.preprocess.name,
            preprocess_why=found.chosen.why,
            notes=(*found.notes, *_few(len(dataset), counted)),
            task="" if stated.task is None else stated.task.in_words(),
            by_truth=metric.by_truth,
            board_seconds=None if session.board.emulated else counted.seconds,
            **_told(counted, metric.by_truth, names),
        )


def original_of(source: PathLike, opening: Opening) -> bytes:
    """The .tflite of a package, or of a model that is read as ``opening`` says."""
    path = Path(source)
    content = read_file(path, "a package or a model") if path.is_file() else b""
    if content.startswith(MAGIC):
        return package_format.unpack(content).tflite
    return tflite_bytes(path, **reading(opening))


def _few(samples: int, counted: Counted) -> tuple[str, ...]:
    """A word on intervals that a bootstrap makes of very few images."""
    drawn = any(score.right is None for scores in counted.scores.values() for score in scores)
    if samples >= _FEW or not drawn:
        return ()
    return (f"{samples} images are few: their 95 % intervals are too narrow",)


def _told(counted: Counted, by_truth: bool, names: Mapping[int, str]) -> dict[str, Any]:
    """The fields of :class:`Evaluation` that are counted."""
    fields: dict[str, Any] = dict.fromkeys(("host_top1", "host_top5", "board_top1", "board_top5"))
    for place in ("host", "board"):
        for score in counted.scores.get(place, ()) if by_truth else ():
            if score.right is not None and score.name in ("top-1", "top-5"):
                key = score.name.replace("-", "")
                fields[f"{place}_{key}"] = int(score.right.sum())
                if key == "top1":
                    fields[f"{place}_interval"] = score.interval()
    board = counted.scorers["board"]
    if by_truth and isinstance(board, ClassScorer):
        fields |= by_class(board, names)
    return {
        **fields,
        "agree": counted.agree,
        "counted": board.kind,
        "reached": tuple(
            reached(place, score) for place, scores in counted.scores.items() for score in scores
        ),
        "changes": tuple(
            {"from": before, "to": after, **asdict(found), "verdict": found.verdict}
            for before, after, found in counted.changes
        ),
        "outputs": counted.outputs,
    }


def reached(place: str, score: Score) -> Reached:
    """A score as text and numbers for a report."""
    interval = score.interval()
    words = " to ".join(score.text(end).removesuffix(" %") for end in interval)
    return Reached(
        place,
        score.name,
        score.value,
        interval,
        score.text(score.value),
        words + (" %" if score.percent else ""),
    )
