"""`sdk data check`: shows which data would be used, before anything long begins."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_agent.package import reader as package_format
from device_agent.package.codec.format import MAGIC
from device_agent.record.preprocess import Preprocess
from device_agent.record.usage import Usage
from sdk.api.file_requests import CheckData
from sdk.api.files.layout import with_channels_last
from sdk.api.files.opening import reading
from sdk.api.files.usage import read_labels, usage_of, usage_of_package
from sdk.api.values import PathLike
from sdk.data.choosing import AS_THEY_ARE
from sdk.data.contact_sheet import contact_sheet
from sdk.data.duplicates import duplicates_within, shared_samples
from sdk.data.for_model import data_for
from sdk.data.loading import has_splits, load_dataset, own_shape
from sdk.data.scoring.truth import TrueBoxes
from sdk.errors import DataError, ModelError
from sdk.graph.dataset import Dataset
from sdk.graph.on_host.sources.convert import convert
from sdk.graph.writer import write_graph
from sdk.tools.option import build
from sdk.tools.progress import Progress, silent
from sdk.tools.shown import Shown
from sdk.tools.system.files import read_file, write_file
from sdk.tools.system.outputs import check_outputs

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sdk.api.keywords import CheckDataOptions


@dataclass(frozen=True)
class ClassCount:
    """One class of the data: its number, its label where one is known, and how many samples there are."""

    number: int
    label: str
    samples: int


@dataclass(frozen=True)
class DataReport(Shown):
    """Which data would be used. ``input_shape``: of the model, else of the data themselves.

    ``preprocess`` and ``preprocess_why`` are empty without a model. ``notes``: what is passed over and why, how classes
    were told, which samples are there twice; a sentence each. ``sheet``: the picture that was written, "" without.
    """

    data: str
    model: str
    samples: int
    input_shape: tuple[int, ...]
    classes: tuple[ClassCount, ...]
    preprocess: str
    preprocess_why: str
    candidates: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    sheet: str
    truth: str = ""  # what is right where that is not a class: "boxes", "maps of classes", "values"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def check_data(
    data: PathLike, *, progress: Progress = silent, **options: Unpack[CheckDataOptions]
) -> DataReport:
    """Which samples of ``data`` would be used, their classes, what is left out, and the preprocessing.

    With ``sheet`` a PNG of nine samples as the network sees them is written. ``options``: see
    :class:`sdk.api.file_requests.CheckData`. Raises DataError for whatever a later command would refuse, TypeError for
    unknown options.
    """
    return check(data, build(CheckData, options, function="check_data"), progress)


def check(data: PathLike, request: CheckData, progress: Progress = silent) -> DataReport:
    """As :func:`check_data`, with the options as a record."""
    check_outputs([request.sheet], [data, request.model, request.labels])
    progress("read the data", 0, 0)
    labels = () if request.labels is None else read_labels(Path(request.labels))
    preprocess, why = "", ""
    tried: tuple[dict[str, Any], ...] = ()
    layout: tuple[str, ...] = ()
    if request.model is None:
        _refuse_without_a_model(request)
        dataset = load_dataset(
            data,
            input_shape=own_shape(data, request.split),
            preprocess=AS_THEY_ARE,
            split=request.split,
            limit=request.limit,
            labels=labels,
        )
        notes = dataset.notes
    else:
        tflite, stated, layout = model_and_usage(Path(request.model), request)
        given = None if request.preprocess is None else Preprocess.parse(request.preprocess)
        with data_for(tflite, stated, given=given, truth=request.truth) as opener:
            found = opener.open(data, split=request.split, limit=request.limit)
        dataset, notes, labels = found.dataset, found.notes, stated.labels
        preprocess, why = found.chosen.preprocess.name, found.chosen.why
        tried = tuple(asdict(one) for one in found.chosen.tried)
    notes = (
        *layout,
        *notes,
        *_of_truth(dataset),
        *duplicates_within(dataset),
        *_between_splits(data, request, dataset),
    )
    classes = _classes(dataset, labels)
    if request.sheet is not None:
        names = {one.number: f"{one.number} {one.label}".strip() for one in classes}
        write_file(Path(request.sheet), contact_sheet(dataset, names))
    return DataReport(
        data=str(data),
        model="" if request.model is None else str(request.model),
        samples=len(dataset),
        input_shape=dataset.input_shape,
        classes=classes,
        preprocess=preprocess,
        preprocess_why=why,
        candidates=tried,
        notes=notes,
        sheet="" if request.sheet is None else str(request.sheet),
        truth="" if dataset.truth is None else dataset.truth.kind,
    )


def model_and_usage(path: Path, request: CheckData) -> tuple[bytes, Usage, tuple[str, ...]]:
    """The .tflite of a package or a model, how it is used by its own words and the request's, and notes on reading."""
    content = read_file(path, "a package or a model") if path.is_file() else b""
    if content.startswith(MAGIC):
        _refuse_for_a_package(path, request)
        decoded = package_format.unpack(content)
        return decoded.tflite, usage_of_package(decoded, labels=request.labels, task=request.task), ()
    told: list[str] = []
    graph, layout = with_channels_last(convert(path, note=told.append, **reading(request)))
    return write_graph(graph), usage_of(graph, labels=request.labels, task=request.task), (*told, *layout)


def _refuse_for_a_package(path: Path, request: CheckData) -> None:
    """Raises ModelError where it is said how to read a model that was read already."""
    if any(reading(request).values()):
        raise ModelError(
            f"{path} is a package, whose model was read when it was packed",
            expected="a model, or no --input-shape, --signature or --custom-objects",
            found="a package",
        )


def _refuse_without_a_model(request: CheckData) -> None:
    """Raises DataError where something is said of a model that is not named."""
    if any(reading(request).values()):
        raise DataError(
            "it is said how to read a model, and none is named",
            expected="--for MODEL",
            found="--input-shape, --signature or --custom-objects alone",
        )


def _classes(dataset: Dataset, labels: tuple[str, ...]) -> tuple[ClassCount, ...]:
    if dataset.labels is None:
        return ()
    counts = Counter(int(number) for number in dataset.labels)
    names = dict(enumerate(labels)) or dict(dataset.class_names)
    return tuple(ClassCount(number, names.get(number, ""), counts[number]) for number in sorted(counts))


def _of_truth(dataset: Dataset) -> tuple[str, ...]:
    """A sentence on what is on the pictures, all of which is read. Raises DataError for what does not fit."""
    if dataset.truth is None:
        return ()
    found = [dataset.truth.of(int(index)) for index in dataset.indices]
    boxes = [len(one.classes) for one in found if isinstance(one, TrueBoxes)]
    if not boxes:
        return ()
    empty = f", {boxes.count(0)} of them without any" if 0 in boxes else ""
    return (f"{sum(boxes)} boxes on {len(boxes)} pictures{empty}",)


def _between_splits(data: PathLike, request: CheckData, dataset: Dataset) -> tuple[str, ...]:
    """Samples that are in training and test data alike, where the data have both."""
    if request.split is not None or not has_splits(data):
        return ()
    test = load_dataset(
        data, input_shape=dataset.input_shape, preprocess=AS_THEY_ARE, split="test", limit=request.limit
    )
    shared = shared_samples(dataset, test)
    if not len(shared):
        return ()
    named = ", ".join(test.source_name(int(test.indices[i])) for i in np.asarray(shared)[:3])
    return (f"{len(shared)} of {len(test)} test samples are among the training samples: {named}",)
